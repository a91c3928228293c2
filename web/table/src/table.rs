//! Tables in memory, stored by columns.

use std::borrow::Cow;

use crate::protocol::{Encoding, Problem};

/// The type of a column's cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellKind {
    /// Text.
    Text,
    /// JSON values as written in the file; empty where the row has no value.
    Json,
}

/// A column: its cells, concatenated.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// The column's name.
    pub name: String,
    kind: CellKind,
    bytes: Vec<u8>,
    /// The end of each cell in `bytes`.
    ends: Vec<usize>,
}

impl Column {
    /// The JSON value of a row; `None` for `null`, for a row without a value, and in a column of
    /// text.
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

    /// A column without cells.
    pub(crate) fn new(name: impl Into<String>, kind: CellKind) -> Column {
        Column {
            name: name.into(),
            kind,
            bytes: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// The column with each cell replaced by the result of `cell`.
    pub(crate) fn map(&self, cell: impl Fn(&[u8]) -> String) -> Column {
        let mut mapped = Column::new(&self.name, self.kind);
        (0..self.len()).for_each(|row| mapped.push(cell(self.raw(row)).as_bytes()));
        mapped
    }

    /// Adds a cell. Text may be in any encoding until the table is finished.
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

    /// The type of the column's cells.
    pub fn kind(&self) -> CellKind {
        self.kind
    }

    /// A cell as text: a JSON string without its quotation marks, other values as written, `null`
    /// as an empty string.
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
    /// Number of rows.
    pub rows: usize,
    /// The file's encoding.
    pub encoding: Encoding,
    /// Whether the file began with a byte order mark.
    pub has_mark: bool,
    /// The separator between cells, in a delimited file.
    pub separator: Option<char>,
    /// Whether the first line names the columns; `None` if the format leaves no choice.
    pub header: Option<bool>,
    /// Problems with rows.
    pub problems: Vec<Problem>,
    /// The line of the file on which each row begins, from 1; empty for a format without lines.
    pub lines: Vec<u32>,
}
