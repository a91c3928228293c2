//! Text, a review a line.

use crate::encoding::settle;
use crate::protocol::Fault;
use crate::read::Problems;
use crate::table::{Column, Kind, Table};

/// How the one column is called.
const NAME: &[u8] = b"review";

/// The lines of a text.
pub struct Lines {
    split: Split,
    reviews: Column,
    problems: Problems,
}

impl Default for Lines {
    fn default() -> Lines {
        Lines { split: Split::default(), reviews: Column::new("", Kind::Text), problems: Problems::default() }
    }
}

impl Lines {
    pub fn read(&mut self, text: &[u8]) {
        let Lines { split, reviews, problems } = self;
        split.read(text, |line, number| add(reviews, problems, line, number));
    }

    pub fn finish(self) -> Table {
        let Lines { split, mut reviews, mut problems } = self;
        split.finish(|line, number| add(&mut reviews, &mut problems, line, number));
        let rows = reviews.len();
        let mut columns = vec![reviews];
        let encoding = settle(&mut columns, &[NAME.to_vec()], &mut problems);
        Table { columns, rows, encoding, has_mark: false, separator: None, header: None, problems: problems.list() }
    }
}

fn add(reviews: &mut Column, problems: &mut Problems, line: &[u8], number: usize) {
    match line.trim_ascii() {
        [] => problems.note(Fault::EmptyLine, number),
        _ => reviews.push(line),
    }
}

/// Cuts text into lines as it comes.
#[derive(Default)]
pub struct Split {
    /// The beginning of a line whose end is still to come.
    begun: Vec<u8>,
    lines: usize,
}

impl Split {
    /// Gives `take` each line that is whole, without its end, and its number from 1.
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

    /// The last line, if nothing ended it.
    pub fn finish(self, mut take: impl FnMut(&[u8], usize)) {
        if !self.begun.is_empty() {
            take(without_return(&self.begun), self.lines + 1);
        }
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}
