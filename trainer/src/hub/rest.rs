//! The requests that hf-hub does not make, or whose answers it does not hand on.

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

/// What git-lfs calls its JSON.
const LFS_JSON: &str = "application/vnd.git-lfs+json";
/// How many paths are asked for at once.
const PATHS: usize = 500;
/// What stays as it is within a part of an address.
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
    /// As the API's addresses and the cache's folders name it.
    pub(super) fn plural(self) -> &'static str {
        match self {
            RepoKind::Model => "models",
            RepoKind::Dataset => "datasets",
        }
    }

    /// What stands before a repository's name in other addresses.
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
    /// git's name for it; for a large file that of its pointer.
    oid: String,
    /// Of large files only. (hf-hub looks for the hash under another name, and finds none.)
    lfs: Option<Lfs>,
}

#[derive(Debug, Clone, Deserialize)]
struct Lfs {
    /// The SHA-256 of the content.
    oid: String,
}

impl RemoteFile {
    /// What the content is known by: its SHA-256 for a large file, else git's name for it. The cache names its blobs so.
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

/// Between a file here and the one that the Hub lists.
pub(super) struct Difference {
    here: String,
    there: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, the Hub lists {}", self.here, self.there)
    }
}

/// How a Hub wants a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum UploadMode {
    /// Apart from git.
    Lfs,
    /// In the commit itself.
    Regular,
}

/// What the Hub says to large files that shall come.
#[derive(Debug, Deserialize)]
pub(super) struct Batch {
    /// How it wants them: `basic` unless given.
    pub transfer: Option<String>,
    #[serde(default)]
    pub objects: Vec<Object>,
}

/// A large file, and where it goes.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Object {
    error: Option<ObjectError>,
    /// None: the Hub has it.
    pub actions: Option<Actions>,
}

#[derive(Debug, Clone, Deserialize)]
struct ObjectError {
    code: u16,
    message: String,
}

/// What to do with a large file.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Actions {
    pub upload: Option<Action>,
    pub verify: Option<Action>,
}

/// An address, and headers to send there.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Action {
    pub href: String,
    /// Not only headers: the Hub puts the parts' addresses here too, under their numbers, and their size.
    #[serde(default)]
    pub header: HashMap<String, Value>,
}

/// The store that files go to by Xet, and what opens it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct XetStore {
    pub cas_url: String,
    pub access_token: String,
    /// Until when, in seconds since 1970.
    pub exp: u64,
}

impl<'a> Rest<'a> {
    pub(super) fn new(hub: &'a Hub) -> Result<Rest<'a>, Failure> {
        let patience = hub.patience;
        let http = Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(patience.connect)
            .timeout(patience.stall)
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

    /// What the Hub knows of `paths` at a commit. Paths that it does not have are left out.
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

    /// Asks how the Hub wants files: `(path, size, beginning)`.
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

    /// Asks where large files go: `(SHA-256, size)`.
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

    /// Where files go by Xet, and the address that says so.
    pub(super) fn xet_store(&self, repo: &RepoId) -> Result<(String, XetStore), Failure> {
        let url = self.api(RepoKind::Model, repo, "xet-write-token", repo.revision());
        let store = self.hub.retry(|| self.json(self.http.get(&url)))?;
        Ok((url, store))
    }

    /// Says that all parts of a large file are there.
    pub(super) fn complete(&self, url: &str, oid: &str, tags: &[String]) -> Result<(), Failure> {
        let parts: Vec<_> = tags
            .iter()
            .zip(1..)
            .map(|(tag, number)| json!({ "partNumber": number, "etag": tag }))
            .collect();
        self.post_lfs(url, &json!({ "oid": oid, "parts": parts }))
    }

    /// Asks whether a large file arrived.
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
            let response = if self.is_hubs(url) {
                self.send(request)
            } else {
                self.answer(request)
            }?;
            // An answer that breaks off is none.
            Ok(response.bytes()?)
        })?;
        Ok(())
    }

    /// Makes a commit of lines of JSON, and returns its id. Whether one that failed may be sent again is the caller's to find out.
    pub(super) fn commit(
        &self,
        repo: &RepoId,
        lines: Vec<u8>,
        pull_request: bool,
        patience: Duration,
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
            .timeout(patience)
            .header(header::CONTENT_TYPE, "application/x-ndjson")
            .body(lines);
        Ok(self.json::<Made>(request)?.commit_oid)
    }

    /// The content of a file at a commit, from byte `from` on where the server can: its answer's status says whether it did. A large file comes from another host.
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

    /// Sends a request to the Hub itself, with our token. reqwest drops it where a redirect leads to another host.
    fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        self.answer(match &self.hub.token {
            Some(token) => request.bearer_auth(token.secret()),
            None => request,
        })
    }

    fn answer(&self, request: RequestBuilder) -> Result<Response, Failure> {
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

    /// Whether an address is the Hub's own.
    fn is_hubs(&self, url: &str) -> bool {
        let origin = |url: &str| Url::parse(url).map(|url| url.origin());
        matches!((origin(url), origin(self.hub.endpoint())), (Ok(there), Ok(hub)) if there == hub)
    }
}

/// A branch or a name as a part of an address.
fn encoded(part: &str) -> String {
    utf8_percent_encode(part, PLAIN).to_string()
}
