// The engine's files: a worker's script and two WebAssembly modules, in engine/ beside the bundled module.

import { SealedScript, seal } from './sealed.js';

/** Each file's { version, integrity }, keyed by name; set by `starsight site`. Null in the npm package, because bundlers put a hash into file names. */
const SEALS = __STARSIGHT_ENGINE__;

/** The WebAssembly modules, for browsers with relaxed SIMD and for others. The addresses are literals, so that bundlers find them. */
export const MODULES = {
  relaxed: sealed(new URL('./engine/starsight_worker_relaxed_bg.wasm', import.meta.url)),
  plain: sealed(new URL('./engine/starsight_worker_bg.wasm', import.meta.url)),
};

let script;

/** Starts a worker. */
export async function startWorker() {
  // The constant is compared directly, so that esbuild removes the other branch from the npm package: a bundler would take the script there for an asset.
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
