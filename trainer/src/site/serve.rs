//! A preview server for a static site: serves one folder to this machine only. It is not meant for
//! the public.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};

use anyhow::{Context, Result, ensure};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, uri::Authority},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use percent_encoding::percent_decode_str;
use tokio::{net::TcpListener, signal};
use tower_http::services::ServeDir;

/// Serves the folder `dir` at `http://127.0.0.1:PORT/` until Ctrl-C. Port 0 takes any free one;
/// `on_ready` gets the address once the server answers.
///
/// # Errors
/// When `dir` is not a folder, or the port is taken.
pub fn serve(dir: &Path, port: u16, on_ready: impl FnOnce(SocketAddr)) -> Result<()> {
    ensure!(dir.is_dir(), "{} is not a folder", dir.display());
    let root = fs::canonicalize(dir).with_context(|| format!("opening {}", dir.display()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .map_err(|error| match error.kind() {
                io::ErrorKind::AddrInUse => {
                    anyhow::anyhow!(
                        "port {port} is in use; choose another with --port, or 0 for any free port"
                    )
                }
                _ => anyhow::Error::new(error).context(format!("listening on 127.0.0.1:{port}")),
            })?;
        on_ready(listener.local_addr()?);
        tokio::select! {
            ended = axum::serve(listener, router(root)) => ended.context("serving"),
            stopped = stop() => stopped.context("waiting for Ctrl-C"),
        }
    })
}

/// Returns on Ctrl-C or SIGTERM.
async fn stop() -> io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate())?;
        tokio::select! {
            pressed = signal::ctrl_c() => pressed,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    signal::ctrl_c().await
}

fn router(root: PathBuf) -> Router {
    let files = ServeDir::new(&root);
    Router::new()
        .fallback_service(files)
        .layer(middleware::from_fn_with_state(Arc::new(root), guard))
}

/// Host names under which a browser on this machine reaches it.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Whether a request names this machine. Another site could let its own name point here (DNS
/// rebinding) and read the folder as its own; the browser then sends that name.
fn is_for_loopback(request: &Request) -> bool {
    let named = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .and_then(|host| host.parse::<Authority>().ok());
    named.is_some_and(|named| {
        NAMES
            .iter()
            .any(|name| named.host().eq_ignore_ascii_case(name))
    })
}

/// Adds what `ServeDir` lacks: links may not lead out of the folder, a changed file is never taken
/// from the browser's cache, and missing files get the site's own 404 page.
async fn guard(State(root): State<Arc<PathBuf>>, mut request: Request, next: Next) -> Response {
    if !is_for_loopback(&request) {
        return (
            StatusCode::MISDIRECTED_REQUEST,
            "this preview serves only localhost and 127.0.0.1\n",
        )
            .into_response();
    }
    let Some(file) = target(&root, request.uri().path()) else {
        return not_found(&root);
    };
    let tag = tag(&file);
    if let Some(tag) = &tag {
        if names(request.headers(), header::IF_NONE_MATCH, tag) {
            return finish(StatusCode::NOT_MODIFIED.into_response(), Some(tag));
        }
        // The tag is finer than the time, which is in whole seconds, so it takes precedence.
        if request.headers().contains_key(header::IF_NONE_MATCH) {
            request.headers_mut().remove(header::IF_MODIFIED_SINCE);
        }
        // A range of another version is useless, so the whole file is sent.
        if request.headers().contains_key(header::IF_RANGE)
            && !names(request.headers(), header::IF_RANGE, tag)
        {
            request.headers_mut().remove(header::RANGE);
        }
    }
    let mut response = next.run(request).await;
    // By its ending, `.ts` would be a video.
    if response.headers().contains_key(header::CONTENT_TYPE)
        && file.extension().is_some_and(|kind| kind == "ts")
    {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    match response.status() {
        StatusCode::NOT_FOUND => not_found(&root),
        status if status.is_success() => finish(response, tag.as_ref()),
        _ => finish(response, None),
    }
}

/// The file, or the folder without its final slash, that an address names, if it exists and is
/// inside `root` after following links.
fn target(root: &Path, address: &str) -> Option<PathBuf> {
    let decoded = percent_decode_str(address.strip_prefix('/')?)
        .decode_utf8()
        .ok()?;
    // `//name` would redirect to another host.
    if decoded.starts_with('/') || decoded.contains('\0') {
        return None;
    }
    let mut path = root.join(decoded.as_ref());
    if address.ends_with('/') {
        path.push("index.html");
    }
    inside(root, &path)
}

fn inside(root: &Path, path: &Path) -> Option<PathBuf> {
    fs::canonicalize(path)
        .ok()
        .filter(|real| real.starts_with(root))
}

/// A tag from size and time of modification.
fn tag(file: &Path) -> Option<HeaderValue> {
    let metadata = fs::metadata(file).ok().filter(fs::Metadata::is_file)?;
    let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    HeaderValue::from_str(&format!(
        "\"{:x}-{:x}\"",
        metadata.len(),
        changed.as_nanos()
    ))
    .ok()
}

/// Whether the request's header names this tag.
fn names(headers: &HeaderMap, header: header::HeaderName, tag: &HeaderValue) -> bool {
    let listed = headers
        .get(header)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    listed
        .split(',')
        .any(|entry| entry.trim().trim_start_matches("W/").as_bytes() == tag.as_bytes())
}

/// A preview must show the latest build, so browsers revalidate every time.
fn finish(mut response: Response, tag: Option<&HeaderValue>) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Some(tag) = tag {
        headers.insert(header::ETAG, tag.clone());
    }
    response
}

