// The workers of a loaded model, on the page's side: started, fed, replaced when they die, and ended.

import { MODULES, startWorker } from './engine.js';
import { brokenDown, named } from './errors.js';
import { Pace } from './pace.js';
import { Work } from './work.js';

/** Portions of a call that a worker has at once: one under way, one waiting, so that it never idles. */
const PORTIONS_A_WORKER = 2;

/** How often a portion is tried before the fault is held to be its own. */
const TRIES = 2;

/** Another worker is worth its memory if all together then do at least so many times as much. */
const WORTHWHILE = 1.15;

/** Packed batches of each worker over which throughput is measured for that, and for how many milliseconds at least: one batch more or less is then no gain and no loss. */
const MEASURED_BATCHES = 6;
const MEASURE = 750;

/** Batches that each worker rates before that: browsers run a module slowly at first. */
const WARM_UP_BATCHES = 4;

/** How much work must lie ahead before another worker is started, in milliseconds. */
const WORTH_STARTING = 2500;

/** How often it is looked whether so much has been rated, in milliseconds. */
const LOOK = 50;

/** Rates with one worker or several; plain messages carry texts and ratings, so that no special headers are asked of the host. */
export class Pool {
  /** What each worker loads: what was asked for, and once that is found, the same version of it, with the files if a worker lends them. */
  #wish;
  #relaxedSimd;
  #most;
  #listeners;
  #workers = new Set();
  #loading = new Set();
  #works = new Set();
  /** What was rated in all calls: batches, their cost, and when the last one came. */
  #rated = { batches: 0, cost: 0, at: 0 };
  /** How often nothing was left to do. */
  #idle = 0;
  /** Whether it is looked into if another worker is worth it, and whether a call came since. */
  #growing = false;
  #called = false;
  #ended;

  /** Of at most `most` workers. `listeners`: { onProgress, onNotice, onNewer }. */
  constructor({ wish, relaxedSimd, most, listeners }) {
    this.#wish = wish;
    this.#relaxedSimd = relaxedSimd;
    this.#most = most;
    this.#listeners = listeners;
  }

