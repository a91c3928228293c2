//! Reading files of rows, some thousand at a time, with errors that name the place.

mod parquet;
mod text;

use std::path::Path;

use anyhow::{Result, ensure};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};

use super::format::Format;
use super::origins::Numbers;

/// Rows in a piece of a file: enough for arrow to be quick, few enough to be little memory.
const PIECE: usize = 1 << 14;

/// The pieces of a file, each with the numbers of its rows. Columns are those asked for, in any type that can be cast to the schema's.
pub(super) type Pieces = Box<dyn Iterator<Item = Result<(RecordBatch, Numbers)>>>;

/// The columns of the file at `path`, text as `LargeUtf8`: of the other kind, one array holds 2 GiB at most.
///
/// # Errors
/// When the file is missing, of another kind, broken, or two of its columns have one name.
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

/// The rows of the file at `path`, of the columns that `schema` names.
///
/// # Errors
/// When the file cannot be opened. What is wrong with its rows (not as the header says, no JSON object) is found on the way; the error names the line where there is one.
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
