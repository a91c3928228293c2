// The table's worker as the page sees it. It is started when it is first needed.

import { SealedScript, seal } from '../../worker/sealed.js';

/** By name, each file's { version, integrity }: `starsight site` puts them here. */
const SEALS = __STARSIGHT_TABLE__;

const SCRIPT = new SealedScript(seal(new URL('./worker.js', import.meta.url), SEALS));
const MODULE = seal(new URL('./starsight_table_bg.wasm', import.meta.url), SEALS);

/** Asks worker.js, which says what can be asked. */
export class Desk {
  /** A promise of the worker, and the worker itself. */
  #worker;
  #running;
  #asked = 0;
  #open = new Map();

  /** Reads a Blob. `hear` is called with the bytes read and the bytes in all. */
  open(file, opening, hear) {
    return this.#ask({ type: 'open', file, opening }, hear);
  }

  /** Answers a request, as JSON. */
  ask(request) {
    return this.#ask({ type: 'ask', request });
  }

  /** The next rows to rate, their reviews, and what names their table; or undefined when all are handed out. */
  next() {
    return this.#ask({ type: 'next' });
  }

  /** Keeps ratings of rows of a table, unless another is open by now. The arrays are given away. */
  rate(table, rows, stars, expected, probabilities) {
    const arrays = [rows.buffer, stars.buffer, expected.buffer, probabilities.buffer];
    this.#tell({ type: 'rate', table, rows, stars, expected, probabilities }, arrays);
  }

  /** Lets go of the table, and of the file that is being read. */
  close() {
    this.#tell({ type: 'close' });
  }

  /** The table with its ratings, as a Blob. */
  write(form) {
    return this.#ask({ type: 'write', form });
  }

  /** Says what is not answered, to a worker if there is one. */
  #tell(message, arrays = []) {
    this.#worker?.then((worker) => worker.postMessage(message, arrays)).catch(() => {});
  }

  async #ask(request, hear) {
    this.#worker ??= this.#start().catch((error) => {
      this.#worker = undefined;
      throw error;
    });
    const worker = await this.#worker;
    const id = ++this.#asked;
    return new Promise((resolve, reject) => {
      this.#open.set(id, { resolve, reject, hear });
      worker.postMessage({ ...request, id });
    });
  }

  async #start() {
    const worker = await SCRIPT.start('starsight table');
    this.#running = worker;
    worker.postMessage({ type: 'start', module: MODULE });
    worker.onmessage = ({ data }) => {
      const { id, type, value, name, message } = data;
      const entry = this.#open.get(id);
      // A trap leaves the table's memory in an unknown state.
      if (type === 'failed' && (!entry || name === 'RuntimeError')) this.#die(`it broke down (${message}): the file may be too large for this browser's memory`);
      else if (type === 'progress') entry?.hear?.(data.loaded, data.total);
      else if (type === 'failed') this.#settle(id).reject(Object.assign(new Error(message), { name }));
      else this.#settle(id).resolve(value);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.#die(event.message || 'it could not be loaded');
    };
    return worker;
  }

  #settle(id) {
    const entry = this.#open.get(id);
    this.#open.delete(id);
    return entry;
  }

  /** Ends the worker; the next file gets another. */
  #die(why) {
    this.#running?.terminate();
    this.#running = this.#worker = undefined;
    const error = Object.assign(new Error(`the reader of files stopped: ${why}`), { name: 'TableError' });
    for (const id of [...this.#open.keys()]) this.#settle(id).reject(error);
  }
}
