//! Requests that hf-hub does not offer, or whose answers it does not return.

use std::{collections::HashMap, fmt, path::Path, time::Duration};

use anyhow::Context;
use base64::{Engine, prelude::BASE64_STANDARD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{
    Url,
    blocking::{Client, RequestBuilder, Response},
    header,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Hub, RepoId, USER_AGENT, failure::Failure, oid::git_oid};
use crate::model::verify;

/// Content type of git-lfs.
const LFS_JSON: &str = "application/vnd.git-lfs+json";
/// Number of paths in one request.
const PATHS: usize = 500;
/// Characters that are not encoded in a part of a URL.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// The kind of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RepoKind {
    Model,
    Dataset,
}

impl RepoKind {
    /// The name in API addresses and cache folders.
    pub(super) fn plural(self) -> &'static str {
        match self {
            RepoKind::Model => "models",
            RepoKind::Dataset => "datasets",
        }
    }

    /// Prefix of a repository's name in other addresses.
    fn prefix(self) -> &'static str {
        match self {
            RepoKind::Model => "",
            RepoKind::Dataset => "datasets/",
        }
    }
}

pub(super) struct Rest<'a> {
    hub: &'a Hub,
    http: Client,
}

/// A file as the Hub lists it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct RemoteFile {
    pub path: String,
    pub size: u64,
    /// git's object id; for a large file that of its pointer.
    oid: String,
    /// Only for large files. (hf-hub looks for the hash under another key, and does not find it.)
    lfs: Option<Lfs>,
}

#[derive(Debug, Clone, Deserialize)]
struct Lfs {
    /// The SHA-256 of the content.
    oid: String,
}

impl RemoteFile {
    /// The content's identifier, which is also the name of its blob in the cache: its SHA-256 for a
    /// large file, else git's object id.
    pub(super) fn etag(&self) -> &str {
        self.lfs.as_ref().map_or(&self.oid, |lfs| &lfs.oid)
    }

    /// How the file at `path` differs from this one, if it does.
    pub(super) fn differs(&self, path: &Path) -> anyhow::Result<Option<Difference>> {
        let size = path
            .metadata()
            .with_context(|| format!("reading {}", path.display()))?
            .len();
        if size != self.size {
            return Ok(Some(Difference {
                here: format!("{size} bytes"),
                there: self.size.to_string(),
            }));
        }
        let (name, found) = match &self.lfs {
            Some(_) => ("SHA-256", verify::hashed(path, &mut std::io::sink())?.1),
            None => ("git object id", git_oid(path)?),
        };
        Ok((found != self.etag()).then(|| Difference {
            here: format!("{name} {found}"),
            there: self.etag().to_owned(),
        }))
    }
}

/// Difference between a local file and the Hub's listing.
pub(super) struct Difference {
    here: String,
    there: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, the Hub lists {}", self.here, self.there)
    }
}

/// How the Hub wants a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum UploadMode {
    /// Stored apart from git.
    Lfs,
    /// In the commit itself.
    Regular,
}

/// The Hub's answer to a request to upload large files.
#[derive(Debug, Deserialize)]
pub(super) struct Batch {
    /// The transfer method; `basic` by default.
    pub transfer: Option<String>,
    #[serde(default)]
    pub objects: Vec<Object>,
}

/// A large file and its upload address.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Object {
    error: Option<ObjectError>,
    /// `None`: the Hub has the file.
    pub actions: Option<Actions>,
}

#[derive(Debug, Clone, Deserialize)]
struct ObjectError {
    code: u16,
    message: String,
}

/// Actions for a large file.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Actions {
    pub upload: Option<Action>,
    pub verify: Option<Action>,
}

/// An address, and headers to send there.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Action {
    pub href: String,
    /// Besides headers, the Hub lists here the addresses of the parts, by number, and their size.
    #[serde(default)]
    pub header: HashMap<String, Value>,
}

/// The store for uploads by Xet, and access to it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct XetStore {
    pub cas_url: String,
    pub access_token: String,
    /// Expiry, in seconds since 1970.
    pub exp: u64,
}

