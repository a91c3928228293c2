// Errors that users meet, told apart by name; starsight.d.ts lists them.

/** What a worker has words for; anything else broke it. */
const TOLD = ['DownloadError', 'BundleError', 'EngineError'];

/** Whether it is an error that users are told of by its own words. */
export function isTold(error) {
  return TOLD.includes(error?.name);
}

/** An error with a name. */
export function named(name, message) {
  return Object.assign(new Error(message), { name });
}

/** The error of an engine that trapped; WebAssembly's own word for most traps is "unreachable". */
export function brokenDown(words) {
  return named('EngineError', `the rating engine broke down (${words}): out of memory, or a fault of its own; the console says more`);
}
