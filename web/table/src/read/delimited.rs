//! Cells with a separator between them: .csv and .tsv.

use csv_core::{ReadRecordResult, ReaderBuilder};

use super::header::is_header;
use crate::encoding::settle;
use crate::protocol::Fault;
use crate::read::Problems;
use crate::table::{Column, Kind, Table};

/// How much of the file the separator is looked for in.
const SAMPLE: usize = 1 << 16;

/// Line breaks that no cell has whose closing quotation mark is there.
const MOST_BREAKS: usize = 1000;

/// How the column of surplus cells is called.
const SURPLUS: &[u8] = b"(surplus)";

/// The rows so far.
pub struct Delimited {
    candidates: &'static [u8],
    /// The first bytes, until the separator is known.
    first: Vec<u8>,
    parser: Option<Parser>,
    rows: Rows,
}

/// The state of the parser, and the record it is in.
struct Parser {
    reader: csv_core::Reader,
    separator: u8,
    text: Vec<u8>,
    ends: Vec<usize>,
    written: usize,
    ended: usize,
}

#[derive(Default)]
struct Rows {
    header: Option<bool>,
    names: Vec<Vec<u8>>,
    columns: Vec<Column>,
    surplus: Option<Column>,
    count: usize,
    problems: Problems,
}

impl Delimited {
    /// With one of these separators; the first line is a `header` or not, or that is found out.
    pub fn new(candidates: &'static [u8], header: Option<bool>) -> Delimited {
        Delimited { candidates, first: Vec::new(), parser: None, rows: Rows { header, ..Rows::default() } }
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

    /// Finds the separator, and reads what came first.
    fn begin(&mut self) -> Parser {
        let first = std::mem::take(&mut self.first);
        let mut parser = Parser::new(separator(&first, self.candidates));
        parser.read(&first, &mut self.rows);
        parser
    }

    pub fn finish(mut self) -> Table {
        let mut parser = match self.parser.take() {
            Some(parser) => parser,
            None => self.begin(),
        };
        parser.finish(&mut self.rows);
        let separator = Some(char::from(parser.separator));
        let Rows { header, mut names, mut columns, surplus, count, mut problems } = self.rows;
        if let Some(mut surplus) = surplus {
            surplus.fill(count);
            columns.push(surplus);
            names.push(SURPLUS.to_vec());
        }
        let encoding = settle(&mut columns, &names, &mut problems);
        Table { columns, rows: count, encoding, has_mark: false, separator, header, problems: problems.list() }
    }
}

/// The candidate that stands most often in the first line, outside quotation marks; the first one if none does.
fn separator(sample: &[u8], candidates: &[u8]) -> u8 {
    let mut counts = vec![0; candidates.len()];
    let mut quoted = false;
    for byte in sample {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => break,
            _ if quoted => {}
            _ => counts.iter_mut().zip(candidates).filter(|(_, candidate)| *candidate == byte).for_each(|(count, _)| *count += 1),
        }
    }
    let most = counts.iter().max().copied().unwrap_or_default();
    counts.iter().position(|count| *count == most).map_or(b',', |place| candidates[place])
}

impl Parser {
    fn new(separator: u8) -> Parser {
        let reader = ReaderBuilder::new().delimiter(separator).build();
        Parser { reader, separator, text: vec![0; 1 << 12], ends: vec![0; 32], written: 0, ended: 0 }
    }

    /// Reads what comes next.
    fn read(&mut self, mut text: &[u8], rows: &mut Rows) {
        // To csv_core nothing means the end.
        while !text.is_empty() {
            self.step(&mut text, rows);
        }
    }

    /// Ends the last record.
    fn finish(&mut self, rows: &mut Rows) {
        while self.step(&mut &[][..], rows) {}
    }

    /// Takes what it can from `text`; whether there may be more to do.
    fn step(&mut self, text: &mut &[u8], rows: &mut Rows) -> bool {
        let (result, read, written, ended) = self.reader.read_record(text, &mut self.text[self.written..], &mut self.ends[self.ended..]);
        *text = &text[read..];
        self.written += written;
        self.ended += ended;
        match result {
            ReadRecordResult::OutputFull => self.text.resize(2 * self.text.len(), 0),
            ReadRecordResult::OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
            ReadRecordResult::Record => {
                rows.add(&self.text[..self.written], &self.ends[..self.ended], self.separator);
                (self.written, self.ended) = (0, 0);
            }
            ReadRecordResult::InputEmpty => {}
            ReadRecordResult::End => return false,
        }
        true
    }
}

impl Rows {
    /// Adds a record: its cells end to end, and where each ends.
    fn add(&mut self, text: &[u8], ends: &[usize], separator: u8) {
        let cell = |i: usize| &text[i.checked_sub(1).map_or(0, |before| ends[before])..ends[i]];
        if self.columns.is_empty() {
            let cells: Vec<Vec<u8>> = (0..ends.len()).map(|i| cell(i).to_vec()).collect();
            let header = *self.header.get_or_insert_with(|| is_header(&cells));
            self.columns = vec![Column::new("", Kind::Text); cells.len()];
            self.names = if header { cells } else { (1..=cells.len()).map(|i| format!("column {i}").into_bytes()).collect() };
            if header {
                return;
            }
        }
        let (row, wanted) = (self.count + 1, self.columns.len());
        for (i, column) in self.columns.iter_mut().enumerate() {
            column.push(if i < ends.len() { cell(i) } else { b"" });
        }
        if ends.len() < wanted {
            self.problems.note(Fault::TooFew(ends.len(), wanted), row);
        }
        if ends.len() > wanted {
            self.problems.note(Fault::TooMany(ends.len(), wanted), row);
            let surplus = self.surplus.get_or_insert_with(|| Column::new("", Kind::Text));
            surplus.fill(self.count);
            surplus.push(&(wanted..ends.len()).map(cell).collect::<Vec<_>>().join(&separator));
        }
        if text.len() > MOST_BREAKS && (0..ends.len()).any(|i| memchr::memchr_iter(b'\n', cell(i)).count() > MOST_BREAKS) {
            self.problems.note(Fault::Endless, row);
        }
        self.count += 1;
    }
}
