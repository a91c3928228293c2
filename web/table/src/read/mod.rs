//! Files of several kinds, as their bytes arrive.

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

/// The most bytes of a file. The table takes about as much again, of the 4 GiB that WebAssembly has.
const MOST_BYTES: u64 = 1 << 30;

/// Rows that a problem names.
const NAMED: usize = 5;

/// Reads one file.
pub struct Reader {
    name: String,
    input: Input,
    format: Format,
    any: bool,
}

enum Format {
    Delimited(Box<delimited::Delimited>),
    JsonLines(json_lines::JsonLines),
    Lines(lines::Lines),
    /// Its index stands at the end, so all of it has to be there first.
    Parquet(Vec<u8>),
}

impl Reader {
    /// For the file that `opening` tells of.
    ///
    /// # Errors
    /// When its name has an ending that is not known, or it is too large.
    pub fn open(opening: &Opening) -> Result<Reader, Error> {
        let name = opening.name.clone();
        if opening.bytes > MOST_BYTES {
            return Err(Error::Large { name, bytes: opening.bytes, most: MOST_BYTES });
        }
        let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
        let format = match ending.as_deref() {
            Some("csv") => Format::Delimited(Box::new(delimited::Delimited::new(b",;\t", opening.header))),
            Some("tsv" | "tab") => Format::Delimited(Box::new(delimited::Delimited::new(b"\t", opening.header))),
            Some("jsonl" | "ndjson") => Format::JsonLines(json_lines::JsonLines::default()),
            Some("txt") => Format::Lines(lines::Lines::default()),
            Some("parquet") => Format::Parquet(Vec::new()),
            _ => return Err(Error::Kind(name)),
        };
        Ok(Reader { name, input: Input::new(), format, any: false })
    }

    /// Reads the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.read(bytes, false);
    }

    fn read(&mut self, bytes: &[u8], last: bool) {
        self.any |= !bytes.is_empty();
        match &mut self.format {
            Format::Parquet(all) => all.extend_from_slice(bytes),
            Format::Delimited(delimited) => self.input.read(bytes, last, |text| delimited.read(text)),
            Format::JsonLines(lines) => self.input.read(bytes, last, |text| lines.read(text)),
            Format::Lines(lines) => self.input.read(bytes, last, |text| lines.read(text)),
        }
    }

    /// The rows, after the last bytes.
    ///
    /// # Errors
    /// When there are none, or the file is not what its name says.
    pub fn finish(mut self) -> Result<Table, Error> {
        self.read(&[], true);
        let empty = || Error::Empty(self.name.clone());
        if !self.any {
            return Err(empty());
        }
        let mut table = match self.format {
            Format::Delimited(delimited) => delimited.finish(),
            Format::JsonLines(lines) => lines.finish(&self.name)?,
            Format::Lines(lines) => lines.finish(),
            Format::Parquet(bytes) => parquet::read(&self.name, bytes)?,
        };
        if table.rows == 0 || table.columns.is_empty() {
            return Err(empty());
        }
        table.has_mark = self.input.has_mark;
        if self.input.is_utf16() {
            table.encoding = Encoding::Utf16;
        } else if table.has_mark {
            // The mark decides, whatever single rows hold.
            table.encoding = Encoding::Utf8;
        } else if table.encoding == Encoding::Windows1252 {
            // Of the file as a whole that is no fault of its rows.
            table.problems.retain(|problem| problem.fault != Fault::NotUtf8);
        }
        Ok(table)
    }
}

/// Gathers what is wrong with rows.
#[derive(Default)]
pub(crate) struct Problems(BTreeMap<u8, Problem>);

impl Problems {
    /// Notes a fault of the row or line `number`, counted from 1. Of each kind of fault the first one is told.
    pub(crate) fn note(&mut self, fault: Fault, number: usize) {
        let kind = match fault {
            Fault::TooFew(..) => 0,
            Fault::TooMany(..) => 1,
            Fault::Endless => 2,
            Fault::EmptyLine => 3,
            Fault::NotJson(_) => 4,
            Fault::NotUtf8 => 5,
        };
        let problem = self.0.entry(kind).or_insert(Problem { fault, count: 0, first: Vec::new() });
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
