//! Writes a table with the ratings as additional columns.

use serde_json::Value;

use crate::protocol::{Form, Rated};
use crate::ratings::Ratings;
use crate::table::{CellKind, Column, Table};

/// The columns of a rating.
const NAMES: [&str; 7] = ["stars", "expected", "p1", "p2", "p3", "p4", "p5"];

/// The prefix of a rating's column if the table already has a column of that name.
const PREFIX: &str = "rated_";

/// Approximate size of an output piece, in bytes.
const PIECE: usize = 1 << 20;

/// Writes all rows, in pieces. Rows without a rating have empty rating columns in CSV and none in
/// JSON.
pub fn write(table: &Table, ratings: &Ratings, form: Form, mut take: impl FnMut(&[u8])) {
    let mut out = Vec::with_capacity(PIECE + (PIECE >> 3));
    let mut writer = match form {
        Form::Csv => Writer::csv(table, &mut out),
        Form::JsonLines => Writer::json(table),
    };
    for row in 0..table.rows {
        writer.row(table, row, ratings.get(row), &mut out);
        if out.len() >= PIECE {
            take(&out);
            out.clear();
        }
    }
    take(&out);
}

enum Writer {
    Csv,
    /// The names of all columns as JSON strings with a colon, without duplicates.
    Json(Vec<String>),
}

impl Writer {
    /// Writes a byte order mark if the table had one, so that programs which read the original read
    /// the output too.
    fn csv(table: &Table, out: &mut Vec<u8>) -> Writer {
        if table.has_mark {
            out.extend_from_slice("\u{feff}".as_bytes());
        }
        let names = names(table);
        let quotes = quotes_of_header(names.iter().map(String::as_str));
        record(out, &names, quotes);
        Writer::Csv
    }

    fn json(table: &Table) -> Writer {
        let mut known: Vec<String> = Vec::new();
        for name in names(table) {
            let twin = (2..).map(|i| format!("{name}_{i}"));
            let free = std::iter::once(name.clone())
                .chain(twin)
                .find(|name| !known.contains(name));
            known.extend(free);
        }
        Writer::Json(
            known
                .into_iter()
                .map(|name| format!("{}:", Value::String(name)))
                .collect(),
        )
    }

    fn row(&mut self, table: &Table, row: usize, rating: Option<Rated>, out: &mut Vec<u8>) {
        let figures = rating.map(figures);
        match self {
            Writer::Csv => {
                let cells = table
                    .columns
                    .iter()
                    .map(|column| column.text(row).into_owned());
                record(
                    out,
                    &cells.chain(figures.unwrap_or_default()).collect::<Vec<_>>(),
                    csv::QuoteStyle::Necessary,
                );
            }
            Writer::Json(names) => {
                let mut members: Vec<String> = Vec::with_capacity(names.len());
                let (own, added) = names.split_at(table.columns.len());
                members.extend(
                    own.iter()
                        .zip(&table.columns)
                        .filter_map(|(name, column)| Some(format!("{name}{}", json(column, row)?))),
                );
                members.extend(
                    added
                        .iter()
                        .zip(figures.into_iter().flatten())
                        .map(|(name, figure)| format!("{name}{figure}")),
                );
                out.extend_from_slice(format!("{{{}}}\n", members.join(",")).as_bytes());
            }
        }
    }
}

/// The names of the table's columns and of the rating's columns.
fn names(table: &Table) -> Vec<String> {
    let own: Vec<String> = table
        .columns
        .iter()
        .map(|column| column.name.clone())
        .collect();
    let added = NAMES.map(|name| {
        let mut name = name.to_string();
        while own.contains(&name) {
            name.insert_str(0, PREFIX);
        }
        name
    });
    own.iter().cloned().chain(added).collect()
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

/// A cell as JSON, if it is not empty.
fn json(column: &Column, row: usize) -> Option<String> {
    match column.kind() {
        CellKind::Text => Some(Value::String(column.text(row).into_owned()).to_string()),
        CellKind::Json => Some(String::from_utf8_lossy(column.raw(row)).into_owned())
            .filter(|json| !json.is_empty()),
    }
}

/// The quoting of a CSV file's header. A reader that detects the separator counts candidates
/// outside quotation marks, and takes U+FEFF at the start of a file for a byte order mark. If a
/// name contains one of these characters, all names are quoted.
pub fn quotes_of_header<'a>(mut names: impl Iterator<Item = &'a str>) -> csv::QuoteStyle {
    let misleads = |name: &str| name.contains([';', '\t', '|']) || name.starts_with('\u{feff}');
    if names.any(misleads) {
        csv::QuoteStyle::Always
    } else {
        csv::QuoteStyle::Necessary
    }
}

/// Adds a line of CSV (RFC 4180).
fn record(out: &mut Vec<u8>, cells: &[String], quotes: csv::QuoteStyle) {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .quote_style(quotes)
        .from_writer(out);
    // Writing to memory cannot fail.
    let _ = writer
        .write_record(cells)
        .and_then(|()| Ok(writer.flush()?));
}
