//! `<star-rating-review>` in another site's page.

use std::path::Path;

use serde_json::json;

use crate::common::{good, trained, words};
use crate::scene::{Browser, REVIEWS, host, native};

#[tokio::test(flavor = "multi_thread")]
async fn the_element_rates_in_another_sites_page() {
    let dir = trained();
    good(dir.path(), &words("site --model model --out site"));
    let wanted = native(dir.path());
    let (site, page) = (
        host(&dir.path().join("site")).await,
        host(Path::new("/nowhere")).await,
    );
    let browser = Browser::open().await;
    browser.client.goto(&page).await.expect("another site");
    // The element's own text, the attribute, and another text set while the first is being rated:
    // the last one counts.
    let run = "const requests = () => performance.getEntriesByType('resource').filter(({ name }) => name.includes('starsight.js')).length;
        await import(`${args.site}/element.js`);
        const empty = document.createElement('star-rating-review');
        document.body.append(empty);
        const before = requests();
        const heard = (element, type) => new Promise((resolve) => element.addEventListener(type, ({ detail }) => resolve(detail), { once: true }));
        const made = (change) => {
            const element = document.createElement('star-rating-review');
            change(element);
            document.body.append(element);
            return element;
        };
        const own = made((element) => (element.textContent = args.texts[0]));
        const busy = own.getAttribute('aria-busy');
        const first = await heard(own, 'rating');
        const attribute = made((element) => element.setAttribute('text', args.texts[1]));
        attribute.text = args.texts[3];
        const last = await heard(attribute, 'rating');
        own.firstChild.data = args.texts[1];
        const changed = await heard(own, 'rating');
        const missing = made((element) => { element.model = './nowhere/'; element.text = 'fine'; });
        const error = await heard(missing, 'error');
        const stars = (element) => element.shadowRoot.querySelector('[part=stars]');
        const color = (part) => getComputedStyle(own.shadowRoot.querySelector(`[part=${part}]`)).color;
        const colors = [];
        for (const scheme of ['light', 'dark']) {
            document.documentElement.style.colorScheme = scheme;
            colors.push(color('full'));
        }
        own.style.setProperty('--star-rating-color', 'rgb(1, 2, 3)');
        colors.push(color('full'));
        own.setAttribute('label', '{stars} Sterne');
        return {
            before, busy, first: first.stars, last: last.stars, changed: changed.stars, rating: own.rating.stars, error: error.name, colors,
            shown: stars(attribute).textContent, labels: [stars(attribute).ariaLabel, stars(own).ariaLabel], idle: own.hasAttribute('aria-busy'),
            hidden: [stars(empty).hidden, stars(missing).hidden, stars(own).hidden], slotted: own.innerText.includes(args.texts[1]),
        }";
    let found = browser
        .call(run, json!({ "site": site, "texts": REVIEWS }))
        .await;
    let stars = |review: usize| wanted[review]["stars"].as_u64().expect("stars") as usize;
    let shown = "★".repeat(stars(3)) + &"☆".repeat(5 - stars(3));
    // Its workers are gone and new ones fail to start: the next text loads the model again.
    let again = "const Real = Worker;
        const started = [];
        globalThis.Worker = class extends Real { constructor(...all) { super(...all); started.push(this); } };
        const heard = (element, type) => new Promise((resolve) => element.addEventListener(type, ({ detail }) => resolve(detail), { once: true }));
        const element = document.createElement('star-rating-review');
        element.model = `${args.site}/model/?again`;
        element.text = args.texts[0];
        document.body.append(element);
        const first = await heard(element, 'rating');
        globalThis.Worker = class { constructor() { throw new Error('no more'); } };
        started[0].terminate();
        started[0].dispatchEvent(new ErrorEvent('error', { message: 'killed by the test' }));
        await new Promise((resolve) => setTimeout(resolve, 100));
        globalThis.Worker = Real;
        element.text = args.texts[1];
        return [first.stars, (await Promise.race([heard(element, 'rating'), heard(element, 'error')])).stars ?? 'an error']";
    assert_eq!(
        browser
            .call(again, json!({ "site": site, "texts": REVIEWS }))
            .await,
        json!([stars(0), stars(1)])
    );
    assert_eq!(
        found,
        json!({
            "before": 0, "busy": "", "first": stars(0), "last": stars(3), "changed": stars(1), "rating": stars(1), "error": "DownloadError",
            "colors": ["rgb(163, 82, 0)", "rgb(255, 176, 32)", "rgb(1, 2, 3)"],
            "shown": shown, "labels": [format!("{} of 5 stars", stars(3)), format!("{} Sterne", stars(1))], "idle": false,
            "hidden": [true, true, false], "slotted": true,
        })
    );
    browser.close().await;
}

/// `examples/element.html` with a site beside it.
#[tokio::test(flavor = "multi_thread")]
async fn the_example_shows_the_mean_of_its_reviews() {
    let dir = trained();
    good(dir.path(), &words("site --model model --out site"));
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/element.html");
    std::fs::copy(example, dir.path().join("example.html")).expect("copied");
    let address = host(dir.path()).await;
    let browser = Browser::open().await;
    let page = format!("{address}/example.html");
    browser.client.goto(&page).await.expect("the example");
    let run = "const reviews = [...document.querySelectorAll('star-rating-review')];
        const mean = document.getElementById('mean');
        while (reviews.some(({ rating }) => !rating)) await new Promise((resolve) => setTimeout(resolve, 50));
        await new Promise((resolve) => setTimeout(resolve, 50));
        const expected = reviews.reduce((sum, { rating }) => sum + rating.expected, 0) / reviews.length;
        return [reviews.length, mean.textContent === expected.toFixed(2)]";
    assert_eq!(browser.call(run, json!({})).await, json!([3, true]));
}
