// Measures a built site in a real Chromium: speed, memory, waiting times. Prints one JSON object on
// a line.
//
//   node tools/measure/browser.mjs SITE REVIEWS.json TOOLS [--n 512] [--workers 1] [--plain] [--stars FILE]
//
// SITE: a folder written by `starsight site`. REVIEWS.json: a list of texts. TOOLS: a folder with
// node_modules/playwright-core. --plain: use the engine without relaxed SIMD. --stars: write the
// stars, one per line, to compare with `starsight rate --int8`. Run nothing else at the same time.
//
// A blank page loads the module, as any other site's page would.
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { createRequire } from 'node:module';
import { parseArgs } from 'node:util';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { n: { type: 'string', default: '512' }, workers: { type: 'string', default: '1' }, plain: { type: 'boolean', default: false }, stars: { type: 'string' } },
});
const [site, reviews, tools] = positionals;
if (!tools) throw new Error('usage: node browser.mjs SITE REVIEWS.json TOOLS [--n 512] [--workers 1] [--plain] [--stars FILE]');
const texts = JSON.parse(fs.readFileSync(reviews, 'utf8')).slice(0, Number(values.n));
const workers = Number(values.workers);

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.json': 'application/json', '.wasm': 'application/wasm', '.css': 'text/css' };
const server = http.createServer((request, response) => {
  const wanted = decodeURIComponent(new URL(request.url, 'http://site').pathname);
  if (wanted === '/blank.html') return response.writeHead(200, { 'Content-Type': 'text/html' }).end('<!doctype html><title>blank</title>');
  const file = path.join(site, path.normalize(wanted));
  if (!fs.existsSync(file) || fs.statSync(file).isDirectory()) return response.writeHead(404).end();
  response.writeHead(200, { 'Content-Type': TYPES[path.extname(file)] ?? 'application/octet-stream', 'Content-Length': fs.statSync(file).size });
  return fs.createReadStream(file).pipe(response);
});
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const page_address = `http://127.0.0.1:${server.address().port}/blank.html`;

const { chromium } = createRequire(`${path.resolve(tools)}/`)('playwright-core');
const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

/**
 * Private memory of the browser's page processes in megabytes, from /proc. `measureUserAgentSpecificMemory`
 * reports too little of the workers, which hold the engine's memory.
 */
const session = await browser.newBrowserCDPSession();
const memory = async (page) => {
  await page.requestGC();
  await page.waitForTimeout(500);
  const { processInfo } = await session.send('SystemInfo.getProcessInfo');
  const kilobytes = processInfo.filter(({ type }) => type === 'renderer').flatMap(({ id }) => {
    const rollup = fs.readFileSync(`/proc/${id}/smaps_rollup`, 'utf8');
    return [...rollup.matchAll(/^Private_(?:Clean|Dirty): +(\d+)/gm)].map(([, figure]) => Number(figure));
  });
  return Math.round(kilobytes.reduce((sum, figure) => sum + figure, 0) / 1000);
};
/** Loads the model and rates one text; returns the milliseconds until each is done. */
const load = (page) =>
  page.evaluate(
    async ({ workers, relaxedSimd, text }) => {
      const started = performance.now();
      const { load } = await import('./starsight.js');
      window.rater = await load({ model: './model/', workers, relaxedSimd });
      const loaded = performance.now() - started;
      await window.rater.rate([text]);
      return { loaded: Math.round(loaded), first_rating: Math.round(performance.now() - started) };
    },
    { workers, relaxedSimd: !values.plain, text: texts[0] },
  );

try {
  const page = await browser.newPage();
  page.on('pageerror', (error) => console.error('pageerror', String(error).slice(0, 300)));
  await page.goto(page_address);
  const megabytes = { empty: await memory(page) };
  const fresh = await load(page);
  megabytes.loaded = await memory(page);

  // As on a second visit: the model is cached, the engine compiled again.
  await page.goto('about:blank');
  await page.goto(page_address);
  const kept = await load(page);

  const rated = await page.evaluate(async (texts) => {
    const median = (numbers) => numbers.sort((a, b) => a - b)[numbers.length >> 1];
    await window.rater.rate(texts.slice(0, 128));
    const rates = [];
    let last;
    for (let run = 0; run < 3; run += 1) {
      last = await window.rater.rate(texts);
      rates.push(last.stats.samplesPerSecond);
    }
    const single = [];
    for (const text of texts.slice(0, 512)) single.push((await window.rater.rate([text])).stats.seconds * 1000);
    const { backend, workers, tokens } = last.stats;
    return { rates: [...rates], rate: median(rates), backend, workers, tokens, one: median(single), one_p95: single[Math.floor(single.length * 0.95)], stars: last.ratings.map((r) => r.stars) };
  }, texts);
  megabytes.rated = await memory(page);
  await page.evaluate(() => window.rater.free());
  await page.waitForTimeout(1000);
  megabytes.freed = await memory(page);

  if (values.stars) fs.writeFileSync(values.stars, `${rated.stars.join('\n')}\n`);
  const rounded = (x) => Number(x.toFixed(1));
  console.log(
    JSON.stringify({
      backend: rated.backend,
      workers: rated.workers,
      n: texts.length,
      tokens: rated.tokens,
      samples_per_s: rounded(rated.rate),
      runs: rated.rates.map(rounded),
      one_review_ms: rounded(rated.one),
      one_review_p95_ms: rounded(rated.one_p95),
      fresh_ms: fresh,
      kept_ms: kept,
      megabytes,
    }),
  );
} finally {
  await browser.close();
  server.close();
}
