//! File contents: `resolve`, and the separate host of large files.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use tower_http::services::ServeFile;

use super::{
    Hub, bad, failed, no_entry, no_repository, no_revision,
    store::{Kind, is_sha256},
    uploads::keep_whole,
};

pub fn router() -> Router<Arc<Hub>> {
    Router::new()
        .route(
            "/{owner}/{name}/resolve/{revision}/{*path}",
            get(async |hub, path, request| resolve(hub, Kind::Model, path, request).await),
        )
        .route(
            "/datasets/{owner}/{name}/resolve/{revision}/{*path}",
            get(async |hub, path, request| resolve(hub, Kind::Dataset, path, request).await),
        )
        .route("/lfs/{sha256}", any(large))
        .layer(DefaultBodyLimit::disable())
}

type InRepo = Path<(String, String, String, String)>;

/// Answers a small file at once, and a large one with a redirect to its address, as the public Hub
/// does.
async fn resolve(
    State(hub): State<Arc<Hub>>,
    kind: Kind,
    Path((owner, name, revision, path)): InRepo,
    request: Request,
) -> Response {
    let (commit, file, blob) = {
        let store = hub.store.lock().unwrap();
        let Some(repo) = store.repo(kind, &format!("{owner}/{name}")) else {
            return no_repository().into_response();
        };
        let Some((id, commit)) = repo.at(&revision) else {
            return no_revision(&revision).into_response();
        };
        let Some(file) = commit.files.get(&path) else {
            let mut response = no_entry().into_response();
            insert(&mut response, "x-repo-commit", id);
            return response;
        };
        (id.to_owned(), file.clone(), store.blob(&file.sha256))
    };
    let tag = format!("\"{}\"", if file.lfs { &file.sha256 } else { &file.oid });
    let mut response = if request
        .headers()
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes())
    {
        StatusCode::NOT_MODIFIED.into_response()
    } else if file.lfs {
        let there = elsewhere(request.headers());
        let mut moved = (
            StatusCode::FOUND,
            [(header::LOCATION, format!("{there}/lfs/{}", file.sha256))],
        )
            .into_response();
        insert(&mut moved, "x-linked-size", &file.size.to_string());
        insert(&mut moved, "x-linked-etag", &tag);
        moved
    } else {
        serve(&blob, request).await
    };
    insert(&mut response, "etag", &tag);
    insert(&mut response, "x-repo-commit", &commit);
    response
}

/// Reads or stores a large file.
async fn large(
    State(hub): State<Arc<Hub>>,
    Path(sha256): Path<String>,
    request: Request,
) -> Response {
    if !is_sha256(&sha256) {
        return no_entry().into_response();
    }
    if request.method() == axum::http::Method::PUT {
        let headers = request.headers().clone();
        let body: Bytes = match axum::body::to_bytes(request.into_body(), usize::MAX).await {
            Ok(body) => body,
            Err(error) => return bad(error).into_response(),
        };
        return keep_whole(&hub, &sha256, &headers, &body);
    }
    let blob = hub.store.lock().unwrap().blob(&sha256);
    let mut response = serve(&blob, request).await;
    insert(&mut response, "etag", &format!("\"{sha256}\""));
    response
}

/// Sends the file, or the part that the request's range names.
async fn serve(blob: &std::path::Path, request: Request) -> Response {
    match ServeFile::new(blob).try_call(request).await {
        Ok(response) => response.into_response(),
        Err(error) => failed(error).into_response(),
    }
}

fn insert(response: &mut Response, name: &'static str, value: &str) {
    if let Ok(value) = value.parse() {
        response.headers_mut().insert(name, value);
    }
}

/// The address by which the client reaches this Hub.
pub fn base(headers: &HeaderMap) -> String {
    format!(
        "http://{}",
        headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or("127.0.0.1")
    )
}

/// The address of large files. On the public Hub they are on another host; here on loopback's other
/// name.
pub fn elsewhere(headers: &HeaderMap) -> String {
    let here = base(headers);
    if here.contains("localhost") {
        here.replace("localhost", "127.0.0.1")
    } else {
        here.replace("127.0.0.1", "localhost")
    }
}
