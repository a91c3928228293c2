// The rating worker's JavaScript side: takes messages from pool.js and works the engine (behind what wasm-bindgen writes, `starsight-engine` here) step by step.
// There are two engines, with relaxed SIMD instructions and without; they give the same ratings.
//
// Asked, each with an `id` of the asker's choice:
//   { type: 'load', id, wish, relaxedSimd, modules }   once, first. `wish`: what bundle.js looks for, with `lend`: whether other workers want the files; `relaxedSimd`: whether it may be
//                                                      used; `modules`: where the engine's are, { relaxed, plain }, each { address, integrity }
//   { type: 'rate', id, texts, once }                  texts to rate; `once`: those with the same tokens once
//   { type: 'cancel', id }                             stop rating; nothing more is said about `id`
//   { type: 'check', id }                              by tests alone: hold each kernel to the reference
// Answered, with the same `id`:
//   { type: 'progress', id, phase, loaded, total }                                   loading: bytes, in phase 'download', then 'prepare'; 'wait' while another tab fetches
//   { type: 'notice', id, notice }                                                   loading: words for the user
//   { type: 'found', id, base, manifest, files }                                     loading: what another worker's wish needs; `files`: Map of path to Blob, if asked to lend
//   { type: 'ready', id, info, kept }                                                loaded; `kept`: from what the browser keeps
//   { type: 'newer', id }                                                            after that: the source holds a newer version than the kept one
//   { type: 'tokenised', id, texts }                                                 rating: how many texts so far
//   { type: 'ratings', id, indices, stars, expected, probabilities, guesses, tokens } rating: a packed batch, in typed arrays; five probabilities a review
//   { type: 'done', id }                                                             all texts of `id` are rated
//   { type: 'checked', id, kernels }                                                 the names of the kernels that gave the sums of the reference
//   { type: 'failed', id, name, message }                                            of a request; without an id, of the worker as a whole: it is good for nothing more

import initialise, { agreeingKernels, load as loadEngine } from 'starsight-engine';

import { findBundle } from './bundle.js';
import { isTold, named } from './errors.js';
import { fetchSealed } from './sealed.js';
import { knowsRelaxedSimd } from './simd.js';

let engine;
/** Requests under way. */
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
  // The engine compiles while the files arrive. Should it fail, that is heard below.
  const starting = startEngine(relaxedSimd && knowsRelaxedSimd() ? modules.relaxed : modules.plain);
  starting.catch(() => {});
  let bundle = await findBundle(wish, tell);
  bundle.readAhead();
  await starting;
  try {
    await take(bundle);
  } catch (error) {
    const other = isTold(error) && (await bundle.otherVersion());
    if (!other) throw error;
    const which = other.isKept ? 'the newer version cannot be used, so the kept one is' : 'the kept version cannot be used, so a newer one is fetched';
    tell({ type: 'notice', notice: `${which} (${error.message})` });
    bundle = other;
    await take(bundle);
  }
  tell({ type: 'found', base: bundle.base, manifest: bundle.manifest, files: await bundle.lend() });
  if (!wish.manifest) await bundle.keep();
  tell({ type: 'ready', info: { ...engine.info, ...bundle.about }, kept: bundle.isKept });
  if (bundle.isKept && (await bundle.hasNewer())) tell({ type: 'newer' });

  /** Has the engine load the `bundle`. */
  async function take(bundle) {
    const open = (path, anew) => bundle.open(path, anew);
    const progress = (phase, loaded, total) => tell({ type: 'progress', phase, loaded, total });
    try {
      engine = await loadEngine(bundle.base, bundle.manifest, open, progress);
    } catch (error) {
      // The file that came damaged, and came damaged again.
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
  // Not where a step throws: after a trap this would throw too, and hide it.
  job.free();
  if (requests.delete(id)) self.postMessage({ type: 'done', id });
}

/** Tells of an error. One that nobody foresaw, a trap or a want of memory, leaves the engine's memory in an unknown state: it is the whole worker's. */
function fail(id, error) {
  self.postMessage({ type: 'failed', id: isTold(error) ? id : undefined, name: error?.name ?? 'Error', message: error?.message ?? String(error) });
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
