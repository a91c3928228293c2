//! A table written again, with the ratings as columns of their own.

use serde_json::Value;

use crate::protocol::{Form, Rated};
use crate::ratings::Ratings;
use crate::table::{CellKind, Column, Table};

/// The columns of a rating.
const NAMES: [&str; 7] = ["stars", "expected", "p1", "p2", "p3", "p4", "p5"];

/// What stands before one of them whose name the table has already.
const PREFIX: &str = "rated_";

/// A piece that is handed on, in bytes.
const PIECE: usize = 1 << 20;

/// Writes all rows, in pieces; those without a rating have nothing in its columns.
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
    /// The names of all columns as they stand in JSON, with a colon; no two are the same.
    Json(Vec<String>),
}

impl Writer {
    /// With a byte order mark if the table had one: what opened it then opens this.
    fn csv(table: &Table, out: &mut Vec<u8>) -> Writer {
        if table.has_mark {
            out.extend_from_slice("\u{feff}".as_bytes());
        }
        record(out, &names(table));
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

/// The names of the table's columns and of those that are added.
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

/// A rating's columns. Four decimals of expected stars and six of a probability are what differs from one engine to another, and more than anyone reads.
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

/// A cell as JSON, if there is anything in it.
fn json(column: &Column, row: usize) -> Option<String> {
    match column.kind() {
        CellKind::Text => Some(Value::String(column.text(row).into_owned()).to_string()),
        CellKind::Json => Some(String::from_utf8_lossy(column.raw(row)).into_owned())
            .filter(|json| !json.is_empty()),
    }
}

/// Adds a line of CSV (RFC 4180).
fn record(out: &mut Vec<u8>, cells: &[String]) {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(out);
    // Memory takes whatever is written.
    let _ = writer
        .write_record(cells)
        .and_then(|()| Ok(writer.flush()?));
}
