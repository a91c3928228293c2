//! The built site in headless Chromium, under a sub-path: page and module, with ratings equal to the native ones.
//!
//! Needs Chromium, its driver, and the page built into the program: `cargo xtask test` sees to all three.

mod common;
mod loopback_hub;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{good, json, trained};
use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use loopback_hub::LoopbackHub;
use serde_json::{Value, json};

/// Where the site lies below the server's root.
const SUB_PATH: &str = "some/where/reviews";

const REVIEWS: [&str; 7] = [
    "great app, love it 😍",
    "terrible, crashes all day",
    "",
    "it is okay",
    "good but needs work 👍 really really",
    "\"quoted\", with a comma",
    "Très bien — 日本語 really really really bad and slow, it is terrible, it is terrible and it crashes all day and all night",
];

/// A child process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program and waits for a line on its standard output that `find` takes something from.
fn start<T>(command: &mut Command, find: impl Fn(&str) -> Option<T>) -> (Process, T) {
    let name = format!("{command:?}");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap_or_else(|e| panic!("{name}: {e}; `cargo xtask test` installs what is needed"));
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    let process = Process(child);
    let found = out.lines().map_while(Result::ok).find_map(|line| find(&line));
    (process, found.unwrap_or_else(|| panic!("{name} ended without saying where it listens")))
}

/// A browser of its own, with an empty profile.
struct Browser {
    client: Client,
    _driver: Process,
    _profile: tempfile::TempDir,
}

impl Browser {
    async fn open() -> Browser {
        let port =
            |line: &str| line.contains("started successfully on port").then(|| line.trim_end_matches('.').rsplit(' ').next()?.parse::<u16>().ok())?;
        let (driver, port) = start(Command::new("chromedriver").arg("--port=0"), port);
        let profile = tempfile::tempdir().expect("a folder");
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let mut capabilities = Capabilities::new();
        capabilities.insert("goog:chromeOptions".into(), json!({ "args": arguments }));
        capabilities.insert("goog:loggingPrefs".into(), json!({ "browser": "ALL" }));
        capabilities.insert("timeouts".into(), json!({ "script": 120_000 }));
        let connector = hyper_util::client::legacy::connect::HttpConnector::new();
        let client = ClientBuilder::new(connector).capabilities(capabilities).connect(&format!("http://127.0.0.1:{port}")).await.expect("a browser");
        Browser { client, _driver: driver, _profile: profile }
    }

