// The texts of one call, divided among workers as they ask for more.

/** What a text costs besides its characters: its special tokens and its place in the batch. */
const COST_OF_A_TEXT = 8;

/** The least and the most of a portion, in characters: enough to fill packed batches, few enough that no worker is left with much when the others have finished. */
const SMALLEST_PORTION = 6_000;
const LARGEST_PORTION = 48_000;

/** Characters of a text beyond which a model reads no more, about: what follows costs nothing. */
const LONGEST = 2048;

export class Work {
  #hear;
  #costs;
  #next = 0;
  #returned = [];
  #rated;
  #open;

  /** Set by the pool: what ends the call. */
  resolve;
  reject;

  /** Cost of what is rated, and of what is not. */
  done = 0;
  remaining = 0;

  /** `once`: whether texts with the same tokens are to be rated once; `hear`: { tokenised(count), ratings(message) }. */
  constructor(texts, once, hear) {
    this.texts = texts;
    this.once = once;
    this.#hear = hear;
    this.#costs = new Uint16Array(texts.length);
    for (let i = 0; i < texts.length; i += 1) this.remaining += this.#costs[i] = Math.min(texts[i].length, LONGEST) + COST_OF_A_TEXT;
    this.#rated = new Uint8Array(texts.length);
    this.#open = texts.length;
  }

  /** Whether all is rated. */
  get isDone() {
    return this.#open === 0;
  }

  /**
   * The next portion for one of `workers`, or null if there is none. In the order of the texts: what is looked at first is rated first, and the rate so far tells how long the rest takes.
   * Large ones first, small ones at the end, so that all finish together. (Guided self-scheduling: Polychronopoulos, Kuck 1987.)
   */
  take(workers) {
    if (this.#returned.length > 0) return this.#returned.pop();
    const from = this.#next;
    if (from === this.texts.length) return null;
    const most = Math.min(Math.max(this.remaining / (3 * workers), SMALLEST_PORTION), LARGEST_PORTION);
    for (let cost = 0; this.#next < this.texts.length && cost < most; this.#next += 1) cost += this.#costs[this.#next];
    return { places: Uint32Array.from({ length: this.#next - from }, (_, i) => from + i), tokenised: 0, tries: 0 };
  }

  /** Takes back what is not rated of a portion. */
  giveBack(portion) {
    const places = portion.places.filter((place) => !this.#rated[place]);
    if (places.length > 0) this.#returned.push({ ...portion, places, tokenised: 0 });
    this.#hear.tokenised(-Math.min(portion.tokenised, places.length));
  }

  /** Hears what a worker says of a portion. */
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
