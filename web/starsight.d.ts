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
 * computes other ratings than the model's maker), `EngineError` (the worker could not start, is not the one that this module was made with, broke down or was freed), `TypeError` and
 * `RangeError` (an argument is wrong; the message says which). An `AbortSignal` makes a call fail with the signal's reason, an `AbortError` unless you gave another.
 *
 * The workers start from the page's memory, and so are bound by the page's Content Security Policy if it has one: that must allow `worker-src blob:`, `script-src 'wasm-unsafe-eval'`, and
 * `connect-src` to where this module and the model come from.
 */

/**
 * Loads a model: fetches its bundle, checks every file against the manifest, and checks that this browser computes what the model's maker computed.
 *
 * What arrives is kept in the storage of the page's origin, under the hash of its content: a download that was cut off goes on where it stopped, even after a reload, and a model
 * that arrived whole is not fetched again, nor even looked for: it loads without a network. Where there is no storage (a private window, a page without HTTPS, a full disk) the model
 * is fetched each time.
 */
export function load(options?: LoadOptions): Promise<Rater>;

export interface LoadOptions {
  /**
   * Where the bundle is. A folder (starting with `./`, `../`, `/`, `http://` or `https://`; relative to the page), or a name on the Hub: `owner/name` or
   * `owner/name@revision`. Default `./model/`.
   */
  model?: string;
  /**
   * A bundle that the user has on this device, in place of `model`: `starsight.json` and the files that it lists, from a file input (one by one, or a folder by `webkitdirectory`) or from
   * `filesOf`. They are checked against the manifest like any other, and not cached.
   */
  files?: Iterable<File>;
  /**
   * How many workers share the work: 1 to 64, or `auto`, the default. Each holds the model in memory of its own. `auto` begins with one; when there is much to do, and not on a phone, it
   * adds others up to the number of cores less one, and keeps each only if all together are measurably faster.
   */
  workers?: number | 'auto';
  /** Whether relaxed SIMD may be used where the browser knows it. It is faster; the ratings are the same. Default true. */
  relaxedSimd?: boolean;
  /**
   * Whether to look for a newer version of a model that is kept, and to load that. Default false: the kept one is loaded, and `onNewer` says if there is another. A newer one that cannot
   * be had, or is no good, leaves the kept one as it is: that is loaded, and `onNotice` says why.
   */
  update?: boolean;
  /** The Hub's address. Default `https://huggingface.co`. It is asked without cookies and without a referrer. */
  endpoint?: string;
  /** An access token for a private model. It goes to the Hub's own host alone, in a header, and is kept nowhere. */
  token?: string;
  /** Called as the files arrive. What this and the next two throw goes to the page's `error` event, and stops nothing. */
  onProgress?: (progress: LoadProgress) => void;
  /** Called with words for the user when something went otherwise than expected but was made good, such as a damaged copy that was fetched again; also while rating. */
  onNotice?: (notice: string) => void;
  /** Called once if a kept model was loaded and its source has another version by now. `load` with `update` gets it. */
  onNewer?: () => void;
  /** Cancels loading. */
  signal?: AbortSignal;
}

export interface LoadProgress {
  /** `download` while bytes arrive, then `prepare` while the model is built and checked; `wait` while another tab fetches it, to be shared. */
  phase: 'wait' | 'download' | 'prepare';
  /** Bytes that have arrived. */
  loaded: number;
  /** Bytes in all. */
  total: number;
  /** While bytes arrive, how many seconds the rest will take, as the last few went; undefined until that is known. */
  secondsLeft?: number;
}

