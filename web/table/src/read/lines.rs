//! Reads text files with one review per line.

use crate::encoding::decode_columns;
use crate::protocol::Fault;
use crate::read::Problems;
use crate::table::{CellKind, Column, Table};

/// The name of the only column.
const NAME: &[u8] = b"review";

/// The reader, with the lines read so far.
pub struct Lines {
    split: Split,
    rows: LineRows,
}

struct LineRows {
    reviews: Column,
    lines: Vec<u32>,
    problems: Problems,
}

impl Default for Lines {
    fn default() -> Lines {
        Lines {
            split: Split::default(),
            rows: LineRows {
                reviews: Column::new("", CellKind::Text),
                lines: Vec::new(),
                problems: Problems::default(),
            },
        }
    }
}

impl Lines {
    pub fn read(&mut self, text: &[u8]) {
        let Lines { split, rows } = self;
        split.read(text, |line, number| rows.add(line, number));
    }

    /// Ends the last line, after the last text.
    pub fn end(&mut self) {
        let Lines { split, rows } = self;
        std::mem::take(split).finish(|line, number| rows.add(line, number));
    }

    pub fn rows(&self) -> usize {
        self.rows.lines.len()
    }

    /// The rows that were read since the last call.
    pub fn take(&mut self) -> Table {
        let LineRows {
            reviews,
            lines,
            problems,
        } = &mut self.rows;
        let (lines, mut problems) = (std::mem::take(lines), std::mem::take(problems));
        let mut columns = vec![std::mem::replace(reviews, Column::new("", CellKind::Text))];
        let encoding = decode_columns(&mut columns, &[NAME.to_vec()], &mut problems);
        Table {
            columns,
            rows: lines.len(),
            encoding,
            has_mark: false,
            separator: None,
            header: None,
            problems: problems.list(),
            lines,
        }
    }
}

impl LineRows {
    fn add(&mut self, line: &[u8], number: usize) {
        match line.trim_ascii() {
            [] => self.problems.note(Fault::EmptyLine, number),
            _ => {
                self.reviews.push(line);
                self.lines.push(number as u32);
            }
        }
    }
}

/// Splits text into lines as it arrives.
#[derive(Default)]
pub struct Split {
    /// The beginning of an incomplete line.
    begun: Vec<u8>,
    lines: usize,
}

impl Split {
    /// Calls `take` with each complete line, without its line break, and its number from 1.
    pub fn read(&mut self, text: &[u8], mut take: impl FnMut(&[u8], usize)) {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', text) {
            let rest = &text[start..end];
            start = end + 1;
            self.lines += 1;
            if self.begun.is_empty() {
                take(without_return(rest), self.lines);
            } else {
                self.begun.extend_from_slice(rest);
                take(without_return(&self.begun), self.lines);
                self.begun.clear();
            }
        }
        self.begun.extend_from_slice(&text[start..]);
    }

    /// Calls `take` with the last line, if it has no line break.
    pub fn finish(self, mut take: impl FnMut(&[u8], usize)) {
        if !self.begun.is_empty() {
            take(without_return(&self.begun), self.lines + 1);
        }
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}
