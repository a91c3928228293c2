// The rating worker's JavaScript side: takes messages from pool.js and works the engine (starsight_worker.js, which wasm-bindgen writes) step by step.
// There are two engines, with relaxed SIMD instructions and without; they give the same ratings.
//
// Asked, each with an `id` of the asker's choice:
//   { type: 'load', id, wish, relaxedSimd }       once, first. `wish`: what bundle.js looks for, with `lend`: whether other workers want the files; `relaxedSimd`: whether it may be used
//   { type: 'rate', id, texts }                   texts to rate
//   { type: 'cancel', id }                        stop rating; nothing more is said about `id`
// Answered, with the same `id`:
//   { type: 'progress', id, phase, loaded, total }                                   loading: bytes, in phase 'download', then 'prepare'; 'wait' while another tab fetches
//   { type: 'notice', id, notice }                                                   loading: words for the user
//   { type: 'files', id, base, manifest, files }                                     loading, if asked to lend: what another worker's wish needs; `files`: Map of path to Blob
//   { type: 'ready', id, info, kept }                                                loaded; `kept`: from what the browser keeps
//   { type: 'newer', id }                                                            after that: the source holds a newer version than the kept one
//   { type: 'tokenised', id, texts }                                                 rating: how many texts so far
//   { type: 'ratings', id, indices, stars, expected, probabilities, tokens }         rating: a packed batch, in typed arrays; five probabilities a review
//   { type: 'done', id }                                                             all texts of `id` are rated
//   { type: 'failed', id, name, message }                                            of a request; without an id, of the worker as a whole

import { findBundle } from './bundle.js?v=__STARSIGHT_VERSION__';
import { named } from './errors.js?v=__STARSIGHT_VERSION__';

let engine;
/** Requests under way. */
const requests = new Set();

self.onmessage = async ({ data }) => {
  try {
    if (data.type === 'load') await load(data);
    else if (data.type === 'rate') await rate(data);
    else if (data.type === 'cancel') requests.delete(data.id);
  } catch (error) {
    requests.delete(data.id);
    fail(data.id, error);
  }
};

// A panic inside the engine's asynchronous part surfaces here and nowhere else.
self.onunhandledrejection = ({ reason }) => fail(undefined, reason);

/** A module with the relaxed SIMD instructions that the engine uses: a browser that does not know them says that it is not valid. */
// prettier-ignore
const RELAXED_SIMD = new Uint8Array([
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, // \0asm, version 1
  0x01, 0x06, 0x01, 0x60, 0x01, 0x7b, 0x01, 0x7b, // a type: v128 -> v128
  0x03, 0x02, 0x01, 0x00, // a function of it
  0x0a, 0x17, 0x01, 0x15, 0x00, // its code, without locals
  0x20, 0x00, 0x20, 0x00, 0x20, 0x00, 0xfd, 0xba, 0x01, // local.get 0 three times, i32x4.dot_i16x8_s
  0x20, 0x00, 0x20, 0x00, 0xfd, 0x92, 0x02, // local.get 0 twice, i16x8.relaxed_dot_i8x16_i7x16_s
  0xfd, 0x93, 0x02, 0x0b, // i32x4.relaxed_dot_i8x16_i7x16_add_s, end
]);

async function load({ id, wish, relaxedSimd }) {
  const tell = (message) => self.postMessage({ ...message, id });
  // The engine compiles while the files arrive. Should it fail, that is heard below.
  const starting = startEngine(relaxedSimd && WebAssembly.validate(RELAXED_SIMD));
  starting.catch(() => {});
  const bundle = await findBundle(wish, tell);
  bundle.readAhead();
  const { load: loadEngine } = await starting;

  const open = (path, anew) => bundle.open(path, anew);
  let lent;
  const lend = async () => tell({ type: 'files', base: bundle.base, manifest: bundle.manifest, files: await bundle.lend() });
  const progress = (phase, loaded, total) => {
    tell({ type: 'progress', phase, loaded, total });
    // The others load while this one checks what it loaded.
    if (phase === 'prepare' && wish.lend) lent = lend();
  };
  try {
    engine = await loadEngine(bundle.base, bundle.manifest, open, progress);
    await lent;
  } catch (error) {
    if (error.name === 'BundleError') await bundle.discard();
    throw error;
  }
  if (!wish.manifest) await bundle.keep();
  tell({ type: 'ready', info: { ...engine.info, ...bundle.about }, kept: bundle.isKept });
  if (bundle.isKept && (await bundle.hasNewer())) tell({ type: 'newer' });
}

/** The engine's module, started. Each address is spelt out, for bundlers to see. */
async function startEngine(relaxed) {
  try {
    const glue = relaxed
      ? await import('./starsight_worker_relaxed.js?v=__STARSIGHT_VERSION__')
      : await import('./starsight_worker.js?v=__STARSIGHT_VERSION__');
    const module = relaxed
      ? new URL('./starsight_worker_relaxed_bg.wasm?v=__STARSIGHT_VERSION__', import.meta.url)
      : new URL('./starsight_worker_bg.wasm?v=__STARSIGHT_VERSION__', import.meta.url);
    await glue.default({ module_or_path: module });
    return glue;
  } catch (error) {
    throw named('EngineError', `the rating engine did not start (${error.message}); it needs WebAssembly with SIMD`);
  }
}

async function rate({ id, texts }) {
  requests.add(id);
  const job = engine.rate(texts);
  try {
    while (!job.done) {
      const pack = job.step();
      if (pack) {
        const { indices, stars, expected, probabilities } = pack;
        self.postMessage({ type: 'ratings', id, ...pack }, [indices.buffer, stars.buffer, expected.buffer, probabilities.buffer]);
      } else {
        self.postMessage({ type: 'tokenised', id, texts: job.tokenised });
      }
      await turn();
      if (!requests.has(id)) return;
    }
    requests.delete(id);
    self.postMessage({ type: 'done', id });
  } finally {
    job.free();
  }
}

function fail(id, error) {
  self.postMessage({ type: 'failed', id, name: error?.name ?? 'Error', message: error?.message ?? String(error) });
}

/** Waits until the messages that have arrived are heard. (A timer would do it too, but browsers round short ones up to 4 ms.) */
function turn() {
  return new Promise((resolve) => {
    resumed.push(resolve);
    channel.port2.postMessage(null);
  });
}

const resumed = [];
const channel = new MessageChannel();
channel.port1.onmessage = () => resumed.shift()();
