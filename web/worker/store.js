// What this browser keeps of models: in the private file system of the page's origin, where no other site reads and nothing but the user or a full disk evicts.
//
//   starsight/files/SHA256       a file, under the hash of its content: one copy for all models that share it. A shorter one is a download that was cut off
//   starsight/models/KEY.json    a model that arrived whole (see `Kept`), under the hash of where it came from

import { named } from './errors.js';

const HOME = 'starsight';

/** The lock of the notes: a tab that writes them, or deletes files that none needs, is alone. */
const LOCK = 'starsight store';

/** An unfinished download that nobody has touched for so long is let go: a week, in milliseconds. */
const ABANDONED = 7 * 24 * 3600 * 1000;

/**
 * @typedef Kept
 * @property {string} source    where it came from, as the user names it: an address, or `owner/name` on a Hub
 * @property {string} base      the address of the bundle, pinned to a commit if it is on a Hub
 * @property {string} manifest  the bundle's manifest, as it came
 * @property {{ sha256: string, size: number }[]} files   each file that is kept
 * @property {number} bytes     their size
 * @property {number} at        when it arrived, in milliseconds since 1970
 */

/** The kept models of this page's origin. */
export class Store {
  #files;
  #models;

  constructor(files, models) {
    this.#files = files;
    this.#models = models;
  }

  /** The store, or null where the browser has none for this page: a private window, storage that is switched off, a page without HTTPS. */
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

  /** The kept file, or null unless all of it is there. Whoever reads it must hold it to its hash: a disk may err. */
  async whole({ sha256, size }) {
    try {
      const file = await (await this.#files.getFileHandle(sha256)).getFile();
      return file.size === size ? file : null;
    } catch {
      return null;
    }
  }

  /** Opens a file for writing, which only a worker can, and only one at a time; null where that fails. */
  async write(sha256) {
    try {
      return await (await this.#files.getFileHandle(sha256, { create: true })).createSyncAccessHandle();
    } catch {
      return null;
    }
  }

  /** Deletes a file, if it is there. */
  async remove(sha256) {
    await this.#files.removeEntry(sha256).catch(() => {});
  }

  /** The model that came from `source`, or null unless all its files are there. */
  async model(source) {
    const kept = await alone('shared', async () => this.#read(await keyOf(source)));
    return kept && (await this.#holds(kept)) ? kept : null;
  }

  /** Notes a model that has arrived whole, in place of an earlier one of the same source; not one of which a file is missing. */
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
      // Half a note is none.
      handle.close();
      await this.#models.removeEntry(key).catch(() => {});
      throw error;
    }
    handle.close();
    await this.#sweep(former?.files ?? []);
  }

  /** All models that arrived whole, and what unfinished downloads take. */
  async list() {
    const models = await alone('shared', () => this.#all());
    const used = new Set(models.flatMap(({ files }) => files.map(({ sha256 }) => sha256)));
    let unfinished = 0;
    for await (const [name, handle] of this.#files.entries()) {
      if (!used.has(name)) unfinished += (await handle.getFile()).size;
    }
    return { models, unfinished };
  }

  /** Deletes the model of `source` with the files that no other model shares; without a source, everything. */
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

  /** Strikes out the model of `source` if it has this `manifest`: one of its files is not to be had. The others stay, for the next download to go on with. */
  async strike(source, manifest) {
    await alone('exclusive', async () => {
      const key = await keyOf(source);
      if ((await this.#read(key))?.manifest === manifest) await this.#models.removeEntry(key).catch(() => {});
    });
  }

  /** Whether all files of a model are there. */
  async #holds({ files }) {
    return (await Promise.all(files.map((file) => this.whole(file)))).every(Boolean);
  }

  /** Deletes those of the `candidates`, and of the downloads given up long ago, that no model needs. One that is being written stays: the browser sees to it. */
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

  /** What is noted under `key`, or null if there is nothing that can be read. */
  async #read(key) {
    try {
      return JSON.parse(await (await (await this.#models.getFileHandle(key)).getFile()).text());
    } catch {
      return null;
    }
  }
}

/** Does `task` while no other tab does what it would disturb. */
function alone(mode, task) {
  return navigator.locks ? navigator.locks.request(LOCK, { mode }, task) : task();
}

async function keyOf(source) {
  const hash = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(source));
  return `${Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, '0')).join('')}.json`;
}
