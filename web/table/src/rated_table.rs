//! A table, its ratings, and the rows that are shown.

use std::borrow::Cow;

use serde::Serialize;

use crate::columns::{guess, stars};
use crate::order::arrange;
use crate::protocol::{
    Arrangement, Chosen, ColumnChoice, Described, Detail, Form, Key, Rated, Request, Row, Summary,
    Window,
};
use crate::ratings::Ratings;
use crate::summary::{extremes, mean, metrics};
use crate::table::Table;
use crate::write::write;

/// Number of rows in the preview.
const PREVIEW: usize = 5;

/// Characters that are shown of a cell in the preview, and of a review in the table.
const CUT: usize = 400;

/// The largest number of rows and of bytes in a portion: few enough to be passed quickly to another
/// thread.
const PORTION_ROWS: usize = 4096;
const PORTION_BYTES: usize = 1 << 19;

/// A table with its ratings.
pub struct RatedTable {
    table: Table,
    choice: ColumnChoice,
    ratings: Ratings,
    /// The true stars of each row; 0 if it has none.
    labels: Vec<u8>,
    /// Rows before this one have been handed out.
    next: usize,
    arrangement: Arrangement,
    order: Vec<u32>,
    /// Whether ratings have arrived since the rows were sorted.
    is_stale: bool,
}

impl RatedTable {
    /// A table with no columns chosen and nothing rated.
    pub fn new(table: Table) -> RatedTable {
        let rows = table.rows;
        let order = (0..rows as u32).collect();
        RatedTable {
            choice: ColumnChoice::default(),
            ratings: Ratings::none(rows),
            labels: vec![0; rows],
            next: 0,
            arrangement: Arrangement::default(),
            order,
            is_stale: false,
            table,
        }
    }

    /// Describes the table.
    pub fn describe(&self) -> Described {
        let table = &self.table;
        let preview = (0..table.rows.min(PREVIEW))
            .map(|row| {
                table
                    .columns
                    .iter()
                    .map(|column| cut(&column.text(row)))
                    .collect()
            })
            .collect();
        Described {
            columns: table
                .columns
                .iter()
                .map(|column| column.name.clone())
                .collect(),
            rows: table.rows,
            encoding: table.encoding,
            separator: table.separator,
            header: table.header,
            problems: table.problems.clone(),
            preview,
            choice: guess(table),
        }
    }

    /// Answers a request with JSON.
    pub fn answer(&mut self, request: &Request) -> String {
        match request {
            Request::Choose(choice) => json(&self.choose(*choice)),
            Request::Arrange(arrangement) => {
                self.arrangement = arrangement.clone();
                self.put_in_order();
                json(&self.order.len())
            }
            Request::Rows { from, count } => json(&self.window(*from, *count)),
            Request::Place(row) => json(
                &self
                    .order()
                    .iter()
                    .position(|shown| *shown as usize == *row),
            ),
            Request::Detail(row) => json(&self.detail(*row)),
            Request::Summary => json(&self.summary()),
            Request::Rewind => {
                self.next = 0;
                json(&())
            }
            Request::Forget => {
                self.forget();
                json(&())
            }
        }
    }

    fn choose(&mut self, choice: ColumnChoice) -> Chosen {
        let exists = |column: &usize| *column < self.table.columns.len();
        let choice = ColumnChoice {
            text: choice.text.filter(exists),
            label: choice.label.filter(exists),
        };
        if choice.text != self.choice.text {
            self.forget();
        }
        self.choice = choice;
        let label = choice.label.map(|column| &self.table.columns[column]);
        self.labels = (0..self.table.rows)
            .map(|row| {
                label
                    .and_then(|column| stars(&column.text(row)))
                    .unwrap_or(0)
            })
            .collect();
        self.put_in_order();
        let mut chosen = Chosen::default();
        for row in 0..self.table.rows {
            let has_text = self.has_text(row);
            *if has_text {
                &mut chosen.reviews
            } else {
                &mut chosen.without_text
            } += 1;
            chosen.labelled += usize::from(has_text && self.labels[row] > 0);
        }
        chosen
    }

    fn forget(&mut self) {
        self.ratings = Ratings::none(self.table.rows);
        self.next = 0;
        self.put_in_order();
    }

