//! What holds of every view: that anybody can use it, that it is quick and small, that it keeps still, and that it asks nobody else.

use std::path::Path;

use serde_json::{Value, json};

use crate::common::{good, trained};
use crate::scene::{Browser, Process, REVIEWS, serve};

const VIEWS: [&str; 4] = ["one", "many", "speed", "model"];
const WIDTHS: [u32; 3] = [360, 768, 1440];

/// Packed bytes of the page without its engine. Wanted are 350 KB; the table of many reviews brought it above.
const LARGEST_PAGE: u64 = 440_000;

async fn site() -> (Browser, String, Process, tempfile::TempDir) {
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
async fn the_page_is_quick_small_and_still() {
    let (browser, address, _server, dir) = site().await;
    let packed = packed(&dir.path().join("site"));
    assert!(packed < LARGEST_PAGE, "{packed} bytes");

    let watch = "window.shifts = [];
        new PerformanceObserver((list) => list.getEntries().forEach(({ value, hadRecentInput, sources }) => hadRecentInput || shifts.push([value, String(sources[0]?.node?.className ?? sources[0]?.node?.nodeName)]))).observe({ type: 'layout-shift', buffered: true })";
    browser.before_each_page(watch).await;
    browser.client.goto(&address).await.expect("the page");
    browser.ready().await;
    for width in WIDTHS {
        browser.screen(width, "light").await;
        for view in VIEWS {
            browser.call("const { forget } = await import('./starsight.js'); await forget()", Value::Null).await;
            browser.client.goto(&format!("{address}/?tab={view}")).await.expect("the page");
            browser.ready().await;
            if view == "one" {
                browser.type_into("#review", REVIEWS[4]).await;
                browser.until("the words", "return document.querySelector('.pulls').dataset.known === 'true' || null").await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(400)).await;
            let painted = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null";
            let painted = browser.until("a paint", painted).await;
            assert!(painted.as_f64().is_some_and(|ms| ms < 500.0), "{view}, {width}: first contentful paint after {painted} ms");
            let shifts = browser.client.execute("return shifts", vec![]).await.expect("a script");
            let sum: f64 = shifts.as_array().expect("a list").iter().map(|shift| shift[0].as_f64().expect("a value")).sum();
            assert!(sum < 0.02, "{view}, {width}: layout shift {sum}: {shifts}");
        }
    }
    assert_eq!(browser.errors().await, Vec::<String>::new());
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

/// Bytes that a browser fetches for the page, as brotli packs them: all but the model, and the engine's two modules, of which it takes one.
fn packed(site: &Path) -> u64 {
    let mut sum = 0;
    for folder in [site.to_owned(), site.join("engine"), site.join("table")] {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let is_engine = folder != site && name.contains(".wasm");
            if path.is_dir() || is_engine || [".br", ".gz", ".d.ts"].iter().any(|kind| name.ends_with(kind)) {
                continue;
            }
            let packed = path.with_file_name(format!("{name}.br"));
            sum += std::fs::metadata(if packed.exists() { packed } else { path }).expect("a file").len();
        }
    }
    sum
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}
