//! The JSON API: repositories, listings, commits.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::{get, post},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Answer, Hub, Refusal, bad, failed,
    files::base,
    no_repository, no_revision, refuse,
    store::{Change, File, Kind, MAIN, is_large, is_sha256},
    uploads::bring_from_xet,
};

pub fn router() -> Router<Arc<Hub>> {
    Router::new()
        .route("/api/repos/create", post(create))
        .route(
            "/api/validate-yaml",
            post(async || Json(json!({ "errors": [], "warnings": [] }))),
        )
        .route("/api/{kind}/{owner}/{name}", get(info_of_head))
        .route("/api/{kind}/{owner}/{name}/revision/{revision}", get(info))
        .route(
            "/api/{kind}/{owner}/{name}/tree/{revision}",
            get(tree_of_root),
        )
        .route(
            "/api/{kind}/{owner}/{name}/tree/{revision}/{*folder}",
            get(tree),
        )
        .route(
            "/api/{kind}/{owner}/{name}/paths-info/{revision}",
            post(paths_info),
        )
        .route(
            "/api/{kind}/{owner}/{name}/preupload/{revision}",
            post(preupload),
        )
        .route("/api/{kind}/{owner}/{name}/commit/{revision}", post(commit))
        .route("/api/{kind}/{owner}/{name}/refs", get(refs))
        .route("/api/{kind}/{owner}/{name}/branch/{branch}", post(branch))
        .layer(DefaultBodyLimit::disable())
}

type AtRevision = Path<(String, String, String, String)>;

fn kind_of(plural: &str) -> Result<Kind, Refusal> {
    Kind::of(plural).ok_or_else(no_repository)
}

