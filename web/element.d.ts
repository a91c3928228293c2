import type { LoadProgress, Rating } from './starsight.js';

/**
 * `<star-rating-review>`: a review with its rating by Starsight, computed in the browser.
 *
 * ```html
 * <script type="module" src="https://host/element.js"></script>
 * <star-rating-review>Great app, I use it every day!</star-rating-review>
 * <star-rating-review text="Great app" model="owner/name"></star-rating-review>
 * ```
 *
 * Attributes:
 * - `text`: the review; by default the element's own text, which it shows.
 * - `model`, `endpoint`: as in `load` in starsight.d.ts; by default the model beside element.js.
 * - `label`: the stars' text for assistive technology, by default `{stars} of 5 stars`; `{stars}` stands for their number.
 *
 * The module and the model are downloaded when the first text is rated. All elements of a page with the same model share a rater. While a rating is computed, the element
 * has `aria-busy`.
 *
 * Style: the properties `--star-rating-size`, `--star-rating-color` and `--star-rating-rest-color`, whose defaults follow `color-scheme`; the parts `stars`, `full` and `rest`.
 */
export class StarRatingReview extends HTMLElement {
  /** The review. Setting it starts a new rating; answers to earlier texts are ignored. */
  text: string;
  /** The bundle's location. */
  model: string;
  /** The rating, or null while there is none. */
  readonly rating: Rating | null;

  addEventListener<K extends keyof StarRatingReviewEvents>(type: K, listener: (event: StarRatingReviewEvents[K]) => void, options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject, options?: boolean | AddEventListenerOptions): void;
}

/** The events do not bubble. */
export interface StarRatingReviewEvents {
  /** A text was rated. */
  rating: CustomEvent<Rating>;
  /** Rating failed; `detail.name` and `detail.message` say why. starsight.d.ts lists the names. */
  error: CustomEvent<Error>;
  /** The model is being loaded. Only the element that requested it first gets this event. */
  progress: CustomEvent<LoadProgress>;
}

declare global {
  interface HTMLElementTagNameMap {
    'star-rating-review': StarRatingReview;
  }
}