  /** Starts `count` workers and answers with what is known of the model. The first one fetches, the others get its files. */
  async start(count) {
    const others = [];
    const pace = new Pace();
    const loaded = this.#add({ ...this.#wish, lend: this.#most > 1 }, (message) => {
      const { type, phase, loaded, total, notice } = message;
      if (type === 'progress') this.#tell('onProgress', { phase, loaded, total, secondsLeft: phase === 'download' ? pace.secondsLeft(loaded, total) : undefined });
      if (type === 'notice') this.#tell('onNotice', notice);
      if (type === 'newer') this.#tell('onNewer');
      if (type === 'found') {
        this.#wish = { ...this.#wish, base: message.base, manifest: message.manifest, lent: message.files };
        for (let i = 1; i < count; i += 1) others.push(this.#add(this.#wish, () => {}).catch((error) => error));
      }
    });
    const { info, kept } = await loaded;
    for (const other of await Promise.all(others)) if (other instanceof Error) this.#goOnWithFewer(other);
    return { info, kept };
  }

  /** How many workers there are, but for those that are about to end. */
  get size() {
    return this.#staying.length;
  }

  get #staying() {
    return [...this.#workers].filter((worker) => !worker.retiring);
  }

  /** How many workers there are, and how many there may be. */
  get bounds() {
    return { size: this.size, most: this.#most };
  }

  /** Makes it `size` workers, and lets it have `most` of them; for measuring with so many and no other. */
  async resize({ size, most }) {
    this.#most = most;
    while (this.size < size && !this.#ended) await this.#add(this.#wish, () => {});
    for (const worker of this.#staying.slice(size)) this.#retire(worker);
  }

  /**
   * Rates `texts`; if `once`, those of a portion that have the same tokens once. `hear` gets what the workers say: tokenised({ texts }) and ratings({ indices, ... }), whose indices are
   * places in `texts`.
   */
  rate(texts, hear, { signal, once }) {
    const work = new Work(texts, once, hear);
    const settled = new Promise((resolve, reject) => Object.assign(work, { resolve, reject }));
    if (this.#ended) work.reject(this.#ended);
    else if (work.isDone) work.resolve();
    else {
      this.#works.add(work);
      const abort = () => this.#fail(work, signal.reason);
      signal?.addEventListener('abort', abort);
      settled.catch(() => {}).finally(() => signal?.removeEventListener('abort', abort));
      for (const worker of this.#workers) this.#feed(worker);
      this.#grow();
    }
    return settled;
  }

  /** Ends every worker; what was asked fails with `error`. */
  end(error) {
    this.#ended ??= error;
    for (const worker of [...this.#loading, ...this.#workers]) worker.stop(error);
    this.#workers.clear();
    for (const work of [...this.#works]) this.#fail(work, error);
    // It may hold all of a model's files in memory.
    this.#wish = null;
  }

  /** Starts a worker that loads what it `wish`es for; it takes its share of the work once it has. Answers with it and with what it says of the model. */
  async #add(wish, hear) {
    const worker = new RatingWorker((error) => this.#lose(worker, error));
    this.#loading.add(worker);
    try {
      const ready = await worker.ask({ type: 'load', wish, relaxedSimd: this.#relaxedSimd, modules: MODULES }, hear).settled;
      if (this.#ended) throw this.#ended;
      this.#workers.add(worker);
      this.#feed(worker);
      return { worker, ...ready };
    } catch (error) {
      worker.stop(error);
      throw error;
    } finally {
      this.#loading.delete(worker);
    }
  }

  /** Hands `worker` portions of every call under way, as many as it may have. */
  #feed(worker) {
    if (worker.retiring || !worker.isAlive) return;
    for (const work of this.#works) {
      while (worker.portions(work) < PORTIONS_A_WORKER) {
        const portion = work.take(this.size);
        if (!portion) break;
        this.#hand(worker, work, portion);
      }
    }
  }

  async #hand(worker, work, portion) {
    const texts = Array.from(portion.places, (place) => work.texts[place]);
    const request = worker.ask({ type: 'rate', texts, once: work.once }, (message) => this.#hear(worker, work, portion, message));
    worker.begin(work, request);
    try {
      await request.settled;
      if (work.isDone && this.#drop(work)) work.resolve();
    } catch (error) {
      if (this.#works.has(work)) this.#rateAgain(worker, work, portion, error);
    } finally {
      worker.finish(work, request);
      if (worker.retiring) this.#retire(worker);
      else this.#feed(worker);
    }
  }

  #hear(worker, work, portion, message) {
    const before = work.done;
    try {
      work.hear(portion, message);
    } finally {
      if (message.type === 'ratings') {
        worker.batches += 1;
        const { batches, cost } = this.#rated;
        this.#rated = { batches: batches + 1, cost: cost + work.done - before, at: performance.now() };
      }
    }
  }

  /** A worker that died takes nothing with it: what it had not rated is rated by another. What went wrong otherwise is the end of the call. */
  #rateAgain(worker, work, portion, error) {
    portion.tries += 1;
    if (worker.isAlive || portion.tries >= TRIES) return this.#fail(work, error);
    try {
      work.giveBack(portion);
    } catch (thrown) {
      // The caller's own listener threw.
      return this.#fail(work, thrown);
    }
    for (const other of this.#workers) this.#feed(other);
  }

  /** Takes a call away, unless that happened before. */
  #drop(work) {
    if (!this.#works.delete(work)) return false;
    if (this.#works.size === 0) this.#idle += 1;
    return true;
  }

  /** Ends a call with an error; the workers drop what they have of it. */
  #fail(work, error) {
    if (!this.#drop(work)) return;
    for (const worker of this.#workers) worker.cancel(work, error);
    work.reject(error);
  }

  /** Calls one of the user's listeners. What it throws is the page's to hear, and stops nothing here. */
  #tell(listener, ...args) {
    try {
      this.#listeners[listener]?.(...args);
    } catch (error) {
      reportError(error);
    }
  }

  /** A worker died while at work: another takes its place, unless it was to end anyway. */
  async #lose(worker, error) {
    if (!this.#workers.delete(worker) || this.#ended || worker.retiring) return;
    this.#tell('onNotice', `a worker broke down and is replaced (${error.message})`);
    try {
      await this.#add(this.#wish, () => {});
    } catch (failure) {
      this.#goOnWithFewer(failure);
    }
  }

  /** A worker could not be had; the others do its work, if there are any. */
  #goOnWithFewer(error) {
    if (this.#ended) return;
    const { size } = this;
    this.#most = Math.max(size, 1);
    if (size > 0) {
      this.#tell('onNotice', `no further worker could be started (${error.message}); the work goes on with ${size}`);
      for (const worker of this.#workers) this.#feed(worker);
    } else if (this.#loading.size === 0) {
      this.end(error);
    }
  }

  /** Starts other workers as long as that is worth it. */
  async #grow() {
    this.#called = true;
    if (this.#growing) return;
    this.#growing = true;
    while (this.#called && !this.#ended) {
      this.#called = false;
      while (await this.#growByOne());
    }
    this.#growing = false;
  }

  /** Starts another worker where there is enough to do, and keeps it if all together are then faster: cores that a system names need not be free, or real. Answers whether they were. */
  async #growByOne() {
    const isFull = () => this.size + this.#loading.size >= this.#most || this.#ended;
    if (isFull()) return false;
    const before = await this.#throughput();
    if (!before || isFull()) return false;
    // Beside being worth a start, it must last until the new worker is judged.
    const trial = (WARM_UP_BATCHES + MEASURED_BATCHES) * (this.size + 1) * before.batch;
    const ahead = [...this.#works].reduce((sum, work) => sum + work.remaining, 0);
    if (ahead < Math.max(WORTH_STARTING * before.speed, trial)) return false;
    let newcomer;
    try {
      newcomer = (await this.#add(this.#wish, () => {})).worker;
    } catch (error) {
      this.#goOnWithFewer(error);
      return false;
    }
    const after = await this.#throughput();
    if (this.#ended || !newcomer.isAlive || newcomer.retiring) return false;
    if (after && after.speed >= WORTHWHILE * before.speed) return true;
    // One that could not be judged, because the work came to its end, may be tried another time.
    if (after) this.#most = Math.max(this.size - 1, 1);
    this.#retire(newcomer);
    return false;
  }

  /** Work done a millisecond, and in a batch, in however many calls; null if the work came to its end meanwhile. */
  async #throughput() {
    if (!(await this.#busyUntil(() => this.#staying.every((worker) => worker.batches >= WARM_UP_BATCHES)))) return null;
    const begun = performance.now();
    const next = this.#rated.batches + 1;
    // From the end of a batch to the end of another.
    if (!(await this.#busyUntil(() => this.#rated.batches >= next))) return null;
    const first = this.#rated;
    const enough = first.batches + MEASURED_BATCHES * this.size;
    if (!(await this.#busyUntil(() => this.#rated.batches >= enough && performance.now() - begun >= MEASURE))) return null;
    const cost = this.#rated.cost - first.cost;
    return { speed: cost / (this.#rated.at - first.at), batch: cost / (this.#rated.batches - first.batches) };
  }

  /** Waits until `reached()`, and answers with true; with false if before that there is nothing to do, even for a moment. */
  async #busyUntil(reached) {
    const idle = this.#idle;
    for (;;) {
      if (this.#works.size === 0 || this.#idle !== idle || this.#ended) return false;
      if (reached()) return true;
      await new Promise((resolve) => setTimeout(resolve, LOOK));
    }
  }

  /** Ends a worker that is not needed, once it has finished what it has. */
  #retire(worker) {
    worker.retiring = true;
    if (worker.isIdle && this.#workers.delete(worker)) worker.stop(named('EngineError', 'the worker was not needed'));
  }
}

/** A worker and what it has been asked. Once it has stopped, whatever is asked of it fails with the reason. */
class RatingWorker {
  /** Null until it runs. */
  #worker = null;
  /** Messages for it until then. */
  #early = [];
  #lost;
  #requests = new Map();
  #listeners = new Map();
  #stopped;
  #asked = 0;
  #works = new Map();

  /** Whether it is to end when it has finished what it has. */
  retiring = false;

  /** How many packed batches it has rated. */
  batches = 0;

  /** `lost` is called once if it dies of itself. */
  constructor(lost) {
    this.#lost = lost;
    startWorker().then((worker) => this.#begin(worker), (error) => this.#die(error.name === 'EngineError' ? error : named('EngineError', `the rating engine could not be started: ${error.message}`)));
  }

  get isAlive() {
    return !this.#stopped;
  }

  get isIdle() {
    return this.#requests.size === 0;
  }

  /** Posts `request`. `hear` gets every message about it but the last, and those that come later still; `settled` is a promise of the last. */
  ask(request, hear) {
    const id = ++this.#asked;
    const settled = new Promise((resolve, reject) => {
      if (this.#stopped) reject(this.#stopped);
      else this.#requests.set(id, { resolve, reject });
    });
    if (!this.#stopped) {
      this.#listeners.set(id, hear);
      this.#post({ ...request, id });
    }
    return { id, settled };
  }

  /** How many portions of `work` it has. */
  portions(work) {
    return this.#works.get(work)?.size ?? 0;
  }

  begin(work, { id }) {
    if (!this.#works.has(work)) this.#works.set(work, new Set());
    this.#works.get(work).add(id);
  }

  finish(work, { id }) {
    const ids = this.#works.get(work);
    ids?.delete(id);
    if (ids?.size === 0) this.#works.delete(work);
    this.#listeners.delete(id);
  }

  /** Drops what it has of `work`. */
  cancel(work, reason) {
    for (const id of this.#works.get(work) ?? []) {
      this.#listeners.delete(id);
      this.#settle(id, (entry) => entry.reject(reason));
      this.#post({ type: 'cancel', id });
    }
  }

  /** Ends the worker; what it was asked fails with `error`. */
  stop(error) {
    this.#stopped ??= error;
    this.#worker?.terminate();
    for (const id of [...this.#requests.keys()]) this.#settle(id, (entry) => entry.reject(this.#stopped));
    this.#listeners.clear();
  }

  #begin(worker) {
    if (this.#stopped) return worker.terminate();
    this.#worker = worker;
    worker.onmessage = ({ data }) => this.#hear(data);
    worker.onerror = (event) => {
      event.preventDefault();
      this.#die(event.message ? brokenDown(event.message) : named('EngineError', "the rating engine could not be started; a page with a Content Security Policy of its own must allow it `worker-src blob:`"));
    };
    worker.onmessageerror = () => this.#die(named('EngineError', 'a message of the rating engine could not be read'));
    for (const message of this.#early.splice(0)) worker.postMessage(message);
  }

  #post(message) {
    if (this.#worker) this.#worker.postMessage(message);
    else this.#early.push(message);
  }

  #die(error) {
    if (this.#stopped) return;
    this.stop(error);
    this.#lost(error);
  }

  #hear(message) {
    if (this.#stopped) return;
    const { id, type, name, message: words } = message;
    if (type === 'failed' && id === undefined) {
      this.#die(brokenDown(words));
    } else if (type === 'failed') {
      this.#settle(id, (entry) => entry.reject(named(name, words)));
    } else if (type === 'ready' || type === 'done') {
      this.#settle(id, (entry) => entry.resolve(message));
    } else {
      try {
        this.#listeners.get(id)?.(message);
      } catch (error) {
        // The caller's own listener threw: that ends what it listened to.
        this.#settle(id, (entry) => entry.reject(error));
        this.#post({ type: 'cancel', id });
      }
    }
  }

  /** Settles request `id`, unless that happened before. */
  #settle(id, end) {
    const entry = this.#requests.get(id);
    this.#requests.delete(id);
    if (entry) end(entry);
  }
}
