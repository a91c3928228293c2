//! How quick the page is, and how small. By the clock, so that nothing may run beside it: `cargo xtask test` runs these after the others, one by one.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::craft::{VIEWS, WIDTHS, site};
use crate::many::{ROWS, Visit, csv};
use crate::scene::REVIEWS;

/// Packed bytes of the page without its engine and the reader of files, which is fetched when there is a file.
const LARGEST_PAGE: u64 = 350_000;

/// Milliseconds until something is to be seen.
const FIRST_PAINT: f64 = 500.0;

/// How far what is seen may move of itself. (Cumulative Layout Shift, web.dev.)
const LAYOUT_SHIFT: f64 = 0.02;

/// Milliseconds of the longest task of the page's thread while it rates. The aim is 50, which a visitor does not feel. The clock goes on while a task waits for a core, and here all are
/// busy: so this much more is let pass.
const LONG_TASK: f64 = 100.0;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "by the clock: `cargo xtask test` runs it with nothing beside it"]
async fn the_page_is_quick_small_and_still() {
    let (browser, address, _server, dir) = site().await;
    let packed = packed(&dir.path().join("site"));
    eprintln!("the page: {packed} bytes packed");
    assert!(packed < LARGEST_PAGE, "{packed} bytes");

    let watch = "window.shifts = [];
        new PerformanceObserver((list) => list.getEntries().forEach(({ value, hadRecentInput, sources }) => hadRecentInput || shifts.push([value, String(sources[0]?.node?.className ?? sources[0]?.node?.nodeName)]))).observe({ type: 'layout-shift', buffered: true })";
    browser.before_each_page(watch).await;
    browser.client.goto(&address).await.expect("the page");
    browser.ready().await;
    let mut paints = Vec::new();
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
            tokio::time::sleep(Duration::from_millis(400)).await;
            let painted = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null";
            paints.push(browser.until("a paint", painted).await.as_f64().expect("a time"));
            let shifts = browser.client.execute("return shifts", vec![]).await.expect("a script");
            let sum: f64 = shifts.as_array().expect("a list").iter().map(|shift| shift[0].as_f64().expect("a value")).sum();
            assert!(sum < LAYOUT_SHIFT, "{view}, {width}: layout shift {sum}: {shifts}");
        }
    }
    eprintln!("first contentful paint after so many ms: {paints:?}");
    paints.sort_by(f64::total_cmp);
    let median = paints[paints.len() / 2];
    assert!(median < FIRST_PAINT, "first contentful paint after {median} ms, at the median");
    assert_eq!(browser.errors().await, Vec::<String>::new());
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "by the clock: `cargo xtask test` runs it with nothing beside it"]
async fn no_task_is_long_while_a_hundred_thousand_reviews_are_rated() {
    // What else a machine does may hold up a visit, but not each of three.
    let mut longest = f64::INFINITY;
    for _ in 0..3 {
        longest = longest.min(longest_task().await);
        if longest < LONG_TASK {
            return;
        }
    }
    panic!("a task of {longest} ms on the page's thread, and longer ones");
}

/// The longest task of the page's thread in a visit, if it has one of over 50 ms.
async fn longest_task() -> f64 {
    let visit = Visit::start().await;
    let watch = "window.tasks = []; new PerformanceObserver((list) => tasks.push(...list.getEntries().map((entry) => entry.duration))).observe({ type: 'longtask' })";
    visit.browser.client.execute(watch, vec![]).await.expect("a script");
    visit.open("reviews.csv", &csv(ROWS).1).await;
    visit.click("#run").await;
    let done = visit.status("Rated 90,909 reviews in ").await;
    let tasks = visit.browser.client.execute("return tasks", vec![]).await.expect("a script");
    eprintln!("{done}; {}; tasks of over 50 ms: {tasks}", visit.text("#throughput").await);
    visit.browser.close().await;
    tasks.as_array().expect("a list").iter().filter_map(Value::as_f64).fold(0.0, f64::max)
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
