import type { LoadProgress, Rating } from './starsight.js';

/**
 * `<star-rating-review>`: a review with the stars that Starsight gives it, inside the browser.
 *
 * ```html
 * <script type="module" src="https://host/element.js"></script>
 * <star-rating-review>Great app, I use it every day!</star-rating-review>
 * <star-rating-review text="Great app" model="owner/name"></star-rating-review>
 * ```
 *
 * Attributes: `text`, the review (else its own text is, which it shows); `model` and `endpoint`, as `load` in starsight.d.ts takes them (else the model beside element.js); `label`, what
 * assistive technology reads in place of the stars, with `{stars}` for their number (`{stars} of 5 stars`). The module and the model are fetched with the first text; all elements of a
 * page with the same model share a rater. While it is at work the element has `aria-busy`.
 *
 * Style: `--star-rating-size`, `--star-rating-color`, `--star-rating-rest-color`, which follow `color-scheme` unless set; parts `stars`, `full` and `rest`.
 */
export class StarRatingReview extends HTMLElement {
  /** The review. Another one is rated at once; only the last answer counts. */
  text: string;
  /** Where the bundle is. */
  model: string;
  /** The rating, or null as long as there is none. */
  readonly rating: Rating | null;

  addEventListener<K extends keyof StarRatingReviewEvents>(type: K, listener: (event: StarRatingReviewEvents[K]) => void, options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject, options?: boolean | AddEventListenerOptions): void;
}

/** They do not bubble. */
export interface StarRatingReviewEvents {
  /** A text was rated. */
  rating: CustomEvent<Rating>;
  /** It could not be; `detail.name` and `detail.message` say why, as starsight.d.ts lists them. */
  error: CustomEvent<Error>;
  /** The model is on its way; only the element that asked for it first hears this. */
  progress: CustomEvent<LoadProgress>;
}

declare global {
  interface HTMLElementTagNameMap {
    'star-rating-review': StarRatingReview;
  }
}
