//! Reads files with one JSON object per line.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::lines::Split;
use crate::encoding::{EncodingStats, text};
use crate::protocol::Fault;
use crate::read::Problems;
use crate::table::{CellKind, Column, Table};

/// The reader, with the objects read so far.
#[derive(Default)]
pub struct JsonLines {
    split: Split,
    rows: JsonRows,
}

impl JsonLines {
    pub fn read(&mut self, text: &[u8]) {
        let JsonLines { split, rows } = self;
        split.read(text, |line, number| rows.add(line, number));
    }

    /// Ends the last line, after the last text.
    pub fn end(&mut self) {
        let JsonLines { split, rows } = self;
        std::mem::take(split).finish(|line, number| rows.add(line, number));
    }

    pub fn rows(&self) -> usize {
        self.rows.lines.len()
    }

    /// The rows that were read since the last call, with all columns seen so far.
    pub fn take(&mut self) -> Table {
        let JsonRows {
            columns,
            lines,
            problems,
            stats,
            ..
        } = &mut self.rows;
        let (lines, problems) = (std::mem::take(lines), std::mem::take(problems));
        columns
            .iter_mut()
            .for_each(|column| column.fill(lines.len()));
        let fresh = columns
            .iter()
            .map(|column| Column::new(column.name.as_str(), CellKind::Json))
            .collect();
        let columns = std::mem::replace(columns, fresh);
        let (rows, encoding) = (lines.len(), stats.encoding());
        Table {
            columns,
            rows,
            encoding,
            has_mark: false,
            separator: None,
            header: None,
            problems: problems.list(),
            lines,
        }
    }
}

#[derive(Default)]
struct JsonRows {
    columns: Vec<Column>,
    /// The index of each name's column.
    places: HashMap<String, usize>,
    /// The line of each row.
    lines: Vec<u32>,
    problems: Problems,
    stats: EncodingStats,
}

impl JsonRows {
    fn add(&mut self, line: &[u8], number: usize) {
        if line.trim_ascii().is_empty() {
            return self.problems.note(Fault::EmptyLine, number);
        }
        // JSON must be UTF-8, but some old programs write other encodings.
        if !self.stats.is_utf8(line) {
            self.problems.note(Fault::NotUtf8, number);
        }
        let line = text(line);
        let object: Object = match serde_json::from_str(&line) {
            Ok(object) => object,
            Err(why) => return self.problems.note(Fault::NotJson(why.to_string()), number),
        };
        // A raw value's syntax has been checked, but not its escapes and numbers; that is done
        // here.
        let wrong = |(_, value): &(_, &RawValue)| strict(value.get()).err();
        if let Some(why) = object.0.iter().find_map(wrong) {
            return self.problems.note(Fault::NotJson(why.to_string()), number);
        }
        for (name, value) in object.0 {
            let place = match self.places.get(name.as_ref()) {
                Some(place) => *place,
                None => {
                    self.columns
                        .push(Column::new(name.as_ref(), CellKind::Json));
                    self.places
                        .insert(name.into_owned(), self.columns.len() - 1);
                    self.columns.len() - 1
                }
            };
            let column = &mut self.columns[place];
            // If an object has a name twice, the last value counts, as in other JSON readers.
            column.cut(self.lines.len());
            column.fill(self.lines.len());
            column.push(value.get().as_bytes());
        }
        self.lines.push(number as u32);
    }
}

/// Checks that a value can be parsed. Simple strings and short integers need no parsing.
fn strict(value: &str) -> Result<(), serde_json::Error> {
    match value.as_bytes() {
        [b'"', inner @ ..] if !inner.contains(&b'\\') => Ok(()),
        [b'0'..=b'9', rest @ ..] if rest.len() < 18 && rest.iter().all(u8::is_ascii_digit) => {
            Ok(())
        }
        _ => serde_json::from_str::<Value>(value).map(drop),
    }
}

/// The names and values of an object, in the order of the file.
struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<'a>, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Object<'de>, M::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A member's name, borrowed if it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
