//! Reading files of rows, some thousand at a time, with errors that name the place.

mod delimited;
mod json_lines;
mod parquet;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result, ensure};
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
        Format::Delimited(delimiter) => delimited::fields(path, delimiter)?,
        Format::JsonLines => json_lines::fields(path)?,
    };
    for (i, field) in fields.iter().enumerate() {
        ensure!(fields[..i].iter().all(|known| known.name() != field.name()), "{}: two columns are called `{}`", path.display(), field.name());
    }
    Ok(Schema::new(fields))
}

/// The rows of the file at `path`, of the columns that `schema` names.
///
/// # Errors
/// When the file cannot be opened. What is wrong with its rows (not UTF-8, not as the header says) is found on the way; the error names the line where there is one.
pub(super) fn pieces(path: &Path, schema: &Schema) -> Result<Pieces> {
    match Format::of(path, "read")? {
        Format::Parquet => parquet::pieces(path, schema),
        Format::Delimited(delimiter) => delimited::pieces(path, delimiter, schema),
        Format::JsonLines => json_lines::pieces(path, schema),
    }
}

/// A file of text, after the byte-order mark that some programs begin it with.
fn open_text(path: &Path) -> Result<BufReader<File>> {
    let reading = || format!("reading {}", path.display());
    let mut file = BufReader::with_capacity(1 << 16, File::open(path).with_context(reading)?);
    if file.fill_buf().with_context(reading)?.starts_with(b"\xef\xbb\xbf") {
        file.consume(3);
    }
    Ok(file)
}

fn text_field(name: &str) -> Field {
    Field::new(name, DataType::LargeUtf8, true)
}
