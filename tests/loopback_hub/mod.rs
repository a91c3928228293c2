//! A small Hub on loopback, in this process: repositories with branches, pull requests and large
//! files, with the API that hf-hub, this program, `starsight.js` and Python's huggingface_hub use.
//! Large files are on "another host", loopback's other name, as on the public Hub.
//!
//! Unlike the public Hub it supports Xet only for uploads, through a store on this disk that only
//! hf-xet in this process can write to. Its commit ids are truncated SHA-256s instead of git's
//! SHA-1s; clients treat them as opaque. Python's huggingface_hub 2 uploads to it with
//! `HF_HUB_DISABLE_XET=1`.

// Each test file and the example use different parts.
#![allow(dead_code, missing_docs)]
#![allow(clippy::unwrap_used, reason = "a helper that fails fails the test")]

mod api;
mod faults;
mod files;
mod store;
mod uploads;

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use axum::{
    Json,
    body::HttpBody,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tokio::{net::TcpListener, sync::oneshot};
use tower_http::cors::{Any, CorsLayer};

use faults::Coming;
pub use faults::Fault;
pub use store::Kind;
use store::{MAIN, Store};
use uploads::Parts;
pub use uploads::Uploads;

/// A running Hub. It ends when dropped.
pub struct LoopbackHub {
    address: SocketAddr,
    hub: Arc<Hub>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the request handlers share.
struct Hub {
    store: Mutex<Store>,
    token: String,
    uploads: Mutex<Uploads>,
    /// How to take large files after the next request for upload addresses, if that is to change.
    afterwards: Mutex<Option<Uploads>>,
    /// Large files that are not complete yet.
    parts: Mutex<HashMap<String, Parts>>,
    faults: Mutex<Vec<Coming>>,
    log: Mutex<Vec<Traffic>>,
}

/// A request and its outcome.
#[derive(Debug, Clone)]
pub struct Traffic {
    pub method: Method,
    pub path: String,
    /// The host it was sent to.
    pub host: String,
    pub range: Option<String>,
    /// Whether it carried a token.
    pub authorized: bool,
    /// Bytes of the request's body.
    pub received: u64,
    pub status: StatusCode,
    /// Bytes of the answer.
    pub sent: u64,
}

impl Traffic {
    fn of(request: &Request) -> Traffic {
        let header = |name: HeaderName| {
            request
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        Traffic {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            host: header(header::HOST).unwrap_or_default(),
            range: header(header::RANGE),
            authorized: header(header::AUTHORIZATION).is_some(),
            received: header(header::CONTENT_LENGTH)
                .and_then(|length| length.parse().ok())
                .unwrap_or_default(),
            status: StatusCode::OK,
            sent: 0,
        }
    }
}

type Answer = Result<Response, Refusal>;

impl LoopbackHub {
    /// Starts a Hub that stores its repositories in the folder `store`, on `port`, or on any free
    /// port with 0. Writing, and reading private repositories, needs `token`.
    pub fn start(store: &Path, port: u16, token: &str) -> std::io::Result<LoopbackHub> {
        let hub = Arc::new(Hub {
            store: Mutex::new(Store::open(store)?),
            token: token.into(),
            uploads: Mutex::new(Uploads::Whole),
            afterwards: Mutex::default(),
            parts: Mutex::default(),
            faults: Mutex::default(),
            log: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, port)))?;
        let address = listener.local_addr()?;
        let expose = [
            "etag",
            "x-repo-commit",
            "x-linked-size",
            "x-linked-etag",
            "accept-ranges",
            "content-range",
            "content-length",
            "x-error-code",
            "x-error-message",
        ];
        let cors = CorsLayer::new()
            .allow_origin(Any)
            .allow_methods(Any)
            .allow_headers(Any)
            .expose_headers(expose.map(HeaderName::from_static));
        let service = api::router()
            .merge(files::router())
            .merge(uploads::router())
            .layer(middleware::from_fn_with_state(hub.clone(), gate))
            .layer(cors)
            .with_state(hub.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = axum::serve(listener, service) => (),
                    _ = stopped => (),
                }
            });
        });
        Ok(LoopbackHub {
            address,
            hub,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Its address, as clients expect it.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Takes large files in this way from now on.
    pub fn take_uploads(&self, uploads: Uploads) {
        *self.hub.uploads.lock().unwrap() = uploads;
    }

    /// Announces the current way to take large files once more, and then uses `uploads`.
    pub fn change_mind(&self, uploads: Uploads) {
        *self.hub.afterwards.lock().unwrap() = Some(uploads);
    }

    /// Applies a fault to the next `times` requests with this method whose path contains
    /// `path_part`.
    pub fn spoil(&self, times: usize, method: &'static str, path_part: &str, fault: Fault) {
        self.hub.faults.lock().unwrap().push(Coming {
            times,
            method,
            path_part: path_part.into(),
            fault,
        });
    }

    /// Answers the next `times` such requests with `status`, without doing them.
    pub fn fail(&self, times: usize, method: &'static str, path_part: &str, status: u16) {
        self.spoil(times, method, path_part, Fault::Refuse(status));
    }

    /// Does the next such request, but answers with `status`.
    pub fn lose_answer(&self, method: &'static str, path_part: &str, status: u16) {
        self.spoil(1, method, path_part, Fault::Lose(status));
    }

    /// Removes all faults.
    pub fn forget_faults(&self) {
        self.hub.faults.lock().unwrap().clear();
    }

    /// Commits files as another user would, and creates the repository if needed.
    pub fn commit(&self, kind: Kind, id: &str, files: &[(&str, &[u8])]) -> String {
        let mut store = self.hub.store.lock().unwrap();
        store
            .create(kind, id, false)
            .expect("creating a repository");
        let files = files
            .iter()
            .map(|(path, content)| {
                (
                    (*path).to_owned(),
                    Some(store.keep(path, content).expect("keeping a file")),
                )
            })
            .collect();
        store
            .commit(kind, id, MAIN, "by someone else", files)
            .expect("committing")
    }

    /// Number of commits of the repository, with its first, empty one; 0 when it does not exist.
    pub fn commits(&self, kind: Kind, id: &str) -> usize {
        self.hub
            .store
            .lock()
            .unwrap()
            .repo(kind, id)
            .map_or(0, |repo| repo.commits.len())
    }

    /// The content of a file at the tip of `main`.
    pub fn read(&self, kind: Kind, id: &str, path: &str) -> Option<Vec<u8>> {
        self.read_at(kind, id, MAIN, path)
    }

    /// The content of a file at a revision.
    pub fn read_at(&self, kind: Kind, id: &str, revision: &str, path: &str) -> Option<Vec<u8>> {
        let store = self.hub.store.lock().unwrap();
        let file = store
            .repo(kind, id)?
            .at(revision)?
            .1
            .files
            .get(path)?
            .clone();
        std::fs::read(store.blob(&file.sha256)).ok()
    }

    /// The paths at the tip of `main`.
    pub fn paths(&self, kind: Kind, id: &str) -> Vec<String> {
        let store = self.hub.store.lock().unwrap();
        store
            .repo(kind, id)
            .and_then(|repo| repo.at(MAIN))
            .map(|(_, commit)| commit.files.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// All requests so far, as `METHOD path`.
    pub fn requests(&self) -> Vec<String> {
        self.traffic()
            .iter()
            .map(|request| format!("{} {}", request.method, request.path))
            .collect()
    }

    /// All requests that have ended, answered or broken off.
    pub fn traffic(&self) -> Vec<Traffic> {
        self.hub.log.lock().unwrap().clone()
    }

    /// The requests since the last call.
    pub fn take_traffic(&self) -> Vec<Traffic> {
        std::mem::take(&mut self.hub.log.lock().unwrap())
    }
}

impl Drop for LoopbackHub {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs for every request: faults, authorisation, log.
async fn gate(State(hub): State<Arc<Hub>>, request: Request, next: Next) -> Response {
    let mut traffic = Traffic::of(&request);
    let fault = {
        let mut faults = hub.faults.lock().unwrap();
        let found = faults.iter_mut().find(|fault| {
            fault.times > 0
                && request.method() == fault.method
                && traffic.path.contains(&fault.path_part)
        });
        found.map(|fault| {
            fault.times -= 1;
            fault.fault
        })
    };
    let response = answer(&hub, &traffic.path, fault, request, next).await;
    traffic.status = response.status();
    traffic.sent = match fault {
        Some(Fault::Cut(bytes) | Fault::Stall(bytes)) => bytes,
        _ => match response
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok())
        {
            Some(length) => length.parse().unwrap_or_default(),
            None => response.body().size_hint().exact().unwrap_or_default(),
        },
    };
    hub.log.lock().unwrap().push(traffic);
    response
}

async fn answer(
    hub: &Hub,
    path: &str,
    fault: Option<Fault>,
    request: Request,
    next: Next,
) -> Response {
    let status = |code| StatusCode::from_u16(code).expect("a status");
    if let Some(Fault::Refuse(code)) = fault {
        return refuse(status(code), "Fault", "this Hub was told to answer so").into_response();
    }
    let sent = request
        .headers()
        .get(header::AUTHORIZATION)
        .map(|value| value.to_str().unwrap_or_default().to_owned());
    let known = sent.as_deref() == Some(&format!("Bearer {}", hub.token));
    // The address of a large file carries its own permission, like a signed URL.
    let presigned = path.starts_with("/lfs/");
    // These use POST, but change nothing.
    let reads = matches!(*request.method(), Method::GET | Method::HEAD)
        || path.contains("/paths-info/")
        || path == "/api/validate-yaml";
    let open =
        presigned || (sent.is_none() && reads && !hub.store.lock().unwrap().is_private(path));
    if !known && !open {
        return refuse(
            StatusCode::UNAUTHORIZED,
            "Unauthorized",
            "Invalid username or password.",
        )
        .into_response();
    }
    let Some(fault) = fault else {
        return next.run(request).await;
    };
    let request = fault.before(request).await;
    let response = match fault {
        // A request that was not read completely is not done.
        Fault::HangUp(_) => StatusCode::OK.into_response(),
        _ => next.run(request).await,
    };
    match fault {
        Fault::Lose(code) => refuse(
            status(code),
            "Fault",
            "this Hub was told to lose its answer",
        )
        .into_response(),
        _ => fault.after(response).await,
    }
}

/// A refusal worded as on the public Hub, because clients read its headers.
struct Refusal {
    status: StatusCode,
    code: &'static str,
    words: String,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (
            self.status,
            Json(serde_json::json!({ "error": self.words })),
        )
            .into_response();
        response
            .headers_mut()
            .insert("x-error-code", HeaderValue::from_static(self.code));
        if let Ok(words) = HeaderValue::from_str(&self.words) {
            response.headers_mut().insert("x-error-message", words);
        }
        response
    }
}

fn refuse(status: StatusCode, code: &'static str, words: impl std::fmt::Display) -> Refusal {
    Refusal {
        status,
        code,
        words: words.to_string(),
    }
}

fn no_repository() -> Refusal {
    refuse(
        StatusCode::NOT_FOUND,
        "RepoNotFound",
        "Repository not found",
    )
}

fn no_revision(revision: &str) -> Refusal {
    refuse(
        StatusCode::NOT_FOUND,
        "RevisionNotFound",
        format!("Invalid rev id: {revision}"),
    )
}

fn no_entry() -> Refusal {
    refuse(StatusCode::NOT_FOUND, "EntryNotFound", "Entry not found")
}

fn bad(error: impl std::fmt::Display) -> Refusal {
    refuse(StatusCode::BAD_REQUEST, "BadRequest", error)
}

fn failed(error: impl std::fmt::Display) -> Refusal {
    refuse(StatusCode::INTERNAL_SERVER_ERROR, "Store", error)
}
