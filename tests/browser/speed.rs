//! The benchmark of the page, as a visitor uses it.

use serde_json::{Value, json};

use crate::common::{good, json as parsed, trained, words};
use crate::model::add_other;
use crate::scene::{Browser, serve};

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_measured_and_the_result_taken_along() {
    let dir = trained();
    good(dir.path(), &words("site --model model --out site"));
    add_other(&dir.path().join("site"));
    let (_server, address) = serve(&dir.path().join("site"));
    let browser = Browser::open().await;
    browser
        .before_each_page("Object.defineProperty(navigator, 'hardwareConcurrency', { value: 2 })")
        .await;
    browser
        .client
        .goto(&format!("{address}/?tab=speed"))
        .await
        .expect("the page");
    browser.ready().await;
    browser
        .devtools("Browser.grantPermissions", json!({ "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"], "origin": address }))
        .await;
    assert!(
        browser
            .text("#so-far")
            .await
            .contains("You have not rated any reviews yet")
    );

    // Cancel at once.
    browser.click("#measure").await;
    browser
        .until(
            "measuring",
            "return document.querySelector('#measure').innerText === 'Cancel' || null",
        )
        .await;
    browser.click("#measure").await;
    browser.until("the end", "return document.querySelector('#bench-status').innerText.startsWith('Cancelled') || null").await;

    // Run again to the end; meanwhile the live figures change.
    browser.client.execute("window.seen = []; const figure = document.querySelector('#live-samples'); new MutationObserver(() => seen.push(figure.innerText)).observe(figure, { subtree: true, characterData: true, childList: true })", vec![]).await.expect("a script");
    browser.click("#measure").await;
    browser
        .until(
            "the end",
            "return document.querySelector('#bench-status').innerText === 'Measured.' || null",
        )
        .await;
    let rows = browser
        .call("return [...document.querySelectorAll('#bench tbody tr')].map((row) => [row.cells[0].innerText, Number(row.dataset.speed), row.cells[4].innerText])", Value::Null)
        .await;
    let rows: Vec<(String, f64, String)> = serde_json::from_value(rows).expect("rows");
    let found: Vec<(&str, &str)> = rows
        .iter()
        .map(|(way, _, quoted)| (way.as_str(), quoted.as_str()))
        .collect();
    let wanted = [
        ("One per call", "196"),
        ("32 per call", "397"),
        ("64 per call", "309"),
        ("All at once, packed", "–"),
        ("All at once, packed, 2 workers", "–"),
        ("One per call, with 20 ms of lag", "41"),
        ("32 per call, with 500 ms of lag", "54.8"),
    ];
    assert_eq!(found, wanted);
    assert!(rows.iter().all(|(_, speed, _)| *speed > 0.0), "{rows:?}");
    assert!(
        rows[5].1 < 50.0 && rows[6].1 < 64.0,
        "no faster than the lag: {rows:?}"
    );
    let seen = browser
        .client
        .execute("return seen", vec![])
        .await
        .expect("a script");
    assert!(
        seen.as_array().is_some_and(|seen| seen
            .iter()
            .any(|figure| figure.as_str().is_some_and(|text| text != "–"))),
        "{seen}"
    );
    browser
        .until(
            "the curve",
            "return document.querySelector('#curve-line').getAttribute('d').length > 20 || null",
        )
        .await;
    // The benchmark's invented reviews do not count as rated.
    assert!(
        browser
            .text("#so-far")
            .await
            .contains("You have not rated any reviews yet")
    );
    let compared = browser.text("#compared").await;
    assert!(
        compared.contains("34.9") && compared.contains("47 min 46 s") && compared.contains("$0.97"),
        "{compared}"
    );

    browser.click("#copy-json").await;
    browser
        .until(
            "the copy",
            "return document.querySelectorAll('.bench__copy [role=status]')[1].innerText || null",
        )
        .await;
    let copied = parsed(
        browser
            .call("return navigator.clipboard.readText()", Value::Null)
            .await
            .as_str()
            .expect("a text"),
    );
    assert_eq!(
        (&copied["model"], &copied["cores"]),
        (&json!("model"), &json!(2)),
        "{copied}"
    );
    let speeds: Vec<f64> = copied["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| row["samplesPerSecond"].as_f64().expect("a rate"))
        .collect();
    assert!(
        speeds.len() == rows.len()
            && speeds
                .iter()
                .zip(&rows)
                .all(|(copied, row)| (copied / row.1 - 1.0).abs() < 1e-9),
        "{speeds:?} {rows:?}"
    );
    assert_eq!(copied["rows"][4]["workers"], 2);
    browser.click("#copy-text").await;
    browser
        .until(
            "the copy",
            "return document.querySelectorAll('.bench__copy [role=status]')[0].innerText || null",
        )
        .await;
    let text = browser
        .call("return navigator.clipboard.readText()", Value::Null)
        .await;
    let text = text.as_str().expect("a text");
    assert!(
        text.contains("medians of three runs after a warm-up")
            && text.contains("All at once, packed, 2 workers: "),
        "{text}"
    );

    // After another model is loaded, the result still names the model that was measured.
    browser.show("model").await;
    browser.type_into("#another", "./other/").await;
    browser.click("#load-another").await;
    browser
        .until(
            "the other",
            "return document.querySelector('#model-name')?.innerText === 'the other' || null",
        )
        .await;
    browser.show("speed").await;
    browser.until("whose it is", "return document.querySelector('#bench-status').innerText.startsWith('Measured with model,') || null").await;
    browser.click("#copy-text").await;
    browser
        .until(
            "the copy",
            "return document.querySelectorAll('.bench__copy [role=status]')[0].innerText || null",
        )
        .await;
    let text = browser
        .call("return navigator.clipboard.readText()", Value::Null)
        .await;
    assert!(
        text.as_str()
            .is_some_and(|text| text.starts_with("Starsight, model, ")),
        "{text}"
    );

    // Reviews rated elsewhere on the page count, and rating still works with as many workers as
    // before.
    browser.show("one").await;
    browser.type_into("#review", "great app").await;
    browser
        .until(
            "the words",
            "return document.querySelector('.pulls').dataset.known === 'true' || null",
        )
        .await;
    browser.show("speed").await;
    // It counts as one review, however often it was rated again without one of its words.
    let so_far =
        browser.until("the count", "const text = document.querySelector('#so-far').innerText; return text.includes('ChatGPT') ? text : null").await;
    let so_far = so_far.as_str().expect("a text");
    assert!(
        so_far.contains(": 1 review.")
            && so_far.contains("ChatGPT would have taken")
            && so_far.contains('$'),
        "{so_far}"
    );
    assert_eq!(browser.errors().await, Vec::<String>::new());
    browser.close().await;
}
