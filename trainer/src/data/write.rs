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
use serde_json::{Map, Value};
use starsight_table::quotes_of_header;

use super::format::Format;
use crate::system::files::{self, Beside};

/// Writes `batch` to `path`, in the format of its ending. The file appears complete or not at all.
///
/// # Errors
/// When the ending is unknown or the file cannot be written.
pub fn write_table(path: &Path, batch: &RecordBatch) -> Result<()> {
    table_beside(path, batch)?.put()
}

/// The same, under a temporary name beside `path`; [`Beside::put`] renames it.
///
/// # Errors
/// As [`write_table`].
pub fn table_beside(path: &Path, batch: &RecordBatch) -> Result<Beside> {
    match Format::of(path, "written")? {
        Format::Parquet => files::write_beside(path, |out| {
            let properties = WriterProperties::builder()
                .set_compression(Compression::SNAPPY)
                .build();
            let batch = narrow(batch)?;
            let mut writer = ArrowWriter::try_new(out, batch.schema(), Some(properties))?;
            writer.write(&batch)?;
            writer.close()?;
            Ok(())
        }),
        Format::Delimited(delimiter) => {
            files::write_beside(path, |out| write_delimited(out, batch, delimiter))
        }
        Format::JsonLines => files::write_beside(path, |out| write_json_lines(out, batch)),
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
        "{} is a folder; wanted a file to write to",
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
            "{}: no file can be written in {}",
            path.display(),
            folder.display()
        )
    })
}

/// Adds columns to `batch`; a column with an existing name replaces that one.
///
/// # Errors
/// When a column has another number of rows.
pub fn with_columns(batch: &RecordBatch, more: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
    let schema = batch.schema();
    let kept = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .filter(|(field, _)| more.iter().all(|(name, _)| name != field.name()));
    let (mut fields, mut columns): (Vec<Field>, Vec<ArrayRef>) =
        kept.map(|(f, c)| (f.as_ref().clone(), c.clone())).unzip();
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

fn write_delimited(mut out: impl Write, batch: &RecordBatch, delimiter: u8) -> Result<()> {
    let schema = batch.schema();
    let names = || schema.fields().iter().map(|field| field.name().as_str());
    let mut builder = csv::WriterBuilder::new();
    builder.delimiter(delimiter);
    let mut header = builder
        .quote_style(quotes_of_header(names()))
        .from_writer(&mut out);
    header.write_record(names())?;
    header.flush()?;
    drop(header);
    let mut writer = builder
        .quote_style(csv::QuoteStyle::Necessary)
        .from_writer(out);
    let columns = formatters(batch)?;
    for row in 0..batch.num_rows() {
        let cells = columns.iter().map(|c| Ok(c.value(row).try_to_string()?));
        writer.write_record(cells.collect::<Result<Vec<_>>>()?)?;
    }
    writer.flush()?;
    Ok(())
}

fn write_json_lines(mut out: impl Write, batch: &RecordBatch) -> Result<()> {
    let columns = formatters(batch)?;
    let schema = batch.schema();
    for row in 0..batch.num_rows() {
        let mut record = Map::new();
        for ((field, column), formatter) in
            schema.fields().iter().zip(batch.columns()).zip(&columns)
        {
            let value = if column.is_null(row) {
                Value::Null
            } else {
                let text = formatter.value(row).try_to_string()?;
                match column.data_type() {
                    kind if kind.is_numeric() || *kind == DataType::Boolean => {
                        serde_json::from_str(&text).unwrap_or(Value::String(text))
                    }
                    _ => Value::String(text),
                }
            };
            record.insert(field.name().clone(), value);
        }
        serde_json::to_writer(&mut out, &record)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}
