//! What holds of every view: that anybody can use it, and that it asks nobody else.

use serde_json::{Value, json};

use crate::common::{good, trained};
use crate::scene::{Browser, Process, REVIEWS, serve};

pub const VIEWS: [&str; 4] = ["one", "many", "speed", "model"];
pub const WIDTHS: [u32; 3] = [360, 768, 1440];

pub async fn site() -> (Browser, String, Process, tempfile::TempDir) {
    let dir = trained();
    good(dir.path(), &["site", "--model", "model", "--out", "site"]);
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
            browser.until("the words", "return document.querySelector('.pulls').dataset.known === 'true' || null").await;
            for view in VIEWS {
                browser.show(view).await;
                // Colours on their way from one to another are neither.
                browser.call("await Promise.all(document.getAnimations().map((animation) => animation.finished.catch(() => {})))", Value::Null).await;
                let hindrances = browser.hindrances().await;
                assert!(hindrances.is_empty(), "{view}, {width}, {scheme}: {hindrances:#?}");
                let wider =
                    browser.client.execute("return Math.max(0, document.documentElement.scrollWidth - innerWidth)", vec![]).await.expect("a script");
                assert_eq!(wider, json!(0), "{view}, {width}: nothing reaches over the edge");
            }
        }
    }
    // On its way, and failed.
    for width in [360, 1440] {
        browser.screen(width, "light").await;
        browser.client.goto(&format!("{address}/?model=./nowhere/")).await.expect("the page");
        browser.until("an error", "return document.querySelector('#load-error') && true").await;
        let hindrances = browser.hindrances().await;
        assert!(hindrances.is_empty(), "failed, {width}: {hindrances:#?}");
    }
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_host_is_asked_by_the_page_or_its_workers() {
    let (browser, address, _server, _dir) = site().await;
    for view in VIEWS {
        browser.client.goto(&format!("{address}/?tab={view}")).await.expect("the page");
        browser.ready().await;
    }
    browser.show("one").await;
    browser.type_into("#review", REVIEWS[0]).await;
    browser.until("a rating", "return document.querySelector('#verdict').dataset.stars || null").await;
    let log = browser.close_with_log().await;
    // Of what the browser asks for, all that this site was the origin of.
    let asked: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("\"initiator\"") && line.contains(&address))
        .filter_map(|line| between(line, "\"url\":\"", "\""))
        .collect();
    assert!(asked.iter().any(|url| url.ends_with(".safetensors")), "the workers' requests are seen: {asked:?}");
    let foreign: Vec<&&str> = asked.iter().filter(|url| !url.starts_with(&address)).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}
