/**
 * Starsight rates reviews from one to five stars with a small language model, in the browser. No text leaves it.
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
 * Errors are `Error` objects; `name` identifies the kind:
 * - `DownloadError`: a file could not be downloaded; the message names the address and the status.
 * - `BundleError`: the files do not match the bundle's manifest, or this browser computes other logits than the trainer did.
 * - `EngineError`: the worker could not start, is not the one that this module was built with, crashed, or was freed.
 * - `TypeError`, `RangeError`: an argument is invalid; the message says which.
 *
 * A call whose `AbortSignal` is aborted fails with the signal's reason, by default an `AbortError`.
 *
 * The workers are started from the page's memory, so the page's Content Security Policy applies to them. It must allow `worker-src blob:`,
 * `script-src 'wasm-unsafe-eval'`, and `connect-src` to the hosts of this module and the model.
 */

/**
 * Loads a model: downloads its bundle, checks every file against the manifest, and checks that this browser computes the trainer's logits.
 *
 * Downloads are cached in the storage of the page's origin, keyed by SHA-256. An interrupted download resumes where it stopped, even after a reload. A cached model loads
 * without a network request. Without storage (a private window, a page without HTTPS, a full disk) the model is downloaded each time.
 */
export function load(options?: LoadOptions): Promise<Rater>;

export interface LoadOptions {
  /**
   * The bundle's location: a folder (starting with `./`, `../`, `/`, `http://` or `https://`; relative to the page), or a name on the Hub, `owner/name` or
   * `owner/name@revision`. Default `./model/`.
   */
  model?: string;
  /**
   * A bundle on this device, instead of `model`: `starsight.json` and the files that it lists, from a file input (separate files, or a folder by `webkitdirectory`) or from
   * `filesOf`. They are checked against the manifest, and not cached.
   */
  files?: Iterable<File>;
  /**
   * Number of workers: 1 to 64, or `auto`, the default. Each worker has its own copy of the model in memory. `auto` starts with one. For large jobs, and not on phones, it
   * adds workers up to the number of cores minus one, and at most 8, and keeps each only if it makes the whole measurably faster.
   */
  workers?: number | 'auto';
  /** Whether to use relaxed SIMD if the browser supports it. It is faster, and the ratings are the same. Default true. */
  relaxedSimd?: boolean;
  /**
   * Whether to check for a newer version of a cached model and load it. Default false: the cached version is loaded, and `onNewer` is called if there is another. If the newer
   * version cannot be downloaded or is invalid, the cached one is kept and loaded, and `onNotice` says why.
   */
  update?: boolean;
  /** The Hub's address. Default `https://huggingface.co`. Requests have no cookies and no referrer. */
  endpoint?: string;
  /** An access token for a private model. It is sent only to the Hub's own host, in a header, and is not stored. */
  token?: string;
  /** Called during the download. Errors thrown by this and the next two callbacks go to the page's `error` event and do not stop loading. */
  onProgress?: (progress: LoadProgress) => void;
  /** Called with a message for the user after a problem that was solved, such as a damaged file that was downloaded again; also while rating. */
  onNotice?: (notice: string) => void;
  /** Called once if a cached model was loaded and its source has another version. `load` with `update` loads that. */
  onNewer?: () => void;
  /** Cancels loading. */
  signal?: AbortSignal;
}

export interface LoadProgress {
  /** `download` during the download, `prepare` while the model is built and checked, `wait` while another tab downloads the same model. */
  phase: 'wait' | 'download' | 'prepare';
  /** Bytes received. */
  loaded: number;
  /** Total bytes. */
  total: number;
  /** During the download, the estimated seconds left, from the rate of the last few seconds; undefined while unknown. */
  secondsLeft?: number;
}

/** A loaded model. */
export interface Rater {
  /** About the model. */
  readonly info: Readonly<ModelInfo>;
  /**
   * Rates texts. An empty text gets a rating too; an empty list returns an empty list; an item that is not a string is a `TypeError` that names its index.
   * Calls may overlap: a single text is rated between the batches of a long list. Texts with the same tokens that are near each other in the list are computed once.
   */
  rate(texts: string[], options?: RateOptions): Promise<Rated>;
  /**
   * Measures the throughput on `texts`: with 1, 32 and 64 texts per call and all at once, each after a warm-up; then with 1 and 32 per call and an artificial lag, like that of a
   * network. Repeated texts are computed each time. Run nothing else meanwhile.
   */
  bench(texts: string[], options?: BenchOptions): Promise<BenchRow[]>;
  /** Stops the workers and frees their memory. Running and later calls fail with an `EngineError`. */
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
  /** The largest number of tokens that the model reads of a text; longer texts are truncated. */
  maxTokens: number;
  /** Metrics on the test split, as written by the trainer; null if there are none. */
  metrics: Record<string, unknown> | null;
  /** Size of the model's files in bytes. */
  bytes: number;
  /** The address of the bundle; on a Hub, that of its commit. */
  source: string;
  /** Whether it was cached by an earlier visit. */
  kept: boolean;
  /** The files that were read, and the SHA-256 of each. */
  files: { path: string; size: number; sha256: string }[];
  /** The calibration temperature by which logits are divided; 1 means no calibration. */
  temperature: number;
  /**
   * How stars are chosen from the probabilities: the most likely number, the median, the rounded mean, or `balanced`, which is almost as accurate as the most likely number, with
   * smaller errors.
   */
  decoding: 'likeliest' | 'median' | 'expected' | 'balanced';
  /** Base model, data, hyperparameters and code version, as written by the trainer. */
  provenance: Record<string, unknown>;
}

