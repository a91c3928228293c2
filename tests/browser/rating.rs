//! The page and the module give the same ratings as the native program.

use fantoccini::Locator;
use serde_json::{Value, json};

use crate::common::{good, trained};
use crate::scene::{Browser, REVIEWS, native, serve};

/// Path of the site below the server's root.
const SUB_PATH: &str = "some/where/reviews";

/// Asserts that two ratings are equal bit for bit.
fn assert_same_rating(found: &Value, native: &Value, review: &str) {
    assert_eq!(
        (&found["stars"], &found["guess"]),
        (&native["stars"], &native["guess"]),
        "{review:?}"
    );
    let number = |v: &Value| v.as_f64().expect("a number") as f32;
    let numbers = |v: &Value| {
        [&v["expected"]]
            .into_iter()
            .chain(v["probabilities"].as_array().expect("five"))
            .map(number)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        numbers(found),
        numbers(native),
        "{review:?}: {found} {native}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn page_and_module_rate_as_the_native_program_does() {
    let dir = trained();
    good(
        dir.path(),
        &[
            "site",
            "--model",
            "model",
            "--out",
            &format!("root/{SUB_PATH}"),
        ],
    );
    let wanted = native(dir.path());
    let (_server, address) = serve(&dir.path().join("root"));
    let browser = Browser::open().await;
    browser
        .client
        .goto(&format!("{address}/{SUB_PATH}/"))
        .await
        .expect("the page");
    browser.ready().await;

    // One review at a time, as a visitor types; the answer to the last text stays.
    for (review, wanted) in REVIEWS
        .iter()
        .zip(&wanted)
        .filter(|(review, _)| !review.is_empty())
    {
        browser.type_into("#review", "something else first").await;
        browser.type_into("#review", review).await;
        let expected = wanted["expected"].as_f64().expect("a number");
        let script = format!(
            "const e = parseFloat(document.querySelector('#stars').dataset.expected); return Math.abs(e - {expected}) < 1e-2 ? document.querySelector('#verdict').dataset.stars : null"
        );
        let stars = browser.until(review, &script).await;
        assert_eq!(
            stars.as_str().map(str::to_string),
            Some(wanted["stars"].to_string()),
            "{review:?}"
        );
    }

    // Many at once; the empty line is skipped.
    browser.show("many").await;
    browser.type_into("#many", &REVIEWS.join("\n")).await;
    browser
        .client
        .find(Locator::Css("#rate-many"))
        .await
        .expect("a button")
        .click()
        .await
        .expect("a click");
    let script = "const rows = [...document.querySelectorAll('#grid .grid__row')].sort((a, b) => a.ariaRowIndex - b.ariaRowIndex).map((row) => row.dataset.stars); return rows.length === 6 && rows.every(Boolean) ? rows : null";
    let rows = browser.until("many reviews", script).await;
    let filled = REVIEWS
        .iter()
        .zip(&wanted)
        .filter(|(review, _)| !review.is_empty())
        .map(|(_, rating)| json!(rating["stars"].to_string()));
    assert_eq!(rows, Value::Array(filled.collect()));
    browser
        .until(
            "the throughput",
            "return /[0-9]/.test(document.querySelector('#throughput').innerText) || null",
        )
        .await;

    // The module, as another page would use it: every text, the empty one included, in the given
    // order. Two workers, or no relaxed SIMD, give the same ratings.
    for (workers, relaxed_simd) in [(1, true), (2, true), (1, false)] {
        let script = "const [texts, workers, relaxedSimd, done] = arguments;
            (async () => {
                const { load } = await import('./starsight.js');
                const rater = await load({ model: './model/', workers, relaxedSimd });
                const { ratings, stats } = await rater.rate(texts);
                const wrong = await rater.rate(['fine', 7]).catch((error) => error.name + ': ' + error.message);
                const nothing = await rater.rate([]);
                const info = rater.info;
                rater.free();
                const freed = await rater.rate(['fine']).catch((error) => error.message);
                const missing = await load({ model: './nowhere/' }).catch((error) => error.message);
                return { ratings, stats, wrong, nothing, info, freed, missing };
            })().then(done, (error) => done({ error: String(error) }));";
        let found = browser
            .client
            .execute_async(
                script,
                vec![json!(REVIEWS), json!(workers), json!(relaxed_simd)],
            )
            .await
            .expect("a script");
        assert_eq!(found["error"], Value::Null);
        let ratings = found["ratings"].as_array().expect("ratings");
        assert_eq!(ratings.len(), REVIEWS.len());
        for ((rating, wanted), review) in ratings.iter().zip(&wanted).zip(REVIEWS) {
            assert_same_rating(rating, wanted, review);
        }
        let stats = &found["stats"];
        assert_eq!(
            stats["backend"]
                .as_str()
                .expect("a name")
                .contains("relaxed"),
            relaxed_simd,
            "{stats}"
        );
        assert_eq!(
            (stats["samples"].as_u64(), stats["workers"].as_u64()),
            (Some(REVIEWS.len() as u64), Some(workers))
        );
        assert!(
            stats["tokens"].as_u64().expect("tokens") > 14
                && stats["samplesPerSecond"].as_f64().expect("a rate") > 0.0,
            "{stats}"
        );
        assert!(
            found["wrong"]
                .as_str()
                .expect("an error")
                .starts_with("TypeError: texts[1]"),
            "{}",
            found["wrong"]
        );
        assert_eq!(found["nothing"]["ratings"], json!([]));
        assert_eq!(found["info"]["name"], "model");
        assert!(found["freed"].as_str().expect("an error").contains("freed"));
        assert!(
            found["missing"].as_str().expect("an error").contains("404"),
            "{}",
            found["missing"]
        );
    }

    // Nothing was fetched from another host.
    let fetched = browser
        .client
        .execute(
            "return performance.getEntriesByType('resource').map((entry) => entry.name)",
            vec![],
        )
        .await
        .expect("a script");
    let foreign: Vec<&Value> = fetched
        .as_array()
        .expect("a list")
        .iter()
        .filter(|name| !name.as_str().is_some_and(|n| n.starts_with(&address)))
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    browser.close().await;
}
