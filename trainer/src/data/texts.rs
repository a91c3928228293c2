//! Texts that stay in their files.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use sha2::{Digest, Sha256};
use starsight_model::bundle::hex;

use super::Tables;

/// Any number of texts, read from their files when they are needed.
pub trait Texts {
    /// Number of texts.
    fn count(&self) -> usize;

    /// SHA-256 of all texts in order.
    fn fingerprint(&self) -> &str;

    /// Reads the texts, some thousand at a time.
    ///
    /// # Errors
    /// When a file cannot be read any more or has changed, or `take` fails.
    fn for_each_text(&self, take: &mut dyn FnMut(&[&str]) -> Result<()>) -> Result<()>;
}

/// Computes a hash that identifies texts.
#[derive(Default)]
pub(super) struct Fingerprint(Sha256);

impl Fingerprint {
    pub fn add(&mut self, texts: &[&str]) {
        for text in texts {
            self.0.update((text.len() as u64).to_le_bytes());
            self.0.update(text);
        }
    }

    pub fn finish(self) -> String {
        hex(&self.0.finalize())
    }

    /// # Errors
    /// When the texts of `name` no longer have this `fingerprint`.
    pub fn check(self, fingerprint: &str, name: &str) -> Result<()> {
        ensure!(
            self.finish() == fingerprint,
            "{name} was changed while it was read; start again"
        );
        Ok(())
    }
}

/// Unlabelled reviews. Those without text are skipped.
pub struct Unlabelled {
    files: Vec<PathBuf>,
    column: String,
    count: usize,
    fingerprint: String,
}

impl Unlabelled {
    /// Reads the texts in the column `column` of these files once.
    ///
    /// # Errors
    /// When a file is broken or has no such column, or there is no text.
    pub fn read(files: Vec<PathBuf>, column: &str) -> Result<Unlabelled> {
        let mut texts = Unlabelled {
            files,
            column: column.into(),
            count: 0,
            fingerprint: String::new(),
        };
        let (mut fingerprint, mut count) = (Fingerprint::default(), 0);
        texts.pieces(&mut |piece| {
            fingerprint.add(piece);
            count += piece.len();
            Ok(())
        })?;
        ensure!(count > 0, "{}: no text in `{column}`", texts.name());
        (texts.count, texts.fingerprint) = (count, fingerprint.finish());
        Ok(texts)
    }

    fn name(&self) -> String {
        self.files
            .iter()
            .map(|file| file.display().to_string())
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn pieces(&self, take: &mut dyn FnMut(&[&str]) -> Result<()>) -> Result<()> {
        for table in Tables::open(&self.files, Some(&[&self.column]), None)? {
            let texts = table?.texts(&self.column)?;
            take(
                &texts
                    .iter()
                    .flatten()
                    .filter(|text| !text.trim().is_empty())
                    .collect::<Vec<_>>(),
            )?;
        }
        Ok(())
    }
}

impl Texts for Unlabelled {
    fn count(&self) -> usize {
        self.count
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn for_each_text(&self, take: &mut dyn FnMut(&[&str]) -> Result<()>) -> Result<()> {
        let mut fingerprint = Fingerprint::default();
        self.pieces(&mut |piece| {
            fingerprint.add(piece);
            take(piece)
        })?;
        fingerprint.check(&self.fingerprint, &self.name())
    }
}