impl<'a> Rest<'a> {
    pub(super) fn new(hub: &'a Hub) -> Result<Rest<'a>, Failure> {
        let retry_policy = hub.retry_policy;
        let http = Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(retry_policy.connect)
            .timeout(retry_policy.stall)
            .build()?;
        Ok(Rest { hub, http })
    }

    fn api(&self, kind: RepoKind, repo: &RepoId, what: &str, revision: &str) -> String {
        format!(
            "{}/api/{}/{}/{what}/{}",
            self.hub.endpoint(),
            kind.plural(),
            repo.path(),
            encoded(revision)
        )
    }

    /// The Hub's entries for `paths` at a commit. Missing paths are left out.
    pub(super) fn paths_info(
        &self,
        kind: RepoKind,
        repo: &RepoId,
        commit: &str,
        paths: &[String],
    ) -> Result<Vec<RemoteFile>, Failure> {
        let url = self.api(kind, repo, "paths-info", commit);
        let ask = |paths: &[String]| {
            self.hub.retry(|| {
                self.json::<Vec<RemoteFile>>(self.http.post(&url).json(&json!({ "paths": paths })))
            })
        };
        Ok(paths
            .chunks(PATHS)
            .map(ask)
            .collect::<Result<Vec<_>, _>>()?
            .concat())
    }

    /// Asks how to upload files: `(path, size, beginning)`.
    pub(super) fn preupload(
        &self,
        repo: &RepoId,
        files: &[(&str, u64, Vec<u8>)],
    ) -> Result<HashMap<String, UploadMode>, Failure> {
        #[derive(Deserialize)]
        struct Answer {
            files: Vec<Mode>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Mode {
            path: String,
            upload_mode: UploadMode,
        }
        let files: Vec<_> =
            files.iter().map(|(path, size, sample)| json!({ "path": path, "size": size, "sample": BASE64_STANDARD.encode(sample) })).collect();
        let url = self.api(RepoKind::Model, repo, "preupload", repo.revision());
        let answer: Answer = self
            .hub
            .retry(|| self.json(self.http.post(&url).json(&json!({ "files": files }))))?;
        Ok(answer
            .files
            .into_iter()
            .map(|file| (file.path, file.upload_mode))
            .collect())
    }

    /// Asks where to upload large files: `(SHA-256, size)`.
    pub(super) fn batch(
        &self,
        repo: &RepoId,
        transfers: &[&str],
        objects: &[(&str, u64)],
    ) -> Result<Batch, Failure> {
        let objects: Vec<_> = objects
            .iter()
            .map(|(oid, size)| json!({ "oid": oid, "size": size }))
            .collect();
        let url = format!(
            "{}/{}.git/info/lfs/objects/batch",
            self.hub.endpoint(),
            repo.path()
        );
        let body = json!({ "operation": "upload", "transfers": transfers, "objects": objects, "hash_algo": "sha256", "ref": { "name": repo.revision() } });
        let ask = || {
            self.json::<Batch>(
                self.http
                    .post(&url)
                    .header(header::ACCEPT, LFS_JSON)
                    .json(&body)
                    .header(header::CONTENT_TYPE, LFS_JSON),
            )
        };
        let batch = self.hub.retry(ask)?;
        match batch
            .objects
            .iter()
            .find_map(|object| object.error.as_ref())
        {
            Some(error) => Err(Failure::Status {
                code: error.code,
                words: Some(error.message.clone()),
            }),
            None => Ok(batch),
        }
    }

    /// The store for uploads by Xet, and the address that gave it.
    pub(super) fn xet_store(&self, repo: &RepoId) -> Result<(String, XetStore), Failure> {
        let url = self.api(RepoKind::Model, repo, "xet-write-token", repo.revision());
        let store = self.hub.retry(|| self.json(self.http.get(&url)))?;
        Ok((url, store))
    }

    /// Reports that all parts of a large file are uploaded.
    pub(super) fn complete(&self, url: &str, oid: &str, tags: &[String]) -> Result<(), Failure> {
        let parts: Vec<_> = tags
            .iter()
            .zip(1..)
            .map(|(tag, number)| json!({ "partNumber": number, "etag": tag }))
            .collect();
        self.post_lfs(url, &json!({ "oid": oid, "parts": parts }))
    }

    /// Asks the Hub to verify a large file.
    pub(super) fn verify(&self, url: &str, oid: &str, size: u64) -> Result<(), Failure> {
        self.post_lfs(url, &json!({ "oid": oid, "size": size }))
    }

    fn post_lfs(&self, url: &str, body: &Value) -> Result<(), Failure> {
        self.hub.retry(|| {
            let request = self
                .http
                .post(url)
                .json(body)
                .header(header::CONTENT_TYPE, LFS_JSON);
            let response = if self.is_hub_url(url) {
                self.send(request)
            } else {
                Self::answer(request)
            }?;
            // A broken answer counts as a failure.
            Ok(response.bytes()?)
        })?;
        Ok(())
    }

    /// Makes a commit from lines of JSON, and returns its id. The caller must find out whether a
    /// failed one may be sent again.
    pub(super) fn commit(
        &self,
        repo: &RepoId,
        lines: Vec<u8>,
        pull_request: bool,
        timeout: Duration,
    ) -> Result<String, Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Made {
            commit_oid: String,
        }
        let create = if pull_request { "?create_pr=1" } else { "" };
        let url = format!(
            "{}{create}",
            self.api(RepoKind::Model, repo, "commit", repo.revision())
        );
        let request = self
            .http
            .post(url)
            .timeout(timeout)
            .header(header::CONTENT_TYPE, "application/x-ndjson")
            .body(lines);
        Ok(self.json::<Made>(request)?.commit_oid)
    }

    /// The content of a file at a commit, from byte `from` on if the server supports ranges: the
    /// answer's status shows it. Large files come from another host.
    pub(super) fn content(
        &self,
        kind: RepoKind,
        repo: &RepoId,
        commit: &str,
        path: &str,
        from: u64,
    ) -> Result<Response, Failure> {
        let path = path.split('/').map(encoded).collect::<Vec<_>>().join("/");
        let mut request = self.http.get(format!(
            "{}/{}{}/resolve/{commit}/{path}",
            self.hub.endpoint(),
            kind.prefix(),
            repo.path()
        ));
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        self.send(request)
    }

    fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        Ok(self.send(request)?.json()?)
    }

    /// Sends a request to the Hub itself, with our token. reqwest removes the token when redirected
    /// to another host.
    fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        Self::answer(match &self.hub.token {
            Some(token) => request.bearer_auth(token.secret()),
            None => request,
        })
    }

    fn answer(request: RequestBuilder) -> Result<Response, Failure> {
        #[derive(Deserialize)]
        struct Refusal {
            error: String,
        }
        let response = request.send()?;
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status().as_u16();
        Err(Failure::Status {
            code,
            words: response.json::<Refusal>().ok().map(|refusal| refusal.error),
        })
    }

    /// Whether a URL is on the Hub's own host.
    fn is_hub_url(&self, url: &str) -> bool {
        let origin = |url: &str| Url::parse(url).map(|url| url.origin());
        matches!((origin(url), origin(self.hub.endpoint())), (Ok(there), Ok(hub)) if there == hub)
    }
}

/// Percent-encodes a branch or file name for a URL.
fn encoded(part: &str) -> String {
    utf8_percent_encode(part, PLAIN).to_string()
}
