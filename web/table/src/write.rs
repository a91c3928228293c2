//! Writes a table with the ratings as additional columns.

use std::io;

use crate::protocol::{Form, Rated};
use crate::ratings::Ratings;
use crate::rows::{Cell, RowWriter};
use crate::table::{CellKind, Column, Table};

/// The columns of a rating.
const NAMES: [&str; 7] = ["stars", "expected", "p1", "p2", "p3", "p4", "p5"];

/// The prefix of a rating's column if the table already has a column of that name.
const PREFIX: &str = "rated_";

/// Approximate size of an output piece, in bytes.
const PIECE: usize = 1 << 20;

/// The names of a rating's columns beside the table's own, which keep theirs.
pub fn rating_columns(own: &[&str]) -> [String; 7] {
    NAMES.map(|name| {
        let mut name = name.to_string();
        while own.contains(&name.as_str()) {
            name.insert_str(0, PREFIX);
        }
        name
    })
}

/// Writes all rows, in pieces. Rows without a rating have empty rating columns in CSV and none in
/// JSON.
pub fn write(table: &Table, ratings: &Ratings, form: Form, take: impl FnMut(&[u8])) {
    let mut pieces = Pieces {
        held: Vec::with_capacity(PIECE + (PIECE >> 3)),
        take,
    };
    // Memory cannot fail.
    let _ = write_rows(table, ratings, form, &mut pieces);
    pieces.send();
}

fn write_rows(
    table: &Table,
    ratings: &Ratings,
    form: Form,
    mut out: impl io::Write,
) -> io::Result<()> {
    let own: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
    let added = rating_columns(&own);
    let names = own.into_iter().chain(added.iter().map(String::as_str));
    let mut writer = match form {
        Form::Csv => {
            // Programs that read the original with its byte order mark read the output too.
            if table.has_mark {
                out.write_all("\u{feff}".as_bytes())?;
            }
            RowWriter::delimited(out, b',', csv::Terminator::CRLF, names)?
        }
        Form::JsonLines => RowWriter::json_lines(out, names),
    };
    for row in 0..table.rows {
        let figures = match ratings.get(row) {
            Some(rating) => figures(rating).map(|figure| Cell::Json(figure.into())),
            None => [const { Cell::Empty }; 7],
        };
        let own = table.columns.iter().map(|column| cell(column, row, form));
        writer.row(own.chain(figures))?;
    }
    writer.flush()
}

/// Collects what is written into pieces of about [`PIECE`] bytes.
struct Pieces<F: FnMut(&[u8])> {
    held: Vec<u8>,
    take: F,
}

impl<F: FnMut(&[u8])> Pieces<F> {
    fn send(&mut self) {
        (self.take)(&self.held);
        self.held.clear();
    }
}

impl<F: FnMut(&[u8])> io::Write for Pieces<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        if self.held.len() >= PIECE {
            self.send();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The cells of a rating. Engines differ in the last digits: four decimals of the expected stars
/// and six of the probabilities are more than a reader needs.
fn figures(rating: Rated) -> [String; 7] {
    let p = rating.probabilities.map(|p| format!("{p:.6}"));
    let [p1, p2, p3, p4, p5] = p;
    [
        rating.stars.to_string(),
        format!("{:.4}", rating.expected),
        p1,
        p2,
        p3,
        p4,
        p5,
    ]
}

/// A cell as it was read; in CSV a string of JSON is the text that it holds.
fn cell(column: &Column, row: usize, form: Form) -> Cell<'_> {
    match (form, column.kind()) {
        (Form::Csv, _) | (Form::JsonLines, CellKind::Text) => Cell::Text(column.text(row)),
        (Form::JsonLines, CellKind::Json) => match column.raw(row) {
            [] => Cell::Empty,
            json => Cell::Json(String::from_utf8_lossy(json)),
        },
    }
}
