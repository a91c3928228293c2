//! Rows in memory.

use anyhow::{Context, Result, bail, ensure};
use arrow::array::{Array, ArrayRef, LargeStringArray, UInt64Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::origins::Origins;

/// Largest weight of a review. Larger numbers, such as counts of votes, must be scaled down first.
const HEAVIEST: f32 = 1000.0;

/// Rows of one or several files.
pub struct Table {
    pub(super) origins: Origins,
    pub(super) batch: RecordBatch,
    /// The names of all columns in the files, including those that were not read.
    pub(super) columns: Vec<String>,
}

impl Table {
    /// The origins of the rows.
    pub fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Name of the table: the path of its file, or of the first of several.
    pub fn name(&self) -> String {
        self.origins.name()
    }

    /// The columns that were read.
    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// The names of all columns in the files, joined by commas.
    pub fn columns(&self) -> String {
        self.columns.join(", ")
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps only the rows with the given indices, which ascend.
    pub(super) fn keep(&mut self, indices: &[usize]) -> Result<()> {
        self.batch = self.take(indices)?;
        self.origins.keep(indices);
        Ok(())
    }

    /// Returns the rows with the given indices, in that order.
    ///
    /// # Errors
    /// When an index is beyond the last row.
    pub fn take(&self, indices: &[usize]) -> Result<RecordBatch> {
        let indices: UInt64Array = indices.iter().map(|i| *i as u64).collect::<Vec<_>>().into();
        take_record_batch(&self.batch, &indices)
            .with_context(|| format!("selecting rows of {}", self.name()))
    }

    fn column(&self, name: &str) -> Result<&ArrayRef> {
        let column = self.batch.column_by_name(name);
        column.with_context(|| {
            format!("{}: no column `{name}`; it has {}. Choose one with --text-column or --label-column", self.name(), self.columns())
        })
    }

    /// The values of a column as text.
    ///
    /// # Errors
    /// When there is no such column, or its values cannot be shown as text.
    pub fn shown(&self, column: &str) -> Result<Vec<String>> {
        let array = self.batch.column_by_name(column).with_context(|| {
            format!(
                "{}: no column `{column}`; it has {}",
                self.name(),
                self.columns()
            )
        })?;
        let shown = || format!("{}: column `{column}` cannot be shown as text", self.name());
        let options = const { &FormatOptions::new().with_display_error(false) };
        let formatter = ArrayFormatter::try_new(array.as_ref(), options).with_context(shown)?;
        (0..array.len())
            .map(|i| formatter.value(i).try_to_string().with_context(shown))
            .collect()
    }

    /// The column of review texts, null where the file has no value.
    ///
    /// # Errors
    /// When there is no such column, or it holds no text.
    pub fn texts(&self, column: &str) -> Result<LargeStringArray> {
        let array = self.column(column)?;
        let text = match array.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => true,
            DataType::Dictionary(_, values) => {
                matches!(**values, DataType::Utf8 | DataType::LargeUtf8)
            }
            _ => false,
        };
        ensure!(
            text,
            "{}: column `{column}` has type {}; expected text",
            self.name(),
            array.data_type()
        );
        let array = cast(array, &DataType::LargeUtf8)
            .with_context(|| format!("{}: column `{column}`", self.name()))?;
        Ok(array
            .as_any()
            .downcast_ref::<LargeStringArray>()
            .context("a column cast to text is text")?
            .clone())
    }

    /// The column of stars, 1 to 5; `None` where the file has no value.
    ///
    /// # Errors
    /// When there is no such column, or a value is not a whole number from 1 to 5; the error names
    /// its row.
    pub fn stars(&self, column: &str) -> Result<Vec<Option<u8>>> {
        let array = self.column(column)?;
        let text = cast(array, &DataType::LargeUtf8).with_context(|| {
            format!(
                "{}: column `{column}` has type {}; expected whole numbers from 1 to 5",
                self.name(),
                array.data_type()
            )
        })?;
        let text = text
            .as_any()
            .downcast_ref::<LargeStringArray>()
            .context("a column cast to text is text")?
            .clone();
        let star = |(i, value): (usize, Option<&str>)| match value.map(str::trim) {
            None | Some("") => Ok(None),
            // `5.0` is accepted: pandas reads and writes a column with a missing value as floats.
            Some(value) => match value.parse::<f64>() {
                Ok(star) if star.fract() == 0.0 && (1.0..=5.0).contains(&star) => {
                    Ok(Some(star as u8))
                }
                _ => bail!(
                    "{}: `{column}` is {}; expected a whole number from 1 to 5",
                    self.origins.place(i),
                    quoted(value)
                ),
            },
        };
        text.iter().enumerate().map(star).collect()
    }

    /// A column of numbers above 0 and at most 1000.
    ///
    /// # Errors
    /// When there is no such column, or a value is out of range; the error names its row.
    pub fn weights(&self, column: &str) -> Result<Vec<f32>> {
        let weight = |(i, value): (usize, &String)| match value.trim().parse::<f32>() {
            Ok(weight) if weight > 0.0 && weight <= HEAVIEST => Ok(weight),
            _ => bail!(
                "{}: `{column}` is {}; expected a number above 0, at most {HEAVIEST}",
                self.origins.place(i),
                quoted(value)
            ),
        };
        self.shown(column)?.iter().enumerate().map(weight).collect()
    }
}

/// A value as an error quotes it; long ones are shortened.
fn quoted(value: &str) -> String {
    match value.char_indices().nth(40) {
        Some((end, _)) => format!("{:?}…", &value[..end]),
        None => format!("{value:?}"),
    }
}