    fn text(&self, row: usize) -> Cow<'_, str> {
        self.choice.text.map_or(Cow::Borrowed(""), |column| {
            self.table.columns[column].text(row)
        })
    }

    fn has_text(&self, row: usize) -> bool {
        !self.text(row).trim().is_empty()
    }

    /// The next rows to rate, with their reviews: rows that have a review and no rating, in the
    /// order of the file. `None` when all have been handed out.
    pub fn portion(&mut self) -> Option<(Vec<u32>, Vec<String>)> {
        let (mut rows, mut texts, mut bytes) = (Vec::new(), Vec::new(), 0);
        while self.next < self.table.rows && rows.len() < PORTION_ROWS && bytes < PORTION_BYTES {
            let row = self.next;
            self.next += 1;
            if self.ratings.stars(row) == 0 && self.has_text(row) {
                let text = self.text(row).into_owned();
                bytes += text.len();
                rows.push(row as u32);
                texts.push(text);
            }
        }
        (!rows.is_empty()).then_some((rows, texts))
    }

    /// Stores ratings, given as columns; each row has five probabilities.
    pub fn rate(&mut self, rows: &[u32], stars: &[u8], expected: &[f32], probabilities: &[f32]) {
        let (probabilities, _) = probabilities.as_chunks();
        for (((row, stars), expected), probabilities) in
            rows.iter().zip(stars).zip(expected).zip(probabilities)
        {
            self.ratings.set(
                *row as usize,
                Rated {
                    stars: *stars,
                    expected: *expected,
                    probabilities: *probabilities,
                },
            );
        }
        self.is_stale = true;
    }

    /// Writes the table with its ratings, piece by piece.
    pub fn write(&self, form: Form, take: impl FnMut(&[u8])) {
        write(&self.table, &self.ratings, form, take);
    }

    /// The rows that are shown, sorted with the latest ratings.
    fn order(&mut self) -> &[u32] {
        let follows_ratings =
            self.arrangement.key != Key::File || !self.arrangement.stars.is_empty();
        if self.is_stale && follows_ratings {
            self.put_in_order();
        }
        &self.order
    }

    fn put_in_order(&mut self) {
        self.order = arrange(
            &self.arrangement,
            |row| self.text(row),
            &self.labels,
            &self.ratings,
        );
        self.is_stale = false;
    }

    fn window(&mut self, from: usize, count: usize) -> Window {
        let total = self.order().len();
        let from = from.min(total);
        let rows = self.order[from..total.min(from + count)]
            .iter()
            .map(|row| self.row(*row as usize, true))
            .collect();
        Window { total, from, rows }
    }

    fn row(&self, row: usize, is_cut: bool) -> Row {
        let text = self.text(row);
        let label = Some(self.labels[row]).filter(|label| *label > 0);
        Row {
            row,
            text: if is_cut {
                cut(&text)
            } else {
                text.into_owned()
            },
            rating: self.ratings.get(row),
            label,
        }
    }

    fn detail(&self, row: usize) -> Option<Detail> {
        if row >= self.table.rows {
            return None;
        }
        let cells = self
            .table
            .columns
            .iter()
            .map(|column| (column.name.clone(), column.text(row).into_owned()))
            .collect();
        Some(Detail {
            row: self.row(row, false),
            cells,
        })
    }

    fn summary(&self) -> Summary {
        let rows = |highest| {
            extremes(&self.ratings, self.table.rows, highest)
                .into_iter()
                .map(|row| self.row(row, true))
                .collect()
        };
        Summary {
            rated: self.ratings.len(),
            counts: self.ratings.counts,
            mean: mean(&self.ratings.counts),
            lowest: rows(false),
            highest: rows(true),
            metrics: self
                .choice
                .label
                .map(|_| metrics(&self.labels, &self.ratings)),
        }
    }
}

/// The beginning of a text, if it is too long.
fn cut(text: &str) -> String {
    match text.char_indices().nth(CUT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

/// Serialising cannot fail: the protocol's types have only string keys and finite numbers.
fn json(answer: &impl Serialize) -> String {
    serde_json::to_string(answer).unwrap_or_default()
}
