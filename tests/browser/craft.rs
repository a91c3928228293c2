//! Checks on every view: accessibility, use by keyboard, and no requests to other hosts.

use fantoccini::key::Key;
use serde_json::{Value, json};

use crate::common::{good, trained, words};
use crate::scene::{Browser, Process, REVIEWS, serve};

pub const VIEWS: [&str; 4] = ["one", "many", "speed", "model"];
pub const WIDTHS: [u32; 3] = [360, 768, 1440];

pub async fn site() -> (Browser, String, Process, tempfile::TempDir) {
    let dir = trained();
    good(dir.path(), &words("site --model model --out site"));
    let (server, address) = serve(&dir.path().join("site"));
    (Browser::open().await, address, server, dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_can_use_every_view_at_every_width_in_light_and_dark() {
    let (browser, address, _server, _dir) = site().await;
    for scheme in ["light", "dark"] {
        for width in WIDTHS {
            browser.screen(width, scheme).await;
            browser.client.goto(&address).await.expect("the page");
            browser.ready().await;
            browser.type_into("#review", REVIEWS[4]).await;
            browser
                .until(
                    "the words",
                    "return document.querySelector('.pulls').dataset.known === 'true' || null",
                )
                .await;
            for view in VIEWS {
                browser.show(view).await;
                // Wait for transitions to end: a colour in transition is neither the old nor the
                // new one.
                browser.call("await Promise.all(document.getAnimations().map((animation) => animation.finished.catch(() => {})))", Value::Null).await;
                let hindrances = browser.hindrances().await;
                assert!(
                    hindrances.is_empty(),
                    "{view}, {width}, {scheme}: {hindrances:#?}"
                );
                let wider = browser
                    .client
                    .execute(
                        "return Math.max(0, document.documentElement.scrollWidth - innerWidth)",
                        vec![],
                    )
                    .await
                    .expect("a script");
                assert_eq!(
                    wider,
                    json!(0),
                    "{view}, {width}: nothing reaches over the edge"
                );
            }
        }
    }
    assert_eq!(browser.errors().await, Vec::<String>::new());
    // The page after a model failed to load.
    for width in [360, 1440] {
        browser.screen(width, "light").await;
        browser
            .client
            .goto(&format!("{address}/?model=./nowhere/"))
            .await
            .expect("the page");
        browser
            .until(
                "an error",
                "return document.querySelector('#load-error') && true",
            )
            .await;
        let hindrances = browser.hindrances().await;
        assert!(hindrances.is_empty(), "failed, {width}: {hindrances:#?}");
    }
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_view_is_used_by_keyboard_alone() {
    let (browser, address, _server, dir) = site().await;
    crate::model::add_other(&dir.path().join("site"));
    browser
        .client
        .goto(&format!("{address}/?tab=many"))
        .await
        .expect("the page");
    browser.ready().await;
    // Many: type lines, rate them, select a row, download.
    browser.tab_to("#many").await;
    browser.write("great app, love it 😍\nbad and slow").await;
    browser.tab_to("#rate-many").await;
    browser.press(Key::Enter).await;
    browser.until("ratings", "return document.querySelector('#many-status').innerText.startsWith('Rated 2 reviews') || null").await;
    browser.tab_to(".extreme").await;
    browser.press(Key::Enter).await;
    browser
        .until(
            "the most negative",
            "return document.querySelector('#detail h4').innerText === 'Row 2' || null",
        )
        .await;
    browser.press(Key::Up).await;
    browser
        .until(
            "the row above",
            "return document.querySelector('#detail h4').innerText === 'Row 1' || null",
        )
        .await;
    browser
        .client
        .execute("document.querySelector('.skip').focus()", vec![])
        .await
        .expect("a script");
    browser.tab_to("#download-csv").await;
    browser.press(Key::Enter).await;
    browser
        .until(
            "the download",
            "return document.querySelector('.download [role=alert]').hidden || null",
        )
        .await;

    // Speed: start and cancel.
    browser.show("speed").await;
    browser.tab_to("#measure").await;
    browser.press(Key::Enter).await;
    browser
        .until(
            "measuring",
            "return document.querySelector('#measure').innerText === 'Cancel' || null",
        )
        .await;
    browser.press(Key::Enter).await;
    browser.until("the end", "return document.querySelector('#bench-status').innerText.startsWith('Cancelled') || null").await;

    // Model: load another one and go back.
    browser.show("model").await;
    browser.tab_to("#another").await;
    browser.write("./other/").await;
    browser.press(Key::Enter).await;
    browser
        .until(
            "the other",
            "return document.querySelector('#model-name')?.innerText === 'the other' || null",
        )
        .await;
    browser.tab_to("#load-own").await;
    browser.press(Key::Enter).await;
    browser
        .until(
            "the first",
            "return document.querySelector('#model-name')?.innerText === 'model' || null",
        )
        .await;
    assert_eq!(browser.errors().await, Vec::<String>::new());
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_host_is_asked_by_the_page_or_its_workers() {
    let (browser, address, _server, _dir) = site().await;
    for view in VIEWS {
        browser
            .client
            .goto(&format!("{address}/?tab={view}"))
            .await
            .expect("the page");
        browser.ready().await;
    }
    browser.show("one").await;
    browser.type_into("#review", REVIEWS[0]).await;
    browser
        .until(
            "a rating",
            "return document.querySelector('#verdict').dataset.stars || null",
        )
        .await;
    let log = browser.close_with_log().await;
    // The requests whose initiator is this site. The browser's own requests have no such initiator.
    let asked: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("\"initiator\"") && line.contains(&address))
        .filter_map(|line| between(line, "\"url\":\"", "\""))
        .collect();
    assert!(
        asked.iter().any(|url| url.ends_with(".safetensors")),
        "the workers' requests are seen: {asked:?}"
    );
    let foreign: Vec<&&str> = asked
        .iter()
        .filter(|url| !url.starts_with(&address))
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?
        .1
        .split_once(after)
        .map(|(found, _)| found)
}
