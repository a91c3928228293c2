// Files of the engine from their host, held to the hash of their content. (W3C, Subresource Integrity.)

import { named } from './errors.js';

/** Fetches the file at `address`. One whose content has another hash than `integrity` is asked for once more, past the browser's cache, and then refused. */
export async function fetchSealed({ address, integrity }) {
  for (const cache of ['default', 'reload']) {
    const response = await fetch(address, { integrity, cache }).catch(() => null);
    if (response?.ok) return response;
  }
  // The browser does not say why.
  const response = await fetch(address, { cache: 'no-store' }).catch((error) => {
    throw named('EngineError', `no answer from ${address} (${error.message}); is there a connection, and may this page ask that server?`);
  });
  if (!response.ok) throw named('EngineError', `${address} answered ${response.status} ${response.statusText}`.trim());
  throw named('EngineError', `${address} is not the file that this page was made with: it is damaged, or the site was changed since; reload the page, and if that does not help, build the site again`);
}

/** The file at `url`: its address in its version, and its hash, where `seals` has them by name. */
export function seal(url, seals) {
  if (!seals) return { address: url.href };
  const { version, integrity } = seals[url.pathname.split('/').pop()];
  url.search = `?v=${version}`;
  return { address: url.href, integrity };
}

/**
 * A worker's script. It is fetched by the page, held to its hash, and started from the page's memory: so the worker is bound by the page's own Content Security Policy (one that is
 * started from a host's address has the policy that the host sends with it, and a static host sends none), and the page of another site may start it too.
 */
export class SealedScript {
  #file;
  /** Its address in this page, once it is there. */
  #address;

  constructor(file) {
    this.#file = file;
  }

  /** Starts a worker of this `name`. */
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
