// Downloads: resumes interrupted ones, and fails with a message that says why.

import { named } from './errors.js';
import { piecesOf } from './pieces.js';

/** Pauses before each retry of a download, in milliseconds. A download fails after as many retries without a single byte in between. */
const PAUSES = [500, 1500, 4000];

/** Number of retries for a small file: few, because a cached model can do without it. */
const TRIES_FOR_TEXT = 2;

/** Time without any data after which a request is aborted and retried, in milliseconds. */
const STALL = 30_000;

/** Aborts a request that has stalled. */
class Watch {
  #stalled = new AbortController();
  #timer;

  get signal() {
    return this.#stalled.signal;
  }

  /** Starts the timer: data must arrive before it ends. */
  wait() {
    this.rest();
    this.#timer = setTimeout(() => this.#stalled.abort(new Error(`nothing arrived for ${STALL / 1000} seconds`)), STALL);
  }

  /** Stops the timer. */
  rest() {
    clearTimeout(this.#timer);
  }
}

/** Fetches a small file as text. */
export async function fetchText(address, options) {
  for (let tries = 0; ; tries += 1) {
    const watch = new Watch();
    try {
      watch.wait();
      const response = await ask(address, { cache: 'no-cache', ...options, signal: watch.signal });
      return await response.text().catch((error) => Promise.reject(cut(address, error)));
    } catch (error) {
      if (!error.passing || tries === TRIES_FOR_TEXT) throw error;
      await pause(tries);
    } finally {
      watch.rest();
    }
  }
}

function pause(tries) {
  return new Promise((resolve) => setTimeout(resolve, PAUSES[tries]));
}

/**
 * Yields the bytes of the file at `address` from offset `from`. A piece is valid until the next one is requested. If the file is longer than `size`, one piece reaches beyond it, so that the
 * reader notices. After a broken connection the rest is requested; if the server ignores the range and sends the whole file, its beginning is skipped.
 */
export async function* download(address, from, size, options) {
  let at = from;
  for (let tries = 0; at < size; ) {
    const start = at;
    const watch = new Watch();
    let arriving;
    try {
      watch.wait();
      const headers = at > 0 ? { ...options.headers, Range: `bytes=${at}-` } : options.headers;
      const response = await ask(address, { ...options, headers, signal: watch.signal });
      let skip = at > 0 && response.status !== 206 ? at : 0;
      arriving = piecesOf(response.body);
      for (;;) {
        const { done, value } = await arriving.next().catch((error) => Promise.reject(cut(address, error, at)));
        if (done) break;
        watch.wait();
        const piece = value.subarray(Math.min(skip, value.length));
        skip -= value.length - piece.length;
        if (piece.length === 0) continue;
        at += piece.length;
        // The time that the reader takes does not count.
        watch.rest();
        yield piece;
        watch.wait();
        if (at > size) return;
      }
      if (at < size) throw cut(address, new Error(`expected ${size}`), at);
    } catch (error) {
      if (!error.passing) throw error;
      if (at > start) tries = 0;
      if (tries === PAUSES.length) throw error;
      await pause(tries);
      tries += 1;
    } finally {
      watch.rest();
      arriving?.return();
    }
  }
}

/** Time to wait for the event of a policy violation, in milliseconds: browsers report it apart from the failed request, some of them later. */
const A_LITTLE_LATER = 100;

/** The hosts that the page's policy has blocked. (For a redirected request, the browser names the first host.) */
const refused = new Set();
globalThis.addEventListener('securitypolicyviolation', ({ blockedURI }) => URL.canParse(blockedURI) && refused.add(new URL(blockedURI).origin));

/** Whether the page's policy blocked a request. */
async function forbidden(address) {
  await new Promise((resolve) => setTimeout(resolve, A_LITTLE_LATER));
  return refused.has(new URL(address).origin);
}

/** Sends a request. Errors that may be temporary have `passing` set. */
async function ask(address, options) {
  const response = await fetch(address, options).catch(async (error) => {
    if (await forbidden(address)) throw named('DownloadError', `${address} was not fetched, or redirects elsewhere: this page's content security policy allows models from certain hosts only`);
    const why = "either there is no connection, or the server does not allow other sites to read the file, or this page's content security policy forbids the request";
    throw Object.assign(named('DownloadError', `no answer from ${address} (${error.message}); ${why}`), { passing: true });
  });
  if (!response.ok) {
    const status = `${response.status} ${response.statusText}`.trim();
    const passing = response.status === 429 || response.status >= 500;
    throw Object.assign(named('DownloadError', `${address} answered ${status}${meaning(response.status)}`), { passing, status: response.status });
  }
  const type = response.headers.get('content-type') ?? '';
  if (type.startsWith('text/html')) {
    throw named('DownloadError', `${address} answered with a web page (${type}) instead of the file; is the address right?`);
  }
  return response;
}

/** The meaning of a status, for a request for a model. */
function meaning(status) {
  if (status === 401 || status === 403) return ': the model does not exist, or is not public';
  if (status === 404 || status === 410) return ': there is no such file';
  if (status === 429) return ': too many requests; wait a little';
  if (status >= 500) return ': the server has a problem; try again later';
  return '';
}

function cut(address, error, at = 0) {
  return Object.assign(named('DownloadError', `${address}: the connection broke after ${at} bytes (${error.message})`), { passing: true });
}