#[derive(Deserialize)]
struct Create {
    name: String,
    organization: Option<String>,
    #[serde(default)]
    private: Option<bool>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

async fn create(
    State(hub): State<Arc<Hub>>,
    headers: HeaderMap,
    Json(request): Json<Create>,
) -> Answer {
    let kind = if request.kind.as_deref() == Some("dataset") {
        Kind::Dataset
    } else {
        Kind::Model
    };
    let id = format!(
        "{}/{}",
        request.organization.unwrap_or_else(|| "me".into()),
        request.name
    );
    let new = hub
        .store
        .lock()
        .unwrap()
        .create(kind, &id, request.private.unwrap_or(false))
        .map_err(failed)?;
    let prefix = if kind == Kind::Dataset {
        "datasets/"
    } else {
        ""
    };
    let url = format!("{}/{prefix}{id}", base(&headers));
    if !new {
        // Python's client reads the address from this answer.
        return Ok((
            StatusCode::CONFLICT,
            Json(json!({ "error": "You already created this repo", "url": url })),
        )
            .into_response());
    }
    Ok(Json(json!({ "url": url, "name": id, "id": id })).into_response())
}

async fn info_of_head(
    hub: State<Arc<Hub>>,
    Path((kind, owner, name)): Path<(String, String, String)>,
    query: Query<Blobs>,
) -> Answer {
    info(hub, Path((kind, owner, name, "main".into())), query).await
}

#[derive(Deserialize)]
struct Blobs {
    blobs: Option<String>,
}

async fn info(
    State(hub): State<Arc<Hub>>,
    Path((kind, owner, name, revision)): AtRevision,
    Query(query): Query<Blobs>,
) -> Answer {
    let (kind, id) = (kind_of(&kind)?, format!("{owner}/{name}"));
    let store = hub.store.lock().unwrap();
    let repo = store.repo(kind, &id).ok_or_else(no_repository)?;
    let (sha, commit) = repo.at(&revision).ok_or_else(|| no_revision(&revision))?;
    let siblings: Vec<Value> = commit
        .files
        .iter()
        .map(|(path, file)| match query.blobs {
            None => json!({ "rfilename": path }),
            Some(_) if file.lfs => {
                json!({ "rfilename": path, "size": file.size, "blobId": file.oid, "lfs": { "sha256": file.sha256, "size": file.size, "pointerSize": 134 } })
            }
            Some(_) => json!({ "rfilename": path, "size": file.size, "blobId": file.oid }),
        })
        .collect();
    Ok(Json(json!({
        "_id": sha[..24], "id": id, "modelId": id, "author": owner, "sha": sha, "private": repo.private, "gated": false, "disabled": false,
        "tags": [], "downloads": 0, "likes": 0, "createdAt": "2026-01-01T00:00:00.000Z", "lastModified": "2026-01-01T00:00:00.000Z", "siblings": siblings,
    }))
    .into_response())
}

/// A file's entry in a listing.
fn entry(path: &str, file: &File) -> Value {
    let mut entry = json!({ "type": "file", "path": path, "size": file.size, "oid": file.oid });
    if file.lfs {
        entry["lfs"] = json!({ "oid": file.sha256, "size": file.size, "pointerSize": 134 });
    }
    entry
}

async fn tree_of_root(
    hub: State<Arc<Hub>>,
    Path((kind, owner, name, revision)): AtRevision,
    query: Query<Recursive>,
) -> Answer {
    tree(
        hub,
        Path((kind, owner, name, revision, String::new())),
        query,
    )
    .await
}

#[derive(Deserialize)]
struct Recursive {
    #[serde(default)]
    recursive: String,
}

async fn tree(
    State(hub): State<Arc<Hub>>,
    Path((kind, owner, name, revision, folder)): Path<(String, String, String, String, String)>,
    Query(query): Query<Recursive>,
) -> Answer {
    let store = hub.store.lock().unwrap();
    let repo = store
        .repo(kind_of(&kind)?, &format!("{owner}/{name}"))
        .ok_or_else(no_repository)?;
    let (_, commit) = repo.at(&revision).ok_or_else(|| no_revision(&revision))?;
    let recursive = matches!(query.recursive.to_lowercase().as_str(), "true" | "1");
    let prefix = if folder.is_empty() {
        String::new()
    } else {
        format!("{}/", folder.trim_end_matches('/'))
    };
    let (mut folders, mut entries) = (BTreeSet::new(), Vec::new());
    for (path, file) in &commit.files {
        let Some(below) = path.strip_prefix(&prefix) else {
            continue;
        };
        for (end, _) in below
            .match_indices('/')
            .take(if recursive { usize::MAX } else { 1 })
        {
            folders.insert(format!("{prefix}{}", &below[..end]));
        }
        if recursive || !below.contains('/') {
            entries.push(entry(path, file));
        }
    }
    let oid = "0".repeat(40);
    entries.extend(
        folders
            .iter()
            .map(|path| json!({ "type": "directory", "path": path, "oid": oid, "size": 0 })),
    );
    Ok(Json(entries).into_response())
}

#[derive(Deserialize)]
struct Paths {
    paths: Vec<String>,
}

async fn paths_info(
    State(hub): State<Arc<Hub>>,
    Path((kind, owner, name, revision)): AtRevision,
    request: Request,
) -> Answer {
    let wanted = paths_of(request).await?;
    let store = hub.store.lock().unwrap();
    let repo = store
        .repo(kind_of(&kind)?, &format!("{owner}/{name}"))
        .ok_or_else(no_repository)?;
    let (_, commit) = repo.at(&revision).ok_or_else(|| no_revision(&revision))?;
    let entries: Vec<Value> = wanted
        .iter()
        .filter_map(|path| match commit.files.get(path) {
            Some(file) => Some(entry(path, file)),
            None if commit
                .files
                .keys()
                .any(|file| file.starts_with(&format!("{path}/"))) =>
            {
                Some(json!({ "type": "directory", "path": path, "oid": "0".repeat(40), "size": 0 }))
            }
            None => None,
        })
        .collect();
    Ok(Json(entries).into_response())
}

/// The requested paths: in JSON, or as a form, as Python's client sends them.
async fn paths_of(request: Request) -> Result<Vec<String>, Refusal> {
    let is_form = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| {
            kind.as_bytes()
                .starts_with(b"application/x-www-form-urlencoded")
        });
    let body = axum::body::to_bytes(request.into_body(), 1 << 20)
        .await
        .map_err(failed)?;
    if is_form {
        let fields = reqwest::Url::parse(&format!("form:?{}", String::from_utf8_lossy(&body)))
            .map_err(failed)?;
        return Ok(fields
            .query_pairs()
            .filter(|(name, _)| name == "paths")
            .map(|(_, path)| path.into_owned())
            .collect());
    }
    serde_json::from_slice::<Paths>(&body)
        .map(|request| request.paths)
        .map_err(bad)
}

async fn preupload(
    State(hub): State<Arc<Hub>>,
    Path((kind, owner, name, revision)): AtRevision,
    Json(request): Json<Value>,
) -> Answer {
    let store = hub.store.lock().unwrap();
    let repo = store
        .repo(kind_of(&kind)?, &format!("{owner}/{name}"))
        .ok_or_else(no_repository)?;
    repo.at(&revision).ok_or_else(|| no_revision(&revision))?;
    let files: Vec<Value> = request["files"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|file| {
            let large = is_large(file["path"].as_str().unwrap_or_default(), file["size"].as_u64().unwrap_or_default());
            json!({ "path": file["path"], "uploadMode": if large { "lfs" } else { "regular" }, "shouldIgnore": false, "oid": null })
        })
        .collect();
    Ok(Json(json!({ "files": files })).into_response())
}

