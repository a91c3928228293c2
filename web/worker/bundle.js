// A model's bundle: what it consists of, and the bytes of its files, from the network, from what this browser keeps, or from another worker.

import { named } from './errors.js';
import { inFolder } from './files.js';
import { download, fetchText } from './network.js';
import { piecesOf } from './pieces.js';
import { Store } from './store.js';

const MANIFEST = 'starsight.json';

/** What the engine reads of a bundle, in the order in which it reads. */
const FILES = ['config.json', 'tokenizer.json', 'web/weights.safetensors'];

/** A manifest is a few kilobytes; a server that sends more than this sends something else. */
const LARGEST_MANIFEST = 4 << 20;

/** Bytes that are read ahead of the engine, which may still be compiling. */
const READ_AHEAD = 2 << 20;

/** Bytes of a kept file that are read at once. */
const PIECE = 1 << 20;

/** A wait for another tab's download that is longer than this is told, in milliseconds. */
const PATIENCE = 250;

/** A full commit, which names a version that cannot change. */
const COMMIT = /^[0-9a-f]{40}$/;

/**
 * Finds the bundle.
 *
 * @param wish.source  where it comes from, as the user names it; a kept model is found by it
 * @param wish.folder  the address of a folder, ending in a slash; or
 * @param wish.hub     { endpoint, repository, revision } on a Hub; or
 * @param wish.files   [{ path, file }]: a bundle's files, as the user chose them
 * @param wish.token   an access token, sent to the Hub's own host alone; or nothing
 * @param wish.update  whether to look for a newer version before a kept one is used
 * @param wish.base, wish.manifest  the version that another worker has found: no other is looked for
 * @param wish.lent    Map of path to Blob: files that it lends
 * @param tell         is told { type: 'notice', notice }: something that the user may want to know
 */
export async function findBundle(wish, tell) {
  if (wish.files) return chosenBundle(wish, tell);
  const store = await Store.open();
  if (wish.manifest) return new Bundle(wish, store, tell, wish.base, wish.manifest);
  const kept = wish.update ? null : await store?.model(wish.source);
  if (kept) return new Bundle(wish, store, tell, kept.base, kept.manifest, kept);
  try {
    const { base, manifest } = await newest(wish);
    return new Bundle(wish, store, tell, base, manifest);
  } catch (error) {
    // What is kept serves where the network does not, or what it gives is no bundle.
    const kept = wish.update ? await store?.model(wish.source) : null;
    if (!kept) throw error;
    tell({ type: 'notice', notice: `no newer version could be had: ${error.message}` });
    return new Bundle(wish, store, tell, kept.base, kept.manifest, kept);
  }
}

/** The bundle among files that the user chose. Nothing of it is kept: it is on this device already. */
async function chosenBundle(wish, tell) {
  const { base, file } = inFolder(wish.files, MANIFEST);
  const lent = new Map();
  const manifest = await file.text().catch((error) => Promise.reject(named('BundleError', `${base}${MANIFEST} cannot be read: ${error.message}`)));
  for (const { path, size } of contents(manifest, base).files.filter(({ path }) => FILES.includes(path))) {
    lent.set(path, inFolder(wish.files, path, { base, size }).file);
  }
  return new Bundle({ ...wish, lent }, null, tell, base, manifest);
}

/** Address and manifest of the newest version at the source. On a Hub a revision may move at any time, so it is pinned to its commit. */
async function newest(wish) {
  let base = wish.folder;
  if (wish.hub) {
    const { endpoint, repository, revision } = wish.hub;
    const commit = COMMIT.test(revision) ? revision : await commitOf(wish);
    base = `${endpoint}/${repository}/resolve/${commit}/`;
  }
  const manifest = await fetchText(`${base}${MANIFEST}`, request(wish));
  if (manifest.length > LARGEST_MANIFEST) throw named('BundleError', `${base}${MANIFEST} is no manifest: it is larger than ${LARGEST_MANIFEST} bytes`);
  return { base, manifest };
}

/** The commit that a Hub's revision names today. */
async function commitOf(wish) {
  const { endpoint, repository, revision } = wish.hub;
  const address = `${endpoint}/api/models/${repository}/revision/${encodeURIComponent(revision)}`;
  const answer = await fetchText(address, request(wish));
  const commit = /"sha"\s*:\s*"([0-9a-f]{40})"/.exec(answer)?.[1];
  if (!commit) throw named('DownloadError', `${address} names no commit: is ${endpoint} a Hub?`);
  return commit;
}

