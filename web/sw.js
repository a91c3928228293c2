// Keeps the page and its engine, so that it opens without a network after the first visit. The model is kept elsewhere: worker/store.js.
// `starsight site` sets the two constants. A new version is fetched beside the old one, whole or not at all, and takes over when the last tab of the old one is closed.

import { knowsRelaxedSimd } from './worker/simd.js';

const VERSION = '__STARSIGHT_VERSION__';

/** The hash of each file's content by its address. */
const FILES = __STARSIGHT_FILES__;

/** Caches are shared by all sites of a host, so the name says whose it is. */
const MINE = `starsight ${self.registration.scope} `;

/** Of the engine's two builds a browser needs one. */
const NOT_NEEDED = knowsRelaxedSimd() ? './engine/starsight_worker_bg.wasm' : './engine/starsight_worker_relaxed_bg.wasm';

self.addEventListener('install', (event) => {
  const fetched = async () => {
    const needed = Object.entries(FILES).filter(([address]) => plain(address) !== NOT_NEEDED);
    const cache = await caches.open(MINE + VERSION);
    // What the browser has already is only asked about. A file of another version has another hash, and then nothing is kept: half of a site that is being replaced is none.
    await cache.addAll(needed.map(([address, integrity]) => new Request(address, { cache: 'no-cache', integrity }))).catch(async (error) => {
      await caches.delete(MINE + VERSION);
      throw error;
    });
  };
  event.waitUntil(fetched());
});

self.addEventListener('activate', (event) => {
  const tidied = async () => {
    const names = await caches.keys();
    await Promise.all(names.filter((name) => name.startsWith(MINE) && name !== MINE + VERSION).map((name) => caches.delete(name)));
  };
  event.waitUntil(tidied());
});

const PATHS = new Set(Object.keys(FILES).map(plain));

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  const scope = new URL(self.registration.scope);
  const path = `./${pathname.slice(scope.pathname.length)}`;
  const file = path === './index.html' ? './' : path;
  if (request.method !== 'GET' || origin !== scope.origin || !PATHS.has(file)) return;
  const answer = async () => {
    const cache = await caches.open(MINE + VERSION);
    // The version in an address is that of the whole, and so is the cache.
    return (await cache.match(new URL(file, scope).href, { ignoreSearch: true })) ?? fetch(request);
  };
  event.respondWith(answer());
});

/** An address without its version. */
function plain(address) {
  return address.split('?')[0];
}
