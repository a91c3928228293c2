/**
 * Starsight rates reviews from one to five stars with a small language model, inside the browser. No text leaves it.
 *
 * ```js
 * import { load } from './starsight.js';
 *
 * const rater = await load({ model: './model/' });
 * const { ratings, stats } = await rater.rate(['Love it', 'It crashes']);
 * console.log(ratings[0].stars, stats.samplesPerSecond);
 * rater.free();
 * ```
 *
 * Errors are `Error` objects with a `name`:
 * `DownloadError` (a file could not be had; the message names address and status), `BundleError` (the files are not what the bundle's manifest says, or this browser
 * computes other ratings than the model's maker), `EngineError` (the worker could not start, broke down or was freed), `TypeError` and `RangeError` (an argument is wrong;
 * the message says which). An `AbortSignal` makes a call fail with the signal's reason, an `AbortError` unless you gave another.
 */

/** Loads a model: fetches its bundle, checks every file against the manifest, and checks that this browser computes what the model's maker computed. */
export function load(options?: LoadOptions): Promise<Rater>;

export interface LoadOptions {
  /**
   * Where the bundle is. A folder (starting with `./`, `../`, `/`, `http://` or `https://`; relative to the page), or a name on the Hub: `owner/name` or
   * `owner/name@revision`. Default `./model/`.
   */
  model?: string;
  /** How many workers share the work, 1 to 64. Each holds the model in memory of its own. Default 1. */
  workers?: number;
  /** Whether relaxed SIMD may be used where the browser knows it. It is faster; the ratings are the same. Default true. */
  relaxedSimd?: boolean;
  /** Called as the files arrive. */
  onProgress?: (progress: LoadProgress) => void;
  /** Cancels loading. */
  signal?: AbortSignal;
  /** The Hub's address. Default `https://huggingface.co`. It is asked without credentials and without a referrer. */
  endpoint?: string;
}

export interface LoadProgress {
  /** `download` while bytes arrive, then `prepare` while the model is built and checked. */
  phase: 'download' | 'prepare';
  /** Bytes that have arrived. */
  loaded: number;
  /** Bytes in all. */
  total: number;
}

/** A loaded model. */
export interface Rater {
  /** About the model. */
  readonly info: Readonly<ModelInfo>;
  /**
   * Rates texts. An empty text gets a rating like any other; an empty list gives an empty list; an item that is not a string is a `TypeError` that names its index.
   * Calls may overlap: a single text is rated between the batches of a long list.
   */
  rate(texts: string[], options?: RateOptions): Promise<Rated>;
  /** Ends the workers and gives their memory back. Calls under way, and any later one, fail with an `EngineError`. */
  free(): void;
}

export interface ModelInfo {
  /** The model's name. */
  name: string;
  /** Hugging Face's name of the architecture, `distilbert` or `bert`. */
  modelType: string;
  /** Number of weights. */
  parameters: number;
  layers: number;
  hiddenSize: number;
  /** How many tokens of a text the model reads; the rest is cut off. */
  maxTokens: number;
  /** Metrics on the test split, as the trainer wrote them; null if it wrote none. */
  metrics: Record<string, unknown> | null;
  /** Size of the files that were fetched. */
  bytes: number;
  /** The address of the bundle. */
  source: string;
}

export interface RateOptions {
  /** Called after each step of the work. */
  onProgress?: (progress: RateProgress) => void;
  /** Called with the ratings of each batch as soon as it is done. Texts are rated longest first, so batches do not come in the order of `texts`. */
  onRatings?: (ratings: RatingColumns) => void;
  /** Cancels rating. */
  signal?: AbortSignal;
}

export interface RateProgress {
  /** Texts turned into tokens so far. All are, before the first is rated. */
  tokenised: number;
  /** Texts rated so far. */
  rated: number;
  /** Texts in all. */
  total: number;
  /** Tokens of the rated texts. */
  tokens: number;
  /** Since the call. */
  seconds: number;
  samplesPerSecond: number;
  tokensPerSecond: number;
}

/** Ratings of several texts, column by column. */
export interface RatingColumns {
  /** Which texts. */
  indices: Uint32Array;
  stars: Uint8Array;
  expected: Float32Array;
  /** Five a text, for 1 to 5 stars. */
  probabilities: Float32Array;
}

export interface Rated {
  /** In the order of the texts. */
  ratings: Rating[];
  stats: RateStats;
}

export interface Rating {
  /** The likeliest number of stars, 1 to 5. */
  stars: number;
  /** The mean of the distribution, in stars: 1 to 5. */
  expected: number;
  /** Of 1, 2, 3, 4 and 5 stars; they add up to 1. */
  probabilities: [number, number, number, number, number];
}

export interface RateStats {
  /** How many texts were rated. */
  samples: number;
  /** Their tokens, special ones included. */
  tokens: number;
  /** From call to answer. */
  seconds: number;
  samplesPerSecond: number;
  tokensPerSecond: number;
  /** What computed the ratings, such as `WebAssembly int8, relaxed SIMD`. */
  backend: string;
  workers: number;
}
