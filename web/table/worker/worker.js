// The worker that holds the page's table: reads files in slices and answers the requests of desk.js. `starsight-table` is the module that wasm-bindgen generates.
//
// Requests, each with an `id` chosen by the sender:
//   { type: 'start', module }                                              first: the WebAssembly module, { address, integrity }
//   { type: 'open', id, file, opening }                                    read this Blob, replacing the previous file; `opening` is JSON
//   { type: 'ask', id, request }                                           see protocol.rs; JSON
//   { type: 'next', id }                                                   the next reviews to rate
//   { type: 'rate', table, rows, stars, expected, probabilities }          store ratings of rows of the `table` that `next` named, unless another is open; no answer
//   { type: 'write', id, form }                                            the table with its ratings, as a Blob
//   { type: 'close' }                                                      close the table, and stop reading a file; no answer
// Answers, with the same `id`:
//   { type: 'progress', id, loaded, total }                                opening: bytes
//   { type: 'done', id, value }                                            the result: JSON; [rows, texts, table] or undefined; a Blob
//   { type: 'failed', id, name, message }

import initialise, { Reading } from 'starsight-table';

import { fetchSealed } from '../../worker/sealed.js';

/** Bytes of a slice of a file. */
const SLICE = 1 << 22;

/** Media types of written files. */
const TYPES = { Csv: 'text/csv;charset=utf-8', JsonLines: 'application/x-ndjson' };

let started;

let desk;
/** The `id` of the latest `open` request. Reading an earlier file stops. It also identifies the resulting table. */
let latest;

const deeds = {
  async open({ id, file, opening }) {
    // There may not be enough memory for two tables.
    deeds.close();
    latest = id;
    const reading = new Reading(opening);
    for (let at = 0; at < file.size; at += SLICE) {
      const bytes = new Uint8Array(await file.slice(at, at + SLICE).arrayBuffer());
      if (latest !== id) {
        reading.free();
        throw Object.assign(new Error('another file was opened'), { name: 'AbortError' });
      }
      reading.push(bytes);
      self.postMessage({ type: 'progress', id, loaded: Math.min(at + SLICE, file.size), total: file.size });
    }
    desk = reading.finish();
    return desk.describe();
  },
  ask: ({ request }) => table().ask(request),
  next() {
    const portion = table().portion();
    return portion && [...portion, latest];
  },
  rate({ table, rows, stars, expected, probabilities }) {
    if (table === latest) desk?.rate(rows, stars, expected, probabilities);
  },
  write({ form }) {
    const parts = [];
    table().write(form, (part) => parts.push(part));
    return new Blob(parts, { type: TYPES[form] });
  },
  close() {
    latest = undefined;
    desk?.free();
    desk = undefined;
  },
};

function table() {
  if (!desk) throw Object.assign(new Error('no table is open'), { name: 'TableError' });
  return desk;
}

self.onmessage = async ({ data }) => {
  const { type, id } = data;
  if (type === 'start') {
    started = initialise({ module_or_path: fetchSealed(data.module) });
    // The first request reports the error.
    started.catch(() => {});
    return;
  }
  try {
    await started;
    const value = await deeds[type](data);
    if (id !== undefined) self.postMessage({ type: 'done', id, value });
  } catch (error) {
    self.postMessage({ type: 'failed', id, name: error?.name ?? 'Error', message: error?.message ?? String(error) });
  }
};
