//! Reads files of rows in chunks, with errors that name the place.

mod parquet;
mod text;

use std::path::Path;

use anyhow::{Result, ensure};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};

use super::format::Format;
use super::origins::Numbers;

/// Rows in a chunk: enough for arrow to be fast, few enough to need little memory.
const PIECE: usize = 1 << 14;

/// The chunks of a file, each with the numbers of its rows. They have the requested columns, in
/// types that can be cast to the schema's.
pub(super) type Pieces = Box<dyn Iterator<Item = Result<(RecordBatch, Numbers)>>>;

/// Columns of the file at `path`, text as `LargeUtf8`: an array of `Utf8` holds at most 2 GiB.
///
/// # Errors
/// When the file is missing, of another format, or broken, or two of its columns have the same
/// name.
pub(super) fn schema(path: &Path) -> Result<Schema> {
    let fields = match Format::of(path, "read")? {
        Format::Parquet => parquet::fields(path)?,
        Format::Delimited(b'\t') => text::fields(path, "tsv")?,
        Format::Delimited(_) => text::fields(path, "csv")?,
        Format::JsonLines => text::fields(path, "jsonl")?,
    };
    for (i, field) in fields.iter().enumerate() {
        ensure!(
            fields[..i].iter().all(|known| known.name() != field.name()),
            "{}: two columns are called `{}`",
            path.display(),
            field.name()
        );
    }
    Ok(Schema::new(fields))
}

/// Rows of the file at `path`, with the columns of `schema`.
///
/// # Errors
/// When the file cannot be opened. Errors in rows (too many fields, no JSON object) are found while
/// reading, and name the line where possible.
pub(super) fn pieces(path: &Path, schema: &Schema) -> Result<Pieces> {
    match Format::of(path, "read")? {
        Format::Parquet => parquet::pieces(path, schema),
        Format::Delimited(b'\t') => text::pieces(path, "tsv", schema),
        Format::Delimited(_) => text::pieces(path, "csv", schema),
        Format::JsonLines => text::pieces(path, "jsonl", schema),
    }
}

fn text_field(name: &str) -> Field {
    Field::new(name, DataType::LargeUtf8, true)
}
