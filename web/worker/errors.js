// Errors that users see, with names that identify their kind; starsight.d.ts lists them.

/** Errors with a message for the user; any other error is a crash. */
const KNOWN = ['DownloadError', 'BundleError', 'EngineError'];

/** Whether an error has a message for the user. */
export function isKnown(error) {
  return KNOWN.includes(error?.name);
}

/** An error with a name. */
export function named(name, message) {
  return Object.assign(new Error(message), { name });
}

/** The error for an engine that crashed. WebAssembly's message for most traps is "unreachable". */
export function brokenDown(words) {
  return named('EngineError', `the rating engine crashed (${words}): it ran out of memory or has a bug; the console says more`);
}
