//! Reads files of several formats as their bytes arrive.

mod delimited;
mod header;
mod json_lines;
mod lines;
mod parquet;
mod zstd;

use std::collections::BTreeMap;

use crate::encoding::Input;
use crate::error::Error;
use crate::protocol::{Encoding, Fault, Opening, Problem};
use crate::table::Table;

pub use parquet::has_valid_sizes;

/// The largest file size in bytes. The table needs about as much memory again, of the 4 GiB that
/// WebAssembly has.
const MOST_BYTES: u64 = 1 << 30;

/// The most cells of a Parquet file, for the same reason: compressed, they take hardly any bytes.
const MOST_CELLS: u64 = 1 << 26;

/// The number of rows that a problem lists.
const NAMED: usize = 5;

/// Reads one file.
pub struct Reader {
    name: String,
    format: Format,
    any: bool,
}

enum Format {
    Text(TextReader),
    /// A Parquet file's index is at its end, so the whole file must be read first.
    Parquet(Vec<u8>),
}

/// Reads rows of text: CSV, TSV, one JSON object per line, or one review per line. Rows can be
/// taken while reading, so that a file need not fit into memory.
pub struct TextReader {
    input: Input,
    rows: TextRows,
}

enum TextRows {
    Delimited(Box<delimited::Delimited>),
    JsonLines(json_lines::JsonLines),
    Lines(lines::Lines),
}

impl TextReader {
    /// A reader for the extension `ending`, in lower case and without the dot. `header` says
    /// whether the first line is a header; it is detected if `None`. Returns `None` for an
    /// unsupported extension.
    pub fn open(ending: &str, header: Option<bool>) -> Option<TextReader> {
        let delimited = |separators| {
            TextRows::Delimited(Box::new(delimited::Delimited::new(separators, header)))
        };
        let rows = match ending {
            "csv" => delimited(b",;\t|"),
            "tsv" | "tab" => delimited(b"\t"),
            "jsonl" | "ndjson" => TextRows::JsonLines(json_lines::JsonLines::default()),
            "txt" => TextRows::Lines(lines::Lines::default()),
            _ => return None,
        };
        Some(TextReader {
            input: Input::new(),
            rows,
        })
    }

    /// Reads the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.read(bytes, false);
    }

    /// Ends the last row, after the last bytes.
    pub fn end(&mut self) {
        self.read(&[], true);
        match &mut self.rows {
            TextRows::Delimited(delimited) => delimited.end(),
            TextRows::JsonLines(lines) => lines.end(),
            TextRows::Lines(lines) => lines.end(),
        }
    }

    fn read(&mut self, bytes: &[u8], last: bool) {
        match &mut self.rows {
            TextRows::Delimited(delimited) => {
                self.input.read(bytes, last, |text| delimited.read(text));
            }
            TextRows::JsonLines(lines) => self.input.read(bytes, last, |text| lines.read(text)),
            TextRows::Lines(lines) => self.input.read(bytes, last, |text| lines.read(text)),
        }
    }

    /// The number of rows that can be taken.
    pub fn rows(&self) -> usize {
        match &self.rows {
            TextRows::Delimited(delimited) => delimited.rows(),
            TextRows::JsonLines(lines) => lines.rows(),
            TextRows::Lines(lines) => lines.rows(),
        }
    }

    /// The rows that were read since the last call. Row numbers in problems count from the first of
    /// these; line numbers count the lines of the file.
    pub fn take(&mut self) -> Table {
        let mut table = match &mut self.rows {
            TextRows::Delimited(delimited) => delimited.take(),
            TextRows::JsonLines(lines) => lines.take(),
            TextRows::Lines(lines) => lines.take(),
        };
        table.has_mark = self.input.has_mark;
        if self.input.is_utf16() {
            table.encoding = Encoding::Utf16;
        } else if table.has_mark {
            // The mark decides, whatever bytes single rows have.
            table.encoding = Encoding::Utf8;
        }
        table
    }
}

impl Reader {
    /// A reader for the file that `opening` describes.
    ///
    /// # Errors
    /// When the file's extension is not supported, or the file is too large.
    pub fn open(opening: &Opening) -> Result<Reader, Error> {
        let name = opening.name.clone();
        if opening.bytes > MOST_BYTES {
            return Err(Error::Large {
                name,
                bytes: opening.bytes,
                most: MOST_BYTES,
            });
        }
        let ending = name
            .rsplit_once('.')
            .map(|(_, ending)| ending.to_ascii_lowercase())
            .unwrap_or_default();
        let format = match TextReader::open(&ending, opening.header) {
            Some(text) => Format::Text(text),
            None if ending == "parquet" => Format::Parquet(Vec::new()),
            None => return Err(Error::Kind(name)),
        };
        Ok(Reader {
            name,
            format,
            any: false,
        })
    }

    /// Reads the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.any |= !bytes.is_empty();
        match &mut self.format {
            Format::Parquet(all) => all.extend_from_slice(bytes),
            Format::Text(text) => text.push(bytes),
        }
    }

    /// Returns the table, after the last bytes.
    ///
    /// # Errors
    /// When the file has no rows, or does not have the format of its extension.
    pub fn finish(self) -> Result<Table, Error> {
        let empty = || Error::Empty(self.name.clone());
        if !self.any {
            return Err(empty());
        }
        let mut table = match self.format {
            Format::Parquet(bytes) => parquet::read(&self.name, bytes)?,
            Format::Text(mut text) => {
                text.end();
                text.take()
            }
        };
        let not_json = |problem: &Problem| {
            if let Fault::NotJson(why) = &problem.fault {
                Some(why.clone())
            } else {
                None
            }
        };
        if table.rows == 0
            && let Some(why) = table.problems.iter().find_map(not_json)
        {
            return Err(Error::Json {
                name: self.name,
                why,
            });
        }
        if table.rows == 0 || table.columns.is_empty() {
            return Err(empty());
        }
        if table.encoding == Encoding::Windows1252 {
            // If the whole file has this encoding, it is not a problem of single rows.
            table
                .problems
                .retain(|problem| problem.fault != Fault::NotUtf8);
        }
        Ok(table)
    }
}

/// Collects problems with rows.
#[derive(Default)]
pub(crate) struct Problems(BTreeMap<u8, Problem>);

impl Problems {
    /// Records a fault of the row or line `number`, counted from 1. The details of the first fault
    /// of each kind are kept.
    pub(crate) fn note(&mut self, fault: Fault, number: usize) {
        let kind = match fault {
            Fault::TooFew(..) => 0,
            Fault::TooMany(..) => 1,
            Fault::Endless => 2,
            Fault::Unclosed => 3,
            Fault::EmptyLine => 4,
            Fault::NotJson(_) => 5,
            Fault::NotUtf8 => 6,
        };
        let problem = self.0.entry(kind).or_insert(Problem {
            fault,
            count: 0,
            first: Vec::new(),
        });
        problem.count += 1;
        if problem.first.len() < NAMED {
            problem.first.push(number);
        }
    }

    pub(crate) fn list(self) -> Vec<Problem> {
        self.0.into_values().collect()
    }
}

#[cfg(test)]
mod tests;