fn not_found(root: &Path) -> Response {
    let response = match inside(root, &root.join("404.html")).and_then(|page| fs::read(page).ok()) {
        Some(page) => (
            StatusCode::NOT_FOUND,
            [(header::CONTENT_TYPE, "text/html; charset=utf-8")],
            Body::from(page),
        )
            .into_response(),
        None => (StatusCode::NOT_FOUND, "not found\n").into_response(),
    };
    finish(response, None)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpStream,
        sync::mpsc,
    };

    use super::*;

    struct Answer {
        status: u16,
        headers: String,
        body: Vec<u8>,
    }

    impl Answer {
        fn header(&self, name: &str) -> &str {
            self.headers
                .lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(n, _)| n.eq_ignore_ascii_case(name))
                .map_or("", |(_, value)| value)
        }
    }

    /// Sends a raw request: a client library would normalise the path.
    fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        ask_for(&address.to_string(), address, method, path, headers)
    }

    /// The same with another host name.
    fn ask_for(
        host: &str,
        address: SocketAddr,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut connection = TcpStream::connect(address).unwrap();
        let extra: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        write!(
            connection,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{extra}\r\n"
        )
        .unwrap();
        let mut bytes = Vec::new();
        connection.read_to_end(&mut bytes).unwrap();
        let end = bytes
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .expect("headers");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let (first, headers) = head.split_once("\r\n").unwrap();
        Answer {
            status: first.split(' ').nth(1).unwrap().parse().unwrap(),
            headers: headers.into(),
            body: bytes[end + 4..].to_vec(),
        }
    }

    fn get(address: SocketAddr, path: &str) -> Answer {
        ask(address, "GET", path, &[])
    }

    /// Serves a small site. The server ends with the test's process.
    fn site() -> (tempfile::TempDir, PathBuf, SocketAddr) {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("site");
        fs::create_dir_all(root.join("app/model")).unwrap();
        for (name, content) in [
            ("index.html", "<p>home"),
            ("app/index.html", "<p>app"),
            ("app/page.js", "export {}"),
            ("app/page.css", "p {}"),
            ("app/page.d.ts", "export {}"),
            ("app/engine.wasm", "\0asm"),
            ("app/icon.svg", "<svg/>"),
            ("app/app.webmanifest", "{}"),
            ("app/model/config.json", "{}"),
            ("app/model/model.safetensors", "0123456789"),
            ("app/model/a b.txt", "space"),
            ("../secret.txt", "secret"),
        ] {
            fs::write(root.join(name), content).unwrap();
        }
        let (sender, receiver) = mpsc::channel();
        let dir = root.clone();
        std::thread::spawn(move || serve(&dir, 0, |address| sender.send(address).unwrap()));
        let address = receiver.recv().unwrap();
        assert!(address.ip().is_loopback());
        (parent, root, address)
    }

    #[test]
    fn files_have_their_types() {
        let (_parent, _root, address) = site();
        for (path, kind) in [
            ("/", "text/html"),
            ("/app/", "text/html"),
            ("/app/page.js", "text/javascript"),
            ("/app/page.css", "text/css"),
            ("/app/page.d.ts", "text/plain"),
            ("/app/engine.wasm", "application/wasm"),
            ("/app/icon.svg", "image/svg+xml"),
            ("/app/app.webmanifest", "application/manifest+json"),
            ("/app/model/config.json", "application/json"),
            ("/app/model/model.safetensors", "application/octet-stream"),
            ("/app/model/a%20b.txt", "text/plain"),
        ] {
            let answer = get(address, path);
            assert_eq!(
                (answer.status, answer.header("content-type")),
                (200, kind),
                "{path}"
            );
            assert_eq!(answer.header("cache-control"), "no-cache", "{path}");
            assert!(
                answer.header("etag").starts_with('"')
                    && !answer.header("last-modified").is_empty(),
                "{path}: {}",
                answer.headers
            );
        }
        let head = ask(address, "HEAD", "/app/model/model.safetensors", &[]);
        assert_eq!(
            (head.status, head.header("content-length"), head.body.len()),
            (200, "10", 0)
        );
        let folder = get(address, "/app?x=1");
        assert_eq!(
            (folder.status, folder.header("location")),
            (307, "/app/?x=1")
        );
        assert_eq!(ask(address, "POST", "/index.html", &[]).status, 405);
    }

    #[test]
    fn a_range_is_a_part_of_the_file() {
        let (_parent, root, address) = site();
        let part = |range: &str| {
            ask(
                address,
                "GET",
                "/app/model/model.safetensors",
                &[("Range", range)],
            )
        };
        for (range, wanted, shown) in [
            ("bytes=2-4", "234", "bytes 2-4/10"),
            ("bytes=7-", "789", "bytes 7-9/10"),
            ("bytes=-2", "89", "bytes 8-9/10"),
        ] {
            let answer = part(range);
            assert_eq!(
                (
                    answer.status,
                    answer.body.as_slice(),
                    answer.header("content-range")
                ),
                (206, wanted.as_bytes(), shown)
            );
        }
        let beyond = part("bytes=10-");
        assert_eq!(
            (beyond.status, beyond.header("content-range")),
            (416, "bytes */10")
        );

        let tag = get(address, "/app/model/model.safetensors")
            .header("etag")
            .to_owned();
        let same = ask(
            address,
            "GET",
            "/app/model/model.safetensors",
            &[("If-None-Match", &tag)],
        );
        assert_eq!((same.status, same.body.len()), (304, 0));
        assert_eq!(
            ask(
                address,
                "GET",
                "/app/model/model.safetensors",
                &[("Range", "bytes=5-"), ("If-Range", &tag)]
            )
            .status,
            206
        );
        fs::write(root.join("app/model/model.safetensors"), "abcdefghij").unwrap();
        let changed = ask(
            address,
            "GET",
            "/app/model/model.safetensors",
            &[("Range", "bytes=5-"), ("If-Range", &tag)],
        );
        assert_eq!(
            (changed.status, changed.body.as_slice()),
            (200, &b"abcdefghij"[..])
        );
        let fresh = ask(
            address,
            "GET",
            "/app/model/model.safetensors",
            &[("If-None-Match", &tag)],
        );
        assert_eq!(
            (fresh.status, fresh.body.as_slice()),
            (200, &b"abcdefghij"[..])
        );
    }

    #[test]
    fn nothing_leads_out_of_the_folder() {
        let (parent, root, address) = site();
        let secret = parent.path().join("secret.txt");
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(&secret, root.join("link.txt")).unwrap();
            std::os::unix::fs::symlink(parent.path(), root.join("up")).unwrap();
            std::os::unix::fs::symlink(root.join("app/page.js"), root.join("inner.js")).unwrap();
            fs::create_dir(root.join("trap")).unwrap();
            std::os::unix::fs::symlink(&secret, root.join("trap/index.html")).unwrap();
            assert_eq!(
                get(address, "/inner.js").status,
                200,
                "a link within the folder is fine"
            );
        }
        let absolute = format!("/{}", secret.display());
        let encoded = format!("/%2F{}", &secret.display().to_string()[1..]);
        for path in [
            "/../secret.txt",
            "/app/../../secret.txt",
            "/%2e%2e/secret.txt",
            "/app/%2e%2e/%2e%2e/secret.txt",
            "/..%2fsecret.txt",
            "/..%5csecret.txt",
            "/link.txt",
            "/up/secret.txt",
            "/trap/",
            "/index.html%00",
            "/%00",
            "/%ff",
            "//app",
            "/nothing",
            "/index.html/x",
            &absolute,
            &encoded,
            &format!("/{}", "a".repeat(5000)),
        ] {
            let answer = get(address, path);
            assert_eq!(
                (answer.status, answer.body.as_slice()),
                (404, &b"not found\n"[..]),
                "{path}"
            );
        }
        fs::write(root.join("404.html"), "<p>lost").unwrap();
        let lost = get(address, "/nothing");
        assert_eq!(
            (
                lost.status,
                lost.body.as_slice(),
                lost.header("content-type")
            ),
            (404, &b"<p>lost"[..], "text/html; charset=utf-8")
        );
    }

    #[test]
    fn a_page_from_elsewhere_reads_nothing() {
        let (_parent, _root, address) = site();
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1",
            "[::1]:80",
            &address.to_string(),
        ] {
            assert_eq!(
                ask_for(host, address, "GET", "/app/page.js", &[]).status,
                200,
                "{host}"
            );
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost:x:y",
            "",
        ] {
            let answer = ask_for(host, address, "GET", "/app/page.js", &[]);
            assert!(
                answer.status == 421 && !answer.body.windows(6).any(|part| part == b"export"),
                "{host}: {}",
                answer.status
            );
        }
    }

    #[test]
    fn a_taken_port_and_a_missing_folder_are_named() {
        let (_parent, root, address) = site();
        let error = serve(&root, address.port(), |_| ())
            .expect_err("taken")
            .to_string();
        assert!(
            error.contains(&format!("port {} is in use", address.port())),
            "{error}"
        );
        let error = serve(&root.join("none"), 0, |_| ())
            .expect_err("no folder")
            .to_string();
        assert!(error.contains("none is not a folder"), "{error}");
    }
}
