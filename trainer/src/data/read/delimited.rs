//! Text with a separator between its fields: .csv and .tsv.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use arrow::array::{ArrayRef, LargeStringBuilder, RecordBatch};
use arrow::datatypes::{Field, Schema};

use super::super::origins::Numbers;
use super::{PIECE, Pieces, text_field};

type Reader = csv::Reader<BufReader<File>>;

/// The file's header, and what follows it.
fn open(path: &Path, delimiter: u8) -> Result<(Vec<String>, Reader)> {
    let reading = || format!("reading {}", path.display());
    let mut file = BufReader::with_capacity(1 << 16, File::open(path).with_context(reading)?);
    if file.fill_buf().with_context(reading)?.starts_with(b"\xef\xbb\xbf") {
        file.consume(3);
    }
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(file);
    let header = reader.byte_headers().with_context(|| path.display().to_string())?;
    let name = |(i, name): (usize, &[u8])| Ok(text(name, path, 1, &format!("column {}", i + 1))?.to_string());
    let names: Vec<String> = header.iter().enumerate().map(name).collect::<Result<_>>()?;
    ensure!(!names.is_empty(), "{}: empty file; wanted a first line with the names of the columns", path.display());
    Ok((names, reader))
}

fn text<'a>(field: &'a [u8], path: &Path, line: u64, column: &str) -> Result<&'a str> {
    match std::str::from_utf8(field) {
        Ok(text) => Ok(text),
        Err(e) => bail!("{}, line {line}: `{column}` is not UTF-8 (byte 0x{:02x}); save the file as UTF-8", path.display(), field[e.valid_up_to()]),
    }
}

pub fn fields(path: &Path, delimiter: u8) -> Result<Vec<Field>> {
    Ok(open(path, delimiter)?.0.iter().map(|name| text_field(name)).collect())
}

struct Rows {
    path: PathBuf,
    reader: Reader,
    names: Vec<String>,
    /// Which of the columns are wanted.
    wanted: Vec<usize>,
    schema: Arc<Schema>,
    record: csv::ByteRecord,
}

pub fn pieces(path: &Path, delimiter: u8, schema: &Schema) -> Result<Pieces> {
    let (names, reader) = open(path, delimiter)?;
    let wanted: Vec<usize> = (0..names.len()).filter(|i| schema.field_with_name(&names[*i]).is_ok()).collect();
    let schema = Arc::new(Schema::new(wanted.iter().map(|i| text_field(&names[*i])).collect::<Vec<_>>()));
    let mut rows = Rows { path: path.into(), reader, names, wanted, schema, record: csv::ByteRecord::new() };
    Ok(Box::new(std::iter::from_fn(move || rows.piece().transpose())))
}

impl Rows {
    /// The next rows; none at the end of the file.
    fn piece(&mut self) -> Result<Option<(RecordBatch, Numbers)>> {
        let mut columns: Vec<LargeStringBuilder> = self.wanted.iter().map(|_| LargeStringBuilder::new()).collect();
        let mut lines = Vec::new();
        while lines.len() < PIECE && self.reader.read_byte_record(&mut self.record).with_context(|| self.path.display().to_string())? {
            let line = self.record.position().map_or(0, csv::Position::line);
            ensure!(
                self.record.len() == self.names.len(),
                "{}, line {line}: {} fields, but the header names {}; is a quotation mark or a separator missing?",
                self.path.display(),
                self.record.len(),
                self.names.len()
            );
            for (i, column) in self.wanted.iter().zip(&mut columns) {
                column.append_value(text(&self.record[*i], &self.path, line, &self.names[*i])?);
            }
            lines.push(line);
        }
        if lines.is_empty() {
            return Ok(None);
        }
        let arrays: Vec<ArrayRef> = columns.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef).collect();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(lines.len()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options).with_context(|| self.path.display().to_string())?;
        Ok(Some((batch, Numbers::Lines(lines))))
    }
}
