//! Why a file cannot be read.

/// Why a file as a whole is refused. What is wrong with single rows is a [`Problem`](crate::protocol::Problem) instead.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum Error {
    /// The ending of the name tells no kind that is read.
    #[error(
        "{0} is not a kind of file that is read here; wanted .csv, .tsv, .jsonl, .parquet or .txt"
    )]
    Kind(String),
    /// There is nothing in it.
    #[error("{0} is empty; wanted reviews")]
    Empty(String),
    /// More than the memory of a page takes. Bytes.
    #[error("{name} holds {} MB, and a page takes up to {} MB at a time; split it into several files", .bytes / 1_000_000, .most / 1_000_000)]
    Large {
        /// The file.
        name: String,
        /// Its size.
        bytes: u64,
        /// What is taken.
        most: u64,
    },
    /// No line of it is a JSON object.
    #[error(
        "{name} holds no JSON object a line ({why}); wanted lines such as {{\"review\": \"Love it\"}}"
    )]
    Json {
        /// The file.
        name: String,
        /// What the first line has.
        why: String,
    },
    /// It ends too early, or is something else.
    #[error("{name} cannot be read as Parquet: {why}")]
    Parquet {
        /// The file.
        name: String,
        /// What the reader said.
        why: String,
    },
    /// Its columns are packed in a way that is not read here.
    #[error(
        "column `{column}` of {name} is compressed with {codec}; read here are Parquet files that are uncompressed or compressed with Snappy, gzip, LZ4 or Zstandard"
    )]
    Codec {
        /// The file.
        name: String,
        /// The column.
        column: String,
        /// How it is compressed.
        codec: &'static str,
    },
}
