//! Writes rows as CSV, TSV or JSON lines.

use std::borrow::Cow;
use std::io::{self, Write};

use serde_json::Value;

/// A value of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    /// A text; a string in JSON.
    Text(Cow<'a, str>),
    /// A value of JSON, as it is to be written.
    Json(Cow<'a, str>),
    /// Nothing: an empty cell; in JSON the member is left out.
    Empty,
}

impl Cell<'_> {
    fn text(&self) -> &str {
        match self {
            Cell::Text(text) | Cell::Json(text) => text,
            Cell::Empty => "",
        }
    }
}

/// Writes a table row by row.
pub struct RowWriter<W: Write>(Form<W>);

enum Form<W: Write> {
    Delimited(Box<csv::Writer<W>>),
    JsonLines {
        /// The names of all columns as JSON strings with a colon, without duplicates.
        names: Vec<String>,
        out: W,
    },
}

impl<W: Write> RowWriter<W> {
    /// Writes CSV (RFC 4180) with another delimiter and line ending than usual, if wanted. The header
    /// is written at once.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn delimited<'a>(
        mut out: W,
        delimiter: u8,
        terminator: csv::Terminator,
        names: impl Iterator<Item = &'a str> + Clone,
    ) -> io::Result<RowWriter<W>> {
        let mut builder = csv::WriterBuilder::new();
        builder.delimiter(delimiter).terminator(terminator);
        let mut header = builder
            .quote_style(quotes_of_header(names.clone()))
            .from_writer(&mut out);
        header.write_record(names)?;
        header.flush()?;
        drop(header);
        let writer = builder
            .quote_style(csv::QuoteStyle::Necessary)
            .from_writer(out);
        Ok(RowWriter(Form::Delimited(Box::new(writer))))
    }

    /// Writes a JSON object a line. A name that occurs again gets a number.
    pub fn json_lines<'a>(out: W, names: impl Iterator<Item = &'a str>) -> RowWriter<W> {
        let mut known: Vec<String> = Vec::new();
        for name in names {
            let twin = (2..).map(|i| format!("{name}_{i}"));
            let free = std::iter::once(name.to_owned())
                .chain(twin)
                .find(|name| !known.contains(name));
            known.extend(free);
        }
        let member = |name| format!("{}:", Value::String(name));
        RowWriter(Form::JsonLines {
            names: known.into_iter().map(member).collect(),
            out,
        })
    }

    /// Writes a row: a cell for each column.
    ///
    /// # Errors
    /// When the output fails, or a row has another number of cells than the header.
    pub fn row<'a>(&mut self, cells: impl Iterator<Item = Cell<'a>>) -> io::Result<()> {
        match &mut self.0 {
            Form::Delimited(writer) => {
                for cell in cells {
                    writer.write_field(cell.text())?;
                }
                Ok(writer.write_record(None::<&[u8]>)?)
            }
            Form::JsonLines { names, out } => {
                let members: Vec<String> = names
                    .iter()
                    .zip(cells)
                    .filter_map(|(name, cell)| match cell {
                        Cell::Text(text) => {
                            Some(format!("{name}{}", Value::String(text.into_owned())))
                        }
                        Cell::Json(json) => Some(format!("{name}{json}")),
                        Cell::Empty => None,
                    })
                    .collect();
                out.write_all(format!("{{{}}}\n", members.join(",")).as_bytes())
            }
        }
    }

    /// Writes what is still held back.
    ///
    /// # Errors
    /// When the output fails.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Form::Delimited(writer) => writer.flush(),
            Form::JsonLines { out, .. } => out.flush(),
        }
    }
}

/// The quoting of a CSV file's header. A reader that detects the separator counts candidates
/// outside quotation marks, and takes U+FEFF at the start of a file for a byte order mark. If a
/// name contains one of these characters, all names are quoted.
fn quotes_of_header<'a>(mut names: impl Iterator<Item = &'a str>) -> csv::QuoteStyle {
    let misleads = |name: &str| name.contains([';', '\t', '|']) || name.starts_with('\u{feff}');
    if names.any(misleads) {
        csv::QuoteStyle::Always
    } else {
        csv::QuoteStyle::Necessary
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reader;
    use crate::protocol::Opening;

    fn text(text: &str) -> Cell<'_> {
        Cell::Text(text.into())
    }

    fn delimited(delimiter: u8, names: &[&str], rows: &[[Cell<'_>; 2]]) -> Vec<u8> {
        let mut out = Vec::new();
        let terminator = csv::Terminator::CRLF;
        let mut writer =
            RowWriter::delimited(&mut out, delimiter, terminator, names.iter().copied())
                .expect("memory");
        for row in rows {
            writer.row(row.iter().cloned()).expect("memory");
        }
        writer.flush().expect("memory");
        drop(writer);
        out
    }

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let rows = [
            [text("a\tb"), text("say \"no\"\nplease")],
            [Cell::Empty, Cell::Json("5".into())],
        ];
        assert_eq!(
            String::from_utf8(delimited(b'\t', &["x", "y"], &rows)).expect("UTF-8"),
            "x\ty\r\n\"a\tb\"\t\"say \"\"no\"\"\nplease\"\r\n\t5\r\n"
        );
    }

    #[test]
    fn json_keeps_order_and_values_and_numbers_names_that_occur_again() {
        let mut out = Vec::new();
        let mut writer = RowWriter::json_lines(&mut out, ["b", "a", "b"].into_iter());
        let large = Cell::Json("18446744073709551617".into());
        writer
            .row(
                [
                    text("é\n"),
                    large,
                    Cell::Json("{\"z\":1,\"a\":null}".into()),
                ]
                .into_iter(),
            )
            .expect("memory");
        writer
            .row([Cell::Empty, Cell::Empty, text("")].into_iter())
            .expect("memory");
        drop(writer);
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            "{\"b\":\"é\\n\",\"a\":18446744073709551617,\"b_2\":{\"z\":1,\"a\":null}}\n{\"b_2\":\"\"}\n"
        );
    }

    #[test]
    fn names_that_mislead_a_reader_are_quoted() {
        for name in ["a;b;c;d;e;f;g;h;i;j", "a|b|c|d|e|f|g|h|i|j", "\u{feff}a"] {
            let csv = delimited(b',', &[name, "star"], &[[text(name), text("star")]]);
            let opening = Opening {
                name: "a.csv".into(),
                header: Some(true),
                ..Opening::default()
            };
            let mut reader = Reader::open(&opening).expect("a known ending");
            reader.push(&csv);
            let table = reader.finish().expect("a table");
            assert_eq!((table.columns.len(), table.rows), (2, 1));
            assert_eq!(table.columns[0].name, name);
        }
        assert!(matches!(
            quotes_of_header(["review", "a, b"].into_iter()),
            csv::QuoteStyle::Necessary
        ));
    }
}
