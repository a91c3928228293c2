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
