//! Reviews in files: reading, dividing, writing.

mod numpy;
mod read;
mod split;
mod write;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use arrow::array::{Array, ArrayRef, LargeStringArray, UInt64Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;

pub use read::read;
pub use split::{Split, SplitName, split};
pub use write::{with_columns, write_table};

/// A file's rows, all columns kept.
pub struct Table {
    path: PathBuf,
    batch: RecordBatch,
    rows: Rows,
}

/// How a row is called in an error.
enum Rows {
    /// By its number from 1: parquet.
    Numbered,
    /// By the line that it starts on, from 1: text files.
    Lines(Vec<u64>),
}

impl Table {
    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
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

    /// The rows of the given indices, in that order, for writing elsewhere.
    ///
    /// # Errors
    /// When an index is beyond the last row.
    pub fn take(&self, indices: &[usize]) -> Result<RecordBatch> {
        let indices: UInt64Array = indices.iter().map(|i| *i as u64).collect::<Vec<_>>().into();
        take_record_batch(&self.batch, &indices).with_context(|| format!("selecting rows of {}", self.path.display()))
    }

    /// The place of row `i`, for an error: `reviews.csv, line 17`.
    pub fn place(&self, i: usize) -> String {
        match &self.rows {
            Rows::Numbered => format!("{}, row {}", self.path.display(), i + 1),
            Rows::Lines(lines) => format!("{}, line {}", self.path.display(), lines[i]),
        }
    }

    /// The places of `rows`, for an error: `reviews.csv, lines 17, 4, 5`.
    pub fn places(&self, rows: &[usize]) -> String {
        let (unit, numbers): (_, Vec<String>) = match &self.rows {
            Rows::Numbered => ("rows", rows.iter().map(|i| (i + 1).to_string()).collect()),
            Rows::Lines(lines) => ("lines", rows.iter().map(|i| lines[*i].to_string()).collect()),
        };
        format!("{}, {unit} {}", self.path.display(), numbers.join(", "))
    }

    fn column(&self, name: &str) -> Result<&ArrayRef> {
        let names = || self.batch.schema().fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>().join(", ");
        let column = self.batch.column_by_name(name);
        column.with_context(|| {
            format!("{}: no column `{name}`; it has {}. Name the right one by --text-column or --label-column", self.path.display(), names())
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
        ensure!(text, "{}: column `{column}` holds {}; wanted text", self.path.display(), array.data_type());
        let array = cast(array, &DataType::LargeUtf8).with_context(|| format!("{}: column `{column}`", self.path.display()))?;
        Ok(array.as_any().downcast_ref::<LargeStringArray>().context("a column cast to text is text")?.clone())
    }

    /// The column of stars, 1 to 5, `None` where the file has none.
    ///
    /// # Errors
    /// When there is no such column, or a value is not a whole number from 1 to 5: the error names its row.
    pub fn stars(&self, column: &str) -> Result<Vec<Option<u8>>> {
        let array = self.column(column)?;
        let text = cast(array, &DataType::LargeUtf8)
            .with_context(|| format!("{}: column `{column}` holds {}; wanted whole numbers from 1 to 5", self.path.display(), array.data_type()))?;
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
        ensure!(!table.is_empty(), "{}: no reviews: the file holds no rows", table.path.display());
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
            ensure!(!kept.is_empty(), "{}: no row has stars in `{label_column}`", table.path.display());
            table.batch = table.take(&kept)?;
            if let Rows::Lines(lines) = &table.rows {
                table.rows = Rows::Lines(kept.iter().map(|i| lines[*i]).collect());
            }
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
