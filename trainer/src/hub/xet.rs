//! Uploads large files to the Hub by Xet before the commit: files are cut into chunks, and only
//! missing chunks are sent.
//!
//! This uses hf-xet directly. hf-hub's commit asks the Hub again whether it takes Xet, and puts
//! large files into the commit if the answer has changed.

use std::{path::PathBuf, thread, time::Duration};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use xet::{
    XetError,
    xet_session::{Sha256Policy, XetSessionBuilder, XetUploadCommit},
};

use super::{Hub, RepoId, failure::Failure, meter::Meter, rest::Rest};

/// Time between two reports of progress.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Hub {
    /// Uploads files. Content that arrived in a failed attempt is not sent again.
    pub(super) fn send_by_xet(
        &self,
        rest: &Rest<'_>,
        repo: &RepoId,
        files: &[PathBuf],
        meter: &Meter,
    ) -> Result<(), Failure> {
        self.retry(|| self.try_by_xet(rest, repo, files, meter))
    }

    fn try_by_xet(
        &self,
        rest: &Rest<'_>,
        repo: &RepoId,
        files: &[PathBuf],
        meter: &Meter,
    ) -> Result<(), Failure> {
        let (url, store) = rest.xet_store(repo)?;
        let mut headers = HeaderMap::new();
        if let Some(token) = &self.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.secret()))
                .map_err(|error| Failure::Local(error.into()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let session = XetSessionBuilder::new().build()?;
        let upload = session
            .new_upload_commit()?
            .with_endpoint(store.cas_url)
            .with_token_info(store.access_token, store.exp);
        let upload = upload
            .with_token_refresh_url(url, headers)
            .build_blocking()?;
        for file in files {
            upload.upload_from_path_blocking(file.clone(), Sha256Policy::Compute)?;
        }
        finish(&upload, meter)
    }
}

/// Waits for the end of the upload, and reports its progress.
fn finish(upload: &XetUploadCommit, meter: &Meter) -> Result<(), Failure> {
    let outcome = thread::scope(|scope| {
        let finishing = scope.spawn(|| upload.commit_blocking());
        while !finishing.is_finished() {
            thread::sleep(LOOK_EVERY);
            meter.reach(upload.progress().total_bytes_completed);
        }
        finishing.join()
    });
    match outcome {
        Ok(report) => report.map(|_| meter.finish()).map_err(Failure::from),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

impl From<XetError> for Failure {
    fn from(error: XetError) -> Failure {
        match error {
            XetError::Network(reason)
            | XetError::RateLimited(reason)
            | XetError::ServerError(reason)
            | XetError::Timeout(reason) => Failure::Network {
                reason,
                connected: true,
            },
            other => Failure::Local(other.into()),
        }
    }
}
