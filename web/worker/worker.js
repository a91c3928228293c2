// The JavaScript side of the rating worker: receives messages from pool.js and runs the engine in steps. `starsight-engine` is the module that wasm-bindgen generates.
// There are two builds of the engine, with and without relaxed SIMD; both give the same ratings.
//
// Requests, each with an `id` chosen by the sender:
//   { type: 'load', id, wish, relaxedSimd, modules }   once, first. `wish`: see bundle.js, with `lend`: whether other workers need the files; `relaxedSimd`: whether it may be
//                                                      used; `modules`: the engine's modules { relaxed, plain }, each { address, integrity }
//   { type: 'rate', id, texts, once }                  texts to rate; `once`: compute texts with the same tokens once
//   { type: 'cancel', id }                             stop rating; no more messages about `id` follow
//   { type: 'check', id }                              for tests: compare each kernel with the reference
// Answers, with the same `id`:
//   { type: 'progress', id, phase, loaded, total }                                   loading: bytes, in phase 'download', then 'prepare'; 'wait' while another tab downloads
//   { type: 'notice', id, notice }                                                   loading: a message for the user
//   { type: 'found', id, base, manifest, files }                                     loading: data for the wishes of other workers; `files`: Map of path to Blob, with `lend`
//   { type: 'ready', id, info, kept }                                                loaded; `kept`: whether from the cache
//   { type: 'newer', id }                                                            after that: the source has a newer version than the cached one
//   { type: 'tokenised', id, texts }                                                 rating: number of texts so far
//   { type: 'ratings', id, indices, stars, expected, probabilities, guesses, tokens } rating: a packed batch, in typed arrays; five probabilities per review
//   { type: 'done', id }                                                             all texts of `id` are rated
//   { type: 'checked', id, kernels }                                                 the names of the kernels whose sums equal the reference's
//   { type: 'failed', id, name, message }                                            a request failed; without an id, the worker has crashed and cannot be used any more

import initialise, { agreeingKernels, load as loadEngine } from 'starsight-engine';

import { findBundle } from './bundle.js';
import { isKnown, named } from './errors.js';
import { fetchSealed } from './sealed.js';
import { knowsRelaxedSimd } from './simd.js';

let engine;
/** The ids of running requests. */
const requests = new Set();

self.onmessage = async ({ data }) => {
  try {
    if (data.type === 'load') await load(data);
    else if (data.type === 'rate') await rate(data);
    else if (data.type === 'cancel') requests.delete(data.id);
    else if (data.type === 'check') self.postMessage({ type: 'checked', id: data.id, kernels: agreeingKernels() });
  } catch (error) {
    requests.delete(data.id);
    fail(data.id, error);
  }
};

// A panic inside the engine's asynchronous part surfaces here and nowhere else.
self.onunhandledrejection = ({ reason }) => fail(undefined, reason);

async function load({ id, wish, relaxedSimd, modules }) {
  const tell = (message) => self.postMessage({ ...message, id });
  // The engine compiles during the download. An error is handled below, where it is awaited.
  const starting = startEngine(relaxedSimd && knowsRelaxedSimd() ? modules.relaxed : modules.plain);
  starting.catch(() => {});
  let bundle = await findBundle(wish, tell);
  bundle.readAhead();
  await starting;
  try {
    await take(bundle);
  } catch (error) {
    const other = isKnown(error) && (await bundle.otherVersion());
    if (!other) throw error;
    const which = other.isKept ? 'the newer version cannot be used, so the cached one is loaded' : 'the cached version cannot be used, so a newer one is downloaded';
    tell({ type: 'notice', notice: `${which} (${error.message})` });
    bundle = other;
    await take(bundle);
  }
  tell({ type: 'found', base: bundle.base, manifest: bundle.manifest, files: await bundle.lend() });
  if (!wish.manifest) await bundle.keep();
  tell({ type: 'ready', info: { ...engine.info, ...bundle.about }, kept: bundle.isKept });
  if (bundle.isKept && (await bundle.hasNewer())) tell({ type: 'newer' });

  /** Loads the `bundle` into the engine. */
  async function take(bundle) {
    const open = (path, anew) => bundle.open(path, anew);
    const progress = (phase, loaded, total) => tell({ type: 'progress', phase, loaded, total });
    try {
      engine = await loadEngine(bundle.base, bundle.manifest, open, progress);
    } catch (error) {
      // The file was damaged twice.
      if (error.path) await bundle.discard(error.path);
      throw error;
    }
  }
}

/** The engine, started with one of its modules. */
async function startEngine(module) {
  try {
    await initialise({ module_or_path: fetchSealed(module) });
  } catch (error) {
    if (error.name === 'EngineError') throw error;
    throw named('EngineError', `the rating engine did not start (${error.message}); it needs WebAssembly with SIMD`);
  }
}

async function rate({ id, texts, once }) {
  requests.add(id);
  const job = engine.rate(texts, once);
  while (requests.has(id) && !job.done) {
    const pack = job.step();
    if (pack) {
      const buffers = [pack.indices, pack.stars, pack.expected, pack.probabilities, pack.guesses].map((array) => array.buffer);
      self.postMessage({ type: 'ratings', id, ...pack }, buffers);
    } else {
      self.postMessage({ type: 'tokenised', id, texts: job.tokenised });
    }
    await turn();
  }
  // Not in a `finally`: after a trap this would throw too, and hide the first error.
  job.free();
  if (requests.delete(id)) self.postMessage({ type: 'done', id });
}

/** Reports an error. After an unexpected one (a trap, no memory) the engine's memory is in an unknown state, so the error concerns the whole worker. */
function fail(id, error) {
  self.postMessage({ type: 'failed', id: isKnown(error) ? id : undefined, name: error?.name ?? 'Error', message: error?.message ?? String(error) });
}

/** Lets pending messages be handled. (A timer would do so too, but browsers round short timers up to 4 ms.) */
function turn() {
  return new Promise((resolve) => {
    resumed.push(resolve);
    channel.port2.postMessage(null);
  });
}

const resumed = [];
const channel = new MessageChannel();
channel.port1.onmessage = () => resumed.shift()();