async fn refs(
    State(hub): State<Arc<Hub>>,
    Path((kind, owner, name)): Path<(String, String, String)>,
) -> Answer {
    let store = hub.store.lock().unwrap();
    let repo = store
        .repo(kind_of(&kind)?, &format!("{owner}/{name}"))
        .ok_or_else(no_repository)?;
    let shown = |of_pull_requests: bool| -> Vec<Value> {
        let tips = repo
            .branches
            .iter()
            .filter(|(name, _)| name.starts_with("refs/pr/") == of_pull_requests);
        tips.map(|(name, tip)| {
            let full = if of_pull_requests {
                name.clone()
            } else {
                format!("refs/heads/{name}")
            };
            json!({ "name": name, "ref": full, "targetCommit": tip })
        })
        .collect()
    };
    Ok(Json(json!({ "branches": shown(false), "tags": [], "converts": [], "pullRequests": shown(true) })).into_response())
}

async fn branch(
    State(hub): State<Arc<Hub>>,
    Path((kind, owner, name, branch)): AtRevision,
    body: Bytes,
) -> Answer {
    let request: Value = serde_json::from_slice(&body).map_err(bad)?;
    let start = request["startingPoint"].as_str().unwrap_or(MAIN);
    let (kind, id) = (kind_of(&kind)?, format!("{owner}/{name}"));
    let mut store = hub.store.lock().unwrap();
    let repo = store.repo(kind, &id).ok_or_else(no_repository)?;
    let (tip, _) = repo.at(start).ok_or_else(|| no_revision(start))?;
    let tip = tip.to_owned();
    if repo.branches.contains_key(&branch) {
        return Err(refuse(
            StatusCode::CONFLICT,
            "Exists",
            "Reference already exists",
        ));
    }
    store.set_branch(kind, &id, &branch, &tip).map_err(failed)?;
    Ok(StatusCode::OK.into_response())
}

#[derive(Deserialize)]
struct Proposed {
    #[serde(default)]
    create_pr: String,
}

/// A commit: one line of JSON for its title and its parent, then one for each change. All changes
/// are made, or none.
async fn commit(
    State(hub): State<Arc<Hub>>,
    Path((kind, owner, name, revision)): AtRevision,
    Query(query): Query<Proposed>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    bring_from_xet(&hub).await.map_err(failed)?;
    let (kind, id) = (kind_of(&kind)?, format!("{owner}/{name}"));
    let mut store = hub.store.lock().unwrap();
    let repo = store.repo(kind, &id).ok_or_else(no_repository)?;
    let tip = repo
        .branches
        .get(&revision)
        .ok_or_else(|| no_revision(&revision))?;
    let (mut title, mut changes) = (None, Vec::<Change>::new());
    for line in body
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let line: Value = serde_json::from_slice(line).map_err(bad)?;
        let value = &line["value"];
        let text = |field: &str| {
            value[field]
                .as_str()
                .ok_or_else(|| bad(format!("{}: no {field}", line["key"])))
        };
        match line["key"].as_str().unwrap_or_default() {
            "header" => {
                if value["parentCommit"]
                    .as_str()
                    .is_some_and(|parent| parent != tip)
                {
                    return Err(refuse(
                        StatusCode::PRECONDITION_FAILED,
                        "Moved",
                        "A commit has happened since. Please refresh and try again.",
                    ));
                }
                title = Some(text("summary")?.to_owned());
            }
            "file" => {
                let content = BASE64_STANDARD.decode(text("content")?).map_err(bad)?;
                if is_large(text("path")?, content.len() as u64) {
                    return Err(bad(format!(
                        "{}: a large file does not go into the commit itself",
                        text("path")?
                    )));
                }
                changes.push((
                    text("path")?.to_owned(),
                    Some(store.keep(text("path")?, &content).map_err(failed)?),
                ));
            }
            "lfsFile" => {
                let sha256 = text("oid")?;
                let blob = if is_sha256(sha256) {
                    std::fs::metadata(store.blob(sha256)).ok()
                } else {
                    None
                };
                let size = blob
                    .ok_or_else(|| bad(format!("{sha256} was not uploaded")))?
                    .len();
                changes.push((text("path")?.to_owned(), Some(File::large(size, sha256))));
            }
            "deletedFile" => changes.push((text("path")?.to_owned(), None)),
            other => return Err(bad(format!("{other}: an operation that this Hub lacks"))),
        }
    }
    let title = title.ok_or_else(|| bad("no header"))?;
    let proposal = (query.create_pr == "1").then(|| {
        1 + repo
            .branches
            .keys()
            .filter(|name| name.starts_with("refs/pr/"))
            .count()
    });
    let base = base(&headers);
    let mut answer = json!({ "success": true, "hookOutput": "" });
    let branch = match proposal {
        None => revision,
        Some(number) => {
            answer["pullRequestUrl"] = format!("{base}/{id}/discussions/{number}").into();
            let (tip, branch) = (tip.clone(), format!("refs/pr/{number}"));
            store.set_branch(kind, &id, &branch, &tip).map_err(failed)?;
            branch
        }
    };
    let oid = store
        .commit(kind, &id, &branch, &title, changes)
        .map_err(failed)?;
    answer["commitUrl"] = format!("{base}/{id}/commit/{oid}").into();
    answer["commitOid"] = oid.into();
    Ok(Json(answer).into_response())
}
