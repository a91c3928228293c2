// Keeps the page and its engine, so that it opens without a network after the first visit. The model is kept elsewhere: engine/store.js.
// `starsight site` sets the two constants. A new version is fetched beside the old one and takes over when the last tab of the old one is closed.

const VERSION = '__STARSIGHT_VERSION__';
const FILES = __STARSIGHT_FILES__;

/** Caches are shared by all sites of a host, so the name says whose it is. */
const MINE = `starsight ${self.registration.scope} `;

self.addEventListener('install', (event) => {
  const fetched = async () => {
    const cache = await caches.open(MINE + VERSION);
    // What the browser has already is only asked about.
    await cache.addAll(FILES.map((file) => new Request(file, { cache: 'no-cache' })));
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

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  const scope = new URL(self.registration.scope);
  const file = `./${pathname.slice(scope.pathname.length)}`;
  if (request.method !== 'GET' || origin !== scope.origin || !FILES.includes(file)) return;
  const answer = async () => {
    const cache = await caches.open(MINE + VERSION);
    // The version in an address is that of the whole, and so is the cache.
    return (await cache.match(request, { ignoreSearch: true })) ?? fetch(request);
  };
  event.respondWith(answer());
});
