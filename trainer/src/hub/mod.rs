//! The Hugging Face Hub: fetching models and data sets, and publishing bundles.
//!
//! The transfers are hf-hub's. What it lacks is added here: a SHA-256 check of what arrived, a look before publishing at how the Hub takes large files, a reading back
//! afterwards, and errors that say what to do.

mod failure;
mod fetch;
mod publish;
mod repo_id;
mod rest;
mod token;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use hf_hub::{HFClient, HFClientBuilder, HFClientSync, progress};

pub use fetch::Snapshot;
pub use publish::Published;
pub use repo_id::RepoId;
pub use token::Token;

/// The Hub that is meant when none is named.
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
const USER_AGENT: &str = concat!("starsight/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// A download that stands still for this long has failed.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How often hf-hub tries again after a fault that may pass.
const RETRIES: usize = 3;

/// What a transfer tells whoever watches it.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// Something that a user should know.
    Note(&'a str),
    /// Bytes moved so far, of how many.
    Transfer {
        /// Bytes moved so far, over all files.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
}

/// Receives the events of a transfer. It may be called from any thread, and must not block.
pub type Report = Arc<dyn Fn(Event<'_>) + Send + Sync>;

/// How to reach a Hub. `Default` is the public Hub, no token, the usual cache.
#[derive(Default)]
pub struct Settings {
    /// The Hub's address; `None`: `HF_ENDPOINT`, or the public Hub.
    pub endpoint: Option<String>,
    /// Who we are; see [`Token::find`].
    pub token: Option<Token>,
    /// Where fetched files are kept; `None`: `HF_HUB_CACHE`, or `hub` in `HF_HOME`, or `~/.cache/huggingface/hub`.
    pub cache: Option<PathBuf>,
    /// Use only what the cache holds, and no network.
    pub offline: bool,
    /// Who watches.
    pub report: Option<Report>,
}

/// A Hub, and who we are to it.
pub struct Hub {
    endpoint: String,
    token: Option<Token>,
    cache: Option<PathBuf>,
    offline: bool,
    report: Report,
}

impl Hub {
    /// The Hub at `endpoint` (see [`Settings::endpoint`]), offline when `HF_HUB_OFFLINE` says so.
    ///
    /// # Errors
    /// When the address is not one of a Hub.
    pub fn new(endpoint: Option<&str>, token: Option<Token>) -> Result<Hub> {
        let offline = std::env::var("HF_HUB_OFFLINE").is_ok_and(|v| matches!(v.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on"));
        Hub::with(Settings { endpoint: endpoint.map(str::to_owned), token, offline, ..Settings::default() })
    }

    /// The Hub that `settings` describe.
    ///
    /// # Errors
    /// When the address is not one of a Hub.
    pub fn with(settings: Settings) -> Result<Hub> {
        let from_environment = || std::env::var("HF_ENDPOINT").ok().filter(|v| !v.is_empty());
        let endpoint = settings.endpoint.or_else(from_environment).unwrap_or_else(|| DEFAULT_ENDPOINT.into());
        let url =
            reqwest::Url::parse(&endpoint).with_context(|| format!("the Hub's address {endpoint:?} is not a URL such as {DEFAULT_ENDPOINT}"))?;
        // The address is printed in messages: it is no place for a password.
        ensure!(
            url.username().is_empty() && url.password().is_none(),
            "the Hub's address holds a user name or password: give a token by --token-file or HF_TOKEN"
        );
        ensure!(
            matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none(),
            "the Hub's address {endpoint:?} is not a URL such as {DEFAULT_ENDPOINT}"
        );
        Ok(Hub {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: settings.token,
            cache: settings.cache,
            offline: settings.offline,
            report: settings.report.unwrap_or_else(|| Arc::new(|_| {})),
        })
    }

    /// Lets `report` watch all transfers.
    #[must_use]
    pub fn watched_by(mut self, report: Report) -> Hub {
        self.report = report;
        self
    }

    /// The Hub's address.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn cache_dir(&self) -> PathBuf {
        self.cache.clone().unwrap_or_else(hf_hub::resolve_cache_dir)
    }

    fn note(&self, text: &str) {
        (self.report)(Event::Note(text));
    }

    /// hf-hub's client. `stall` is how long a transfer may stand still; an upload stands still for the reader while it is on its way.
    fn client(&self, stall: Option<Duration>) -> Result<HFClientSync> {
        let mut http = reqwest::Client::builder().user_agent(USER_AGENT).connect_timeout(CONNECT_TIMEOUT);
        if let Some(stall) = stall {
            http = http.read_timeout(stall);
        }
        let mut builder: HFClientBuilder =
            HFClient::builder().endpoint(&self.endpoint).client(http.build()?).user_agent(USER_AGENT).retry_max_attempts(RETRIES);
        // Without a token hf-hub 1.0.0 looks for one itself, in the places where `Token::find` looked.
        if let Some(token) = &self.token {
            builder = builder.token(token.secret());
        }
        Ok(builder.cache_dir(self.cache_dir()).build_sync()?)
    }

    fn progress(&self) -> progress::Progress {
        progress::Progress::new(Watch { report: self.report.clone(), seen: Default::default() })
    }
}

/// Sums up hf-hub's events, which come file by file, or for a batch of files at once.
struct Watch {
    report: Report,
    seen: std::sync::Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    total: u64,
    files: std::collections::HashMap<String, u64>,
    batch: u64,
}

impl progress::ProgressHandler for Watch {
    fn on_progress(&self, event: &progress::ProgressEvent) {
        use progress::{DownloadEvent, ProgressEvent, UploadEvent};
        let (done, total) = {
            let mut seen = self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            match event {
                // Within a download of many files each file starts again, with its own size.
                ProgressEvent::Download(DownloadEvent::Start { total_bytes, .. }) => seen.total = seen.total.max(*total_bytes),
                ProgressEvent::Download(DownloadEvent::Progress { files }) => {
                    seen.files.extend(files.iter().map(|file| (file.filename.clone(), file.bytes_completed)));
                }
                ProgressEvent::Download(DownloadEvent::AggregateProgress { bytes_completed, .. }) => seen.batch = *bytes_completed,
                ProgressEvent::Upload(UploadEvent::Start { total_bytes, .. }) => seen.total = *total_bytes,
                ProgressEvent::Upload(UploadEvent::Progress { bytes_completed, .. }) => seen.batch = *bytes_completed,
                ProgressEvent::Upload(UploadEvent::Complete) => seen.batch = seen.total,
                ProgressEvent::Download(DownloadEvent::Complete) | ProgressEvent::Upload(UploadEvent::Committing) => return,
            }
            ((seen.files.values().sum::<u64>() + seen.batch).min(seen.total), seen.total)
        };
        if total > 0 {
            (self.report)(Event::Transfer { done, total });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_a_hub() {
        assert_eq!(
            Hub::with(Settings { endpoint: Some("http://127.0.0.1:1/".into()), ..Settings::default() }).unwrap().endpoint(),
            "http://127.0.0.1:1"
        );
        for bad in ["huggingface.co", "ftp://hub", "https://hub/?a=b", ""] {
            assert!(Hub::with(Settings { endpoint: Some(bad.into()), ..Settings::default() }).is_err(), "{bad}");
        }
        let with_password = Settings { endpoint: Some("https://me:secret@hub".into()), ..Settings::default() };
        let message = format!("{:#}", Hub::with(with_password).err().expect("refused"));
        assert!(message.contains("--token-file") && !message.contains("secret"), "{message}");
    }
}
