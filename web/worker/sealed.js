// Downloads the engine's files and checks their hashes (W3C, Subresource Integrity).

import { named } from './errors.js';

/** Downloads the file at `address`. If its hash differs from `integrity`, it is downloaded once more, bypassing the browser's cache, and then refused. */
export async function fetchSealed({ address, integrity }) {
  for (const cache of ['default', 'reload']) {
    const response = await fetch(address, { integrity, cache }).catch(() => null);
    if (response?.ok) return response;
  }
  // The browser does not say why it failed, so the reason is determined here.
  const response = await fetch(address, { cache: 'no-store' }).catch((error) => {
    throw named('EngineError', `no answer from ${address} (${error.message}); check the connection and this page's content security policy`);
  });
  if (!response.ok) throw named('EngineError', `${address} answered ${response.status} ${response.statusText}`.trim());
  throw named('EngineError', `${address} is not the file that this page was built with: it is damaged, or the site has changed since; reload the page, and if that does not help, build the site again`);
}

/** The file at `url` as { address, integrity }: `seals`, if any, has the version for the address and the hash, keyed by file name. */
export function seal(url, seals) {
  if (!seals) return { address: url.href };
  const { version, integrity } = seals[url.pathname.split('/').pop()];
  url.search = `?v=${version}`;
  return { address: url.href, integrity };
}

/**
 * A worker's script. The page downloads it, checks its hash, and starts it from memory. Therefore the page's own Content Security Policy applies to the worker (otherwise it would be the
 * policy that the host sends with the script, and a static host sends none), and pages of other sites can start it too.
 */
export class SealedScript {
  #file;
  /** A promise of its blob address. */
  #address;

  constructor(file) {
    this.#file = file;
  }

  /** Starts a worker with this `name`. */
  async start(name) {
    this.#address ??= this.#fetch();
    const address = await this.#address.catch((error) => {
      this.#address = undefined;
      throw error;
    });
    return new Worker(address, { type: 'module', name });
  }

  async #fetch() {
    const response = await fetchSealed(this.#file);
    return URL.createObjectURL(new Blob([await response.text()], { type: 'text/javascript' }));
  }
}
