//! Reviews with their stars.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use arrow::array::{Array, LargeStringArray};

use super::{Table, Tables};

/// Which columns hold reviews and stars, and which rows are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// The column of texts.
    pub text: String,
    /// The column of stars.
    pub star: String,
    /// Only the first rows, so many.
    pub rows: Option<usize>,
    /// What becomes of rows with a gap.
    pub empty: Empty,
}

impl Labels {
    /// # Errors
    /// When no review is left, `read` of `name` that there were.
    pub(super) fn check(&self, name: &str, read: usize, left: usize) -> Result<()> {
        ensure!(read > 0, "{name}: no reviews: the file holds no rows");
        ensure!(left > 0, "{name}: no row has stars in `{}`", self.star);
        Ok(())
    }
}

/// Reviews with their stars, ready to be divided.
pub struct Reviews {
    /// Where they come from, with their columns.
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
    /// Reads the reviews of files, with all columns or with those named besides text and stars.
    ///
    /// # Errors
    /// When there is no row, a file is broken or lacks a column, a star is not 1 to 5, or (with [`Empty::Keep`]) a row has no text or stars. The error names the row.
    pub fn read(files: &[PathBuf], labels: &Labels, columns: Option<&[&str]>) -> Result<Reviews> {
        let names = columns.map(|more| [more, &[labels.text.as_str(), labels.star.as_str()]].concat());
        let table = Tables::open(files, names.as_deref(), labels.rows)?.join()?;
        let (name, rows) = (table.name(), table.len());
        let reviews = Reviews::of(table, labels)?;
        labels.check(&name, rows, reviews.len())?;
        Ok(reviews)
    }

    /// The texts and stars of `table`.
    ///
    /// # Errors
    /// As [`Reviews::read`], but for a table without rows.
    pub(super) fn of(mut table: Table, labels: &Labels) -> Result<Reviews> {
        let mut texts = table.texts(&labels.text)?;
        let mut stars = table.stars(&labels.star)?;
        let gap = |column: &str, i| format!("{}: `{column}` is empty; --drop-empty leaves such rows out", table.origins().place(i));
        if labels.empty == Empty::Keep {
            if let Some(i) = stars.iter().position(Option::is_none) {
                bail!(gap(&labels.star, i));
            }
            if let Some(i) = (0..texts.len()).find(|i| texts.is_null(*i)) {
                bail!(gap(&labels.text, i));
            }
        } else if stars.contains(&None) {
            let kept: Vec<usize> = (0..stars.len()).filter(|i| stars[*i].is_some()).collect();
            table.keep(&kept)?;
            texts = table.texts(&labels.text)?;
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
