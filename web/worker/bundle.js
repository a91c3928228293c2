// A model's bundle: its manifest, and the bytes of its files, from the network, the cache or another worker.

import { named } from './errors.js';
import { inFolder } from './files.js';
import { download, fetchText } from './network.js';
import { piecesOf } from './pieces.js';
import { Store } from './store.js';

const MANIFEST = 'starsight.json';

/** The files that the engine reads, in its order. */
const FILES = ['config.json', 'tokenizer.json', 'web/weights.safetensors'];

/** Largest size of a manifest in bytes. Real ones have a few kilobytes. */
const LARGEST_MANIFEST = 4 << 20;

/** Bytes to read ahead while the engine may still be compiling. */
const READ_AHEAD = 2 << 20;

/** Bytes of a cached file to read at once. */
const PIECE = 1 << 20;

/** Time after which waiting for another tab's download is reported, in milliseconds. */
const PATIENCE = 250;

/** A full commit, which names a version that cannot change. */
const COMMIT = /^[0-9a-f]{40}$/;

/**
 * Finds the bundle.
 *
 * @param wish.source  the source as the user names it; the key of a cached model
 * @param wish.folder  the address of a folder, ending in a slash; or
 * @param wish.hub     { endpoint, repository, revision } on a Hub; or
 * @param wish.files   [{ path, file }]: the files that the user chose
 * @param wish.token   an access token, sent only to the Hub's own host; optional
 * @param wish.update  whether to check for a newer version before using a cached one
 * @param wish.base, wish.manifest  the version that another worker has found, to be used
 * @param wish.lent    Map of path to Blob: files from that worker
 * @param tell         called with { type: 'notice', notice }, a message for the user
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
    // If the network fails or returns no valid bundle, the cached version is used.
    const kept = wish.update ? await store?.model(wish.source) : null;
    if (!kept) throw error;
    tell({ type: 'notice', notice: `no newer version could be downloaded: ${error.message}` });
    return new Bundle(wish, store, tell, kept.base, kept.manifest, kept);
  }
}

/** The bundle among files that the user chose. It is not cached, because it is on this device already. */
async function chosenBundle(wish, tell) {
  const { base, file } = inFolder(wish.files, MANIFEST);
  const lent = new Map();
  const manifest = await file.text().catch((error) => Promise.reject(named('BundleError', `${base}${MANIFEST} cannot be read: ${error.message}`)));
  for (const { path, size } of contents(manifest, base).files.filter(({ path }) => FILES.includes(path))) {
    lent.set(path, inFolder(wish.files, path, { base, size }).file);
  }
  return new Bundle({ ...wish, lent }, null, tell, base, manifest);
}

/** Address and manifest of the newest version at the source. A Hub's revision is pinned to its commit, because it may change at any time. */
async function newest(wish) {
  let base = wish.folder;
  if (wish.hub) {
    const { endpoint, repository, revision } = wish.hub;
    const commit = COMMIT.test(revision) ? revision : await commitOf(wish);
    base = `${endpoint}/${repository}/resolve/${commit}/`;
  }
  const manifest = await fetchText(`${base}${MANIFEST}`, request(wish));
  if (manifest.length > LARGEST_MANIFEST) throw named('BundleError', `${base}${MANIFEST} is not a manifest: it is larger than ${LARGEST_MANIFEST} bytes`);
  return { base, manifest };
}

/** The current commit of a Hub's revision. */
async function commitOf(wish) {
  const { endpoint, repository, revision } = wish.hub;
  const address = `${endpoint}/api/models/${repository}/revision/${encodeURIComponent(revision)}`;
  const answer = await fetchText(address, request(wish));
  const commit = /"sha"\s*:\s*"([0-9a-f]{40})"/.exec(answer)?.[1];
  if (!commit) throw named('DownloadError', `${address} names no commit: is ${endpoint} a Hub?`);
  return commit;
}

