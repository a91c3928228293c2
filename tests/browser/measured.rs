//! Limits on the page's time and size. They are measured by the clock, so nothing may run beside
//! them: `cargo xtask test` runs these after the others, one by one.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::craft::{VIEWS, WIDTHS, site};
use crate::many::{ROWS, Visit, csv};
use crate::scene::{Browser, REVIEWS};

/// Largest size of the page in bytes, compressed, without the engine and without the file reader,
/// which is fetched only when a file is opened.
const LARGEST_PAGE: u64 = 350_000;

/// Longest time to the first contentful paint, in milliseconds.
const FIRST_PAINT: f64 = 500.0;

/// Largest Cumulative Layout Shift, a score without a unit (web.dev).
const LAYOUT_SHIFT: f64 = 0.02;

/// Longest task on the page's thread, in milliseconds of processor time. Shorter ones are not
/// noticed.
const LONG_TASK: f64 = 50.0;

/// Records every task longer than 50 ms by the clock, and every layout shift without recent input.
const WATCH: &str = "window.tasks = []; window.shifts = [];
    new PerformanceObserver((list) => tasks.push(...list.getEntries().map((task) => [performance.timeOrigin + task.startTime, task.duration]))).observe({ type: 'longtask', buffered: true });
    new PerformanceObserver((list) => list.getEntries().forEach(({ value, hadRecentInput, sources }) => hadRecentInput || shifts.push([value, String(sources[0]?.node?.className ?? sources[0]?.node?.nodeName)]))).observe({ type: 'layout-shift', buffered: true })";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "by the clock: `cargo xtask test` runs it with nothing beside it"]
async fn the_page_is_quick_small_and_still() {
    let (browser, address, _server, dir) = site().await;
    let packed = packed(&dir.path().join("site"));
    eprintln!("the page: {packed} bytes packed");
    assert!(packed < LARGEST_PAGE, "{packed} bytes");

    browser.before_each_page(WATCH).await;
    browser.client.goto(&address).await.expect("the page");
    browser.ready().await;
    let mut paints = Vec::new();
    for width in WIDTHS {
        browser.screen(width, "light").await;
        for view in VIEWS {
            browser
                .call(
                    "const { forget } = await import('./starsight.js'); await forget()",
                    Value::Null,
                )
                .await;
            browser
                .client
                .goto(&format!("{address}/?tab={view}"))
                .await
                .expect("the page");
            browser.ready().await;
            if view == "one" {
                browser.type_into("#review", REVIEWS[4]).await;
                browser
                    .until(
                        "the words",
                        "return document.querySelector('.pulls').dataset.known === 'true' || null",
                    )
                    .await;
            }
            tokio::time::sleep(Duration::from_millis(400)).await;
            let painted = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null";
            paints.push(
                browser
                    .until("a paint", painted)
                    .await
                    .as_f64()
                    .expect("a time"),
            );
            assert_still(&browser, &format!("{view}, {width}")).await;
        }
    }
    eprintln!("first contentful paint after so many ms: {paints:?}");
    paints.sort_by(f64::total_cmp);
    let median = paints[paints.len() / 2];
    assert!(
        median < FIRST_PAINT,
        "first contentful paint after {median} ms, at the median"
    );
    assert_eq!(browser.errors().await, Vec::<String>::new());
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "by the clock: `cargo xtask test` runs it with nothing beside it"]
async fn no_task_is_long_while_a_hundred_thousand_reviews_are_rated() {
    let visit = Visit::start().await;
    let browser = &visit.browser;
    let work = Work::watch(browser.driver());
    // Loading is measured too.
    browser.before_each_page(WATCH).await;
    browser.client.refresh().await.expect("the page");
    browser.ready().await;
    visit.open("reviews.csv", &csv(ROWS).1).await;
    browser
        .client
        .execute("shifts.length = 0", vec![])
        .await
        .expect("a script");
    visit.click("#run").await;
    let done = visit.status("Rated 90,909 reviews in ").await;
    assert_still(browser, "a run").await;
    let tasks = browser.call("return tasks", Value::Null).await;
    let tasks: Vec<(f64, f64)> = serde_json::from_value(tasks).expect("tasks");
    let samples = work.end();
    // By the clock, a task is also long when other processes use the core. Only its processor time
    // says something about the page.
    let worked: Vec<(f64, f64)> = tasks
        .iter()
        .map(|(start, length)| (*length, samples.between(*start, start + length)))
        .collect();
    eprintln!(
        "{done}; {}; tasks of over 50 ms by the clock, and the work in them: {worked:.0?}",
        visit.text("#throughput").await
    );
    assert!(
        worked.iter().all(|(_, work)| *work < LONG_TASK),
        "{worked:?}"
    );
    visit.browser.close().await;
}

