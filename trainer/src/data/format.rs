//! The kinds of files that hold reviews.

use std::path::Path;

use anyhow::{Result, bail};

/// How rows are laid out in a file.
#[derive(Clone, Copy)]
pub(super) enum Format {
    /// Columns, compressed.
    Parquet,
    /// Lines of text with this between their fields.
    Delimited(u8),
    /// A JSON object a line.
    JsonLines,
}

impl Format {
    /// By the ending of the name of a file that is to be `read` or `written`.
    ///
    /// # Errors
    /// When it is none of these.
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
                    "{}: not a kind of file that is {done}; wanted .parquet, .csv, .tsv or .jsonl",
                    path.display()
                ),
            },
        )
    }
}
