//! Uploads large files to the Hub by git-lfs before the commit: whole, or in parts if the Hub asks
//! for that.

use std::{collections::HashMap, path::Path};

use starsight_model::bundle::FileEntry;

use super::{
    Hub, RepoId,
    failure::Failure,
    meter::Meter,
    put::Piece,
    rest::{Action, Actions, Rest},
};

/// The key under which the Hub gives the size of the parts.
const CHUNK_SIZE: &str = "chunk_size";

/// Uploads to a repository.
pub(super) struct Upload<'a> {
    pub(super) hub: &'a Hub,
    pub(super) rest: &'a Rest<'a>,
    pub(super) repo: &'a RepoId,
    pub(super) meter: &'a Meter,
}

impl Upload<'_> {
    /// Uploads the file at `path` unless the Hub has its content.
    pub(super) fn send(&self, path: &Path, entry: &FileEntry) -> Result<(), Failure> {
        let mut waits = self.hub.retry_policy.waits();
        loop {
            // Repeated for every attempt: addresses expire, and content that arrived without an
            // answer is not sent again.
            let batch = self.rest.batch(
                self.repo,
                &["basic", "multipart"],
                &[(&entry.sha256, entry.size)],
            )?;
            let object =
                batch.objects.into_iter().next().ok_or_else(|| {
                    Failure::Answer(format!("no upload address for {}", entry.path))
                })?;
            let Some(actions) = object.actions else {
                self.meter.add(entry.size);
                return Ok(());
            };
            let sent = match &actions.upload {
                Some(upload) if upload.header.contains_key(CHUNK_SIZE) => {
                    self.in_parts(path, entry, upload)
                }
                Some(upload) => self
                    .hub
                    .put(
                        &Piece {
                            path,
                            start: 0,
                            size: entry.size,
                        },
                        upload,
                        self.meter,
                    )
                    .map(|_| ()),
                None => Ok(()),
            };
            match sent.and_then(|()| self.verify(entry, &actions)) {
                Ok(()) => return Ok(()),
                // 403: the address has expired.
                Err(failure)
                    if failure.is_transient()
                        || matches!(failure, Failure::Status { code: 403, .. }) =>
                {
                    match waits.next() {
                        Some(wait) => self.hub.wait_after(&failure, wait),
                        None => return Err(failure),
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Asks the Hub to verify the upload, if it wants that.
    fn verify(&self, entry: &FileEntry, actions: &Actions) -> Result<(), Failure> {
        let Some(verify) = &actions.verify else {
            return Ok(());
        };
        self.rest
            .verify(&verify.href, &entry.sha256, entry.size)
            .map_err(|failure| {
                self.meter.take_back(entry.size);
                Failure::Network {
                    reason: format!("{} arrived incomplete: {failure}", entry.path),
                    connected: true,
                }
            })
    }

    /// Uploads a file in parts, each to its own address, and then completes the upload.
    fn in_parts(&self, path: &Path, entry: &FileEntry, upload: &Action) -> Result<(), Failure> {
        let parts = Parts::of(entry, upload)?;
        let mut tags = Vec::new();
        // The addresses come first in the zip, so that it ends with them: one more step could
        // overflow.
        for (href, start) in parts.urls.into_iter().zip((0..).step_by(parts.size)) {
            let piece = Piece {
                path,
                start,
                size: (entry.size - start).min(parts.size as u64),
            };
            let to = Action {
                href,
                header: HashMap::new(),
            };
            // A part that fails is retried without sending the others again.
            let tag = self.hub.retry(|| self.hub.put(&piece, &to, self.meter));
            let tag = tag.inspect_err(|_| self.meter.take_back(start))?;
            tags.push(
                tag.ok_or_else(|| {
                    Failure::Answer(format!("no etag for a part of {}", entry.path))
                })?,
            );
        }
        self.rest
            .complete(&upload.href, &entry.sha256, &tags)
            .inspect_err(|_| self.meter.take_back(entry.size))
    }
}

/// The parts of a large file.
#[derive(Debug)]
struct Parts {
    size: usize,
    /// Their addresses, in order.
    urls: Vec<String>,
}

impl Parts {
    /// Parses the Hub's instructions: `chunk_size` gives the size of the parts, numbered keys their
    /// addresses.
    fn of(entry: &FileEntry, upload: &Action) -> Result<Parts, Failure> {
        let wrong = |what: &str| Failure::Answer(format!("{what} for {}", entry.path));
        let size = match &upload.header[CHUNK_SIZE] {
            serde_json::Value::String(text) => text.parse().ok(),
            number => number.as_u64().and_then(|size| usize::try_from(size).ok()),
        };
        let size = size
            .filter(|size| *size > 0)
            .ok_or_else(|| wrong("no part size"))?;
        let mut numbered: Vec<(u64, &str)> = upload
            .header
            .iter()
            .filter_map(|(number, url)| Some((number.parse().ok()?, url.as_str()?)))
            .collect();
        numbered.sort_unstable();
        if numbered.len() as u64 != entry.size.div_ceil(size as u64) {
            return Err(wrong(&format!(
                "{} addresses for parts of {size} bytes",
                numbered.len()
            )));
        }
        Ok(Parts {
            size,
            urls: numbered
                .into_iter()
                .map(|(_, url)| url.to_owned())
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parts(size: u64, header: serde_json::Value) -> Result<Parts, Failure> {
        let upload =
            serde_json::from_value(json!({ "href": "https://hub/complete", "header": header }))
                .expect("an action");
        Parts::of(
            &FileEntry {
                path: "weights".into(),
                size,
                sha256: "0".repeat(64),
            },
            &upload,
        )
    }

    #[test]
    fn parts_go_in_the_order_of_their_numbers() {
        let urls = json!({ "chunk_size": "10", "00002": "b", "00010": "j", "00001": "a", "3": "c", "04": "d", "5": "e", "6": "f", "7": "g", "8": "h", "9": "i" });
        let found = parts(95, urls).expect("parts");
        assert_eq!(
            (found.size, found.urls.concat().as_str()),
            (10, "abcdefghij")
        );
        assert_eq!(
            parts(10, json!({ "chunk_size": 10, "1": "a" }))
                .expect("parts")
                .urls,
            ["a"]
        );
    }

    #[test]
    fn parts_that_do_not_make_the_file_are_refused() {
        for (size, header) in [
            (30, json!({ "chunk_size": "10", "1": "a", "2": "b" })),
            (10, json!({ "chunk_size": "10", "1": "a", "2": "b" })),
            (10, json!({ "chunk_size": "0", "1": "a" })),
            (10, json!({ "chunk_size": "ten", "1": "a" })),
        ] {
            let refused = parts(size, header.clone())
                .expect_err("refused")
                .to_string();
            assert!(refused.contains("weights"), "{header}: {refused}");
        }
    }
}
