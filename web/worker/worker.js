// The rating worker's JavaScript side: takes messages from starsight.js and works the engine (starsight_worker.js, which wasm-bindgen writes) step by step.
//
// Asked, each with an `id` of the asker's choice:
//   { type: 'load', id, base, hub, lent, lend }   once, first. `base`: the bundle's address, ending in a slash; `hub`: it is on a Hub; `lent`: Map of file name to Blob,
//                                                 files that need no fetching; `lend`: whether other workers want the files
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

async function load({ id, base, hub, lent, lend }) {
  const { load: loadBundle } = await startEngine();
  engine = await loadBundle(
    base,
    hub,
    lent,
    (phase, loaded, total) => self.postMessage({ type: 'progress', id, phase, loaded, total }),
    lend ? (files) => self.postMessage({ type: 'files', id, files }) : undefined,
  );
  self.postMessage({ type: 'ready', id, info: engine.info });
}

async function startEngine() {
  try {
    const glue = await import(`./starsight_worker.js${version}`);
    await glue.default({ module_or_path: new URL(`./starsight_worker_bg.wasm${version}`, import.meta.url) });
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
