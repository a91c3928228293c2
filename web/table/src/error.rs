//! Errors for files that cannot be read.

/// The reason why a whole file is refused. Problems of single rows are
/// [`Problem`](crate::protocol::Problem)s instead.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum Error {
    /// The extension is not a supported one.
    #[error(
        "{0} is not a kind of file that is read here; wanted .csv, .tsv, .jsonl, .parquet or .txt"
    )]
    Kind(String),
    /// The file is empty.
    #[error("{0} is empty; wanted reviews")]
    Empty(String),
    /// The file is too large for a page's memory. Sizes are in bytes.
    #[error("{name} holds {} MB, and a page takes up to {} MB at a time; split it into several files", .bytes / 1_000_000, .most / 1_000_000)]
    Large {
        /// The file.
        name: String,
        /// Its size.
        bytes: u64,
        /// The largest supported size.
        most: u64,
    },
    /// No line is a JSON object.
    #[error(
        "{name} holds no JSON object a line ({why}); wanted lines such as {{\"review\": \"Love it\"}}"
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
        "column `{column}` of {name} is compressed with {codec}; read here are Parquet files that are uncompressed or compressed with Snappy, gzip, LZ4 or Zstandard"
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
