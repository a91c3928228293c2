// The page's side of a loaded model's workers: starts them, gives them work, replaces those that crash, and stops them.

import { MODULES, startWorker } from './engine.js';
import { brokenDown, named } from './errors.js';
import { Pace } from './pace.js';
import { Work } from './work.js';

/** Portions of a call that a worker has at once: one running and one waiting, so that it is never idle. */
const PORTIONS_A_WORKER = 2;

/** Number of crashed workers after which a portion fails its call. */
const TRIES = 2;

/** A worker is kept if the total throughput grows at least by this factor. */
const WORTHWHILE = 1.15;

/** Packed batches per worker, and least milliseconds, of a throughput measurement: enough that a single batch does not matter. */
const MEASURED_BATCHES = 6;
const MEASURE = 750;

/** Batches that each worker rates before the measurement, because browsers run a module slowly at first. */
const WARM_UP_BATCHES = 4;

/** The least remaining work for which a worker is started, in milliseconds. */
const WORTH_STARTING = 2500;

/** Polling interval of the measurement, in milliseconds. */
const LOOK = 50;

/** Rates with one or several workers. Texts and ratings are sent in messages, so the host need not send the headers that shared memory requires. */
export class Pool {
  /** What each worker loads: the requested model, and once it is found, that version, with the first worker's files if it lends them. */
  #wish;
  #relaxedSimd;
  #most;
  #listeners;
  #workers = new Set();
  #loading = new Set();
  #works = new Set();
  /** Totals of all calls: rated batches, their cost, and the time of the last one. */
  #rated = { batches: 0, cost: 0, at: 0 };
  /** Number of times that the pool became idle. */
  #idle = 0;
  /** Whether `#grow` is running, and whether a call has come since its last round. */
  #growing = false;
  #called = false;
  #ended;

  /** A pool of at most `most` workers. `listeners`: { onProgress, onNotice, onNewer }. */
  constructor({ wish, relaxedSimd, most, listeners }) {
    this.#wish = wish;
    this.#relaxedSimd = relaxedSimd;
    this.#most = most;
    this.#listeners = listeners;
  }

  /** Starts `count` workers and returns information about the model. The first worker downloads the files and lends them to the others. */
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

  /** Number of workers, without those that are about to stop. */
  get size() {
    return this.#staying.length;
  }

  get #staying() {
    return [...this.#workers].filter((worker) => !worker.retiring);
  }