/** Options of requests: to a Hub without cookies or a referrer, and with the token if there is one. Browsers do not send the token to another host after a redirect. */
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
  /** When the cached copy that was read had been written, keyed by path. */
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

  /** The manifest's data that the engine does not return. */
  get about() {
    const { temperature, decoding = 'likeliest', provenance } = this.#contents;
    return { source: this.base, files: FILES.map((path) => this.#entries.get(path)).filter(Boolean), temperature, decoding, provenance };
  }

  /** Whether this version comes from the cache. */
  get isKept() {
    return Boolean(this.#kept);
  }

  /** Starts reading the files. */
  readAhead() {
    for (const path of FILES) {
      if (this.#entries.has(path)) this.#ahead.set(path, this.#stream(path, false));
    }
  }

  /** A stream of a file's bytes. With `anew`, the first copy was damaged, and the file is downloaded from its source. */
  open(path, anew) {
    const ahead = this.#ahead.get(path);
    this.#ahead.delete(path);
    if (ahead && !anew) return ahead;
    if (anew && !this.#wish.files) this.#tell({ type: 'notice', notice: `${path} was damaged, in the cache or in transit, and is downloaded again` });
    return this.#stream(path, anew);
  }

  /** The files for other workers, if there will be any: Map of path to Blob. */
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

  /** Records in the cache that the bundle is complete and valid. */
  async keep() {
    if (!this.#store || this.isKept) return;
    const files = FILES.map((path) => this.#entries.get(path)).map(({ sha256, size }) => ({ sha256, size }));
    const bytes = files.reduce((sum, { size }) => sum + size, 0);
    const { source } = this.#wish;
    await this.#store.keep({ source, base: this.base, manifest: this.manifest, files, bytes, at: Date.now() }).catch(() => {});
  }

  /** Deletes the file at `path`, which does not match the manifest, and the record that the bundle is complete. */
  async discard(path) {
    await this.#forgetSeen(this.#entries.get(path));
    await this.#store?.strike(this.#wish.source, this.manifest);
  }

  /** The version to use if this one is invalid: the cached one instead of a newer one, or the newest instead of the cached one; null if there is no other. */
  async otherVersion() {
    const { manifest, source } = this.#wish;
    if (manifest || !this.#store) return null;
    const other = this.isKept ? await newest(this.#wish).catch(() => null) : await this.#store.model(source);
    if (!other || other.manifest === this.manifest) return null;
    return new Bundle(this.#wish, this.#store, this.#tell, other.base, other.manifest, this.isKept ? undefined : other);
  }

  /** Whether the source has another version now; false if it cannot be reached. */
  async hasNewer() {
    if (this.#wish.hub && COMMIT.test(this.#wish.hub.revision)) return false;
    const found = await newest(this.#wish).catch(() => this);
    return found.manifest !== this.manifest;
  }

  #stream(path, anew) {
    const entry = this.#entries.get(path);
    if (!entry) throw named('BundleError', `${this.base}${MANIFEST} does not list ${path}`);
    const pieces = this.#pieces(entry, anew);
    const pull = async (controller) => {
      const { done, value } = await pieces.next();
      if (done) controller.close();
      else controller.enqueue(value.slice());
    };
    return new ReadableStream({ pull, cancel: () => pieces.return() }, new ByteLengthQueuingStrategy({ highWaterMark: READ_AHEAD }));
  }

  async *#pieces(entry, anew) {
    // Files that the user chose are read again, even if they were damaged.
    if (!anew || this.#wish.files) {
      const there = this.#wish.lent?.get(entry.path) ?? (await this.#store?.whole(entry));
      if (there) return yield* this.#read(there, entry);
    }
    // One tab downloads the file, and the others wait for the cached copy. Without a cache, each tab downloads it.
    const release = this.#store ? await this.#lock(entry) : () => {};
    let copy = null;
    try {
      // Another tab may have found the damage too, and downloaded the file already.
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

  /** The bytes of a cached, lent or chosen `file`. If reading fails (a tab may have deleted the file), the stream ends early, and the file counts as damaged. */
  async *#read(file, entry) {
    this.#seen.set(entry.path, file.lastModified);
    try {
      yield* piecesOf(file.stream());
    } catch (error) {
      if (this.#wish.files) throw named('BundleError', `${this.base}${entry.path} cannot be read: ${error.message}`);
    }
  }

  /** Deletes the cached copy of a file if it is the one that was read. */
  async #forgetSeen(entry) {
    const stored = await this.#store?.whole(entry);
    if (stored && stored.lastModified === this.#seen.get(entry.path)) await this.#store.remove(entry.sha256);
  }

  /** Downloads the file from its source, after the beginning that is cached already. The bytes are cached while there is space. */
  async *#fetch(entry, copy, anew) {
    let at = 0;
    if (copy && copy.getSize() > entry.size) copy.truncate(0);
    for (const kept = copy?.getSize() ?? 0, room = new Uint8Array(Math.min(PIECE, kept)); at < kept; ) {
      const piece = room.subarray(0, kept - at);
      copy.read(piece, { at });
      at += piece.length;
      yield piece;
    }
    // If the file is not cached, other workers get it from memory.
    const lend = (first) => (this.#wish.lend ? this.#parts.set(entry.path, first).get(entry.path) : null);
    let parts = copy ? null : lend([]);
    // The HTTP cache would hold a useless second copy, and may be the source of a damaged file.
    const options = { ...request(this.#wish), ...(copy ? { cache: 'no-store' } : anew && { cache: 'reload' }) };
    for await (const piece of download(`${this.base}${entry.path}`, at, entry.size, options)) {
      try {
        if (copy && copy.write(piece, { at }) < piece.length) throw named('QuotaExceededError', 'no room');
        if (copy && Math.floor(at / PIECE) !== Math.floor((at + piece.length) / PIECE)) copy.flush();
      } catch {
        // Out of space: the rest of this download is not cached, and the cached beginning is deleted to free space.
        const beginning = new Uint8Array(at);
        copy.read(beginning, { at: 0 });
        parts = lend([new Blob([beginning])]);
        copy.close();
        copy = null;
        await this.#store.remove(entry.sha256);
        if (!this.#full) this.#tell({ type: 'notice', notice: 'this browser has no space left to cache the model, so it will be downloaded again next time' });
        this.#full = true;
      }
      at += piece.length;
      parts?.push(new Blob([piece]));
      yield piece;
    }
  }

  /** Waits until no other tab or worker writes the file. Returns a function that releases the lock. */
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

/** The parsed manifest. The engine checks it more closely. */
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
