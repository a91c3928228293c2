/**
 * Starsight rates reviews from one to five stars, in the browser. No text leaves it.
 *
 *     import { load } from './starsight.js';
 *     const rater = await load({ model: './model/' });
 *     const { ratings } = await rater.rate(['Love it', 'It crashes']);
 *
 * Workers (worker/worker.js) do the rating; this module distributes texts to them and collects the ratings. starsight.d.ts has the types and the documentation.
 * `cargo xtask web` bundles this file with its imports, and the worker as a second file.
 */

import { measure } from './worker/bench.js';
import { named } from './worker/errors.js';
import { dropped, withPaths } from './worker/files.js';
import { Pool } from './worker/pool.js';
import { Store } from './worker/store.js';

const MOST_WORKERS = 64;

/** Largest number of workers for `auto`: each worker has its own copy of the model in memory. */
const MOST_AUTOMATIC = 8;

/** Loads a model; see starsight.d.ts. */
export async function load({
  model = './model/',
  files,
  workers = 'auto',
  relaxedSimd = true,
  update = false,
  endpoint = 'https://huggingface.co',
  token,
  onProgress,
  onNotice,
  onNewer,
  signal,
} = {}) {
  const wish = files ? { source: 'files', files: withPaths(files) } : { ...sourceOf(model, endpoint), token, update };
  const automatic = workers === 'auto';
  if (!automatic && !isWorkerCount(workers)) {
    throw new RangeError(`workers is ${workers}; wanted 'auto' or a whole number from 1 to ${MOST_WORKERS}`);
  }
  if (token !== undefined && !(typeof token === 'string' && /^[!-~]+$/.test(token))) throw new TypeError('token is not an access token; wanted one such as hf_...');
  signal?.throwIfAborted();

  const pool = new Pool({ wish, relaxedSimd, most: automatic ? automaticWorkers() : workers, listeners: { onProgress, onNotice, onNewer } });
  const abort = () => pool.end(signal.reason);
  signal?.addEventListener('abort', abort);
  try {
    const { info, kept } = await pool.start(automatic ? 1 : workers);
    signal?.throwIfAborted();
    if (!files) stay();
    return new Rater(pool, { ...info, kept });
  } catch (error) {
    pool.end(error);
    throw error;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

/** The files of a drop; see starsight.d.ts. */
export const filesOf = dropped;

/** The models that this browser has cached for this page; see starsight.d.ts. */
export async function kept() {
  const store = await Store.open();
  if (!store) return { models: [], unfinished: 0 };
  const { models, unfinished } = await store.list();
  const known = models.map(({ source, base, bytes, at }) => ({ model: source, address: base, bytes, at: new Date(at) }));
  return { models: known, unfinished };
}

/** Deletes a cached model, or the whole cache; see starsight.d.ts. */
export async function forget(model) {
  await (await Store.open())?.forget(model);
}

/** A loaded model; created by `load`. */
class Rater {
  #pool;
  #backend;

  constructor(pool, { backend, ...info }) {
    this.#pool = pool;
    this.#backend = backend;
    this.info = Object.freeze(info);
  }

  /** Rates texts; see starsight.d.ts. */
  rate(texts, options) {
    return this.#rate(texts, { ...options, once: true });
  }

  /** Rates texts. With `once`, texts with the same tokens are computed once. */
  async #rate(texts, { onProgress, onRatings, signal, once }) {
    checkTexts(texts);
    signal?.throwIfAborted();

    const started = performance.now();
    const ratings = new Array(texts.length);
    const done = { tokenised: 0, rated: 0, tokens: 0 };
    const speed = () => {
      const seconds = (performance.now() - started) / 1000;
      const perSecond = (count) => (seconds > 0 ? count / seconds : 0);
      return { tokens: done.tokens, seconds, samplesPerSecond: perSecond(done.rated), tokensPerSecond: perSecond(done.tokens) };
    };
    const report = () => onProgress?.({ tokenised: done.tokenised, rated: done.rated, total: texts.length, ...speed() });
    const hear = {
      tokenised(count) {
        done.tokenised += count;
        report();
      },
      ratings({ indices, stars, expected, probabilities, guesses, tokens }) {
        indices.forEach((place, i) => {
          const shares = Array.from(probabilities.subarray(5 * i, 5 * i + 5));
          ratings[place] = { stars: stars[i], expected: expected[i], probabilities: shares, guess: guesses[i] === 1 };
        });
        done.rated += indices.length;
        done.tokens += tokens;
        onRatings?.({ indices, stars, expected, probabilities, guesses });
        report();
      },
    };
    await this.#pool.rate(texts, hear, { signal, once });
    return { ratings, stats: { samples: texts.length, ...speed(), backend: this.#backend, workers: this.#pool.size } };
  }

  /** Measures the throughput; see starsight.d.ts. */
  async bench(texts, { workers, onProgress, ...options } = {}) {
    checkTexts(texts);
    if (texts.length === 0) throw new RangeError('texts is empty; wanted texts to measure with');
    const done = { rated: 0, tokens: 0 };
    const rate = (some, signal) => {
      let before = { rated: 0, tokens: 0 };
      const count = (now) => {
        done.rated += now.rated - before.rated;
        done.tokens += now.tokens - before.tokens;
        before = now;
        onProgress({ ...done });
      };
      // Repeated texts are computed each time: samples repeat, and skipping them would look fast.
      return this.#rate(some, { signal, onProgress: onProgress && count, once: false });
    };
    if (workers === undefined) return measure(rate, texts, options);
    const wrong = workers.find((count) => !isWorkerCount(count));
    if (wrong !== undefined) throw new RangeError(`workers holds ${wrong}; wanted whole numbers from 1 to ${MOST_WORKERS}`);
    const rows = [];
    const back = this.#pool.bounds;
    try {
      for (const count of workers) {
        options.signal?.throwIfAborted();
        await this.#pool.resize({ size: count, most: count });
        rows.push(...(await measure(rate, texts, options)));
      }
    } finally {
      await this.#pool.resize(back);
    }
    return rows;
  }

  /** Stops the workers and frees their memory. */
  free() {
    this.#pool.end(named('EngineError', 'the rater was freed'));
  }
}

function isWorkerCount(count) {
  return Number.isInteger(count) && count >= 1 && count <= MOST_WORKERS;
}

function checkTexts(texts) {
  if (!Array.isArray(texts)) throw new TypeError('texts must be an array of strings');
  let wrong = 0;
  while (wrong < texts.length && typeof texts[wrong] === 'string') wrong += 1;
  if (wrong < texts.length) throw new TypeError(`texts[${wrong}] is ${texts[wrong] === null ? 'null' : `a value of type ${typeof texts[wrong]}`}; wanted a string`);
}

/** One worker on a phone, to save battery and memory; elsewhere one core is left to the page. The pool measures whether each worker makes it faster. */
function automaticWorkers() {
  const { userAgentData, userAgent = '', maxTouchPoints = 0, hardwareConcurrency = 1 } = globalThis.navigator ?? {};
  // An iPad calls itself a Mac, but no Mac has a touch screen.
  const phone = userAgentData?.mobile ?? (/Mobi|Android|iPhone|iPad/.test(userAgent) || (/Macintosh/.test(userAgent) && maxTouchPoints > 1));
  return phone ? 1 : Math.max(1, Math.min(hardwareConcurrency - 1, MOST_AUTOMATIC));
}

/** Asks the browser to keep the cache when the disk is full. Not in Firefox, which would ask the user. */
function stay() {
  const { storage, userAgent = '' } = globalThis.navigator ?? {};
  if (!/Firefox\//.test(userAgent)) storage?.persist?.().catch(() => {});
}

/** The location of the bundle `model`: a folder, relative to the page, or `owner/name@revision` on a Hub. */
function sourceOf(model, endpoint) {
  if (typeof model === 'string' && /^(\.{0,2}\/|https?:\/\/)/.test(model)) {
    const folder = new URL(model, globalThis.document?.baseURI ?? globalThis.location.href);
    folder.search = folder.hash = '';
    if (!folder.pathname.endsWith('/')) folder.pathname += '/';
    return { source: folder.href, folder: folder.href };
  }
  const name = typeof model === 'string' && /^([\w.-]+\/[\w.-]+)(?:@(.+))?$/.exec(model);
  if (!name) throw new TypeError(`model is ${JSON.stringify(model)}; wanted a folder such as './model/', or a name on the Hub such as 'owner/name' or 'owner/name@revision'`);
  if (!/^https?:\/\//.test(endpoint)) throw new TypeError(`endpoint is ${JSON.stringify(endpoint)}; wanted the Hub's address, such as 'https://huggingface.co'`);
  const [, repository, revision = 'main'] = name;
  const hub = { endpoint: endpoint.replace(/\/+$/, ''), repository, revision };
  return { source: `${hub.endpoint}/${repository}/tree/${revision}`, hub };
}
