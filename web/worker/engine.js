// The engine's files as the page finds them: a worker's script and two modules of WebAssembly, in engine/ beside the module that all of this becomes.

import { SealedScript, seal } from './sealed.js';

/** By name, each file's { version, integrity }: `starsight site` puts them here. A package for bundlers has null: they give files names of their own, by their content. */
const SEALS = __STARSIGHT_ENGINE__;

/** The modules of WebAssembly, for browsers that know relaxed SIMD and for others. Each address is spelt out, for bundlers to see. */
export const MODULES = {
  relaxed: sealed(new URL('./engine/starsight_worker_relaxed_bg.wasm', import.meta.url)),
  plain: sealed(new URL('./engine/starsight_worker_bg.wasm', import.meta.url)),
};

let script;

/** Starts a worker. */
export async function startWorker() {
  // The mark itself is asked, for esbuild then leaves the rest out of a package: a bundler would take the script for another file of the page's.
  if (__STARSIGHT_ENGINE__ === null) {
    return new Worker(new URL('./engine/worker.js', import.meta.url), { type: 'module', name: 'starsight' });
  } else {
    script ??= new SealedScript(sealed(new URL('./engine/worker.js', import.meta.url)));
    return script.start('starsight');
  }
}

function sealed(url) {
  return seal(url, SEALS);
}
