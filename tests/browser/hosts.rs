//! The site on servers that are not configured for it: Debian's nginx, with and without
//! `gzip_static`, and `python3 -m http.server`; each at the root and under a sub-path.
//!
//! The whole comparison is slow and run by hand: `cargo xtask hosts` prints its measurements.
//! Python's server under a sub-path is one of the tests.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{good, trained};
use crate::scene::{Browser, Process, REVIEWS, native, start};

/// A static file server.
struct Host {
    name: &'static str,
    serve: fn(&Path) -> (Process, String),
}

const HOSTS: [Host; 3] = [
    Host {
        name: "nginx",
        serve: |root| nginx(root, ""),
    },
    Host {
        name: "nginx, gzip_static on",
        serve: |root| nginx(root, "gzip_static on;"),
    },
    Host {
        name: "python3 -m http.server",
        serve: http_server,
    },
];

/// Paths of the site below the server's root.
const PATHS: [&str; 2] = ["", "some/where/"];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow, and needs nginx: `cargo xtask hosts`"]
async fn any_static_host_will_do() {
    let dir = trained();
    let wanted = native(dir.path());
    println!(
        "{:<24} {:<12} {:>8} {:>10} {:>8} {:>8}  {:<16} other hosts",
        "host", "path", "ready", "reviews/s", "offline", "reload", "policy forbids"
    );
    for Host { name, serve } in HOSTS {
        for path in PATHS {
            let seen = visited(dir.path(), serve, path, &wanted).await;
            println!(
                "{name:<24} {:<12} {:>5} ms {:>10.0} {:>8} {:>5} ms  {:<16} {:?}",
                format!("/{path}"),
                seen.ready.as_millis(),
                seen.rate,
                "rates",
                seen.reload.as_millis(),
                seen.forbidden.join(", "),
                seen.other_hosts
            );
            seen.assert_as_it_should_be(name);
        }
    }
}

/// The server that most machines have.
#[tokio::test(flavor = "multi_thread")]
async fn pythons_server_will_do_under_a_sub_path() {
    let dir = trained();
    visited(dir.path(), http_server, "some/where/", &native(dir.path()))
        .await
        .assert_as_it_should_be("python3 -m http.server");
}

/// Puts the site around the model in `dir` at `path` on a host, and visits it.
async fn visited(
    dir: &Path,
    serve: fn(&Path) -> (Process, String),
    path: &str,
    wanted: &[Value],
) -> Seen {
    let (root, site) = (dir.join("root"), format!("root/{path}"));
    good(
        dir,
        &[
            "site",
            "--model",
            "model",
            "--out",
            site.trim_end_matches('/'),
        ],
    );
    let (server, address) = serve(&root);
    let seen = visit(server, &format!("{address}/{path}"), wanted).await;
    fs::remove_dir_all(&root).expect("removed");
    seen
}

/// What a visit measured.
struct Seen {
    /// Time from opening the address to a model that rates.
    ready: Duration,
    /// Reviews per second.
    rate: f64,
    /// The same as `ready`, without the server.
    reload: Duration,
    forbidden: Vec<String>,
    other_hosts: BTreeSet<String>,
}

impl Seen {
    #[track_caller]
    fn assert_as_it_should_be(&self, name: &str) {
        assert_eq!(self.forbidden, ["connect-src", "script-src-elem"], "{name}");
        assert!(
            self.other_hosts.is_empty(),
            "{name}: {:?}",
            self.other_hosts
        );
    }
}

