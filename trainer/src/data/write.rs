//! Writing tables: .parquet, .csv, .tsv and .jsonl.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use arrow::array::{Array, ArrayRef, LargeStringArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::Value;
use starsight_table::{Cell, RowWriter};

use super::format::Format;
use crate::system::files::{self, PendingFile};

/// Writes `batch` to `path`, in the format of its ending. The file appears complete or not at all.
///
/// # Errors
/// When the ending is unknown or the file cannot be written.
pub fn write_table(path: &Path, batch: &RecordBatch) -> Result<()> {
    write_pending_table(path, batch)?.commit()
}

/// The same, under a temporary name beside `path`; [`PendingFile::commit`] renames it.
///
/// # Errors
/// As [`write_table`].
pub fn write_pending_table(path: &Path, batch: &RecordBatch) -> Result<PendingFile> {
    match Format::of(path, "written")? {
        Format::Parquet => files::write_pending(path, |out| {
            let properties = WriterProperties::builder()
                .set_compression(Compression::SNAPPY)
                .build();
            let batch = narrow(batch)?;
            let mut writer = ArrowWriter::try_new(out, batch.schema(), Some(properties))?;
            writer.write(&batch)?;
            writer.close()?;
            Ok(())
        }),
        Format::Delimited(delimiter) => files::write_pending(path, |out| {
            let line_end = csv::Terminator::Any(b'\n');
            let names = batch
                .schema_ref()
                .fields()
                .iter()
                .map(|field| field.name().as_str());
            let writer = RowWriter::delimited(out, delimiter, line_end, names)?;
            write_rows(writer, batch, &Cell::Empty)
        }),
        Format::JsonLines => files::write_pending(path, |out| {
            let names = batch
                .schema_ref()
                .fields()
                .iter()
                .map(|field| field.name().as_str());
            write_rows(
                RowWriter::json_lines(out, names),
                batch,
                &Cell::Json("null".into()),
            )
        }),
    }
}

/// Checks, before the work, whether a table can be written to `path`, without leaving anything
/// there.
///
/// # Errors
/// When the ending is unknown, `path` is a folder, or no file can be created in its folder or in
/// the nearest existing folder above.
pub fn check_writable(path: &Path) -> Result<()> {
    Format::of(path, "written")?;
    ensure!(
        !path.is_dir(),
        "{} is a folder; expected a file",
        path.display()
    );
    let folder =
        std::path::absolute(path).with_context(|| format!("writing {}", path.display()))?;
    let folder = folder
        .ancestors()
        .skip(1)
        .find(|folder| folder.exists())
        .unwrap_or(Path::new("/"));
    tempfile::tempfile_in(folder).map(drop).with_context(|| {
        format!(
            "{}: cannot write a file in {}",
            path.display(),
            folder.display()
        )
    })
}

/// Adds columns to `batch`, after its own.
///
/// # Errors
/// When a column has another number of rows.
pub fn with_columns(batch: &RecordBatch, more: Vec<(String, ArrayRef)>) -> Result<RecordBatch> {
    let schema = batch.schema();
    let mut fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
    let mut columns = batch.columns().to_vec();
    for (name, column) in more {
        fields.push(Field::new(name, column.data_type().clone(), true));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).context("adding columns")
}

/// `batch` with texts as `Utf8`, as other programs expect them, if they fit.
fn narrow(batch: &RecordBatch) -> Result<RecordBatch> {
    let narrow = |(field, column): (&Arc<Field>, &ArrayRef)| -> Result<(Arc<Field>, ArrayRef)> {
        match column.as_any().downcast_ref::<LargeStringArray>() {
            Some(texts) if i32::try_from(texts.value_data().len()).is_ok() => {
                let field = field.as_ref().clone().with_data_type(DataType::Utf8);
                Ok((Arc::new(field), cast(column, &DataType::Utf8)?))
            }
            _ => Ok((field.clone(), column.clone())),
        }
    };
    let columns = batch
        .schema()
        .fields()
        .iter()
        .zip(batch.columns())
        .map(narrow)
        .collect::<Result<Vec<_>>>()?;
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

fn formatters(batch: &RecordBatch) -> Result<Vec<ArrayFormatter<'_>>> {
    // Return formatting errors instead of writing them into a cell.
    let options = const { &FormatOptions::new().with_display_error(false) };
    Ok(batch
        .columns()
        .iter()
        .map(|c| ArrayFormatter::try_new(c.as_ref(), options))
        .collect::<Result<_, _>>()?)
}

/// Writes the rows of `batch`. A missing value is written as `null`.
fn write_rows<W: Write>(
    mut writer: RowWriter<W>,
    batch: &RecordBatch,
    null: &Cell<'static>,
) -> Result<()> {
    let columns = formatters(batch)?;
    for row in 0..batch.num_rows() {
        let mut cells = Vec::with_capacity(columns.len());
        for (column, formatter) in batch.columns().iter().zip(&columns) {
            let text = formatter.value(row).try_to_string()?;
            let is_value =
                column.data_type().is_numeric() || *column.data_type() == DataType::Boolean;
            cells.push(if column.is_null(row) {
                null.clone()
            } else if is_value && serde_json::from_str::<Value>(&text).is_ok() {
                Cell::Json(text.into())
            } else {
                Cell::Text(text.into())
            });
        }
        writer.row(cells.into_iter())?;
    }
    Ok(writer.flush()?)
}
