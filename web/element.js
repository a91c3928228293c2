/**
 * <star-rating-review>: a review with its rating by Starsight, computed in the browser.
 *
 *     <script type="module" src="https://host/element.js"></script>
 *     <star-rating-review>Great app, I use it every day!</star-rating-review>
 *
 * element.d.ts has the types and the documentation.
 */

const STYLE = `
  :host { display: inline; }
  :host([hidden]) { display: none; }
  #stars { white-space: nowrap; font-size: var(--star-rating-size, 1em); line-height: 1; }
  #full { color: var(--star-rating-color, light-dark(#a35200, #ffb020)); }
  #rest { color: var(--star-rating-rest-color, light-dark(#6f6a60, #a19b8f)); }
  :host([aria-busy]) #stars { opacity: 0.5; }
`;

const LABEL = '{stars} of 5 stars';

/** The raters that the page's elements share, keyed by model and endpoint. */
const raters = new Map();

export class StarRatingReview extends HTMLElement {
  static observedAttributes = ['text', 'model', 'endpoint', 'label'];

  #stars;
  /** The number of the latest request; answers to earlier requests are ignored. */
  #asked = 0;
  #rating = null;
  #changes = new MutationObserver(() => this.#rate());

  constructor() {
    super();
    const root = this.attachShadow({ mode: 'open' });
    // Not as a <style> element, which a page's policy may forbid.
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    this.#stars = element('span', { id: 'stars', part: 'stars', role: 'img' });
    this.#stars.append(element('span', { id: 'full', part: 'full' }), element('span', { id: 'rest', part: 'rest' }));
    root.append(element('slot'), ' ', this.#stars);
    this.#show();
  }

  connectedCallback() {
    this.#changes.observe(this, { characterData: true, childList: true, subtree: true });
    this.#rate();
  }

  disconnectedCallback() {
    this.#changes.disconnect();
  }

  attributeChangedCallback(name, before, now) {
    if (name === 'label') this.#show();
    else if (before !== now && this.isConnected) this.#rate();
  }

  /** The review; see element.d.ts. */
  get text() {
    return this.getAttribute('text') ?? this.textContent.trim();
  }

  set text(text) {
    this.setAttribute('text', text);
  }

  get model() {
    return this.getAttribute('model') ?? new URL(/* @vite-ignore */ './model/', import.meta.url).href;
  }

  set model(model) {
    this.setAttribute('model', model);
  }

  /** The last rating, or null. */
  get rating() {
    return this.#rating;
  }

  async #rate() {
    const asked = ++this.#asked;
    const { text, model } = this;
    this.#rating = null;
    this.toggleAttribute('aria-busy', text !== '');
    this.#show();
    if (text === '') return;
    try {
      const load = () => raterOf(model, this.getAttribute('endpoint') ?? undefined, (progress) => this.#tell('progress', progress));
      const loading = load();
      const rater = await loading;
      if (asked !== this.#asked) return;
      const { ratings } = await rater.rate([text]).catch(async (error) => {
        // If the rater's workers have stopped for good, the model is loaded once more.
        const isOver = await rater.rate([]).then(() => false, () => true);
        if (!isOver) throw error;
        forget(loading);
        return (await load()).rate([text]);
      });
      if (asked !== this.#asked) return;
      this.#rating = ratings[0];
    } catch (error) {
      if (asked !== this.#asked) return;
      this.#tell('error', error);
    }
    this.removeAttribute('aria-busy');
    this.#show();
    if (this.#rating) this.#tell('rating', this.#rating);
  }

  #show() {
    const stars = this.#rating?.stars ?? 0;
    const [full, rest] = this.#stars.children;
    full.textContent = '★'.repeat(stars);
    rest.textContent = '☆'.repeat(5 - stars);
    this.#stars.hidden = !this.#rating && !this.hasAttribute('aria-busy');
    this.#stars.ariaLabel = this.#rating ? (this.getAttribute('label') ?? LABEL).replaceAll('{stars}', stars) : '…';
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

customElements.define('star-rating-review', StarRatingReview);

/** The rater for a model. It is loaded for the first text; after a failure, again for the next text. */
function raterOf(model, endpoint, onProgress) {
  const key = JSON.stringify([model, endpoint]);
  if (!raters.has(key)) {
    const loading = import('./starsight.js').then(({ load }) => load({ model, endpoint, onProgress }));
    loading.catch(() => raters.delete(key));
    raters.set(key, loading);
  }
  return raters.get(key);
}

/** Removes a rater, so that the next text for its model loads it again. */
function forget(loading) {
  for (const [key, known] of raters) if (known === loading) raters.delete(key);
}

function element(name, attributes = {}) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  return made;
}