async fn visit(server: Process, address: &str, wanted: &[Value]) -> Seen {
    let log = tempfile::tempdir().expect("a folder");
    let log = log.path().join("net.json");
    let browser = Browser::open_with(&[&format!("--log-net-log={}", log.display())]).await;
    let started = Instant::now();
    browser.client.goto(address).await.expect("the page");
    browser.ready().await;
    let ready = started.elapsed();

    let run = "const { load } = await import('./starsight.js');
        const rater = await load();
        const { ratings } = await rater.rate(args);
        const { stats } = await rater.rate(Array.from({ length: 2000 }, (_, i) => args[i % args.length]));
        rater.free();
        return { stars: ratings.map((rating) => rating.stars), rate: stats.samplesPerSecond }";
    let rated = browser.call(run, json!(REVIEWS)).await;
    assert_eq!(
        rated["stars"],
        wanted
            .iter()
            .map(|rating| rating["stars"].clone())
            .collect::<Value>()
    );

    let forbidden = "const broken = new Set();
        addEventListener('securitypolicyviolation', (event) => broken.add(event.effectiveDirective));
        const script = document.createElement('script');
        script.textContent = 'window.ran = true';
        document.body.append(script);
        const { load } = await import('./starsight.js');
        const told = await load({ model: args }).then(() => 'loaded', (error) => error.message);
        if (told.includes('policy')) broken.add('connect-src');
        return [...broken].sort()";
    let forbidden = browser
        .call(forbidden, json!("http://localhost:9/model/"))
        .await;

    browser
        .call("await navigator.serviceWorker.ready", Value::Null)
        .await;
    browser.until("the model kept", "return window.models ?? (import('./starsight.js').then(async ({ kept }) => { const { models } = await kept(); if (models.length) window.models = models.length; }), null)").await;
    drop(server);
    let started = Instant::now();
    browser.client.refresh().await.expect("the page");
    browser.ready().await;
    let reload = started.elapsed();
    browser.type_into("#review", REVIEWS[1]).await;
    let stars = browser
        .until(
            "a rating",
            "return document.querySelector('#verdict').dataset.stars || null",
        )
        .await;
    assert_eq!(
        stars.as_str().map(str::to_string),
        Some(wanted[1]["stars"].to_string())
    );
    browser.close().await;

    Seen {
        ready,
        rate: rated["rate"].as_f64().expect("a rate"),
        reload,
        forbidden: forbidden
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect(),
        other_hosts: hosts_asked(&log)
            .into_iter()
            .filter(|host| !address.contains(host))
            .collect(),
    }
}

/// Hosts that the site and its workers requested, from the browser's net log, one event a line. The
/// browser's own requests have no site as initiator.
fn hosts_asked(log: &Path) -> BTreeSet<String> {
    let log = fs::read_to_string(log).expect("the browser's log");
    let events = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.trim_end_matches(',')).ok());
    let asked = events.filter_map(|event| {
        let param = |name: &str| {
            event["params"][name]
                .as_str()
                .filter(|text| text.starts_with("http"))
        };
        param("initiator")
            .and(param("url"))
            .and_then(|url| url.split('/').nth(2))
            .map(str::to_owned)
    });
    let hosts: BTreeSet<String> = asked.collect();
    assert!(!hosts.is_empty(), "the browser logged no request");
    hosts
}

/// Starts Debian's nginx with its own MIME types and the settings `more`.
fn nginx(root: &Path, more: &str) -> (Process, String) {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a port")
        .port();
    let home = root.with_file_name("nginx");
    fs::create_dir_all(&home).expect("a folder");
    let folder = home.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
        .collect();
    let configuration = format!(
        "daemon off;\nmaster_process off;\nuser root;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\ninclude /etc/nginx/mime.types;\ndefault_type application/octet-stream;\naccess_log off;\n\
         {temporary}{more}\nserver {{ listen 127.0.0.1:{port}; root {}; }}\n}}\n",
        root.display()
    );
    fs::write(home.join("nginx.conf"), configuration).expect("written");
    let process = Process::of(
        Command::new("/usr/sbin/nginx")
            .arg("-c")
            .arg(home.join("nginx.conf"))
            .arg("-p")
            .arg(&home)
            .stderr(Stdio::null()),
    );
    for waited in 0.. {
        assert!(
            waited < 100,
            "nginx does not answer; `cargo xtask hosts` installs it"
        );
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    (process, format!("http://127.0.0.1:{port}"))
}

/// Starts Python's `http.server`.
fn http_server(root: &Path) -> (Process, String) {
    let address = |line: &str| {
        line.split(['(', ')'])
            .find(|part| part.starts_with("http://"))
            .map(|part| part.trim_end_matches('/').to_owned())
    };
    start(
        Command::new("python3")
            .args([
                "-u",
                "-m",
                "http.server",
                "0",
                "--bind",
                "127.0.0.1",
                "--directory",
            ])
            .arg(root)
            .stderr(Stdio::null()),
        address,
    )
}
