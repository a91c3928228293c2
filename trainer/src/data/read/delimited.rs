//! Text with a separator between its fields: .csv and .tsv.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use arrow::array::{ArrayRef, LargeStringBuilder, RecordBatch};
use arrow::datatypes::{Field, Schema};

use super::super::origins::Numbers;
use super::{PIECE, Pieces, open_text, text_field};

type Reader = csv::Reader<BufReader<File>>;

/// The file's header, what follows it, and whether its lines end in "\r\n".
fn open(path: &Path, delimiter: u8) -> Result<(Vec<String>, Reader, bool)> {
    let mut file = open_text(path)?;
    let start = file.fill_buf().with_context(|| format!("reading {}", path.display()))?;
    let crlf = start.split(|byte| *byte == b'\n').next().is_some_and(|line| line.ends_with(b"\r"));
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(file);
    let header = reader.byte_headers().with_context(|| path.display().to_string())?;
    let name = |(i, name): (usize, &[u8])| Ok(text(name, path, 1, &format!("column {}", i + 1))?.to_string());
    let names: Vec<String> = header.iter().enumerate().map(name).collect::<Result<_>>()?;
    ensure!(!names.is_empty(), "{}: empty file; wanted a first line with the names of the columns", path.display());
    Ok((names, reader, crlf))
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
    delimiter: u8,
    crlf: bool,
    record: csv::ByteRecord,
    /// Where the last row begins that was read: its byte and its line.
    last: (u64, u64),
}

pub fn pieces(path: &Path, delimiter: u8, schema: &Schema) -> Result<Pieces> {
    let (names, reader, crlf) = open(path, delimiter)?;
    let wanted: Vec<usize> = (0..names.len()).filter(|i| schema.field_with_name(&names[*i]).is_ok()).collect();
    let schema = Arc::new(Schema::new(wanted.iter().map(|i| text_field(&names[*i])).collect::<Vec<_>>()));
    let mut rows = Rows { path: path.into(), reader, names, wanted, schema, delimiter, crlf, record: csv::ByteRecord::new(), last: (0, 1) };
    Ok(Box::new(std::iter::from_fn(move || rows.piece().transpose())))
}

impl Rows {
    /// The next rows; none at the end of the file.
    fn piece(&mut self) -> Result<Option<(RecordBatch, Numbers)>> {
        let mut columns: Vec<LargeStringBuilder> = self.wanted.iter().map(|_| LargeStringBuilder::new()).collect();
        let mut lines = Vec::new();
        while lines.len() < PIECE {
            if !self.reader.read_byte_record(&mut self.record).with_context(|| self.path.display().to_string())? {
                self.check_end()?;
                break;
            }
            let line = self.line();
            self.last = (self.record.position().map_or(0, csv::Position::byte), line);
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

    /// The line in which the row begins that was just read.
    fn line(&self) -> u64 {
        // Before the row the parser may stand ahead of empty lines, and between "\r" and "\n"; after it, the row's own lines are behind.
        let before = self.record.position().map_or(1, csv::Position::line);
        let within = self.record.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64 + u64::from(!self.crlf);
        before.max(self.reader.position().line().saturating_sub(within))
    }

    /// To be called at the end of the file.
    ///
    /// # Errors
    /// When that lies within quotation marks: the last row then holds all that follows the one that nobody closed, and the parser says nothing of it.
    fn check_end(&self) -> Result<()> {
        let mut file = open_text(&self.path)?;
        let reading = || format!("reading {}", self.path.display());
        let (byte, line) = self.last;
        file.seek_relative(byte as i64).with_context(reading)?;
        // After a row that is whole, another line is another row.
        let more = file.chain(&b"\nmore"[..]);
        let mut rows = csv::ReaderBuilder::new().delimiter(self.delimiter).flexible(true).has_headers(false).from_reader(more);
        let is_whole = rows.byte_records().nth(1).transpose().with_context(reading)?.is_some();
        ensure!(
            is_whole,
            "{}, line {line}: a quotation mark opens a value here that no other one closes before the end of the file",
            self.path.display()
        );
        Ok(())
    }
}