/** A loaded model. */
export interface Rater {
  /** About the model. */
  readonly info: Readonly<ModelInfo>;
  /**
   * Rates texts. An empty text gets a rating like any other; an empty list gives an empty list; an item that is not a string is a `TypeError` that names its index.
   * Calls may overlap: a single text is rated between the batches of a long list. Texts of the same tokens that lie near each other are computed once.
   */
  rate(texts: string[], options?: RateOptions): Promise<Rated>;
  /**
   * Measures the throughput over `texts`: one text a call, 32, 64 and all at once, each after a warm-up; then 1 and 32 a call with an artificial lag, as a network would add it. All
   * are computed, those that repeat too. Have nothing else running.
   */
  bench(texts: string[], options?: BenchOptions): Promise<BenchRow[]>;
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
  /** The address of the bundle; on a Hub, that of its commit. */
  source: string;
  /** Whether it was kept by this browser from an earlier visit. */
  kept: boolean;
  /** The files that were read, and the SHA-256 of each. */
  files: { path: string; size: number; sha256: string }[];
  /** The calibration temperature by which logits are divided; 1 is none. */
  temperature: number;
  /** How stars follow from the probabilities: the likeliest number, the median, the rounded mean, or `balanced`: right almost as often as the likeliest, and less far off. */
  decoding: 'likeliest' | 'median' | 'expected' | 'balanced';
  /** Base model, data, hyperparameters and code version, as the trainer wrote them. */
  provenance: Record<string, unknown>;
}

/** What a listener throws ends the call with that error. */
export interface RateOptions {
  /** Called after each step of the work. */
  onProgress?: (progress: RateProgress) => void;
  /**
   * Called with the ratings of each batch as soon as it is done. Not all come in the order of `texts`: with several workers batches do not, and texts of the same tokens come
   * together, with the first of them. No text is answered twice, even if a worker breaks down and another takes its place.
   */
  onRatings?: (ratings: RatingColumns) => void;
  /** Cancels rating. */
  signal?: AbortSignal;
}

export interface RateProgress {
  /** Texts turned into tokens so far. */
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
  /** 1 for a guess, else 0. */
  guesses: Uint8Array;
}

export interface Rated {
  /** In the order of the texts. */
  ratings: Rating[];
  stats: RateStats;
}

export interface Rating {
  /** The number of stars, 1 to 5, as the model's `decoding` says: the likeliest, unless its maker chose otherwise. */
  stars: number;
  /** The mean of the distribution, in stars: 1 to 5. */
  expected: number;
  /** Of 1, 2, 3, 4 and 5 stars; they add up to 1. */
  probabilities: [number, number, number, number, number];
  /**
   * Whether the text told the model almost nothing: its probabilities are nearly those of the reviews that it was trained on. So it is for random letters and for languages that the model
   * does not know. Always false for a model whose manifest holds no `prior`.
   */
  guess: boolean;
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

export interface BenchOptions {
  /** Texts a call. Default `[1, 32, 64, 'all']`. */
  batches?: (number | 'all')[];
  /** Further ways, with milliseconds added to each call. Default 20 ms to each single text and 500 ms to each batch of 32. */
  lags?: { batch: number | 'all'; lag: number }[];
  /** How many workers, one number after the other: all ways are measured with each. Afterwards there are as many as before. Default: as many as there are. */
  workers?: number[];
  /** Runs of each way, of which the median counts. Default 3. */
  repeats?: number;
  /** Called as texts are rated, those of warm-ups included: how many, and of how many tokens, since the call. */
  onProgress?: (progress: { rated: number; tokens: number }) => void;
  /** Called as each row is done. */
  onRow?: (row: BenchRow) => void;
  /** Cancels measuring. */
  signal?: AbortSignal;
}

export interface BenchRow {
  batch: number | 'all';
  /** Milliseconds added to each call. */
  lag: number;
  /** How many workers did it. */
  workers: number;
  /** The median of the runs. */
  samplesPerSecond: number;
  /** The slowest and the fastest run, in samples a second. */
  slowest: number;
  fastest: number;
  tokensPerSecond: number;
  /** Texts a run. */
  samples: number;
  repeats: number;
}

/** All files of a drop, those in its folders too, for `load({ files })`. Call it while the drop is being handled. */
export function filesOf(transfer: DataTransfer): Promise<File[]>;

/** The models that this browser keeps for this page. */
export function kept(): Promise<Kept>;

export interface Kept {
  models: KeptModel[];
  /** Bytes of downloads that were cut off. Loading the model goes on with them. */
  unfinished: number;
}

export interface KeptModel {
  /** Where it came from; `forget` takes this. */
  model: string;
  /** The address of the version that is kept. */
  address: string;
  bytes: number;
  /** When it arrived. */
  at: Date;
}

/** Deletes a kept model, with those of its files that no other kept model shares; without an argument, everything that is kept. */
export function forget(model?: string): Promise<void>;