/// Asserts that no visible content moved without input.
async fn assert_still(browser: &Browser, what: &str) {
    let shifts = browser
        .client
        .execute("return shifts", vec![])
        .await
        .expect("a script");
    let sum: f64 = shifts
        .as_array()
        .expect("a list")
        .iter()
        .map(|shift| shift[0].as_f64().expect("a value"))
        .sum();
    assert!(sum < LAYOUT_SHIFT, "{what}: layout shift {sum}: {shifts}");
}

/// Samples the processor time of the main threads of a browser's pages.
struct Work {
    over: Arc<AtomicBool>,
    watching: JoinHandle<Samples>,
}

/// Samples: a time in milliseconds of the system clock, and the nanoseconds each thread has run by
/// then.
struct Samples(Vec<(f64, Vec<f64>)>);

impl Work {
    /// Watches the pages of the browser that descends from process `driver`.
    fn watch(driver: u32) -> Work {
        let over = Arc::new(AtomicBool::new(false));
        let (pages, is_over) = (pages(driver), over.clone());
        assert!(!pages.is_empty(), "no page descends from process {driver}");
        // The scheduler's statistics (proc(5), schedstat: the first number is the time on a core).
        let worked = |page: &u32| {
            let account = std::fs::read_to_string(format!("/proc/{page}/task/{page}/schedstat"))
                .unwrap_or_default();
            account
                .split(' ')
                .next()
                .and_then(|figure| figure.parse().ok())
                .unwrap_or(0.0)
        };
        let watching = std::thread::spawn(move || {
            let mut samples = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let now = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .expect("a time after 1970");
                samples.push((
                    now.as_secs_f64() * 1000.0,
                    pages.iter().map(worked).collect(),
                ));
                std::thread::sleep(Duration::from_millis(2));
            }
            Samples(samples)
        });
        Work { over, watching }
    }

    fn end(self) -> Samples {
        self.over.store(true, Ordering::Relaxed);
        self.watching.join().expect("samples")
    }
}

impl Samples {
    /// Milliseconds that the busiest page ran between two times.
    fn between(&self, start: f64, end: f64) -> f64 {
        let pages = 0..self.0.first().map_or(0, |(_, worked)| worked.len());
        pages
            .map(|page| self.at(end, page) - self.at(start, page))
            .fold(0.0, f64::max)
            / 1e6
    }

    /// Time that a page had run by `moment`, interpolated linearly between samples.
    fn at(&self, moment: f64, page: usize) -> f64 {
        let after = self
            .0
            .partition_point(|(at, _)| *at < moment)
            .clamp(1, self.0.len() - 1);
        let ((from, before), (to, then)) = (&self.0[after - 1], &self.0[after]);
        let share = ((moment - from) / (to - from)).clamp(0.0, 1.0);
        before[page] + share * (then[page] - before[page])
    }
}

/// The page processes among the descendants of process `ancestor`.
fn pages(ancestor: u32) -> Vec<u32> {
    let read = |pid: u32, file: &str| {
        std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
    };
    // The parent's number is the second field after the program's name, which is in brackets.
    let parent = |pid: u32| {
        read(pid, "stat")
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok())
    };
    let all = std::fs::read_dir("/proc")
        .expect("processes")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let descends = |pid: &u32| {
        std::iter::successors(Some(*pid), |pid| parent(*pid)).any(|pid| pid == ancestor)
    };
    all.filter(|pid| descends(pid) && read(*pid, "cmdline").contains("--type=renderer"))
        .collect()
}

/// Bytes that a browser fetches for the page, compressed by brotli: everything except the model and
/// the engine's two modules, of which it takes one.
fn packed(site: &Path) -> u64 {
    let mut sum = 0;
    for folder in [site.to_owned(), site.join("engine"), site.join("table")] {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            let is_engine = folder != site && name.contains(".wasm");
            if path.is_dir()
                || is_engine
                || [".br", ".gz", ".d.ts"]
                    .iter()
                    .any(|kind| name.ends_with(kind))
            {
                continue;
            }
            let packed = path.with_file_name(format!("{name}.br"));
            sum += std::fs::metadata(if packed.exists() { packed } else { path })
                .expect("a file")
                .len();
        }
    }
    sum
}
