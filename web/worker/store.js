// The cache of models, in the origin private file system: other sites cannot read it, and only the user or a full disk evicts it.
//
//   starsight/files/SHA256       a file, keyed by its SHA-256: one copy for all models that share it. A file that is too short is an interrupted download
//   starsight/models/KEY.json    the record of a completely downloaded model (see `Kept`), keyed by the hash of its source

import { named } from './errors.js';

const HOME = 'starsight';

/** The lock of the records. A tab that writes records or deletes unused files holds it exclusively. */
const LOCK = 'starsight store';

/** Age after which an unfinished download is deleted: a week, in milliseconds. */
const ABANDONED = 7 * 24 * 3600 * 1000;

/**
 * @typedef Kept
 * @property {string} source    the source as the user names it: an address, or `owner/name` on a Hub
 * @property {string} base      the address of the bundle, pinned to a commit if it is on a Hub
 * @property {string} manifest  the bundle's manifest, unchanged
 * @property {{ sha256: string, size: number }[]} files   the cached files
 * @property {number} bytes     their total size
 * @property {number} at        time of the download, in milliseconds since 1970
 */

/** The cached models of this page's origin. */
export class Store {
  #files;
  #models;

  constructor(files, models) {
    this.#files = files;
    this.#models = models;
  }

  /** The store, or null if the browser has none for this page: in a private window, with storage switched off, or without HTTPS. */
  static async open() {
    try {
      const root = await navigator.storage.getDirectory();
      const home = await root.getDirectoryHandle(HOME, { create: true });
      const [files, models] = await Promise.all(['files', 'models'].map((name) => home.getDirectoryHandle(name, { create: true })));
      return new Store(files, models);
    } catch {
      return null;
    }
  }

  /** The cached file, or null if it is missing or incomplete. The reader must check its hash: a disk may corrupt it. */
  async whole({ sha256, size }) {
    try {
      const file = await (await this.#files.getFileHandle(sha256)).getFile();
      return file.size === size ? file : null;
    } catch {
      return null;
    }
  }

  /** Opens a file for writing, or returns null on failure. Only workers can do this, and only one at a time. */
  async write(sha256) {
    try {
      return await (await this.#files.getFileHandle(sha256, { create: true })).createSyncAccessHandle();
    } catch {
      return null;
    }
  }

  /** Deletes a file, if it exists. */
  async remove(sha256) {
    await this.#files.removeEntry(sha256).catch(() => {});
  }

  /** The record of the model from `source`, or null if there is none or a file is missing. */
  async model(source) {
    const kept = await alone('shared', async () => this.#read(await keyOf(source)));
    return kept && (await this.#holds(kept)) ? kept : null;
  }

  /** Records a completely downloaded model, replacing an earlier one from the same source. Does nothing if a file is missing. */
  async keep(kept) {
    await alone('exclusive', async () => {
      if (await this.#holds(kept)) await this.#note(kept);
    });
  }

  async #note(kept) {
    const key = await keyOf(kept.source);
    const former = await this.#read(key);
    const handle = await (await this.#models.getFileHandle(key, { create: true })).createSyncAccessHandle();
    const note = new TextEncoder().encode(JSON.stringify(kept));
    try {
      handle.truncate(0);
      if (handle.write(note) < note.length) throw named('QuotaExceededError', 'no room');
      handle.flush();
    } catch (error) {
      // A partial record is deleted.
      handle.close();
      await this.#models.removeEntry(key).catch(() => {});
      throw error;
    }
    handle.close();
    await this.#sweep(former?.files ?? []);
  }

  /** All completely downloaded models, and the bytes of unfinished downloads. */
  async list() {
    const models = await alone('shared', () => this.#all());
    const used = new Set(models.flatMap(({ files }) => files.map(({ sha256 }) => sha256)));
    let unfinished = 0;
    for await (const [name, handle] of this.#files.entries()) {
      if (!used.has(name)) unfinished += (await handle.getFile()).size;
    }
    return { models, unfinished };
  }

  /** Deletes the model from `source` and its files that no other model shares; without a source, everything. */
  async forget(source) {
    await alone('exclusive', async () => {
      if (source === undefined) {
        for (const folder of [this.#models, this.#files]) {
          for await (const name of folder.keys()) await folder.removeEntry(name).catch(() => {});
        }
        return;
      }
      const key = await keyOf(source);
      const kept = await this.#read(key);
      await this.#models.removeEntry(key).catch(() => {});
      await this.#sweep(kept?.files ?? []);
    });
  }

  /** Deletes the record of the model from `source` if it has this `manifest`, because one of its files is damaged. The other files stay for the next download. */
  async strike(source, manifest) {
    await alone('exclusive', async () => {
      const key = await keyOf(source);
      if ((await this.#read(key))?.manifest === manifest) await this.#models.removeEntry(key).catch(() => {});
    });
  }

  /** Whether all files of a model are complete. */
  async #holds({ files }) {
    return (await Promise.all(files.map((file) => this.whole(file)))).every(Boolean);
  }

  /** Deletes `candidates` and old unfinished downloads that no model needs. Browsers do not delete a file that is open for writing. */
  async #sweep(candidates) {
    const used = new Set((await this.#all()).flatMap(({ files }) => files.map(({ sha256 }) => sha256)));
    const dropped = new Set(candidates.map(({ sha256 }) => sha256));
    for await (const [name, handle] of this.#files.entries()) {
      if (used.has(name)) continue;
      if (dropped.has(name) || Date.now() - (await handle.getFile()).lastModified > ABANDONED) await this.remove(name);
    }
  }

  async #all() {
    const models = [];
    for await (const key of this.#models.keys()) {
      const kept = await this.#read(key);
      if (kept) models.push(kept);
    }
    return models;
  }

  /** The record under `key`, or null if it is missing or unreadable. */
  async #read(key) {
    try {
      return JSON.parse(await (await (await this.#models.getFileHandle(key)).getFile()).text());
    } catch {
      return null;
    }
  }
}

/** Runs `task` while holding the lock of the records, `shared` or `exclusive`. */
function alone(mode, task) {
  return navigator.locks ? navigator.locks.request(LOCK, { mode }, task) : task();
}

async function keyOf(source) {
  const hash = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(source));
  return `${Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, '0')).join('')}.json`;
}
