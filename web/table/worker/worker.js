// The worker that keeps the page's table: reads files in slices and answers what desk.js asks. The work is done by the module around which wasm-bindgen writes JavaScript (`starsight-table`).
//
// Asked, each with an `id` of the asker's choice:
//   { type: 'start', module }                                              first of all: the WebAssembly, { address, integrity }
//   { type: 'open', id, file, opening }                                    read this Blob, in place of what was there; `opening` as JSON
//   { type: 'ask', id, request }                                           see protocol.rs; JSON
//   { type: 'next', id }                                                   the next reviews to rate
//   { type: 'rate', table, rows, stars, expected, probabilities }          keep ratings of rows of the `table` that `next` named, unless another is open by now; not answered
//   { type: 'write', id, form }                                            the table with its ratings, as a Blob
//   { type: 'close' }                                                      let go of the table, and of the file that is being read; not answered
// Answered, with the same `id`:
//   { type: 'progress', id, loaded, total }                                opening: bytes
//   { type: 'done', id, value }                                            what was asked for: JSON; [rows, texts, table] or undefined; a Blob
//   { type: 'failed', id, name, message }

import initialise, { Reading } from 'starsight-table';

import { fetchSealed } from '../../worker/sealed.js';

/** Bytes of a file that are in memory at a time. */
const SLICE = 1 << 22;

/** Media types of what is written. */
const TYPES = { Csv: 'text/csv;charset=utf-8', JsonLines: 'application/x-ndjson' };

let started;

let desk;
/** The last file asked for, by its `id`: reading an earlier one ends. It also names the table that comes of it. */
let latest;

const deeds = {
  async open({ id, file, opening }) {
    // Two tables at a time may be more than there is memory for.
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
    // Told to whoever asks first.
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
