// Caches the page and its engine, so that it opens offline after the first visit. Models are cached by worker/store.js.
// `starsight site` sets the two constants. A new version is stored beside the old one, completely or not at all, and takes over when the last tab of the old one is closed.

import { knowsRelaxedSimd } from './worker/simd.js';

const VERSION = '__STARSIGHT_VERSION__';

/** The hash of each file, keyed by its address. */
const FILES = __STARSIGHT_FILES__;

/** All sites of a host share the caches, so their names contain the site's scope. */
const MINE = `starsight ${self.registration.scope} `;

/** The build of the engine that this browser does not need. */
const NOT_NEEDED = knowsRelaxedSimd() ? './engine/starsight_worker_bg.wasm' : './engine/starsight_worker_relaxed_bg.wasm';

self.addEventListener('install', (event) => {
  const fetched = async () => {
    const needed = Object.entries(FILES).filter(([address]) => plain(address) !== NOT_NEEDED);
    const cache = await caches.open(MINE + VERSION);
    // Files in the browser's HTTP cache are only revalidated. If a file has another hash, the site is being replaced, and nothing is cached.
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
    // Each cache belongs to one version, so the version in the query is ignored.
    return (await cache.match(new URL(file, scope).href, { ignoreSearch: true })) ?? fetch(request);
  };
  event.respondWith(answer());
});

/** An address without its version. */
function plain(address) {
  return address.split('?')[0];
}
