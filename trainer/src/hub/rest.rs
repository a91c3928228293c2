//! The three requests that hf-hub does not make, or whose answers it does not hand on.

use reqwest::blocking::{Client, RequestBuilder, Response};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use starsight_model::bundle::FileEntry;

use super::{CONNECT_TIMEOUT, Hub, RepoId, STALL_TIMEOUT, USER_AGENT, failure::Failure};

pub(super) struct Rest<'a> {
    hub: &'a Hub,
    http: Client,
}

/// A file as the Hub lists it.
#[derive(Debug, Deserialize)]
pub(super) struct RemoteFile {
    pub path: String,
    pub size: u64,
    /// Of large files only: the SHA-256 of the content. (hf-hub looks for it under another name, and finds none.)
    pub lfs: Option<Lfs>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Lfs {
    pub oid: String,
}

impl<'a> Rest<'a> {
    pub(super) fn new(hub: &'a Hub) -> Result<Rest<'a>, Failure> {
        let http = Client::builder().user_agent(USER_AGENT).connect_timeout(CONNECT_TIMEOUT).timeout(STALL_TIMEOUT).build()?;
        Ok(Rest { hub, http })
    }

    /// What the Hub knows of `paths` at a commit. Paths that it does not have are left out. `kind` is `models` or `datasets`.
    pub(super) fn paths_info(&self, kind: &str, repo: &RepoId, commit: &str, paths: &[String]) -> Result<Vec<RemoteFile>, Failure> {
        let url = format!("{}/api/{kind}/{}/paths-info/{commit}", self.hub.endpoint(), repo.path());
        self.json(self.http.post(url).json(&json!({ "paths": paths })))
    }

    /// Whether the Hub takes these files by Xet, the one way for large files that hf-hub has.
    pub(super) fn takes_xet(&self, repo: &RepoId, files: &[&FileEntry]) -> Result<bool, Failure> {
        #[derive(Deserialize)]
        struct Batch {
            transfer: Option<String>,
        }
        let objects: Vec<_> = files.iter().map(|file| json!({ "oid": file.sha256, "size": file.size })).collect();
        let request = self.http.post(format!("{}/{}.git/info/lfs/objects/batch", self.hub.endpoint(), repo.path()));
        // The same question that hf-hub will ask.
        let batch: Batch = self.json(request.header("accept", "application/vnd.git-lfs+json").json(&json!({
            "operation": "upload",
            "transfers": ["basic", "multipart", "xet"],
            "objects": objects,
            "hash_algo": "sha256",
            "ref": { "name": repo.revision() },
        })))?;
        Ok(batch.transfer.as_deref() == Some("xet"))
    }

    /// The content of a small file at a commit.
    pub(super) fn read(&self, repo: &RepoId, commit: &str, path: &str) -> Result<Vec<u8>, Failure> {
        let url = format!("{}/{}/resolve/{commit}/{path}", self.hub.endpoint(), repo.path());
        Ok(self.send(self.http.get(url))?.bytes()?.to_vec())
    }

    fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        Ok(self.send(request)?.json()?)
    }

    fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        #[derive(Deserialize)]
        struct Refusal {
            error: String,
        }
        let request = match &self.hub.token {
            Some(token) => request.bearer_auth(token.secret()),
            None => request,
        };
        let response = request.send()?;
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status().as_u16();
        Err(Failure::Status { code, words: response.json::<Refusal>().ok().map(|refusal| refusal.error) })
    }
}
