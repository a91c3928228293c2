//! Reading .parquet, .csv, .tsv and .jsonl with errors that name the place.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, LargeStringArray, LargeStringBuilder, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};

use super::Rows;
use crate::files;

/// Reads the file at `path`, by the ending of its name.
///
/// # Errors
/// When the file is missing, of another kind, broken, not UTF-8, or its rows do not fit its header. The error names the line where there is one.
pub(super) fn read(path: &Path) -> Result<(RecordBatch, Rows)> {
    match path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).as_deref() {
        Some("parquet") => Ok((read_parquet(path)?, Rows::Numbered)),
        Some("csv") => read_delimited(path, b','),
        Some("tsv") => read_delimited(path, b'\t'),
        Some("jsonl" | "ndjson") => read_json_lines(path),
        _ => bail!("{}: not a kind of file that is read; wanted .parquet, .csv, .tsv or .jsonl", path.display()),
    }
}

fn read_parquet(path: &Path) -> Result<RecordBatch> {
    let broken = || format!("{}: not a whole parquet file", path.display());
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).with_context(broken)?;
    let schema = builder.schema().clone();
    let batches: Vec<RecordBatch> = builder.build().and_then(|reader| Ok(reader.collect::<Result<_, _>>()?)).with_context(broken)?;
    concat_batches(&schema, &batches).with_context(broken)
}

fn read_delimited(path: &Path, delimiter: u8) -> Result<(RecordBatch, Rows)> {
    let bytes = files::read(path)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(bytes);
    let text = |field: &[u8], line: u64, column: &str| match std::str::from_utf8(field) {
        Ok(text) => Ok(text.to_string()),
        Err(e) => bail!("{}, line {line}: `{column}` is not UTF-8 (byte 0x{:02x}); save the file as UTF-8", path.display(), field[e.valid_up_to()]),
    };
    let header = reader.byte_headers().with_context(|| path.display().to_string())?.clone();
    let names: Vec<String> = header.iter().enumerate().map(|(i, name)| text(name, 1, &format!("column {}", i + 1))).collect::<Result<_>>()?;
    ensure!(!names.is_empty(), "{}: empty file; wanted a first line with the names of the columns", path.display());
    let mut columns: Vec<LargeStringBuilder> = names.iter().map(|_| LargeStringBuilder::new()).collect();
    let mut lines = Vec::new();
    for record in reader.byte_records() {
        let record = record.with_context(|| path.display().to_string())?;
        let line = record.position().map_or(0, csv::Position::line);
        ensure!(
            record.len() == names.len(),
            "{}, line {line}: {} fields, but the header names {}; is a quotation mark or a separator missing?",
            path.display(),
            record.len(),
            names.len()
        );
        for ((field, name), column) in record.iter().zip(&names).zip(&mut columns) {
            column.append_value(text(field, line, name)?);
        }
        lines.push(line);
    }
    let arrays = columns.iter_mut().map(|c| Arc::new(c.finish()) as ArrayRef).collect();
    Ok((table(path, names, arrays)?, Rows::Lines(lines)))
}

fn read_json_lines(path: &Path) -> Result<(RecordBatch, Rows)> {
    let bytes = files::read(path)?;
    let (mut names, mut records, mut lines): (Vec<String>, Vec<Map<String, Value>>, Vec<u64>) = Default::default();
    for (line, bytes) in (1..).zip(bytes.split(|b| *b == b'\n')) {
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        let record: Map<String, Value> =
            serde_json::from_slice(bytes).with_context(|| format!("{}, line {line}: not a JSON object", path.display()))?;
        for name in record.keys() {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        records.push(record);
        lines.push(line);
    }
    ensure!(!records.is_empty(), "{}: empty file; wanted a JSON object a line", path.display());
    let arrays = names.iter().map(|name| json_column(records.iter().map(|r| r.get(name).filter(|v| !v.is_null())))).collect();
    Ok((table(path, names, arrays)?, Rows::Lines(lines)))
}

/// A column of the narrowest type that holds all values: whole numbers, numbers, truth values, or text. Without any value it is text.
fn json_column<'a>(values: impl Iterator<Item = Option<&'a Value>> + Clone) -> ArrayRef {
    let some = values.clone().flatten().next().is_some();
    let all = |holds: fn(&Value) -> bool| some && values.clone().flatten().all(holds);
    if all(Value::is_i64) {
        Arc::new(values.map(|v| v.and_then(Value::as_i64)).collect::<Int64Array>())
    } else if all(Value::is_number) {
        Arc::new(values.map(|v| v.and_then(Value::as_f64)).collect::<Float64Array>())
    } else if all(Value::is_boolean) {
        Arc::new(values.map(|v| v.and_then(Value::as_bool)).collect::<BooleanArray>())
    } else {
        let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_string);
        Arc::new(values.map(|v| v.map(text)).collect::<LargeStringArray>())
    }
}

fn table(path: &Path, names: Vec<String>, arrays: Vec<ArrayRef>) -> Result<RecordBatch> {
    for (i, name) in names.iter().enumerate() {
        ensure!(!names[..i].contains(name), "{}: two columns are called `{name}`", path.display());
    }
    let field = |(name, array): (String, &ArrayRef)| {
        let kind: DataType = array.data_type().clone();
        Field::new(name, kind, true)
    };
    let fields: Vec<Field> = names.into_iter().zip(&arrays).map(field).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).with_context(|| path.display().to_string())
}
