//! Uploads of large files: by git-lfs, whole or in parts, or by Xet.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use serde_json::{Value, json};
use starsight_model::bundle::sha256_hex;
use xet_client::cas_client::{DeletionControlableClient, DirectAccessClient, LocalClient};
use xet_runtime::core::XetContext;

use super::{
    Answer, Hub, bad, failed,
    files::{base, elsewhere},
    no_entry, refuse,
    store::is_sha256,
};

/// How the Hub takes large files.
#[derive(Debug, Clone)]
pub enum Uploads {
    /// Each file in one piece.
    Whole,
    /// In parts of this many bytes.
    Parts(u64),
    /// By Xet, into a store in this folder.
    Xet(PathBuf),
}

/// The parts of a large file by number, each with its tag.
pub type Parts = BTreeMap<u64, (String, Bytes)>;

pub fn router() -> Router<Arc<Hub>> {
    Router::new()
        .route("/{owner}/{name}/info/lfs/objects/batch", post(batch))
        .route(
            "/datasets/{owner}/{name}/info/lfs/objects/batch",
            post(batch),
        )
        .route("/{owner}/{name}/info/lfs/verify", post(verify))
        .route(
            "/api/{kind}/{owner}/{name}/xet-write-token/{revision}",
            get(xet_token),
        )
        .route("/lfs/{sha256}/parts/{number}", put(part))
        .route("/lfs/{sha256}/complete", post(complete))
        .layer(DefaultBodyLimit::disable())
}

/// Answers where to upload large files; a file that is already here gets no address. On the public
/// Hub that is another host, and so it is here.
async fn batch(
    State(hub): State<Arc<Hub>>,
    Path(repo): Path<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let request: Value = serde_json::from_slice(&body).map_err(bad)?;
    let offered = |transfer: &str| {
        request["transfers"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one == transfer))
    };
    let uploads = hub.uploads.lock().unwrap().clone();
    if let Some(afterwards) = hub.afterwards.lock().unwrap().take() {
        *hub.uploads.lock().unwrap() = afterwards;
    }
    let transfer = match &uploads {
        Uploads::Xet(_) if offered("xet") => "xet",
        Uploads::Parts(_) if offered("multipart") => "multipart",
        _ => "basic",
    };
    let (here, there) = (base(&headers), elsewhere(&headers));
    let store = hub.store.lock().unwrap();
    let mut objects = Vec::new();
    for object in request["objects"].as_array().into_iter().flatten() {
        let oid = object["oid"]
            .as_str()
            .filter(|oid| is_sha256(oid))
            .ok_or_else(|| bad("oid: wanted a SHA-256"))?;
        let size = object["size"].as_u64().ok_or_else(|| bad("no size"))?;
        let mut answer = json!({ "oid": oid, "size": size });
        if !store.blob(oid).exists() && transfer != "xet" {
            let upload = match uploads {
                Uploads::Parts(chunk) if transfer == "multipart" => {
                    let mut header = json!({ "chunk_size": chunk.to_string() });
                    for number in 1..=size.div_ceil(chunk) {
                        header[format!("{number:05}")] =
                            format!("{there}/lfs/{oid}/parts/{number}").into();
                    }
                    json!({ "href": format!("{here}/lfs/{oid}/complete"), "header": header })
                }
                _ => {
                    json!({ "href": format!("{there}/lfs/{oid}"), "header": { "x-upload": "as told" } })
                }
            };
            let verify = format!("{here}/{}/{}/info/lfs/verify", repo["owner"], repo["name"]);
            answer["actions"] = json!({ "upload": upload, "verify": { "href": verify } });
        }
        objects.push(answer);
    }
    Ok((
        [(header::CONTENT_TYPE, "application/vnd.git-lfs+json")],
        Json(json!({ "transfer": transfer, "objects": objects })),
    )
        .into_response())
}

/// Stores a large file that came in one piece.
pub fn keep_whole(hub: &Hub, sha256: &str, headers: &HeaderMap, body: &[u8]) -> Response {
    if headers.get("x-upload").is_none_or(|told| told != "as told") {
        return bad("the header that goes with this address is missing").into_response();
    }
    keep(hub, sha256, body)
}

fn keep(hub: &Hub, sha256: &str, body: &[u8]) -> Response {
    if sha256_hex(body) != sha256 {
        return bad("the content has another SHA-256").into_response();
    }
    match hub.store.lock().unwrap().keep("", body) {
        Ok(_) => StatusCode::OK.into_response(),
        Err(error) => failed(error).into_response(),
    }
}

async fn part(
    State(hub): State<Arc<Hub>>,
    Path((sha256, number)): Path<(String, u64)>,
    body: Bytes,
) -> Response {
    let tag = format!("\"{}\"", &sha256_hex(&body)[..32]);
    hub.parts
        .lock()
        .unwrap()
        .entry(sha256)
        .or_default()
        .insert(number, (tag.clone(), body));
    [(header::ETAG, tag)].into_response()
}

async fn complete(
    State(hub): State<Arc<Hub>>,
    Path(sha256): Path<String>,
    body: Bytes,
) -> Response {
    let request: Value = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return bad(error).into_response(),
    };
    let parts = hub
        .parts
        .lock()
        .unwrap()
        .remove(&sha256)
        .unwrap_or_default();
    let named: Vec<_> = request["parts"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|part| (part["partNumber"].as_u64(), part["etag"].as_str()))
        .collect();
    if named
        != parts
            .iter()
            .map(|(number, (tag, _))| (Some(*number), Some(tag.as_str())))
            .collect::<Vec<_>>()
    {
        return bad("these are not the parts that arrived").into_response();
    }
    keep(
        &hub,
        &sha256,
        &parts
            .into_values()
            .flat_map(|(_, bytes)| bytes)
            .collect::<Vec<u8>>(),
    )
}

async fn verify(State(hub): State<Arc<Hub>>, Json(object): Json<Value>) -> Answer {
    let oid = object["oid"]
        .as_str()
        .filter(|oid| is_sha256(oid))
        .ok_or_else(|| bad("oid: wanted a SHA-256"))?;
    let blob = hub.store.lock().unwrap().blob(oid);
    match std::fs::metadata(blob) {
        Ok(blob) if Some(blob.len()) == object["size"].as_u64() => {
            Ok(StatusCode::OK.into_response())
        }
        Ok(blob) => Err(refuse(
            StatusCode::CONFLICT,
            "Size",
            format!("{} bytes arrived", blob.len()),
        )),
        Err(_) => Err(no_entry()),
    }
}

/// Answers where Xet uploads to: a store on this disk instead of a host.
async fn xet_token(State(hub): State<Arc<Hub>>) -> Answer {
    match &*hub.uploads.lock().unwrap() {
        Uploads::Xet(folder) => {
            Ok(Json(json!({ "casUrl": format!("local://{}", folder.display()), "accessToken": "of the store", "exp": 4_102_444_800_u64 }))
                .into_response())
        }
        _ => Err(no_entry()),
    }
}

/// Copies the files in Xet's store to the Hub's own, under their SHA-256, by which the commit names
/// them.
pub async fn bring_from_xet(hub: &Hub) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let Uploads::Xet(folder) = hub.uploads.lock().unwrap().clone() else {
        return Ok(());
    };
    // Path of Xet's store within the folder it is given.
    let xet = LocalClient::new(XetContext::default()?, folder.join("xet/xorbs")).await?;
    for (file, _) in xet.list_file_shard_entries().await? {
        let content = xet.get_file_data(&file, None).await?;
        hub.store.lock().unwrap().keep("", &content)?;
    }
    Ok(())
}
