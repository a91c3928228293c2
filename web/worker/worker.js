// The rating worker's JavaScript side: takes messages from starsight.js and works the engine (starsight_worker.js, which wasm-bindgen writes) step by step.
// There are two engines, with relaxed SIMD instructions and without; they give the same ratings.
//
// Asked, each with an `id` of the asker's choice:
//   { type: 'load', id, base, hub, lent, lend, relaxedSimd }
//                                                 once, first. `base`: the bundle's address, ending in a slash; `hub`: it is on a Hub; `lent`: Map of file name to Blob,
//                                                 files that need no fetching; `lend`: whether other workers want the files; `relaxedSimd`: whether relaxed SIMD may be used
//   { type: 'rate', id, texts, more }             texts to rate; while `more` is true, further ones follow under the same id
//   { type: 'cancel', id }                        stop rating; nothing more is said about `id`
// Answered, with the same `id`:
//   { type: 'progress', id, phase, loaded, total }                                   loading: bytes, in phase 'download', then 'prepare'
//   { type: 'files', id, files }                                                     loading, if asked to lend: Map of file name to Blob
//   { type: 'ready', id, info }                                                      loaded
//   { type: 'tokenised', id, texts }                                                 rating: how many texts so far
//   { type: 'ratings', id, indices, stars, expected, probabilities, tokens }         rating: a packed batch, in typed arrays; five probabilities a review
//   { type: 'done', id }                                                             all texts of `id` are rated
//   { type: 'failed', id, name, message }                                            of a request; without an id, of the worker as a whole

// The same `?v=` as this file's own, so that a new page never runs an old engine.
const version = new URL(import.meta.url).search;

let engine;
/** Requests under way: id to the texts that have arrived. */
const requests = new Map();

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

async function load({ id, base, hub, lent, lend, relaxedSimd }) {
  const { load: loadBundle } = await startEngine(relaxedSimd && WebAssembly.validate(RELAXED_SIMD) ? 'starsight_worker_relaxed' : 'starsight_worker');
  engine = await loadBundle(
    base,
    hub,
    lent,
    (phase, loaded, total) => self.postMessage({ type: 'progress', id, phase, loaded, total }),
    lend ? (files) => self.postMessage({ type: 'files', id, files }) : undefined,
  );
  self.postMessage({ type: 'ready', id, info: engine.info });
}

async function startEngine(name) {
  try {
    const glue = await import(`./${name}.js${version}`);
    await glue.default({ module_or_path: new URL(`./${name}_bg.wasm${version}`, import.meta.url) });
    return glue;
  } catch (error) {
    throw Object.assign(new Error(`the rating engine did not start (${error.message}); it needs WebAssembly with SIMD`), { name: 'EngineError' });
  }
}

async function rate({ id, texts, more }) {
  const all = requests.get(id) ?? [];
  all.push(...texts);
  requests.set(id, all);
  if (more) return;
  const job = engine.rate(all);
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
