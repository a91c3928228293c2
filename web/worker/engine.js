// The engine's files as the page finds them: a worker's script and two modules of WebAssembly, in engine/ beside the module that all of this becomes.

import { fetchSealed } from './sealed.js';

/** By name, each file's { version, integrity }: `starsight site` puts them here. A package for bundlers has null: they give files names of their own, by their content. */
const SEALS = __STARSIGHT_ENGINE__;

/** The modules of WebAssembly, for browsers that know relaxed SIMD and for others. Each address is spelt out, for bundlers to see. */
export const MODULES = {
  relaxed: sealed(new URL('./engine/starsight_worker_relaxed_bg.wasm', import.meta.url)),
  plain: sealed(new URL('./engine/starsight_worker_bg.wasm', import.meta.url)),
};

/** The address of the worker's script in this page, once it is there. */
let script;

/**
 * Starts a worker. Its script is fetched by the page, held to its hash, and started from the page's memory: so the worker is bound by the page's own Content Security Policy (one that is
 * started from a host's address has the policy that the host sends with it, and a static host sends none), and the page of another site may start it too.
 */
export async function startWorker() {
  // The mark itself is asked, for esbuild then leaves the rest out of a package: a bundler would take the script for another file of the page's.
  if (__STARSIGHT_ENGINE__ === null) {
    return new Worker(new URL('./engine/worker.js', import.meta.url), { type: 'module', name: 'starsight' });
  } else {
    script ??= fetchScript();
    const address = await script.catch((error) => {
      script = undefined;
      throw error;
    });
    return new Worker(address, { type: 'module', name: 'starsight' });
  }
}

async function fetchScript() {
  const response = await fetchSealed(sealed(new URL('./engine/worker.js', import.meta.url)));
  return URL.createObjectURL(new Blob([await response.text()], { type: 'text/javascript' }));
}

/** A file's address in its version, and its hash. */
function sealed(url) {
  if (!SEALS) return { address: url.href };
  const { version, integrity } = SEALS[url.pathname.split('/').pop()];
  url.search = `?v=${version}`;
  return { address: url.href, integrity };
}
