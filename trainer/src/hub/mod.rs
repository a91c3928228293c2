//! The Hugging Face Hub: fetching models and data sets, and publishing bundles.
//!
//! hf-hub creates repositories and branches and lists their contents; hf-xet uploads by Xet. The
//! rest is in this module: downloads that resume and are checked before they get a name, uploads by
//! git-lfs, commits that are not made twice, reading back what was published, and errors that say
//! what to do.

mod cache;
mod download;
mod failure;
mod fetch;
mod lfs;
mod meter;
mod oid;
mod plan;
mod publish;
mod put;
mod repo_id;
mod rest;
mod retry_policy;
mod token;
mod xet;

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, Result, ensure};
use hf_hub::{HFClient, HFClientBuilder, HFClientSync};

pub use fetch::Snapshot;
pub use plan::{FileState, Plan, PlannedFile, UploadMethod};
pub use publish::{Publication, Published};
pub use repo_id::RepoId;
pub use retry_policy::RetryPolicy;
pub use token::Token;

/// The Hub's address if none is given.
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
/// Hosts of the public Hub, with those that it redirects downloads to, as written in a Content
/// Security Policy.
pub const PUBLIC_HOSTS: [&str; 3] = [
    DEFAULT_ENDPOINT,
    "https://*.huggingface.co",
    "https://*.hf.co",
];
const USER_AGENT: &str = concat!("starsight/", env!("CARGO_PKG_VERSION"));

/// An event of a transfer.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A message for the user.
    Note(&'a str),
    /// Progress in bytes.
    Transfer {
        /// Bytes transferred so far, over all files.
        done: u64,
        /// Total number of bytes.
        total: u64,
    },
}

/// Receives the events of a transfer. It may be called from any thread, and must not block.
pub type Report = Arc<dyn Fn(Event<'_>) + Send + Sync>;

/// Settings of a connection to a Hub. `Default` is the public Hub without a token, and the usual
/// cache.
#[derive(Default)]
pub struct Settings {
    /// The Hub's address; `None`: `HF_ENDPOINT`, or the public Hub.
    pub endpoint: Option<String>,
    /// The access token; see [`Token::find`].
    pub token: Option<Token>,
    /// Folder of the cache; `None`: `HF_HUB_CACHE`, or `hub` in `HF_HOME`, or
    /// `~/.cache/huggingface/hub`.
    pub cache: Option<PathBuf>,
    /// Use only the cache, and no network.
    pub offline: bool,
    /// Timeouts and retries.
    pub retry_policy: RetryPolicy,
    /// Receives the events of transfers.
    pub report: Option<Report>,
}

/// A connection to a Hub.
pub struct Hub {
    endpoint: String,
    token: Option<Token>,
    cache: Option<PathBuf>,
    offline: bool,
    retry_policy: RetryPolicy,
    report: Report,
}

impl Hub {
    /// The Hub at `endpoint` (see [`Settings::endpoint`]), offline if `HF_HUB_OFFLINE` is set.
    ///
    /// # Errors
    /// When the address cannot be that of a Hub.
    pub fn new(endpoint: Option<&str>, token: Option<Token>) -> Result<Hub> {
        let offline = std::env::var("HF_HUB_OFFLINE")
            .is_ok_and(|v| matches!(v.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on"));
        Hub::with(Settings {
            endpoint: endpoint.map(str::to_owned),
            token,
            offline,
            ..Settings::default()
        })
    }

    /// The Hub of these `settings`.
    ///
    /// # Errors
    /// When the address cannot be that of a Hub.
    pub fn with(settings: Settings) -> Result<Hub> {
        let from_environment = || std::env::var("HF_ENDPOINT").ok().filter(|v| !v.is_empty());
        let endpoint = settings
            .endpoint
            .or_else(from_environment)
            .unwrap_or_else(|| DEFAULT_ENDPOINT.into());
        let url = reqwest::Url::parse(&endpoint).with_context(|| {
            format!("the Hub's address {endpoint:?} is not a URL such as {DEFAULT_ENDPOINT}")
        })?;
        // Messages print the address, so it must not contain a password.
        ensure!(
            url.username().is_empty() && url.password().is_none(),
            "the Hub's address contains a user name or password: pass a token by --token-file or HF_TOKEN"
        );
        ensure!(
            matches!(url.scheme(), "http" | "https")
                && url.query().is_none()
                && url.fragment().is_none(),
            "the Hub's address {endpoint:?} is not a URL such as {DEFAULT_ENDPOINT}"
        );
        Ok(Hub {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: settings.token,
            cache: settings.cache,
            offline: settings.offline,
            retry_policy: settings.retry_policy,
            report: settings.report.unwrap_or_else(|| Arc::new(|_| {})),
        })
    }

    /// Sets the receiver of events.
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

    /// hf-hub's client, which retries by itself.
    fn client(&self) -> Result<HFClientSync> {
        let RetryPolicy {
            tries,
            wait,
            connect,
            stall,
        } = self.retry_policy;
        let http = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(connect)
            .read_timeout(stall);
        let mut builder: HFClientBuilder = HFClient::builder()
            .endpoint(&self.endpoint)
            .client(http.build()?)
            .user_agent(USER_AGENT)
            .retry_max_attempts(tries.saturating_sub(1) as usize)
            .retry_base_delay(wait / 4);
        // Without a token hf-hub 1.0.0 looks for one itself, in the same places as `Token::find`.
        if let Some(token) = &self.token {
            builder = builder.token(token.secret());
        }
        Ok(builder.build_sync()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_a_hub() {
        assert_eq!(
            Hub::with(Settings {
                endpoint: Some("http://127.0.0.1:1/".into()),
                ..Settings::default()
            })
            .unwrap()
            .endpoint(),
            "http://127.0.0.1:1"
        );
        for bad in ["huggingface.co", "ftp://hub", "https://hub/?a=b", ""] {
            assert!(
                Hub::with(Settings {
                    endpoint: Some(bad.into()),
                    ..Settings::default()
                })
                .is_err(),
                "{bad}"
            );
        }
        let with_password = Settings {
            endpoint: Some("https://me:secret@hub".into()),
            ..Settings::default()
        };
        let message = format!("{:#}", Hub::with(with_password).err().expect("refused"));
        assert!(
            message.contains("--token-file") && !message.contains("secret"),
            "{message}"
        );
    }
}
