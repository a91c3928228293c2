/**
 * Starsight: rates reviews from one to five stars, inside this browser. No text leaves it.
 *
 *     import { load } from './starsight.js';
 *     const rater = await load({ model: './model/' });
 *     const { ratings } = await rater.rate(['Love it', 'It crashes']);
 *
 * The work is done by workers (engine/worker.js); this module deals texts to them and gathers the ratings. starsight.d.ts holds the types and the documentation.
 */

/** Set when the site is built: a hash of the engine's files. */
const VERSION = '__STARSIGHT_VERSION__';

const MOST_WORKERS = 64;

/** Texts handed to a worker in one message: posting copies them, and a copy of too many would hold up the page. */
const TEXTS_A_MESSAGE = 4096;

/** Loads a model; see starsight.d.ts. */
export async function load({ model = './model/', workers = 1, relaxedSimd = true, onProgress, signal, endpoint } = {}) {
  const { base, hub } = bundleAddress(model, endpoint);
  if (!Number.isInteger(workers) || workers < 1 || workers > MOST_WORKERS) {
    throw new RangeError(`workers is ${workers}; wanted a whole number from 1 to ${MOST_WORKERS}`);
  }
  signal?.throwIfAborted();

  const team = [];
  const abort = () => team.forEach((worker) => worker.stop(signal.reason));
  signal?.addEventListener('abort', abort);
  try {
    const loadOne = (lent, hear) => {
      const worker = new RatingWorker();
      team.push(worker);
      return worker.ask({ type: 'load', base, hub, lent, lend: lent.size === 0 && workers > 1, relaxedSimd }, hear).settled;
    };
    let others = [];
    const first = await loadOne(new Map(), ({ type, phase, loaded, total, files }) => {
      if (type === 'progress') onProgress?.({ phase, loaded, total });
      // The first worker fetches; the others get its files. Whether they load is asked once the first has; until then nobody listens, and that is no fault.
      if (type === 'files') others = Array.from({ length: workers - 1 }, () => loadOne(files, () => {}));
      for (const other of others) other.catch(() => {});
    });
    await Promise.all(others);
    const { backend, ...info } = first.info;
    return new Rater(team, backend, { ...info, source: base });
  } catch (error) {
    team.forEach((worker) => worker.stop(error));
    throw error;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

/** A loaded model; made by `load`. */
class Rater {
  #team;
  #backend;

  constructor(team, backend, info) {
    this.#team = team;
    this.#backend = backend;
    this.info = Object.freeze(info);
  }

  /** Rates texts; see starsight.d.ts. */
  async rate(texts, { onProgress, onRatings, signal } = {}) {
    if (!Array.isArray(texts)) throw new TypeError('texts must be an array of strings');
    const wrong = texts.findIndex((text) => typeof text !== 'string');
    if (wrong >= 0) throw new TypeError(`texts[${wrong}] is ${texts[wrong] === null ? 'null' : `a value of type ${typeof texts[wrong]}`}; wanted a string`);
    signal?.throwIfAborted();

    const started = performance.now();
    const ratings = new Array(texts.length);
    const done = { tokenised: 0, rated: 0, tokens: 0 };
    const speed = () => {
      const seconds = (performance.now() - started) / 1000;
      const perSecond = (count) => (seconds > 0 ? count / seconds : 0);
      return { tokens: done.tokens, seconds, samplesPerSecond: perSecond(done.rated), tokensPerSecond: perSecond(done.tokens) };
    };

    const shares = deal(texts, this.#team.length).map((places, i) => ({ places, worker: this.#team[i], tokenised: 0 }));
    const asked = shares
      .filter(({ places }) => places.length > 0)
      .map((share) =>
        share.worker.rate(share.places, texts, (message) => {
          if (message.type === 'tokenised') {
            done.tokenised += message.texts - share.tokenised;
            share.tokenised = message.texts;
          } else {
            const { stars, expected, probabilities, tokens } = message;
            const indices = message.indices.map((i) => share.places[i]);
            indices.forEach((place, i) => {
              ratings[place] = { stars: stars[i], expected: expected[i], probabilities: Array.from(probabilities.subarray(5 * i, 5 * i + 5)) };
            });
            done.rated += indices.length;
            done.tokens += tokens;
            onRatings?.({ indices, stars, expected, probabilities });
          }
          onProgress?.({ tokenised: done.tokenised, rated: done.rated, total: texts.length, ...speed() });
        }),
      );
    const abort = () => asked.forEach((request) => request.cancel(signal.reason));
    signal?.addEventListener('abort', abort);
    try {
      await Promise.all(asked.map((request) => request.settled));
    } catch (error) {
      asked.forEach((request) => request.cancel(error));
      throw error;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
    return { ratings, stats: { samples: texts.length, ...speed(), backend: this.#backend, workers: this.#team.length } };
  }

  /** Ends the workers and gives their memory back. */
  free() {
    const freed = named('EngineError', 'the rater was freed');
    this.#team.forEach((worker) => worker.stop(freed));
  }
}

/** A worker and what it has been asked. Once it has stopped, whatever is asked of it fails with the reason. */
class RatingWorker {
  #worker;
  #requests = new Map();
  #stopped;
  #asked = 0;

  constructor() {
    const address = new URL(`./engine/worker.js?v=${VERSION}`, import.meta.url);
    try {
      this.#worker = startWorker(address);
    } catch (error) {
      throw named('EngineError', `the rating engine at ${address} could not be started: ${error.message}`);
    }
    this.#worker.onmessage = ({ data }) => this.#hear(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.stop(event.message ? brokenDown(event.message) : named('EngineError', `the rating engine at ${address} could not be loaded`));
    };
    this.#worker.onmessageerror = () => this.stop(named('EngineError', 'a message of the rating engine could not be read'));
  }

  /** Posts `request`. `hear` gets every message about it but the last; `settled` is a promise of the last; `cancel(reason)` makes it fail and the worker drop it. */
  ask(request, hear) {
    const id = ++this.#asked;
    const settled = new Promise((resolve, reject) => {
      if (this.#stopped) reject(this.#stopped);
      else this.#requests.set(id, { hear, resolve, reject });
    });
    if (!this.#stopped) this.#worker.postMessage({ ...request, id });
    const cancel = (reason) => {
      if (!this.#requests.has(id)) return;
      this.#settle(id, (entry) => entry.reject(reason));
      this.#worker.postMessage({ type: 'cancel', id });
    };
    return { id, settled, cancel };
  }

  /** Asks for the ratings of the `texts` at `places`, sent in several messages if they are many. */
  rate(places, texts, hear) {
    const part = (from) => {
      const to = Math.min(from + TEXTS_A_MESSAGE, places.length);
      return { type: 'rate', texts: Array.from(places.subarray(from, to), (place) => texts[place]), more: to < places.length };
    };
    const request = this.ask(part(0), hear);
    const sendRest = async () => {
      for (let from = TEXTS_A_MESSAGE; from < places.length; from += TEXTS_A_MESSAGE) {
        await new Promise((resolve) => setTimeout(resolve));
        if (!this.#requests.has(request.id)) return;
        this.#worker.postMessage({ ...part(from), id: request.id });
      }
    };
    sendRest();
    return request;
  }

  /** Ends the worker; what it was asked fails with `error`. */
  stop(error) {
    this.#stopped ??= error;
    this.#worker.terminate();
    for (const id of [...this.#requests.keys()]) this.#settle(id, (entry) => entry.reject(this.#stopped));
  }

  #hear(message) {
    const { id, type, name, message: words } = message;
    if (type === 'failed' && id === undefined) {
      this.stop(brokenDown(words));
      return;
    }
    if (type === 'ready' || type === 'done') {
      this.#settle(id, (entry) => entry.resolve(message));
    } else if (type === 'failed') {
      // A trap leaves the engine's memory in an unknown state.
      if (name === 'RuntimeError') this.stop(brokenDown(words));
      else this.#settle(id, (entry) => entry.reject(named(name, words)));
    } else {
      const entry = this.#requests.get(id);
      try {
        entry?.hear(message);
      } catch (error) {
        // The caller's own listener threw: that ends what it listened to.
        this.#worker.postMessage({ type: 'cancel', id });
        this.#settle(id, () => entry.reject(error));
      }
    }
  }

  /** Ends request `id`, unless that happened before. */
  #settle(id, end) {
    const entry = this.#requests.get(id);
    this.#requests.delete(id);
    if (entry) end(entry);
  }
}

/** Starts a module worker. A page may not start another site's script as one, but its own may import it. */
function startWorker(address) {
  const options = { type: 'module', name: 'starsight' };
  if (address.origin === globalThis.location?.origin) return new Worker(address, options);
  const own = URL.createObjectURL(new Blob([`import ${JSON.stringify(address.href)};`], { type: 'text/javascript' }));
  return new Worker(own, options);
}

/** Divides the places of `texts` among `count` workers: each text goes to the worker with the least to do, so all finish together. */
function deal(texts, count) {
  const shares = Array.from({ length: count }, () => []);
  const work = new Float64Array(count);
  texts.forEach((text, place) => {
    const least = work.indexOf(Math.min(...work));
    shares[least].push(place);
    // In characters; a short text costs its two special tokens and its place in the batch all the same.
    work[least] += text.length + 8;
  });
  return shares.map((places) => Uint32Array.from(places));
}

/** Where the bundle `model` lies: a folder, relative to the page, or `owner/name@revision` on a Hub. */
function bundleAddress(model, endpoint = 'https://huggingface.co') {
  if (typeof model === 'string' && /^(\.{0,2}\/|https?:\/\/)/.test(model)) {
    const folder = new URL(model, globalThis.document?.baseURI ?? globalThis.location.href);
    folder.search = folder.hash = '';
    if (!folder.pathname.endsWith('/')) folder.pathname += '/';
    return { base: folder.href, hub: false };
  }
  const name = typeof model === 'string' && /^([\w.-]+)\/([\w.-]+)(?:@(.+))?$/.exec(model);
  if (!name) throw new TypeError(`model is ${JSON.stringify(model)}; wanted a folder such as './model/', or a name on the Hub such as 'owner/name' or 'owner/name@revision'`);
  if (!/^https?:\/\//.test(endpoint)) throw new TypeError(`endpoint is ${JSON.stringify(endpoint)}; wanted the Hub's address, such as 'https://huggingface.co'`);
  const [, owner, repository, revision = 'main'] = name;
  return { base: `${endpoint.replace(/\/+$/, '')}/${owner}/${repository}/resolve/${encodeURIComponent(revision)}/`, hub: true };
}

/** The error of an engine that trapped; WebAssembly's own word for most traps is "unreachable". */
function brokenDown(words) {
  return named('EngineError', `the rating engine broke down (${words}): out of memory, or a fault of its own; the console says more`);
}

function named(name, message) {
  return Object.assign(new Error(message), { name });
}
