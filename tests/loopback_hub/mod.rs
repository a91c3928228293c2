//! A small Hub on loopback, in this process: repositories with commits and large files, speaking what hf-hub, `starsight.js` and Python's huggingface_hub ask for.
//!
//! Unlike the public Hub it has no Xet, keeps one branch, and takes a large file that comes inside a commit request. Its object ids are cut-off SHA-256s instead of git's
//! SHA-1s: to its clients they are opaque. Python's huggingface_hub 2 uploads to it with `HF_HUB_DISABLE_XET=1`.

// Each test and the example use their own part.
#![allow(dead_code, missing_docs)]

mod api;
mod files;
mod store;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tokio::{net::TcpListener, sync::oneshot};
use tower_http::cors::{Any, CorsLayer};

pub use store::Kind;
use store::Store;

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
    faults: Mutex<Vec<Fault>>,
    log: Mutex<Vec<String>>,
}

/// A fault to come.
struct Fault {
    times: usize,
    method: &'static str,
    path_part: String,
    status: u16,
    /// Do as asked, and only then answer with the fault.
    after: bool,
}

impl LoopbackHub {
    /// Starts a Hub that keeps its repositories in the folder `store`, on `port` or, with 0, any free one. Whoever writes, or reads what is private, needs `token`.
    pub fn start(store: &Path, port: u16, token: &str) -> std::io::Result<LoopbackHub> {
        let hub = Arc::new(Hub { store: Mutex::new(Store::open(store)?), token: token.into(), faults: Mutex::default(), log: Mutex::default() });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
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
        let cors = CorsLayer::new().allow_origin(Any).allow_methods(Any).allow_headers(Any).expose_headers(expose.map(HeaderName::from_static));
        let service =
            api::router().merge(files::router()).layer(middleware::from_fn_with_state(hub.clone(), gate)).layer(cors).with_state(hub.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = axum::serve(listener, service) => (),
                    _ = stopped => (),
                }
            });
        });
        Ok(LoopbackHub { address, hub, stop: Some(stop), thread: Some(thread) })
    }

    /// Its address, as clients want it.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next `times` requests of this method whose path holds `path_part` are answered with `status`, and not done.
    pub fn fail(&self, times: usize, method: &'static str, path_part: &str, status: u16) {
        self.hub.faults.lock().unwrap().push(Fault { times, method, path_part: path_part.into(), status, after: false });
    }

    /// The next such request is done, but answered with `status`.
    pub fn lose_answer(&self, method: &'static str, path_part: &str, status: u16) {
        self.hub.faults.lock().unwrap().push(Fault { times: 1, method, path_part: path_part.into(), status, after: true });
    }

    /// No more faults.
    pub fn forget_faults(&self) {
        self.hub.faults.lock().unwrap().clear();
    }

    /// Commits files as someone else would; makes the repository when there is none.
    pub fn commit(&self, kind: Kind, id: &str, files: &[(&str, &[u8])]) -> String {
        let mut store = self.hub.store.lock().unwrap();
        store.create(kind, id, false).expect("creating a repository");
        let files = files.iter().map(|(path, content)| ((*path).to_owned(), Some(store.keep(path, content).expect("keeping a file")))).collect();
        store.commit(kind, id, "by someone else", files).expect("committing")
    }

    /// How many commits the repository has, its first, empty one included; 0 when there is no such repository.
    pub fn commits(&self, kind: Kind, id: &str) -> usize {
        self.hub.store.lock().unwrap().repo(kind, id).map_or(0, |repo| repo.commits.len())
    }

    /// The content of a file at the head of the branch.
    pub fn read(&self, kind: Kind, id: &str, path: &str) -> Option<Vec<u8>> {
        let store = self.hub.store.lock().unwrap();
        let file = store.repo(kind, id)?.head_commit().files.get(path)?.clone();
        std::fs::read(store.blob(&file.sha256)).ok()
    }

    /// The paths at the head of the branch.
    pub fn paths(&self, kind: Kind, id: &str) -> Vec<String> {
        self.hub.store.lock().unwrap().repo(kind, id).map(|repo| repo.head_commit().files.keys().cloned().collect()).unwrap_or_default()
    }

    /// All requests so far, as `METHOD path`.
    pub fn requests(&self) -> Vec<String> {
        self.hub.log.lock().unwrap().clone()
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

/// What every request passes: the log, the faults, the token.
async fn gate(State(hub): State<Arc<Hub>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    hub.log.lock().unwrap().push(format!("{} {path}", request.method()));
    let fault = {
        let mut faults = hub.faults.lock().unwrap();
        let found = faults.iter_mut().find(|fault| fault.times > 0 && request.method() == fault.method && path.contains(&fault.path_part));
        found.map(|fault| {
            fault.times -= 1;
            (StatusCode::from_u16(fault.status).expect("a status"), fault.after)
        })
    };
    if let Some((status, false)) = fault {
        return refuse(status, "Fault", "this Hub was told to answer so").into_response();
    }
    let sent = request.headers().get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or_default().to_owned());
    let known = sent.as_deref() == Some(&format!("Bearer {}", hub.token));
    // A large file's upload address carries its own permission, as a signed address does.
    let presigned = path.starts_with("/lfs/");
    // These are asked by POST, but change nothing.
    let reads = matches!(*request.method(), Method::GET | Method::HEAD) || path.contains("/paths-info/") || path == "/api/validate-yaml";
    let open = presigned || (sent.is_none() && reads && !hub.store.lock().unwrap().is_private(&path));
    if !known && !open {
        return refuse(StatusCode::UNAUTHORIZED, "Unauthorized", "Invalid username or password.").into_response();
    }
    let response = next.run(request).await;
    match fault {
        Some((status, true)) => refuse(status, "Fault", "this Hub was told to lose its answer").into_response(),
        _ => response,
    }
}

/// A refusal as the public Hub words it: its clients read the headers.
struct Refusal {
    status: StatusCode,
    code: &'static str,
    words: String,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(serde_json::json!({ "error": self.words }))).into_response();
        response.headers_mut().insert("x-error-code", HeaderValue::from_static(self.code));
        if let Ok(words) = HeaderValue::from_str(&self.words) {
            response.headers_mut().insert("x-error-message", words);
        }
        response
    }
}

fn refuse(status: StatusCode, code: &'static str, words: impl std::fmt::Display) -> Refusal {
    Refusal { status, code, words: words.to_string() }
}

fn no_repository() -> Refusal {
    refuse(StatusCode::NOT_FOUND, "RepoNotFound", "Repository not found")
}

fn no_revision(revision: &str) -> Refusal {
    refuse(StatusCode::NOT_FOUND, "RevisionNotFound", format!("Invalid rev id: {revision}"))
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