  /** Number of workers, and the largest allowed number. */
  get bounds() {
    return { size: this.size, most: this.#most };
  }

  /** Sets the number of workers and the largest allowed number, for measurements. */
  async resize({ size, most }) {
    this.#most = most;
    while (this.size < size && !this.#ended) await this.#add(this.#wish, () => {});
    for (const worker of this.#staying.slice(size)) this.#retire(worker);
  }

  /**
   * Rates `texts`. With `once`, texts of a portion with the same tokens are computed once. `hear` has the callbacks tokenised(count) and ratings({ indices, ... }), whose indices refer to
   * `texts`.
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

  /** Stops every worker; pending calls fail with `error`. */
  end(error) {
    this.#ended ??= error;
    for (const worker of [...this.#loading, ...this.#workers]) worker.stop(error);
    this.#workers.clear();
    for (const work of [...this.#works]) this.#fail(work, error);
    // Frees the files, which may be in memory.
    this.#wish = null;
  }

  /** Starts a worker that loads `wish` and then takes part in the work. Returns the worker and its information about the model. */
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

  /** Gives `worker` portions of every running call, up to its limit. */
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

  /** After a worker's crash, another worker rates its remaining texts. Any other error ends the call. */
  #rateAgain(worker, work, portion, error) {
    portion.tries += 1;
    if (worker.isAlive || portion.tries >= TRIES) return this.#fail(work, error);
    try {
      work.giveBack(portion);
    } catch (thrown) {
      // The caller's callback threw an error.
      return this.#fail(work, thrown);
    }
    for (const other of this.#workers) this.#feed(other);
  }

  /** Removes a call. Returns false if it was removed before. */
  #drop(work) {
    if (!this.#works.delete(work)) return false;
    if (this.#works.size === 0) this.#idle += 1;
    return true;
  }

  /** Ends a call with an error; the workers drop its portions. */
  #fail(work, error) {
    if (!this.#drop(work)) return;
    for (const worker of this.#workers) worker.cancel(work, error);
    work.reject(error);
  }

  /** Calls one of the user's callbacks. Its errors are reported to the page and do not stop the pool. */
  #tell(listener, ...args) {
    try {
      this.#listeners[listener]?.(...args);
    } catch (error) {
      reportError(error);
    }
  }

  /** Replaces a worker that crashed, unless it was about to stop. */
  async #lose(worker, error) {
    if (!this.#workers.delete(worker) || this.#ended || worker.retiring) return;
    this.#tell('onNotice', `a worker crashed and is being replaced (${error.message})`);
    try {
      await this.#add(this.#wish, () => {});
    } catch (failure) {
      this.#goOnWithFewer(failure);
    }
  }

  /** A worker could not be started; the others continue, if there are any. */
  #goOnWithFewer(error) {
    if (this.#ended) return;
    const { size } = this;
    this.#most = Math.max(size, 1);
    if (size > 0) {
      this.#tell('onNotice', `no further worker could be started (${error.message}); rating continues with ${size}`);
      for (const worker of this.#workers) this.#feed(worker);
    } else if (this.#loading.size === 0) {
      this.end(error);
    }
  }

  /** Adds workers while each makes the pool faster. */
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

  /** Adds a worker if enough work remains, and keeps it only if the pool gets faster: the reported cores may be busy or virtual. Returns whether it was kept. */
  async #growByOne() {
    const isFull = () => this.size + this.#loading.size >= this.#most || this.#ended;
    if (isFull()) return false;
    const before = await this.#throughput();
    if (!before || isFull()) return false;
    // The remaining work must also last until the new worker has been measured.
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
    // If the work ended before the measurement, a worker may be tried again later.
    if (after) this.#most = Math.max(this.size - 1, 1);
    this.#retire(newcomer);
    return false;
  }

  /** Cost rated per millisecond and per batch, over all calls; null if the work ended meanwhile. */
  async #throughput() {
    if (!(await this.#busyUntil(() => this.#staying.every((worker) => worker.batches >= WARM_UP_BATCHES)))) return null;
    const begun = performance.now();
    const next = this.#rated.batches + 1;
    // Measure from the end of one batch to the end of another.
    if (!(await this.#busyUntil(() => this.#rated.batches >= next))) return null;
    const first = this.#rated;
    const enough = first.batches + MEASURED_BATCHES * this.size;
    if (!(await this.#busyUntil(() => this.#rated.batches >= enough && performance.now() - begun >= MEASURE))) return null;
    const cost = this.#rated.cost - first.cost;
    return { speed: cost / (this.#rated.at - first.at), batch: cost / (this.#rated.batches - first.batches) };
  }

  /** Waits until `reached()` and returns true; returns false if the pool becomes idle before, even for a moment. */
  async #busyUntil(reached) {
    const idle = this.#idle;
    for (;;) {
      if (this.#works.size === 0 || this.#idle !== idle || this.#ended) return false;
      if (reached()) return true;
      await new Promise((resolve) => setTimeout(resolve, LOOK));
    }
  }

  /** Stops a worker that is not needed, once it has finished its portions. */
  #retire(worker) {
    worker.retiring = true;
    if (worker.isIdle && this.#workers.delete(worker)) worker.stop(named('EngineError', 'the worker was not needed'));
  }
}

/** A worker and its pending requests. After it has stopped, all requests fail with the reason. */
class RatingWorker {
  /** Null until it runs. */
  #worker = null;
  /** Messages queued until then. */
  #early = [];
  #lost;
  #requests = new Map();
  #listeners = new Map();
  #stopped;
  #asked = 0;
  #works = new Map();

  /** Whether it will stop when it has finished its portions. */
  retiring = false;

  /** Number of packed batches that it has rated. */
  batches = 0;

  /** `lost` is called once if the worker crashes. */
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

  /** Posts `request`. `hear` gets all messages about it except the last one, for which `settled` is a promise. */
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

  /** Number of portions of `work` that it has. */
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

  /** Drops its portions of `work`. */
  cancel(work, reason) {
    for (const id of this.#works.get(work) ?? []) {
      this.#listeners.delete(id);
      this.#settle(id, (entry) => entry.reject(reason));
      this.#post({ type: 'cancel', id });
    }
  }

  /** Stops the worker; its requests fail with `error`. */
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
      this.#die(event.message ? brokenDown(event.message) : named('EngineError', "the rating engine could not be started; if the page has a content security policy, it must allow `worker-src blob:`"));
    };
    worker.onmessageerror = () => this.#die(named('EngineError', 'a message from the rating engine could not be read'));
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
        // The caller's callback threw an error, which ends the request.
        this.#settle(id, (entry) => entry.reject(error));
        this.#post({ type: 'cancel', id });
      }
    }
  }

  /** Settles the request `id`, unless it is settled already. */
  #settle(id, end) {
    const entry = this.#requests.get(id);
    this.#requests.delete(id);
    if (entry) end(entry);
  }
}
