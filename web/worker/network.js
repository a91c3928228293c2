// Files from a server: resumed where they were cut off, given up with words that say why.

import { named } from './errors.js';
import { piecesOf } from './pieces.js';

/** How often in a row a download is taken up again without a byte arriving in between, and how long it waits before each, in milliseconds. */
const PAUSES = [500, 1500, 4000];

/** A small file is asked for again so often: what is kept may do without it. */
const TRIES_FOR_TEXT = 2;

/** A server that sends nothing for so long is asked again, in milliseconds. */
const STALL = 30_000;

/** Breaks a request off that is waited for in vain. */
class Watch {
  #stalled = new AbortController();
  #timer;

  get signal() {
    return this.#stalled.signal;
  }

  /** From now on something must arrive. */
  wait() {
    this.rest();
    this.#timer = setTimeout(() => this.#stalled.abort(new Error(`nothing arrived for ${STALL / 1000} seconds`)), STALL);
  }

  /** Nothing is waited for. */
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
 * The bytes of the file at `address` from `from` on, as they arrive, each piece good until the next one is asked for; at most one piece goes beyond `size`, by which the reader can tell that
 * it is another file. A server that cuts the connection is asked for the rest; one that cannot send a part sends all, of which the beginning is passed over.
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
        // The reader may take its time.
        watch.rest();
        yield piece;
        watch.wait();
        if (at > size) return;
      }
      if (at < size) throw cut(address, new Error(`${size} were announced`), at);
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

/** Browsers tell of the page's policy apart from the failure, and some a little later, if at all; in milliseconds. */
const A_LITTLE_LATER = 100;

/** The hosts that the page's policy kept us from. (Of a request that was sent elsewhere, the browser names the first.) */
const refused = new Set();
globalThis.addEventListener('securitypolicyviolation', ({ blockedURI }) => URL.canParse(blockedURI) && refused.add(new URL(blockedURI).origin));

/** Whether a request failed for the page's policy. */
async function forbidden(address) {
  await new Promise((resolve) => setTimeout(resolve, A_LITTLE_LATER));
  return refused.has(new URL(address).origin);
}

/** A good answer, or an error; a `passing` one may be over a little later. */
async function ask(address, options) {
  const response = await fetch(address, options).catch(async (error) => {
    if (await forbidden(address)) throw named('DownloadError', `${address} was not asked, or sends elsewhere: this page's policy lets it fetch models from certain hosts alone`);
    const why = "either there is no connection, or that server does not let other sites read it, or this page's policy does not let it ask there";
    throw Object.assign(named('DownloadError', `no answer from ${address} (${error.message}); ${why}`), { passing: true });
  });
  if (!response.ok) {
    const status = `${response.status} ${response.statusText}`.trim();
    const passing = response.status === 429 || response.status >= 500;
    throw Object.assign(named('DownloadError', `${address} answered ${status}${meaning(response.status)}`), { passing, status: response.status });
  }
  const type = response.headers.get('content-type') ?? '';
  if (type.startsWith('text/html')) {
    throw named('DownloadError', `${address} answered with a web page (${type}) in place of the file; is the address right?`);
  }
  return response;
}

/** What a status means for somebody who asked for a model. */
function meaning(status) {
  if (status === 401 || status === 403) return ': the model does not exist, or is not public';
  if (status === 404 || status === 410) return ': there is no such file';
  if (status === 429) return ': too many requests; wait a little';
  if (status >= 500) return ': that server is in trouble; try again later';
  return '';
}

function cut(address, error, at = 0) {
  return Object.assign(named('DownloadError', `${address}: the connection broke after ${at} bytes (${error.message})`), { passing: true });
}
