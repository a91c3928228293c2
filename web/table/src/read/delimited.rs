//! Reads delimited files: .csv and .tsv.

use csv_core::{ReadRecordResult, ReaderBuilder};

use super::header::is_header;
use crate::encoding::decode_columns;
use crate::protocol::Fault;
use crate::read::Problems;
use crate::table::{CellKind, Column, Table};

/// Bytes of the file in which the separator is detected.
const SAMPLE: usize = 1 << 16;

/// A cell with more line breaks than this probably lacks its closing quotation mark.
const MOST_BREAKS: usize = 1000;

/// The name of the column of surplus cells.
const SURPLUS: &[u8] = b"(surplus)";

/// The reader of a delimited file, with the rows read so far.
pub struct Delimited {
    candidates: &'static [u8],
    /// The first bytes, until the separator is known.
    first: Vec<u8>,
    parser: Option<Parser>,
    rows: DelimitedRows,
}

/// The state of the parser, and the record that it is reading.
struct Parser {
    reader: csv_core::Reader,
    separator: u8,
    text: Vec<u8>,
    ends: Vec<usize>,
    written: usize,
    ended: usize,
}

#[derive(Default)]
struct DelimitedRows {
    header: Option<bool>,
    names: Vec<Vec<u8>>,
    columns: Vec<Column>,
    surplus: Option<Column>,
    /// The line on which each row begins.
    lines: Vec<u32>,
    problems: Problems,
    /// Whether the next record ends with the file, within quotation marks.
    is_unclosed: bool,
}

impl Delimited {
    /// A reader for one of the separators in `candidates`. `header` says whether the first line is
    /// a header; it is detected if `None`.
    pub fn new(candidates: &'static [u8], header: Option<bool>) -> Delimited {
        Delimited {
            candidates,
            first: Vec::new(),
            parser: None,
            rows: DelimitedRows {
                header,
                ..DelimitedRows::default()
            },
        }
    }

    pub fn read(&mut self, text: &[u8]) {
        if let Some(parser) = &mut self.parser {
            return parser.read(text, &mut self.rows);
        }
        self.first.extend_from_slice(text);
        if self.first.len() >= SAMPLE {
            self.parser = Some(self.begin());
        }
    }

    /// Detects the separator, and reads the first bytes.
    fn begin(&mut self) -> Parser {
        let first = std::mem::take(&mut self.first);
        let mut parser = Parser::new(separator(&first, self.candidates));
        parser.read(&first, &mut self.rows);
        parser
    }

    /// Ends the last row, after the last text.
    pub fn end(&mut self) {
        let mut parser = match self.parser.take() {
            Some(parser) => parser,
            None => self.begin(),
        };
        parser.finish(&mut self.rows);
        self.parser = Some(parser);
    }

    pub fn rows(&self) -> usize {
        self.rows.lines.len()
    }

    /// The rows that were read since the last call. Row numbers in their problems count from its
    /// first row.
    pub fn take(&mut self) -> Table {
        let separator = self
            .parser
            .as_ref()
            .map(|parser| char::from(parser.separator));
        let DelimitedRows {
            header,
            names,
            columns,
            surplus,
            lines,
            problems,
            ..
        } = &mut self.rows;
        let fresh = columns
            .iter()
            .map(|_| Column::new("", CellKind::Text))
            .collect();
        let (mut columns, lines, mut problems) = (
            std::mem::replace(columns, fresh),
            std::mem::take(lines),
            std::mem::take(problems),
        );
        let mut names = names.clone();
        if let Some(mut surplus) = surplus.take() {
            surplus.fill(lines.len());
            columns.push(surplus);
            names.push(SURPLUS.to_vec());
        }
        let encoding = decode_columns(&mut columns, &names, &mut problems);
        Table {
            columns,
            rows: lines.len(),
            encoding,
            has_mark: false,
            separator,
            header: *header,
            problems: problems.list(),
            lines,
        }
    }
}

/// The candidate that occurs most often in the first line outside quotation marks; the first
/// candidate if none occurs.
fn separator(sample: &[u8], candidates: &[u8]) -> u8 {
    let mut counts = vec![0; candidates.len()];
    let mut quoted = false;
    for byte in sample {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => break,
            _ if quoted => {}
            _ => counts
                .iter_mut()
                .zip(candidates)
                .filter(|(_, candidate)| *candidate == byte)
                .for_each(|(count, _)| *count += 1),
        }
    }
    let most = counts.iter().max().copied().unwrap_or_default();
    counts
        .iter()
        .position(|count| *count == most)
        .map_or(b',', |place| candidates[place])
}

