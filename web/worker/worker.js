// The rating worker's JavaScript side: takes messages from pool.js and works the engine (behind what wasm-bindgen writes, `starsight-engine` here) step by step.
// There are two engines, with relaxed SIMD instructions and without; they give the same ratings.
//
// Asked, each with an `id` of the asker's choice:
//   { type: 'load', id, wish, relaxedSimd, modules }   once, first. `wish`: what bundle.js looks for, with `lend`: whether other workers want the files; `relaxedSimd`: whether it may be
//                                                      used; `modules`: where the engine's are, { relaxed, plain }, each { address, integrity }
//   { type: 'rate', id, texts }                        texts to rate
//   { type: 'cancel', id }                             stop rating; nothing more is said about `id`
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

import initialise, { load as loadEngine } from 'starsight-engine';

import { findBundle } from './bundle.js';
import { named } from './errors.js';
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
  const bundle = await findBundle(wish, tell);
  bundle.readAhead();
  await starting;

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

/** The engine, started with one of its modules. */
async function startEngine(module) {
  try {
    await initialise({ module_or_path: fetchSealed(module) });
  } catch (error) {
    if (error.name === 'EngineError') throw error;
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
