//! Failures of requests to a Hub, with messages for the user.

use std::{fmt, io, time::Duration};

use anyhow::{Error, anyhow};
use hf_hub::HFError;

use super::{Hub, RepoId};

/// The user's operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Fetch,
    Publish,
}

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The Hub refused, with a status and perhaps a message.
    Status { code: u16, words: Option<String> },
    /// No connection, or it broke.
    Network { reason: String, connected: bool },
    /// The Hub's answer was not understood.
    Answer(String),
    /// A local failure: a full disk, a file that the cache lacks.
    Local(Error),
}

impl From<HFError> for Failure {
    fn from(error: HFError) -> Failure {
        match error {
            HFError::Http { context }
            | HFError::AuthRequired { context }
            | HFError::Forbidden { context }
            | HFError::Conflict { context }
            | HFError::RateLimited { context, .. } => Failure::Status {
                code: context.status.as_u16(),
                words: context.server_message,
            },
            HFError::RepoNotFound { context, .. }
            | HFError::RevisionNotFound { context, .. }
            | HFError::EntryNotFound { context, .. } => Failure::Status {
                code: 404,
                words: context.and_then(|context| context.server_message),
            },
            HFError::Request { source, .. } => source.into(),
            HFError::Json(error) => Failure::Answer(error.to_string()),
            HFError::MalformedResponse { what, .. } => Failure::Answer(what),
            other => Failure::Local(other.into()),
        }
    }
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Failure {
        // Only a JSON error means a wrong answer: reqwest reports a broken connection as a decode
        // error too.
        if error.is_decode() && innermost(&error).is::<serde_json::Error>() {
            return Failure::Answer(innermost(&error).to_string());
        }
        let reason = if error.is_timeout() {
            "no answer in time".into()
        } else {
            innermost(&error).to_string()
        };
        Failure::Network {
            reason,
            connected: !error.is_connect(),
        }
    }
}

impl Failure {
    /// A failure while reading an answer, with this limit for a stall.
    pub(super) fn reading(error: &io::Error, stall: Duration) -> Failure {
        let timed_out = error
            .get_ref()
            .and_then(|source| source.downcast_ref::<reqwest::Error>())
            .is_some_and(reqwest::Error::is_timeout);
        if timed_out || error.kind() == io::ErrorKind::TimedOut {
            return Failure::stalled(stall);
        }
        Failure::Network {
            reason: innermost(error).to_string(),
            connected: true,
        }
    }

    /// A transfer without data for the time `stall`.
    pub(super) fn stalled(stall: Duration) -> Failure {
        Failure::Network {
            reason: format!("no data for {} s", stall.as_secs_f64()),
            connected: true,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Local(error)
    }
}

/// The innermost cause, such as "Connection refused": its wrappers only repeat the address.
fn innermost<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> &'a (dyn std::error::Error + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

impl fmt::Display for Failure {
    /// A short form, for notes during a transfer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Status {
                code,
                words: Some(words),
            } => write!(f, "the Hub answered {code} ({words})"),
            Failure::Status { code, words: None } => write!(f, "the Hub answered {code}"),
            Failure::Network {
                reason,
                connected: false,
            } => write!(f, "no connection ({reason})"),
            Failure::Network {
                reason,
                connected: true,
            } => write!(f, "the connection broke ({reason})"),
            Failure::Answer(what) => write!(f, "unexpected answer, not a Hub's ({what})"),
            Failure::Local(error) => write!(f, "{error:#}"),
        }
    }
}

impl Failure {
    /// Whether the same request may succeed a moment later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Failure::Status { code, .. } => matches!(code, 408 | 429 | 500 | 502 | 503 | 504),
            Failure::Network { .. } => true,
            Failure::Answer(_) | Failure::Local(_) => false,
        }
    }

    /// Whether the request may have been done despite the failure: the answer was lost, or the Hub
    /// failed on the way.
    pub(super) fn may_have_succeeded(&self) -> bool {
        match self {
            Failure::Status { code, .. } => matches!(code, 408 | 500..=599),
            Failure::Network { connected, .. } => *connected,
            Failure::Answer(_) => true,
            Failure::Local(_) => false,
        }
    }

    /// The failure as an error for the user: operation, repository, the Hub's answer, and what to
    /// do.
    pub(super) fn explain(self, hub: &Hub, operation: Operation, repo: &RepoId) -> Error {
        let endpoint = hub.endpoint();
        let doing = match operation {
            Operation::Fetch => format!("fetching {repo} from {endpoint}"),
            Operation::Publish => format!("publishing to {repo} at {endpoint}"),
        };
        match self {
            Failure::Status { code, words } => {
                let words = words
                    .map(|words| format!(" ({})", hub.redacted(&words)))
                    .unwrap_or_default();
                anyhow!(
                    "{doing}: the Hub answered {code}{words}: {}",
                    hub.advice(code, operation, repo)
                )
            }
            Failure::Network {
                reason,
                connected: false,
            } => {
                let cache = if operation == Operation::Fetch {
                    "; HF_HUB_OFFLINE=1 uses what was fetched before"
                } else {
                    ""
                };
                anyhow!(
                    "{doing}: no connection ({reason}): check the address and the network{cache}"
                )
            }
            Failure::Network {
                reason,
                connected: true,
            } => anyhow!("{doing}: the connection broke ({reason}): try again"),
            Failure::Answer(what) => {
                anyhow!("{doing}: unexpected answer, not a Hub's ({what}): check the address")
            }
            Failure::Local(error) if operation == Operation::Fetch => {
                error.context(format!("{doing} into {}", hub.cache_dir().display()))
            }
            Failure::Local(error) => error.context(doing),
        }
    }
}

impl Hub {
    fn advice(&self, code: u16, operation: Operation, repo: &RepoId) -> String {
        let permission = match operation {
            Operation::Fetch => "read",
            Operation::Publish => "write",
        };
        let how = "by --token-file, HF_TOKEN or `hf auth login`";
        match code {
            401 if self.token.is_none() && operation == Operation::Publish => format!("no token given; pass one with write permission {how}"),
            401 if self.token.is_none() => {
                format!("there is no public repository of this name; check it, or pass a token with read permission {how}")
            }
            401 => format!("token invalid; pass one with {permission} permission {how}"),
            403 => format!(
                "the token lacks {permission} permission here; use one that may {permission} repositories of {}, and accept the repository's terms if it has any",
                repo.owner
            ),
            404 => format!("there is no such repository, revision or file, or the token may not see it; check {repo}"),
            409 | 412 => "someone else committed to the branch meanwhile; nothing was changed; check the branch, then publish again".into(),
            429 => "too many requests; wait a few minutes".into(),
            500..=599 => "a server error; try again later".into(),
            _ => "an unexpected status".into(),
        }
    }

    /// The Hub's message with our token removed, in case it repeats it.
    pub(super) fn redacted(&self, words: &str) -> String {
        match &self.token {
            Some(token) => words.replace(token.secret(), "[token]"),
            None => words.to_owned(),
        }
    }
}
