//! The file formats of reviews.

use std::path::Path;

use anyhow::{Result, bail};

/// Format of a file.
#[derive(Clone, Copy)]
pub(super) enum Format {
    /// Compressed columns.
    Parquet,
    /// Lines of text with this separator between fields.
    Delimited(u8),
    /// One JSON object per line.
    JsonLines,
}

impl Format {
    /// Finds the format from a file name's ending; `done` is `read` or `written`, for the error.
    ///
    /// # Errors
    /// When the ending is none of these.
    pub fn of(path: &Path, done: &str) -> Result<Format> {
        Ok(
            match path
                .extension()
                .and_then(|e| e.to_str())
                .map(str::to_ascii_lowercase)
                .as_deref()
            {
                Some("parquet") => Format::Parquet,
                Some("csv") => Format::Delimited(b','),
                Some("tsv") => Format::Delimited(b'\t'),
                Some("jsonl" | "ndjson") => Format::JsonLines,
                _ => bail!(
                    "{}: files of this type cannot be {done}; expected .parquet, .csv, .tsv or .jsonl",
                    path.display()
                ),
            },
        )
    }
}
