//! Rows in memory, column by column.

use std::borrow::Cow;

use crate::protocol::{Encoding, Problem};

/// What the cells of a column hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellKind {
    /// Text.
    Text,
    /// JSON values as they stand in their file; nothing at all where the row has none.
    Json,
}

/// A column: all its cells end to end.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    kind: CellKind,
    bytes: Vec<u8>,
    /// Where each cell ends.
    ends: Vec<usize>,
}

impl Column {
    /// A JSON value; nothing for `null`, for a row that has none, and in a column of text.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn json(&self, row: usize) -> Option<serde_json::Value> {
        match self.kind {
            CellKind::Json => serde_json::from_slice(self.raw(row))
                .ok()
                .filter(|value: &serde_json::Value| !value.is_null()),
            CellKind::Text => None,
        }
    }

    /// Without cells.
    pub(crate) fn new(name: impl Into<String>, kind: CellKind) -> Column {
        Column {
            name: name.into(),
            kind,
            bytes: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// The column with other cells in place of these.
    pub(crate) fn map(&self, cell: impl Fn(&[u8]) -> String) -> Column {
        let mut mapped = Column::new(&self.name, self.kind);
        (0..self.len()).for_each(|row| mapped.push(cell(self.raw(row)).as_bytes()));
        mapped
    }

    /// Adds a cell. Text need not be UTF-8 until the table is finished.
    pub(crate) fn push(&mut self, cell: &[u8]) {
        self.bytes.extend_from_slice(cell);
        self.ends.push(self.bytes.len());
    }

    /// Removes the cells from row `rows` on.
    pub(crate) fn cut(&mut self, rows: usize) {
        self.ends.truncate(rows);
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }

    /// Adds empty cells up to `rows`.
    pub(crate) fn fill(&mut self, rows: usize) {
        self.ends
            .resize(rows.max(self.ends.len()), self.bytes.len());
    }

    /// The bytes of a cell.
    pub(crate) fn raw(&self, row: usize) -> &[u8] {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[row]]
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// What its cells hold.
    pub fn kind(&self) -> CellKind {
        self.kind
    }

    /// A cell as text: a JSON string without its quotation marks, another value as it is written, `null` as nothing.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn text(&self, row: usize) -> Cow<'_, str> {
        let raw = String::from_utf8_lossy(self.raw(row));
        match self.kind {
            CellKind::Json if raw.starts_with('"') => {
                Cow::Owned(serde_json::from_str(&raw).unwrap_or_default())
            }
            CellKind::Json if raw == "null" => Cow::Borrowed(""),
            _ => raw,
        }
    }
}

/// The rows of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The columns, each of [`Table::rows`] cells.
    pub columns: Vec<Column>,
    /// How many rows there are.
    pub rows: usize,
    /// What the bytes were.
    pub encoding: Encoding,
    /// Whether a byte order mark stood at the beginning.
    pub has_mark: bool,
    /// What separates cells, in a file of separated ones.
    pub separator: Option<char>,
    /// Whether the first line names the columns, in a file where that is a question.
    pub header: Option<bool>,
    /// What was wrong with rows.
    pub problems: Vec<Problem>,
    /// The line of the file in which each row begins, from 1; empty for a file that is not of lines.
    pub lines: Vec<u32>,
}