/** How the source is asked: a Hub without cookies or a referrer, with the token if there is one. A redirect to another host goes without it: browsers see to that. */
function request({ hub, token }) {
  if (!hub) return {};
  return { credentials: 'omit', referrerPolicy: 'no-referrer', ...(token && { headers: { Authorization: `Bearer ${token}` } }) };
}

/** A bundle at a known address, with a known manifest. */
class Bundle {
  #wish;
  #store;
  #tell;
  #kept;
  #entries;
  #contents;
  #ahead = new Map();
  #parts = new Map();
  /** By path, when the kept copy that was read was written. */
  #seen = new Map();
  #full = false;

  constructor(wish, store, tell, base, manifest, kept) {
    this.#wish = wish;
    this.#store = store;
    this.#tell = tell;
    this.#kept = kept;
    this.base = base;
    this.manifest = manifest;
    this.#contents = contents(manifest, base);
    this.#entries = new Map(this.#contents.files.map((entry) => [entry.path, entry]));
  }

  /** What the manifest tells of the model beside what the engine reads in it. */
  get about() {
    const { temperature, decoding = 'likeliest', provenance } = this.#contents;
    return { source: this.base, files: FILES.map((path) => this.#entries.get(path)).filter(Boolean), temperature, decoding, provenance };
  }

  /** Whether this version was kept, rather than looked for at its source. */
  get isKept() {
    return Boolean(this.#kept);
  }

  /** Begins to read the files. */
  readAhead() {
    for (const path of FILES) {
      if (this.#entries.has(path)) this.#ahead.set(path, this.#stream(path, false));
    }
  }

  /** The bytes of a file, as a stream. `anew`: what came before was damaged, so it is fetched from its source. */
  open(path, anew) {
    const ahead = this.#ahead.get(path);
    this.#ahead.delete(path);
    if (ahead && !anew) return ahead;
    if (anew && !this.#wish.files) this.#tell({ type: 'notice', notice: `${path} was damaged, in what this browser keeps or on the way, and is fetched again` });
    return this.#stream(path, anew);
  }

  /** The files for other workers, if any are to come: Map of path to Blob. */
  async lend() {
    const files = new Map();
    if (!this.#wish.lend) return files;
    for (const path of FILES) {
      const blob = (await this.#store?.whole(this.#entries.get(path))) ?? this.#wish.lent?.get(path) ?? (this.#parts.has(path) && new Blob(this.#parts.get(path)));
      if (blob) files.set(path, blob);
    }
    this.#parts.clear();
    return files;
  }

  /** Notes that the bundle is whole and good, so that it need not be looked for the next time. */
  async keep() {
    if (!this.#store || this.isKept) return;
    const files = FILES.map((path) => this.#entries.get(path)).map(({ sha256, size }) => ({ sha256, size }));
    const bytes = files.reduce((sum, { size }) => sum + size, 0);
    const { source } = this.#wish;
    await this.#store.keep({ source, base: this.base, manifest: this.manifest, files, bytes, at: Date.now() }).catch(() => {});
  }

  /** Lets go of the file at `path`, which is not what the manifest says, and of the note that the bundle is whole. */
  async discard(path) {
    await this.#forgetSeen(this.#entries.get(path));
    await this.#store?.strike(this.#wish.source, this.manifest);
  }

  /** Where this version cannot be used: the kept one in place of a newer one, or the newest in place of the kept one; null if there is no other. */
  async otherVersion() {
    const { manifest, source } = this.#wish;
    if (manifest || !this.#store) return null;
    const other = this.isKept ? await newest(this.#wish).catch(() => null) : await this.#store.model(source);
    if (!other || other.manifest === this.manifest) return null;
    return new Bundle(this.#wish, this.#store, this.#tell, other.base, other.manifest, this.isKept ? undefined : other);
  }

  /** Whether its source holds another version by now; no, if it cannot be asked. */
  async hasNewer() {
    if (this.#wish.hub && COMMIT.test(this.#wish.hub.revision)) return false;
    const found = await newest(this.#wish).catch(() => this);
    return found.manifest !== this.manifest;
  }

  #stream(path, anew) {
    const entry = this.#entries.get(path);
    if (!entry) throw named('BundleError', `${this.base}${MANIFEST} lists no ${path}`);
    const pieces = this.#pieces(entry, anew);
    const pull = async (controller) => {
      const { done, value } = await pieces.next();
      if (done) controller.close();
      else controller.enqueue(value.slice());
    };
    return new ReadableStream({ pull, cancel: () => pieces.return() }, new ByteLengthQueuingStrategy({ highWaterMark: READ_AHEAD }));
  }

  async *#pieces(entry, anew) {
    // What the user chose is read again, and found to be what it is.
    if (!anew || this.#wish.files) {
      const there = this.#wish.lent?.get(entry.path) ?? (await this.#store?.whole(entry));
      if (there) return yield* this.#read(there, entry);
    }
    // One tab fetches, the others wait for what it keeps. (Nothing is kept, nothing to wait for.)
    const release = this.#store ? await this.#lock(entry) : () => {};
    let copy = null;
    try {
      // Another tab may have found it damaged too, and have fetched it already.
      if (anew) await this.#forgetSeen(entry);
      const arrived = await this.#store?.whole(entry);
      if (arrived) return yield* this.#read(arrived, entry);
      copy = await this.#store?.write(entry.sha256);
      yield* this.#fetch(entry, copy, anew);
    } finally {
      copy?.close();
      if (copy) this.#seen.set(entry.path, (await this.#store.whole(entry))?.lastModified);
      release();
    }
  }

  /** The bytes of a kept, lent or chosen `file`. One that cannot be read to its end (a tab may have deleted it meanwhile) ends early, and is then fetched anew like any that is damaged. */
  async *#read(file, entry) {
    this.#seen.set(entry.path, file.lastModified);
    try {
      yield* piecesOf(file.stream());
    } catch (error) {
      if (this.#wish.files) throw named('BundleError', `${this.base}${entry.path} cannot be read: ${error.message}`);
    }
  }

  /** Deletes the kept copy of a file if it is the one that was read. */
  async #forgetSeen(entry) {
    const stored = await this.#store?.whole(entry);
    if (stored && stored.lastModified === this.#seen.get(entry.path)) await this.#store.remove(entry.sha256);
  }

  /** The file from its source, but for the beginning that is kept already; what arrives is kept, as long as there is room. */
  async *#fetch(entry, copy, anew) {
    let at = 0;
    if (copy && copy.getSize() > entry.size) copy.truncate(0);
    for (const kept = copy?.getSize() ?? 0, room = new Uint8Array(Math.min(PIECE, kept)); at < kept; ) {
      const piece = room.subarray(0, kept - at);
      copy.read(piece, { at });
      at += piece.length;
      yield piece;
    }
    // What is kept nowhere else is lent from memory.
    const lend = (first) => (this.#wish.lend ? this.#parts.set(entry.path, first).get(entry.path) : null);
    let parts = copy ? null : lend([]);
    // A second copy in the browser's own cache would be of no use; and what came damaged may come from there.
    const options = { ...request(this.#wish), ...(copy ? { cache: 'no-store' } : anew && { cache: 'reload' }) };
    for await (const piece of download(`${this.base}${entry.path}`, at, entry.size, options)) {
      try {
        if (copy && copy.write(piece, { at }) < piece.length) throw named('QuotaExceededError', 'no room');
        if (copy && Math.floor(at / PIECE) !== Math.floor((at + piece.length) / PIECE)) copy.flush();
      } catch {
        // The rest of this download does without, and what there is of it leaves its room to others; the next one may find more.
        const beginning = new Uint8Array(at);
        copy.read(beginning, { at: 0 });
        parts = lend([new Blob([beginning])]);
        copy.close();
        copy = null;
        await this.#store.remove(entry.sha256);
        if (!this.#full) this.#tell({ type: 'notice', notice: 'this browser has no room left to keep the model, so it will be fetched again the next time' });
        this.#full = true;
      }
      at += piece.length;
      parts?.push(new Blob([piece]));
      yield piece;
    }
  }

  /** Waits until no other tab or worker writes the file; answers with what ends our turn. */
  async #lock(entry) {
    if (!navigator.locks) return () => {};
    return new Promise((resolve, reject) => {
      const waiting = setTimeout(() => this.#tell({ type: 'progress', phase: 'wait', loaded: 0, total: 0 }), PATIENCE);
      navigator.locks
        .request(`starsight ${entry.sha256}`, () => {
          clearTimeout(waiting);
          return new Promise((release) => resolve(release));
        })
        .catch(reject);
    });
  }
}

/** What a manifest holds. The engine checks it more closely. */
function contents(manifest, base) {
  let found;
  try {
    found = JSON.parse(manifest);
  } catch (error) {
    throw named('BundleError', `${base}${MANIFEST}: not a manifest: ${error.message}`);
  }
  const good = Array.isArray(found?.files) && found.files.every((file) => typeof file?.path === 'string' && /^[0-9a-f]{64}$/.test(file.sha256) && Number.isSafeInteger(file.size));
  if (!good) throw named('BundleError', `${base}${MANIFEST}: not a manifest: it lists no files with path, size and sha256`);
  return found;
}
