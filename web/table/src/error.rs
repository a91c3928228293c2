//! Errors for files that cannot be read.

/// The reason why a whole file is refused. Problems of single rows are
/// [`Problem`](crate::protocol::Problem)s instead.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum Error {
    /// The extension is not a supported one.
    #[error("{0} has an unsupported file type; wanted .csv, .tsv, .jsonl, .parquet or .txt")]
    Kind(String),
    /// The file is empty.
    #[error("{0} is empty; wanted reviews")]
    Empty(String),
    /// The file is too large for a page's memory. Sizes are in bytes.
    #[error("{name} has {} MB, but a page reads at most {} MB; split it into several files", .bytes / 1_000_000, .most / 1_000_000)]
    Large {
        /// The file.
        name: String,
        /// Its size.
        bytes: u64,
        /// The largest supported size.
        most: u64,
    },
    /// The table has more cells than fit into a page's memory.
    #[error(
        "{name} has {cells} values, but a page reads at most {most}; split it into several files"
    )]
    Cells {
        /// The file.
        name: String,
        /// The number of its cells.
        cells: u64,
        /// The largest supported number.
        most: u64,
    },
    /// No line is a JSON object.
    #[error(
        "{name} does not have one JSON object per line ({why}); wanted lines such as {{\"review\": \"Love it\"}}"
    )]
    Json {
        /// The file.
        name: String,
        /// Why the first line is not one.
        why: String,
    },
    /// The file is truncated or not Parquet.
    #[error("{name} cannot be read as Parquet: {why}")]
    Parquet {
        /// The file.
        name: String,
        /// The reader's message.
        why: String,
    },
    /// A column uses an unsupported compression.
    #[error(
        "column `{column}` of {name} is compressed with {codec}; supported are Parquet files that are uncompressed or compressed with Snappy, gzip, LZ4 or Zstandard"
    )]
    Codec {
        /// The file.
        name: String,
        /// The column.
        column: String,
        /// The compression codec.
        codec: &'static str,
    },
}