impl Parser {
    fn new(separator: u8) -> Parser {
        let reader = ReaderBuilder::new().delimiter(separator).build();
        Parser {
            reader,
            separator,
            text: vec![0; 1 << 12],
            ends: vec![0; 32],
            written: 0,
            ended: 0,
        }
    }

    /// Reads the next text.
    fn read(&mut self, mut text: &[u8], rows: &mut DelimitedRows) {
        // csv_core takes empty input as the end of the file.
        while !text.is_empty() {
            self.step(&mut text, rows);
        }
    }

    /// Ends the last record.
    fn finish(&mut self, rows: &mut DelimitedRows) {
        // A line break ends a record, unless it is within quotation marks.
        self.read(b"\n", rows);
        if self.written > 0 || self.ended > 0 {
            rows.is_unclosed = true;
        }
        while self.step(&mut &[][..], rows) {}
    }

    /// Reads what it can from `text`. Returns whether there may be more to do.
    fn step(&mut self, text: &mut &[u8], rows: &mut DelimitedRows) -> bool {
        let before = *text;
        let (result, read, written, ended) = self.reader.read_record(
            text,
            &mut self.text[self.written..],
            &mut self.ends[self.ended..],
        );
        *text = &text[read..];
        self.written += written;
        self.ended += ended;
        match result {
            ReadRecordResult::OutputFull => self.text.resize(2 * self.text.len(), 0),
            ReadRecordResult::OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
            ReadRecordResult::Record => {
                // The parser is past the record. The first half of "\r\n" ends a record too.
                let within = memchr::memchr_iter(b'\n', &self.text[..self.written]).count() as u64;
                let ended_by = u64::from(before[..read].last() == Some(&b'\n'));
                if rows.is_unclosed
                    && let Some(end) = self.ends[..self.ended].last_mut()
                {
                    // Remove the line break that `finish` added.
                    *end = end.saturating_sub(1);
                }
                let line = self.reader.line().saturating_sub(within + ended_by);
                rows.add(
                    &self.text[..self.written],
                    &self.ends[..self.ended],
                    self.separator,
                    line as u32,
                );
                (self.written, self.ended) = (0, 0);
            }
            ReadRecordResult::InputEmpty => {}
            ReadRecordResult::End => return false,
        }
        true
    }
}

impl DelimitedRows {
    /// Adds a record, given by its concatenated cells and the end of each.
    fn add(&mut self, text: &[u8], ends: &[usize], separator: u8, line: u32) {
        let cell = |i: usize| &text[i.checked_sub(1).map_or(0, |before| ends[before])..ends[i]];
        if self.names.is_empty() {
            let cells: Vec<Vec<u8>> = (0..ends.len()).map(|i| cell(i).to_vec()).collect();
            let header = *self.header.get_or_insert_with(|| is_header(&cells));
            self.columns = vec![Column::new("", CellKind::Text); cells.len()];
            self.names = if header {
                cells
            } else {
                (1..=cells.len())
                    .map(|i| format!("column {i}").into_bytes())
                    .collect()
            };
            if header {
                if std::mem::take(&mut self.is_unclosed) {
                    self.problems.note(Fault::Unclosed, 1);
                }
                return;
            }
        }
        let (row, wanted) = (self.lines.len() + 1, self.columns.len());
        for (i, column) in self.columns.iter_mut().enumerate() {
            column.push(if i < ends.len() { cell(i) } else { b"" });
        }
        if ends.len() < wanted {
            self.problems.note(Fault::TooFew(ends.len(), wanted), row);
        }
        if ends.len() > wanted {
            self.problems.note(Fault::TooMany(ends.len(), wanted), row);
            let surplus = self
                .surplus
                .get_or_insert_with(|| Column::new("", CellKind::Text));
            surplus.fill(self.lines.len());
            surplus.push(
                &(wanted..ends.len())
                    .map(cell)
                    .collect::<Vec<_>>()
                    .join(&separator),
            );
        }
        if std::mem::take(&mut self.is_unclosed) {
            self.problems.note(Fault::Unclosed, row);
        } else if text.len() > MOST_BREAKS
            && (0..ends.len()).any(|i| memchr::memchr_iter(b'\n', cell(i)).count() > MOST_BREAKS)
        {
            self.problems.note(Fault::Endless, row);
        }
        self.lines.push(line);
    }
}
