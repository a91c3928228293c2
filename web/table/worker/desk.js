// The page's interface to the table's worker, which is started when it is first needed.

import { SealedScript, seal } from '../../worker/sealed.js';

/** Each file's { version, integrity }, keyed by name; set by `starsight site`. */
const SEALS = __STARSIGHT_TABLE__;

const SCRIPT = new SealedScript(seal(new URL('./worker.js', import.meta.url), SEALS));
const MODULE = seal(new URL('./starsight_table_bg.wasm', import.meta.url), SEALS);

/** Sends requests to worker.js, which documents them. */
export class Desk {
  /** A promise of the worker, and the worker itself. */
  #worker;
  #running;
  #asked = 0;
  #open = new Map();

  /** Reads a Blob. `hear` is called with the bytes read and the total. */
  open(file, opening, hear) {
    return this.#ask({ type: 'open', file, opening }, hear);
  }

  /** Answers a request, as JSON. */
  ask(request) {
    return this.#ask({ type: 'ask', request });
  }

  /** The next rows to rate, their reviews and the identifier of their table; undefined when all have been handed out. */
  next() {
    return this.#ask({ type: 'next' });
  }

  /** Stores ratings of rows of a table, unless another table has been opened. The arrays are transferred. */
  rate(table, rows, stars, expected, probabilities) {
    const arrays = [rows.buffer, stars.buffer, expected.buffer, probabilities.buffer];
    this.#tell({ type: 'rate', table, rows, stars, expected, probabilities }, arrays);
  }

  /** Closes the table, and stops reading a file. */
  close() {
    this.#tell({ type: 'close' });
  }

  /** The table with its ratings, as a Blob. */
  write(form) {
    return this.#ask({ type: 'write', form });
  }

  /** Sends a message that has no answer, if the worker is running. */
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
      if (type === 'failed' && (!entry || name === 'RuntimeError')) this.#die(`it crashed (${message}): the file may be damaged, or too large for this browser's memory`);
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

  /** Stops the worker; the next file starts another one. */
  #die(why) {
    this.#running?.terminate();
    this.#running = this.#worker = undefined;
    const error = Object.assign(new Error(`the file reader stopped: ${why}`), { name: 'TableError' });
    for (const id of [...this.#open.keys()]) this.#settle(id).reject(error);
  }
}
