//! Fetching a bundle's files: streamed, measured and held to the manifest as the bytes flow.

use js_sys::{Date, Function, Map, Uint8Array};
use sha2::{Digest, Sha256};
use starsight_model::bundle::{FileEntry, MANIFEST, Manifest, hex};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Blob, ReadableStreamDefaultReader, ReadableStreamReadResult, ReferrerPolicy, RequestCredentials, RequestInit, Response, WorkerGlobalScope,
};

use crate::failure::{Failure, words};

/// A manifest is a few kilobytes; a server that sends more than this sends something else.
const LARGEST_MANIFEST: u64 = 4 << 20;

/// Milliseconds between two reports of progress.
const REPORT_INTERVAL: f64 = 50.0;

/// Where a bundle's files come from.
pub struct Source {
    base: String,
    hub: bool,
    lent: Map,
}

impl Source {
    /// The folder at `base`, which ends in a slash, but for the files (name to Blob) that another worker has `lent`.
    pub fn new(base: String, hub: bool, lent: Map) -> Source {
        Source { base, hub, lent }
    }

    /// The address.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The manifest, as it came and as it reads.
    pub async fn manifest(&self) -> Result<(Vec<u8>, Manifest), Failure> {
        let bytes = self.read(MANIFEST, LARGEST_MANIFEST, Vec::new(), |_| {}).await?;
        if bytes.len() as u64 > LARGEST_MANIFEST {
            return Err(Failure::Bundle(format!("{}{MANIFEST} is no manifest: it is larger than {LARGEST_MANIFEST} bytes", self.base)));
        }
        let manifest = Manifest::from_json(&bytes).map_err(|e| Failure::Bundle(format!("{}: {e}", self.base)))?;
        Ok((bytes, manifest))
    }

    /// The file that `entry` describes, with the right size and SHA-256.
    pub async fn file(&self, entry: &FileEntry, progress: &mut Progress) -> Result<Vec<u8>, Failure> {
        let mut buffer = Vec::new();
        let fits = usize::try_from(entry.size).is_ok_and(|size| buffer.try_reserve_exact(size).is_ok());
        if !fits {
            return Err(Failure::Engine(format!("not enough memory in this browser for the {} bytes of {}", entry.size, entry.path)));
        }
        let mut sha256 = Sha256::new();
        let bytes = self
            .read(&entry.path, entry.size, buffer, |chunk| {
                sha256.update(chunk);
                progress.add(chunk.len() as u64);
            })
            .await?;
        entry.check(bytes.len() as u64, || hex(&sha256.finalize())).map_err(|e| Failure::Bundle(format!("{}: {e}", self.base)))?;
        Ok(bytes)
    }

    /// Reads the file at `path` into `bytes` and lets `hear` have each piece. Stops once there are more than `most` bytes: whoever asked can tell by the length.
    async fn read(&self, path: &str, most: u64, mut bytes: Vec<u8>, mut hear: impl FnMut(&[u8])) -> Result<Vec<u8>, Failure> {
        let address = format!("{}{path}", self.base);
        let broken = |e: JsValue, at: usize| Failure::Download(format!("{address}: the connection broke after {at} bytes ({})", words(&e)));
        let response = match self.lent.get(&path.into()).dyn_into::<Blob>() {
            Ok(blob) => Response::new_with_opt_blob(Some(&blob)).map_err(|e| broken(e, 0))?,
            Err(_) => self.fetch(&address).await?,
        };
        let Some(body) = response.body() else { return Ok(bytes) };
        let reader: ReadableStreamDefaultReader = body.get_reader().unchecked_into();
        loop {
            let read = JsFuture::from(reader.read()).await.map_err(|e| broken(e, bytes.len()))?;
            let read: ReadableStreamReadResult = read.unchecked_into();
            if read.get_done().unwrap_or(false) {
                return Ok(bytes);
            }
            let chunk: Uint8Array = read.get_value().unchecked_into();
            let start = bytes.len();
            if start as u64 + u64::from(chunk.length()) > most {
                // More than the manifest says: nothing of it can be right, so the rest is not waited for.
                bytes.resize(start + chunk.length() as usize, 0);
                drop(reader.cancel());
                return Ok(bytes);
            }
            bytes.resize(start + chunk.length() as usize, 0);
            chunk.copy_to(&mut bytes[start..]);
            hear(&bytes[start..]);
        }
    }

    async fn fetch(&self, address: &str) -> Result<Response, Failure> {
        let init = RequestInit::new();
        if self.hub {
            init.set_credentials(RequestCredentials::Omit);
            init.set_referrer_policy(ReferrerPolicy::NoReferrer);
        }
        let scope: WorkerGlobalScope = js_sys::global().unchecked_into();
        let response = JsFuture::from(scope.fetch_with_str_and_init(address, &init)).await.map_err(|e| {
            Failure::Download(format!(
                "no answer from {address} ({}); either there is no connection, or that server does not let other sites read it",
                words(&e)
            ))
        })?;
        let response: Response = response.unchecked_into();
        if !response.ok() {
            let status = format!("{} {}", response.status(), response.status_text());
            return Err(Failure::Download(format!("{address} answered {}{}", status.trim_end(), meaning(response.status()))));
        }
        let content_type = response.headers().get("content-type").ok().flatten().unwrap_or_default();
        if content_type.starts_with("text/html") {
            return Err(Failure::Download(format!(
                "{address} answered with a web page ({content_type}) in place of the file; is the address right?"
            )));
        }
        Ok(response)
    }
}

/// What a status means for somebody who asked for a model.
fn meaning(status: u16) -> &'static str {
    match status {
        401 | 403 => ": the model does not exist, or is not public",
        404 | 410 => ": there is no such file",
        429 => ": too many requests; wait a little",
        500.. => ": that server is in trouble; try again later",
        _ => "",
    }
}

/// A copy of `bytes` outside the engine's memory.
pub fn blob(bytes: &[u8]) -> Result<Blob, JsValue> {
    let parts = js_sys::Array::of1(&Uint8Array::from(bytes));
    Blob::new_with_u8_array_sequence(&parts)
}

/// Tells how many of the bytes have arrived, not more often than anyone could see.
pub struct Progress {
    listener: Function,
    loaded: u64,
    total: u64,
    said_at: f64,
}

impl Progress {
    /// Nothing yet, of `total` bytes.
    pub fn new(listener: Function, total: u64) -> Progress {
        Progress { listener, loaded: 0, total, said_at: 0.0 }
    }

    fn add(&mut self, bytes: u64) {
        self.loaded += bytes;
        if Date::now() - self.said_at >= REPORT_INTERVAL {
            self.say("download");
        }
    }

    /// Says how far it is, in `phase`. What the listener throws is its own affair.
    pub fn say(&mut self, phase: &str) {
        self.said_at = Date::now();
        let _ = self.listener.call3(&JsValue::NULL, &phase.into(), &(self.loaded as f64).into(), &(self.total as f64).into());
    }
}