    /// Waits until `script` gives something that is not null, and returns it.
    async fn until(&self, what: &str, script: &str) -> Value {
        for _ in 0..600 {
            let value = self.client.execute(script, vec![]).await.expect("a script");
            if !value.is_null() {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let page = self.client.execute("return document.body.innerText", vec![]).await.expect("a script");
        panic!("{what}: nothing within a minute; the page says {page}")
    }

    async fn ready(&self) {
        let state =
            self.until("loading", "const s = document.querySelector('main')?.dataset.state; return s === 'ready' || s === 'failed' ? s : null").await;
        let page = self.client.execute("return document.body.innerText", vec![]).await.expect("a script");
        assert_eq!(state, "ready", "{page}");
    }

    async fn type_into(&self, selector: &str, text: &str) {
        // By script: the driver cannot type emoji.
        let script = "const [selector, text] = arguments; const box = document.querySelector(selector); box.value = text; box.dispatchEvent(new Event('input', { bubbles: true }))";
        self.client.execute(script, vec![json!(selector), json!(text)]).await.expect("a script");
    }

    /// What the `body` of an asynchronous function answers with; it sees `args`.
    async fn call(&self, body: &str, args: Value) -> Value {
        // Spelt out, for the page's policy forbids code made of text.
        let script = format!(
            "const [args, done] = arguments;
            (async () => {{ {body} }})().then((value) => done({{ value }}), (error) => done({{ error: `${{error?.name}}: ${{error?.message ?? error}}` }}))"
        );
        let answer = self.client.execute_async(&script, vec![args]).await.expect("a script");
        assert_eq!(answer["error"], Value::Null, "{body}");
        answer["value"].clone()
    }

    async fn close(self) {
        self.client.close().await.expect("closed");
    }
}

/// The native ratings of REVIEWS, by the engine that the browser runs.
fn native(dir: &Path) -> Vec<Value> {
    let mut args = vec!["rate", "--model", "model", "--int8", "--json", "--"];
    args.extend(REVIEWS);
    json(&good(dir, &args))["ratings"].as_array().expect("ratings").clone()
}

fn serve(root: &Path) -> (Process, String) {
    let address = |line: &str| line.starts_with("http://").then(|| line.trim_end_matches('/').to_string());
    start(Command::new(env!("CARGO_BIN_EXE_starsight")).args(["serve", "--port", "0"]).arg(root).stderr(Stdio::null()), address)
}

/// To the bit.
fn assert_same_rating(found: &Value, native: &Value, review: &str) {
    assert_eq!(found["stars"], native["stars"], "{review:?}");
    let number = |v: &Value| v.as_f64().expect("a number") as f32;
    let numbers = |v: &Value| [&v["expected"]].into_iter().chain(v["probabilities"].as_array().expect("five")).map(number).collect::<Vec<_>>();
    assert_eq!(numbers(found), numbers(native), "{review:?}: {found} {native}");
}

#[tokio::test(flavor = "multi_thread")]
async fn page_and_module_rate_as_the_native_program_does() {
    let dir = trained();
    good(dir.path(), &["site", "--model", "model", "--out", &format!("root/{SUB_PATH}")]);
    let wanted = native(dir.path());
    let (_server, address) = serve(&dir.path().join("root"));
    let browser = Browser::open().await;
    browser.client.goto(&format!("{address}/{SUB_PATH}/")).await.expect("the page");
    browser.ready().await;

    // One review, as one types; the answer to the last text stays.
    for (review, wanted) in REVIEWS.iter().zip(&wanted).filter(|(review, _)| !review.is_empty()) {
        browser.type_into("#review", "something else first").await;
        browser.type_into("#review", review).await;
        let expected = wanted["expected"].as_f64().expect("a number");
        let script = format!(
            "const e = parseFloat(document.querySelector('#stars').dataset.expected); return Math.abs(e - {expected}) < 1e-2 ? document.querySelector('#verdict').dataset.stars : null"
        );
        let stars = browser.until(review, &script).await;
        assert_eq!(stars.as_str().map(str::to_string), Some(wanted["stars"].to_string()), "{review:?}");
    }

    // Many at once; the empty line is skipped.
    browser.type_into("#many", &REVIEWS.join("\n")).await;
    browser.client.find(Locator::Css("#rate-many")).await.expect("a button").click().await.expect("a click");
    let script = "const rows = [...document.querySelectorAll('#results tbody tr')].map((row) => row.dataset.stars); return rows.length === 6 && rows.every(Boolean) ? rows : null";
    let rows = browser.until("many reviews", script).await;
    let filled = REVIEWS.iter().zip(&wanted).filter(|(review, _)| !review.is_empty()).map(|(_, rating)| json!(rating["stars"].to_string()));
    assert_eq!(rows, Value::Array(filled.collect()));
    browser.until("the throughput", "return /[0-9]/.test(document.querySelector('#throughput').innerText) || null").await;

    // The module, as another page would use it: every text, the empty one too, in the order asked; with two workers, and without relaxed SIMD, the same.
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
        let found = browser.client.execute_async(script, vec![json!(REVIEWS), json!(workers), json!(relaxed_simd)]).await.expect("a script");
        assert_eq!(found["error"], Value::Null);
        let ratings = found["ratings"].as_array().expect("ratings");
        assert_eq!(ratings.len(), REVIEWS.len());
        for ((rating, wanted), review) in ratings.iter().zip(&wanted).zip(REVIEWS) {
            assert_same_rating(rating, wanted, review);
        }
        let stats = &found["stats"];
        assert_eq!(stats["backend"].as_str().expect("a name").contains("relaxed"), relaxed_simd, "{stats}");
        assert_eq!((stats["samples"].as_u64(), stats["workers"].as_u64()), (Some(REVIEWS.len() as u64), Some(workers)));
        assert!(stats["tokens"].as_u64().expect("tokens") > 14 && stats["samplesPerSecond"].as_f64().expect("a rate") > 0.0, "{stats}");
        assert!(found["wrong"].as_str().expect("an error").starts_with("TypeError: texts[1]"), "{}", found["wrong"]);
        assert_eq!(found["nothing"]["ratings"], json!([]));
        assert_eq!(found["info"]["name"], "model");
        assert!(found["freed"].as_str().expect("an error").contains("freed"));
        assert!(found["missing"].as_str().expect("an error").contains("404"), "{}", found["missing"]);
    }

    // Nothing was fetched from elsewhere.
    let fetched =
        browser.client.execute("return performance.getEntriesByType('resource').map((entry) => entry.name)", vec![]).await.expect("a script");
    let foreign: Vec<&Value> =
        fetched.as_array().expect("a list").iter().filter(|name| !name.as_str().is_some_and(|n| n.starts_with(&address))).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_model_is_fetched_from_the_hub_and_a_damaged_one_refused() {
    let dir = trained();
    let store = dir.path().join("hub");
    let hub = tokio::task::spawn_blocking(move || LoopbackHub::start(&store, 0, "hf_secret").expect("a hub")).await.expect("a thread");
    std::fs::write(dir.path().join("token"), "hf_secret\n").expect("written");
    let endpoint = hub.endpoint();
    let published = json(&good(
        dir.path(),
        &["publish", "--model", "model", "--to", "someone/stars", "--endpoint", &endpoint, "--token-file", "token", "--json"],
    ));
    let commit = published["commit"].as_str().expect("a commit").to_string();

    good(dir.path(), &["site", "--model", "model", "--out", "site"]);
    let (_server, address) = serve(&dir.path().join("site"));
    let browser = Browser::open().await;
    browser.client.goto(&format!("{address}/?model=someone/stars@{commit}&endpoint={endpoint}")).await.expect("the page");
    browser.ready().await;
    let wanted = native(dir.path());
    browser.type_into("#review", REVIEWS[0]).await;
    let stars = browser.until("a rating", "return document.querySelector('#verdict').dataset.stars || null").await;
    assert_eq!(stars.as_str().map(str::to_string), Some(wanted[0]["stars"].to_string()));
    assert!(hub.requests().iter().any(|request| request.contains("resolve") && request.contains("web/weights.safetensors")), "{:?}", hub.requests());

    // One flipped bit in the weights beside the page: what came from the Hub is the same file and is kept, so it serves; without that it is told, not rated with.
    let weights = dir.path().join("site/model/web/weights.safetensors");
    let mut bytes = std::fs::read(&weights).expect("weights");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&weights, bytes).expect("written");
    browser.client.goto(&address).await.expect("the page");
    browser.ready().await;
    browser.call("const { forget } = await import('./starsight.js'); await forget()", Value::Null).await;
    browser.client.refresh().await.expect("the page");
    let state = browser.until("refusing", "return document.querySelector('main')?.dataset.state === 'failed' || null").await;
    assert_eq!(state, true);
    let page = browser.client.execute("return document.body.innerText", vec![]).await.expect("a script");
    assert!(page.as_str().is_some_and(|text| text.contains("web/weights.safetensors")), "{page}");
    browser.close().await;
}
