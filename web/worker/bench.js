// Measures throughput like the notebook that Starsight replaces, but with a warm-up and medians.

/** Texts per call: one, the notebook's two batch sizes, and all at once. */
const BATCHES = [1, 32, 64, 'all'];

/** The notebook's artificial lag in milliseconds per call, like that of a network, for a single text and for a batch of 32. */
const LAGS = [
  { batch: 1, lag: 20 },
  { batch: 32, lag: 500 },
];

/**
 * Rates `texts` with `rate(texts, signal)` for each combination of batch size and lag, and returns a row for each.
 *
 * @returns rows { batch, lag, workers, samplesPerSecond, slowest, fastest, tokensPerSecond, samples, repeats }; rates are medians
 */
export async function measure(rate, texts, { batches = BATCHES, lags = LAGS, repeats = 3, onRow, signal } = {}) {
  const ways = [...batches.map((batch) => ({ batch, lag: 0 })), ...lags];
  const wrong = ways.find(({ batch, lag }) => !(batch === 'all' || (Number.isInteger(batch) && batch > 0)) || !(lag >= 0));
  if (wrong) throw new RangeError(`a batch is ${wrong.batch} and a lag ${wrong.lag}; wanted 'all' or a whole number above 0, and milliseconds`);
  if (!Number.isInteger(repeats) || repeats < 1) throw new RangeError(`repeats is ${repeats}; wanted a whole number above 0`);

  const rows = [];
  for (const { batch, lag } of ways) {
    const size = batch === 'all' ? texts.length : Math.min(batch, texts.length);
    const run = async (some) => {
      const started = performance.now();
      let [tokens, workers] = [0, 0];
      for (let from = 0; from < some.length; from += size) {
        const { stats } = await rate(some.slice(from, from + size), signal);
        tokens += stats.tokens;
        workers = Math.max(workers, stats.workers);
        if (lag > 0) await new Promise((resolve) => setTimeout(resolve, lag));
      }
      const seconds = (performance.now() - started) / 1000;
      return { samples: some.length / seconds, tokens: tokens / seconds, workers };
    };
    await run(texts.slice(0, Math.max(size, Math.ceil(texts.length / 8))));
    const runs = [];
    for (let i = 0; i < repeats; i += 1) runs.push(await run(texts));
    runs.sort((one, other) => one.samples - other.samples);
    const middle = runs[Math.floor(repeats / 2)];
    const row = {
      ...{ batch, lag, workers: middle.workers, samplesPerSecond: middle.samples, slowest: runs[0].samples, fastest: runs.at(-1).samples },
      ...{ tokensPerSecond: middle.tokens, samples: texts.length, repeats },
    };
    rows.push(row);
    onRow?.(row);
  }
  return rows;
}
