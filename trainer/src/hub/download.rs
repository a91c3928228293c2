//! Downloads a file from the Hub into the cache: resumed where it was cut off, and checked before
//! it gets its name.

use std::{
    fs::{self, OpenOptions},
    io::{Read, Write},
    path::Path,
};

use anyhow::{Context, anyhow};
use reqwest::{StatusCode, blocking::Response, header};

use super::{
    Hub, RepoId,
    cache::{Cache, remove},
    failure::Failure,
    meter::Meter,
    rest::{RemoteFile, RepoKind, Rest},
};
use crate::system::files::sync_folder;

/// Bytes read at once.
const BLOCK: usize = 256 << 10;

/// A repository at one commit, and where its files are stored.
pub(super) struct Download<'a> {
    pub(super) hub: &'a Hub,
    pub(super) rest: Rest<'a>,
    pub(super) kind: RepoKind,
    pub(super) repo: &'a RepoId,
    pub(super) commit: &'a str,
    pub(super) cache: &'a Cache,
}

impl Download<'_> {
    /// Downloads a file into the cache. Whatever fails, a file under its final name is complete.
    pub(super) fn download(&self, file: &RemoteFile, meter: &Meter) -> Result<(), Failure> {
        let etag = file.etag();
        let blob = self.cache.blob(etag);
        let waiting = || {
            self.hub.note(&format!(
                "{}: another program is fetching it; waiting",
                file.path
            ));
        };
        let _lock = self.cache.lock(etag, waiting)?;
        // Another program may have stored it meanwhile, for another commit or under another name.
        if self.has(file, &blob)? {
            meter.add(file.size);
        } else {
            let part = blob.with_file_name(format!("{etag}.incomplete"));
            self.complete(file, &part, meter)?;
            self.check(file, &part, meter)?;
            let naming = || format!("writing {}", blob.display());
            fs::rename(&part, &blob).with_context(naming)?;
            blob.parent().map_or(Ok(()), sync_folder)?;
        }
        Ok(self.cache.link(self.commit, &file.path, etag)?)
    }

    /// Whether the blob is in the cache. A damaged blob is removed.
    fn has(&self, file: &RemoteFile, blob: &Path) -> Result<bool, Failure> {
        if !blob.is_file() {
            return Ok(false);
        }
        let Some(how) = file.differs(blob)? else {
            return Ok(true);
        };
        self.hub.note(&format!(
            "{} was damaged in the cache ({how}); fetching it again",
            file.path
        ));
        remove(blob)?;
        Ok(false)
    }

    /// Checks the downloaded file against the Hub's listing. If it is damaged it is fetched once
    /// more from the first byte.
    fn check(&self, file: &RemoteFile, part: &Path, meter: &Meter) -> Result<(), Failure> {
        let Some(how) = file.differs(part)? else {
            return Ok(());
        };
        self.hub.note(&format!(
            "{} arrived damaged ({how}); fetching it again",
            file.path
        ));
        remove(part)?;
        meter.take_back(file.size);
        self.complete(file, part, meter)?;
        let Some(how) = file.differs(part)? else {
            return Ok(());
        };
        remove(part)?;
        Err(Failure::Local(anyhow!(
            "{} arrived damaged twice and was deleted: {how}",
            file.path
        )))
    }

    /// Downloads the missing part of `part`. It retries for as long as the attempts make progress.
    fn complete(&self, file: &RemoteFile, part: &Path, meter: &Meter) -> Result<(), Failure> {
        let have = || part.metadata().map_or(0, |metadata| metadata.len());
        if have() > file.size {
            remove(part)?;
        }
        if have() > 0 {
            self.hub.note(&format!(
                "{}: resuming at {} of {} bytes",
                file.path,
                have(),
                file.size
            ));
            meter.add(have());
        }
        let mut waits = self.hub.retry_policy.waits();
        loop {
            let before = have();
            match self.download_rest(file, part, before, meter) {
                Ok(()) => return Ok(()),
                // The range is outside the server's file, so the partial file belongs to another
                // one.
                Err(Failure::Status { code: 416, .. }) if before > 0 => {
                    Self::restart(part, before, meter)?;
                }
                Err(failure) if failure.is_transient() => {
                    if have() > before {
                        waits = self.hub.retry_policy.waits();
                    }
                    match waits.next() {
                        Some(wait) => self.hub.wait_after(&failure, wait),
                        None => return Err(failure),
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Appends to `part`, which has `from` bytes, what one request delivers.
    fn download_rest(
        &self,
        file: &RemoteFile,
        part: &Path,
        from: u64,
        meter: &Meter,
    ) -> Result<(), Failure> {
        let writing = || format!("writing {}", part.display());
        if let Some(folder) = part.parent() {
            fs::create_dir_all(folder).with_context(writing)?;
        }
        if from == file.size && part.is_file() {
            return Ok(());
        }
        let mut response =
            self.rest
                .content(self.kind, self.repo, self.commit, &file.path, from)?;
        let mut at = from;
        if from > 0 && !starts_at(&response, from)? {
            self.hub.note(&format!(
                "{}: the server does not support ranges; starting again",
                file.path
            ));
            Self::restart(part, from, meter)?;
            at = 0;
        }
        let mut out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(part)
            .with_context(writing)?;
        let mut block = vec![0; BLOCK];
        loop {
            let read = response
                .read(&mut block)
                .map_err(|error| Failure::reading(&error, self.hub.retry_policy.stall))?;
            if read == 0 {
                break;
            }
            at += read as u64;
            if at > file.size {
                drop(out);
                Self::restart(part, at - read as u64, meter)?;
                return Err(Failure::Answer(format!(
                    "{} is longer than the {} bytes listed",
                    file.path, file.size
                )));
            }
            out.write_all(&block[..read]).with_context(writing)?;
            meter.add(read as u64);
        }
        out.sync_all().with_context(writing)?;
        if at < file.size {
            return Err(Failure::Network {
                reason: format!("{} ended after {at} of {} bytes", file.path, file.size),
                connected: true,
            });
        }
        Ok(())
    }

    /// Starts again at the first byte.
    fn restart(part: &Path, had: u64, meter: &Meter) -> Result<(), Failure> {
        meter.take_back(had);
        Ok(remove(part)?)
    }
}

/// Whether the answer continues at byte `from` rather than at the beginning.
fn starts_at(response: &Response, from: u64) -> Result<bool, Failure> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return Ok(false);
    }
    let range = response
        .headers()
        .get(header::CONTENT_RANGE)
        .and_then(|range| range.to_str().ok())
        .unwrap_or_default();
    match range
        .strip_prefix("bytes ")
        .and_then(|range| range.split_once('-'))
        .map(|(start, _)| start.parse::<u64>())
    {
        Some(Ok(start)) if start == from => Ok(true),
        _ => Err(Failure::Answer(format!(
            "the range {range:?}, but byte {from} was requested"
        ))),
    }
}
