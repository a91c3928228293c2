//! A browser, and the servers it visits.

use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Html;
use axum::routing::get;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use reqwest::{Method, Url};
use serde_json::{Value, json};
use tower_http::cors::{Any, CorsLayer};
use tower_http::services::ServeDir;

use crate::common::{good, json as parsed};

pub const REVIEWS: [&str; 7] = [
    "great app, love it 😍",
    "terrible, crashes all day",
    "",
    "it is okay",
    "good but needs work 👍 really really",
    "\"quoted\", with a comma",
    "Très bien — 日本語 really really really bad and slow, it is terrible, it is terrible and it crashes all day and all night",
];

/// File in the browser's profile that logs its requests.
const NET_LOG: &str = "requests.json";

/// Download folder in a browser's profile.
const DOWNLOADS: &str = "downloads";

/// A child process that ends with the test.
pub struct Process(Child);

impl Process {
    /// Starts a program.
    pub fn of(command: &mut Command) -> Process {
        Process(
            command.spawn().unwrap_or_else(|e| {
                panic!("{command:?}: {e}; `cargo xtask` installs what is needed")
            }),
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program and waits for a line on its standard output in which `find` finds something.
pub fn start<T>(command: &mut Command, find: impl Fn(&str) -> Option<T>) -> (Process, T) {
    try_start(command, find)
        .unwrap_or_else(|| panic!("{command:?} ended without saying where it listens"))
}

/// The same; `None` if the program ends without such a line.
fn try_start<T>(command: &mut Command, find: impl Fn(&str) -> Option<T>) -> Option<(Process, T)> {
    let mut process = Process::of(command.stdout(Stdio::piped()));
    let out = BufReader::new(process.0.stdout.take().expect("a pipe"));
    let found = out
        .lines()
        .map_while(Result::ok)
        .find_map(|line| find(&line));
    found.map(|found| (process, found))
}

/// A browser with its own empty profile.
pub struct Browser {
    pub client: Client,
    driver: Process,
    profile: tempfile::TempDir,
}

impl Browser {
    pub async fn open() -> Browser {
        Browser::open_with(&[]).await
    }

    /// Opens a browser with further arguments.
    pub async fn open_with(more: &[&str]) -> Browser {
        let port = |line: &str| {
            line.contains("started successfully on port").then(|| {
                line.trim_end_matches('.')
                    .rsplit(' ')
                    .next()?
                    .parse::<u16>()
                    .ok()
            })?
        };
        let program =
            std::env::var_os("STARSIGHT_CHROMEDRIVER").unwrap_or_else(|| "chromedriver".into());
        // chromedriver looks for a free port before it binds it, so another chromedriver may take
        // it first. Try three times.
        let started = (0..3).find_map(|_| try_start(Command::new(&program).arg("--port=0"), port));
        let (driver, port) = started.expect("chromedriver, which says where it listens");
        let profile = tempfile::tempdir().expect("a folder");
        let own = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            &format!("--log-net-log={}", profile.path().join(NET_LOG).display()),
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let arguments: Vec<&str> = own.into_iter().chain(more.iter().copied()).collect();
        let downloads = json!({ "download.default_directory": profile.path().join(DOWNLOADS), "profile.default_content_setting_values.automatic_downloads": 1 });
        let mut options = json!({ "args": arguments, "prefs": downloads });
        if let Ok(chromium) = std::env::var("STARSIGHT_CHROMIUM") {
            options["binary"] = chromium.into();
        }
        let mut capabilities = Capabilities::new();
        capabilities.insert("goog:chromeOptions".into(), options);
        capabilities.insert("goog:loggingPrefs".into(), json!({ "browser": "ALL" }));
        capabilities.insert("timeouts".into(), json!({ "script": 120_000 }));
        let connector = hyper_util::client::legacy::connect::HttpConnector::new();
        let client = ClientBuilder::new(connector)
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("a browser");
        Browser {
            client,
            driver,
            profile,
        }
    }

    /// Process id of the driver; the browser's processes descend from it.
    pub fn driver(&self) -> u32 {
        self.driver.0.id()
    }

    /// The download folder.
    pub fn downloads(&self) -> PathBuf {
        self.profile.path().join(DOWNLOADS)
    }

    /// Waits until `script` returns something other than null, and returns that.
    pub async fn until(&self, what: &str, script: &str) -> Value {
        for _ in 0..600 {
            let value = self.client.execute(script, vec![]).await.expect("a script");
            if !value.is_null() {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let page = self
            .client
            .execute("return document.body.innerText", vec![])
            .await
            .expect("a script");
        panic!("{what}: nothing within a minute; the page says {page}")
    }

    pub async fn ready(&self) {
        let state =
            self.until("loading", "const s = document.querySelector('main')?.dataset.state; return s === 'ready' || s === 'failed' ? s : null").await;
        let page = self
            .client
            .execute("return document.body.innerText", vec![])
            .await
            .expect("a script");
        assert_eq!(state, "ready", "{page}");
    }

    /// Shows a view of the page, as a visitor would.
    pub async fn show(&self, tab: &str) {
        let link = self
            .client
            .find(Locator::Css(&format!(".views [data-tab={tab}]")))
            .await
            .expect("a link");
        link.click().await.expect("a click");
    }

    pub async fn type_into(&self, selector: &str, text: &str) {
        // By script: the driver cannot type emoji.
        let script = "const [selector, text] = arguments; const box = document.querySelector(selector); box.value = text; box.dispatchEvent(new Event('input', { bubbles: true }))";
        self.client
            .execute(script, vec![json!(selector), json!(text)])
            .await
            .expect("a script");
    }

    /// Runs `body` as an asynchronous function of `args`, and returns its result.
    pub async fn call(&self, body: &str, args: Value) -> Value {
        // Passed as source, not built by `eval`: the page's policy forbids that.
        let script = format!(
            "const [args, done] = arguments;
            (async () => {{ {body} }})().then((value) => done({{ value }}), (error) => done({{ error: `${{error?.name}}: ${{error?.message ?? error}}` }}))"
        );
        let answer = self
            .client
            .execute_async(&script, vec![args])
            .await
            .expect("a script");
        assert_eq!(answer["error"], Value::Null, "{body}");
        answer["value"].clone()
    }

    /// Sends a command of Chromium's own protocol.
    pub async fn chromium(&self, command: &'static str, params: Value) {
        self.client
            .issue_cmd(Chromium { command, params })
            .await
            .expect(command);
    }

    /// Closes the browser and returns its request log, one event a line.
    pub async fn close_with_log(self) -> String {
        let log = self.profile.path().join(NET_LOG);
        let profile = self.profile;
        self.client.close().await.expect("closed");
        for _ in 0..100 {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            // The browser writes the last line when it ends.
            if text.trim_end().ends_with('}') {
                drop(profile);
                return text;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the browser wrote no whole log")
    }

    pub async fn close(self) {
        self.client.close().await.expect("closed");
    }
}

/// A command of Chromium's own protocol, sent through its driver.
#[derive(Debug)]
struct Chromium {
    command: &'static str,
    params: Value,
}

impl WebDriverCompatibleCommand for Chromium {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, <Url as FromStr>::Err> {
        base.join(&format!(
            "session/{}/goog/cdp/execute",
            session.unwrap_or_default()
        ))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (
            Method::POST,
            Some(json!({ "cmd": self.command, "params": self.params }).to_string()),
        )
    }
}

/// The native ratings of REVIEWS, by the engine that browsers use.
pub fn native(dir: &Path) -> Vec<Value> {
    let mut args = vec!["rate", "--model", "model", "--int8", "--json", "--"];
    args.extend(REVIEWS);
    parsed(&good(dir, &args))["ratings"]
        .as_array()
        .expect("ratings")
        .clone()
}

/// Starts the program's preview server for the folder `root`, and returns its address without a
/// final slash.
pub fn serve(root: &Path) -> (Process, String) {
    let address = |line: &str| {
        line.starts_with("http://")
            .then(|| line.trim_end_matches('/').to_string())
    };
    start(
        Command::new(env!("CARGO_BIN_EXE_starsight"))
            .args(["serve", "--port", "0"])
            .arg(root)
            .stderr(Stdio::null()),
        address,
    )
}

/// Serves the folder `root` as another host, with CORS headers and an empty page at `/`. It ends
/// with the test.
pub async fn host(root: &Path) -> String {
    counting_host(root).await.0
}

/// The same, with the number of requests it has received.
pub async fn counting_host(root: &Path) -> (String, Arc<AtomicUsize>) {
    let requests = Arc::<AtomicUsize>::default();
    let counter = requests.clone();
    let count = axum::middleware::from_fn(move |request: Request, next: Next| {
        counter.fetch_add(1, Ordering::Relaxed);
        next.run(request)
    });
    let page = get(|| async { Html("<!doctype html><title>Another site</title>") });
    let anyone = CorsLayer::new().allow_origin(Any);
    let router = Router::new()
        .route("/", page)
        .fallback_service(ServeDir::new(root))
        .layer(anyone)
        .layer(count);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), requests)
}
