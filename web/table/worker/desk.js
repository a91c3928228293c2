// The table's worker as the page sees it. It is started when it is first needed.

/** Asks worker.js, which says what can be asked. */
export class Desk {
  #worker;
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

  /** The next rows to rate and their reviews, or undefined when all are handed out. */
  next() {
    return this.#ask({ type: 'next' });
  }

  /** Keeps ratings. The arrays are given away. */
  rate(rows, stars, expected, probabilities) {
    this.#worker?.postMessage({ type: 'rate', rows, stars, expected, probabilities }, [rows.buffer, stars.buffer, expected.buffer, probabilities.buffer]);
  }

  /** The table with its ratings, as a Blob. */
  write(form) {
    return this.#ask({ type: 'write', form });
  }

  #ask(request, hear) {
    this.#worker ??= this.#start();
    const id = ++this.#asked;
    return new Promise((resolve, reject) => {
      this.#open.set(id, { resolve, reject, hear });
      this.#worker.postMessage({ ...request, id });
    });
  }

  #start() {
    // Spelt out, for bundlers to see.
    const worker = new Worker(new URL('./worker.js?v=__STARSIGHT_VERSION__', import.meta.url), { type: 'module', name: 'starsight table' });
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
    this.#worker?.terminate();
    this.#worker = undefined;
    const error = Object.assign(new Error(`the reader of files stopped: ${why}`), { name: 'TableError' });
    for (const id of [...this.#open.keys()]) this.#settle(id).reject(error);
  }
}
