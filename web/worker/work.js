// Divides the texts of one call among workers on demand.

/** The cost of a text besides its characters, for its special tokens and overhead. */
const COST_OF_A_TEXT = 8;

/** The smallest and largest portion in characters: enough to fill packed batches, few enough that all workers finish at about the same time. */
const SMALLEST_PORTION = 6_000;
const LARGEST_PORTION = 48_000;

/** About the number of characters of a text that a model reads; the rest costs nothing. */
const LONGEST = 2048;

export class Work {
  #hear;
  #costs;
  #next = 0;
  #returned = [];
  #rated;
  #open;

  /** Set by the pool: settle the call's promise. */
  resolve;
  reject;

  /** Cost of the rated texts, and of the others. */
  done = 0;
  remaining = 0;

  /** `once`: whether texts with the same tokens are computed once; `hear`: callbacks { tokenised(count), ratings(message) }. */
  constructor(texts, once, hear) {
    this.texts = texts;
    this.once = once;
    this.#hear = hear;
    this.#costs = new Uint16Array(texts.length);
    for (let i = 0; i < texts.length; i += 1) this.remaining += this.#costs[i] = Math.min(texts[i].length, LONGEST) + COST_OF_A_TEXT;
    this.#rated = new Uint8Array(texts.length);
    this.#open = texts.length;
  }

  /** Whether all texts are rated. */
  get isDone() {
    return this.#open === 0;
  }

  /**
   * The next portion for one of `workers`, or null if there is none. Portions follow the order of the texts, so that the first rows get ratings first and the remaining time can be estimated.
   * They become smaller towards the end, so that all workers finish together (guided self-scheduling: Polychronopoulos, Kuck 1987).
   */
  take(workers) {
    if (this.#returned.length > 0) return this.#returned.pop();
    const from = this.#next;
    if (from === this.texts.length) return null;
    const most = Math.min(Math.max(this.remaining / (3 * workers), SMALLEST_PORTION), LARGEST_PORTION);
    for (let cost = 0; this.#next < this.texts.length && cost < most; this.#next += 1) cost += this.#costs[this.#next];
    return { places: Uint32Array.from({ length: this.#next - from }, (_, i) => from + i), tokenised: 0, tries: 0 };
  }

  /** Takes back the unrated texts of a portion. */
  giveBack(portion) {
    const places = portion.places.filter((place) => !this.#rated[place]);
    if (places.length > 0) this.#returned.push({ ...portion, places, tokenised: 0 });
    this.#hear.tokenised(-Math.min(portion.tokenised, places.length));
  }

  /** Handles a worker's message about a portion. */
  hear(portion, message) {
    if (message.type === 'tokenised') {
      this.#hear.tokenised(message.texts - portion.tokenised);
      portion.tokenised = message.texts;
      return;
    }
    const indices = message.indices.map((index) => portion.places[index]);
    for (const place of indices) {
      this.done += this.#costs[place];
      this.remaining -= this.#costs[place];
      this.#rated[place] = 1;
    }
    this.#open -= indices.length;
    this.#hear.ratings({ ...message, indices });
  }
}
