//! Reviews in files: reading, dividing, writing.

mod join;
mod numpy;
mod read;
mod split;
mod write;

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use arrow::array::{Array, ArrayRef, LargeStringArray, UInt64Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;

pub use join::read_all;
pub use split::{Split, SplitName, split};
pub use write::{with_columns, write_table};

/// The rows of one or several files, all columns kept.
pub struct Table {
    /// One at least.
    files: Vec<Part>,
    batch: RecordBatch,
    /// Where each row stood among all rows of the files, when some were left out.
    places: Option<Vec<usize>>,
}

/// The rows that come from one file.
struct Part {
    path: PathBuf,
    rows: Rows,
    /// How many there are.
    len: usize,
}

/// How rows are called in an error.
enum Rows {
    /// By their numbers, from 1: parquet.
    Numbered,
    /// By the lines that they start on, from 1: text files.
    Lines(Vec<u64>),
}

impl Rows {
    fn unit(&self) -> &'static str {
        match self {
            Rows::Numbered => "row",
            Rows::Lines(_) => "line",
        }
    }
}

impl Table {
    /// What to call it: the path of its file, or of the first of several.
    pub fn name(&self) -> String {
        match &self.files[..] {
            [] => "no file".into(),
            [part] => part.path.display().to_string(),
            [first, rest @ ..] => format!("{} and {} more", first.path.display(), rest.len()),
        }
    }

    /// All columns.
    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first `rows` rows; all when there are fewer.
    pub fn head(mut self, rows: usize) -> Table {
        self.batch = self.batch.slice(0, rows.min(self.len()));
        self
    }

    /// The rows of the given indices, ascending, and no others.
    fn keep(&mut self, indices: &[usize]) -> Result<()> {
        self.batch = self.take(indices)?;
        self.places = Some(match &self.places {
            Some(places) => indices.iter().map(|i| places[*i]).collect(),
            None => indices.to_vec(),
        });
        Ok(())
    }

    /// The rows of the given indices, in that order, for writing elsewhere.
    ///
    /// # Errors
    /// When an index is beyond the last row.
    pub fn take(&self, indices: &[usize]) -> Result<RecordBatch> {
        let indices: UInt64Array = indices.iter().map(|i| *i as u64).collect::<Vec<_>>().into();
        take_record_batch(&self.batch, &indices).with_context(|| format!("selecting rows of {}", self.name()))
    }

    /// The file that row `i` comes from, and its number there: a line of a text file, else a row, from 1.
    fn origin(&self, i: usize) -> (&Part, u64) {
        let mut i = self.places.as_ref().map_or(i, |places| places[i]);
        let mut part = &self.files[0];
        for next in &self.files[1..] {
            if i < part.len {
                break;
            }
            i -= part.len;
            part = next;
        }
        let number = match &part.rows {
            Rows::Numbered => i as u64 + 1,
            Rows::Lines(lines) => lines[i],
        };
        (part, number)
    }

    /// The place of row `i`, for an error: `reviews.csv, line 17`.
    pub fn place(&self, i: usize) -> String {
        let (part, number) = self.origin(i);
        format!("{}, {} {number}", part.path.display(), part.rows.unit())
    }

    /// The places of `rows`, for an error: `reviews.csv, lines 17, 4, 5`.
    pub fn places(&self, rows: &[usize]) -> String {
        let mut files: Vec<(&Part, Vec<String>)> = Vec::new();
        for (part, number) in rows.iter().map(|i| self.origin(*i)) {
            match files.iter_mut().find(|(known, _)| known.path == part.path) {
                Some((_, numbers)) => numbers.push(number.to_string()),
                None => files.push((part, vec![number.to_string()])),
            }
        }
        let place = |(part, numbers): &(&Part, Vec<String>)| format!("{}, {}s {}", part.path.display(), part.rows.unit(), numbers.join(", "));
        files.iter().map(place).collect::<Vec<_>>().join("; ")
    }

    fn column(&self, name: &str) -> Result<&ArrayRef> {
        let names = || self.batch.schema().fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>().join(", ");
        let column = self.batch.column_by_name(name);
        column.with_context(|| {
            format!("{}: no column `{name}`; it has {}. Name the right one by --text-column or --label-column", self.name(), names())
        })
    }