/** An error thrown by a callback ends the call with that error. */
export interface RateOptions {
  /** Called after each step of the work. */
  onProgress?: (progress: RateProgress) => void;
  /**
   * Called with the ratings of each batch as soon as it is done. They do not come in the order of `texts`: with several workers batches overtake each other, and texts with the same
   * tokens come together. Each text is reported once, even if a worker crashes and is replaced.
   */
  onRatings?: (ratings: RatingColumns) => void;
  /** Cancels rating. */
  signal?: AbortSignal;
}

export interface RateProgress {
  /** Texts tokenised so far. */
  tokenised: number;
  /** Texts rated so far. */
  rated: number;
  /** Total number of texts. */
  total: number;
  /** Tokens of the rated texts. */
  tokens: number;
  /** Seconds since the call. */
  seconds: number;
  samplesPerSecond: number;
  tokensPerSecond: number;
}

/** Ratings of several texts, as columns. */
export interface RatingColumns {
  /** The indices of the texts. */
  indices: Uint32Array;
  stars: Uint8Array;
  expected: Float32Array;
  /** Five per text, for 1 to 5 stars. */
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
  /** The number of stars, 1 to 5, chosen by the model's `decoding`, by default the most likely number. */
  stars: number;
  /** The mean of the distribution, in stars: 1 to 5. */
  expected: number;
  /** Of 1, 2, 3, 4 and 5 stars; they add up to 1. */
  probabilities: [number, number, number, number, number];
  /**
   * Whether the text gave the model almost no information: its probabilities are nearly the shares of the stars in the training data. This happens with random letters and with
   * languages that the model does not know. Always false for a model whose manifest has no `prior`.
   */
  guess: boolean;
}

export interface RateStats {
  /** Number of texts. */
  samples: number;
  /** Number of tokens, special tokens included. */
  tokens: number;
  /** Seconds from call to answer. */
  seconds: number;
  samplesPerSecond: number;
  tokensPerSecond: number;
  /** The engine, such as `WebAssembly int8, relaxed SIMD`. */
  backend: string;
  workers: number;
}

export interface BenchOptions {
  /** Texts per call. Default `[1, 32, 64, 'all']`. */
  batches?: (number | 'all')[];
  /** Further settings, with milliseconds added to each call. Default: 20 ms for single texts and 500 ms for batches of 32. */
  lags?: { batch: number | 'all'; lag: number }[];
  /** Numbers of workers; all settings are measured with each. Afterwards the previous number is restored. Default: the current number. */
  workers?: number[];
  /** Runs of each setting; the median counts. Default 3. */
  repeats?: number;
  /** Called with the number of texts rated since the call, warm-ups included, and of their tokens. */
  onProgress?: (progress: { rated: number; tokens: number }) => void;
  /** Called when a row is done. */
  onRow?: (row: BenchRow) => void;
  /** Cancels the measurement. */
  signal?: AbortSignal;
}

export interface BenchRow {
  batch: number | 'all';
  /** Milliseconds added to each call. */
  lag: number;
  /** Number of workers. */
  workers: number;
  /** The median of the runs. */
  samplesPerSecond: number;
  /** The slowest and the fastest run, in samples per second. */
  slowest: number;
  fastest: number;
  tokensPerSecond: number;
  /** Texts per run. */
  samples: number;
  repeats: number;
}

/** All files of a drop, including those in its folders, for `load({ files })`. Call it while handling the `drop` event. */
export function filesOf(transfer: DataTransfer): Promise<File[]>;

/** The models that this browser has cached for this page. */
export function kept(): Promise<Kept>;

export interface Kept {
  models: KeptModel[];
  /** Bytes of interrupted downloads. They resume when the model is loaded. */
  unfinished: number;
}

export interface KeptModel {
  /** Its source, as `forget` takes it. */
  model: string;
  /** The address of the cached version. */
  address: string;
  bytes: number;
  /** When it was downloaded. */
  at: Date;
}

/** Deletes a cached model and its files that no other cached model shares; without an argument, the whole cache. */
export function forget(model?: string): Promise<void>;
