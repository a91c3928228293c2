//! A JSON object a line.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::lines::Split;
use crate::encoding::{Census, text};
use crate::error::Error;
use crate::protocol::Fault;
use crate::read::Problems;
use crate::table::{Column, Kind, Table};

/// The objects so far.
#[derive(Default)]
pub struct JsonLines {
    split: Split,
    rows: Rows,
}

impl JsonLines {
    pub fn read(&mut self, text: &[u8]) {
        let JsonLines { split, rows } = self;
        split.read(text, |line, number| rows.add(line, number));
    }

    pub fn finish(self, name: &str) -> Result<Table, Error> {
        let JsonLines { split, mut rows } = self;
        split.finish(|line, number| rows.add(line, number));
        let Rows { mut columns, count, problems, census, .. } = rows;
        let problems = problems.list();
        if count == 0
            && let Some(why) = problems.iter().find_map(|problem| if let Fault::NotJson(why) = &problem.fault { Some(why) } else { None })
        {
            return Err(Error::Json { name: name.into(), why: why.clone() });
        }
        columns.iter_mut().for_each(|column| column.fill(count));
        Ok(Table { columns, rows: count, encoding: census.encoding(), has_mark: false, separator: None, header: None, problems })
    }
}

#[derive(Default)]
struct Rows {
    columns: Vec<Column>,
    /// Where the column of a name is.
    places: HashMap<String, usize>,
    count: usize,
    problems: Problems,
    census: Census,
}

impl Rows {
    fn add(&mut self, line: &[u8], number: usize) {
        if line.trim_ascii().is_empty() {
            return self.problems.note(Fault::EmptyLine, number);
        }
        // JSON is UTF-8; a line that is not is what old programs wrote.
        if !self.census.is_utf8(line) {
            self.problems.note(Fault::NotUtf8, number);
        }
        let line = text(line);
        let object: Object = match serde_json::from_str(&line) {
            Ok(object) => object,
            Err(why) => return self.problems.note(Fault::NotJson(why.to_string()), number),
        };
        for (name, value) in object.0 {
            let place = match self.places.get(name.as_ref()) {
                Some(place) => *place,
                None => {
                    self.columns.push(Column::new(name.as_ref(), Kind::Json));
                    self.places.insert(name.into_owned(), self.columns.len() - 1);
                    self.columns.len() - 1
                }
            };
            let column = &mut self.columns[place];
            // Of a name that an object has twice, the first value counts.
            if column.len() <= self.count {
                column.fill(self.count);
                column.push(value.get().as_bytes());
            }
        }
        self.count += 1;
    }
}

/// The names and values of an object, as they stand there.
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

/// Borrowed where no escape stands in it.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