    /// The column of review texts, null where the file has none.
    ///
    /// # Errors
    /// When there is no such column, or it holds no text.
    pub fn texts(&self, column: &str) -> Result<LargeStringArray> {
        let array = self.column(column)?;
        let text = match array.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => true,
            DataType::Dictionary(_, values) => matches!(**values, DataType::Utf8 | DataType::LargeUtf8),
            _ => false,
        };
        ensure!(text, "{}: column `{column}` holds {}; wanted text", self.name(), array.data_type());
        let array = cast(array, &DataType::LargeUtf8).with_context(|| format!("{}: column `{column}`", self.name()))?;
        Ok(array.as_any().downcast_ref::<LargeStringArray>().context("a column cast to text is text")?.clone())
    }

    /// The column of stars, 1 to 5, `None` where the file has none.
    ///
    /// # Errors
    /// When there is no such column, or a value is not a whole number from 1 to 5: the error names its row.
    pub fn stars(&self, column: &str) -> Result<Vec<Option<u8>>> {
        let array = self.column(column)?;
        let text = cast(array, &DataType::LargeUtf8)
            .with_context(|| format!("{}: column `{column}` holds {}; wanted whole numbers from 1 to 5", self.name(), array.data_type()))?;
        let text = text.as_any().downcast_ref::<LargeStringArray>().context("a column cast to text is text")?.clone();
        let star = |(i, value): (usize, Option<&str>)| match value.map(str::trim) {
            None | Some("") => Ok(None),
            // `5.0` too: a column with a gap is read as floats by pandas, and written so.
            Some(value) => match value.parse::<f64>() {
                Ok(star) if star.fract() == 0.0 && (1.0..=5.0).contains(&star) => Ok(Some(star as u8)),
                _ => bail!("{}: `{column}` is {value:?}; wanted a whole number from 1 to 5", self.place(i)),
            },
        };
        text.iter().enumerate().map(star).collect()
    }
}

/// Reviews with their stars, ready to be divided.
pub struct Reviews {
    /// Where they come from, with all columns.
    pub table: Table,
    texts: LargeStringArray,
    stars: Vec<u8>,
}

/// What to do with reviews without text, and rows with a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Empty {
    /// Empty reviews stay, as in the notebook; a gap (null) is an error.
    Keep,
    /// Rows without stars are left out at once, rows without text after the split.
    Drop,
}

impl Reviews {
    /// Takes the texts and stars of `table`.
    ///
    /// # Errors
    /// When the table is empty, lacks a column, has a star that is not 1 to 5, or (with [`Empty::Keep`]) a row without text or stars. The error names the row.
    pub fn new(mut table: Table, text_column: &str, label_column: &str, empty: Empty) -> Result<Reviews> {
        ensure!(!table.is_empty(), "{}: no reviews: the file holds no rows", table.name());
        let mut texts = table.texts(text_column)?;
        let mut stars = table.stars(label_column)?;
        let gap = |column: &str, i| format!("{}: `{column}` is empty; --drop-empty leaves such rows out", table.place(i));
        if empty == Empty::Keep {
            if let Some(i) = stars.iter().position(Option::is_none) {
                bail!(gap(label_column, i));
            }
            if let Some(i) = (0..texts.len()).find(|i| texts.is_null(*i)) {
                bail!(gap(text_column, i));
            }
        } else if stars.contains(&None) {
            let kept: Vec<usize> = (0..stars.len()).filter(|i| stars[*i].is_some()).collect();
            ensure!(!kept.is_empty(), "{}: no row has stars in `{label_column}`", table.name());
            table.keep(&kept)?;
            texts = table.texts(text_column)?;
            stars.retain(Option::is_some);
        }
        Ok(Reviews { table, texts, stars: stars.into_iter().flatten().collect() })
    }

    /// The number of reviews.
    pub fn len(&self) -> usize {
        self.stars.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.stars.is_empty()
    }

    /// The text of review `i`; empty for a gap.
    pub fn text(&self, i: usize) -> &str {
        if self.texts.is_null(i) { "" } else { self.texts.value(i) }
    }

    /// The label of review `i`: stars - 1.
    pub fn label(&self, i: usize) -> usize {
        usize::from(self.stars[i]) - 1
    }

    /// The stars of all reviews.
    pub fn stars(&self) -> &[u8] {
        &self.stars
    }

    /// How many reviews have no text but white space.
    pub fn blank(&self) -> usize {
        (0..self.len()).filter(|i| self.is_blank(*i)).count()
    }

    /// Whether review `i` has no text but white space.
    pub fn is_blank(&self, i: usize) -> bool {
        self.text(i).trim().is_empty()
    }
}
