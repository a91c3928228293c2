//! Reviews with their stars.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail, ensure};
use arrow::array::{Array, LargeStringArray};

use super::division::{CopyKey, Dedup, Rows, TextKey, copy_key, text_keys, values};
use super::{Split, SplitBy, SplitName, Table, Tables};

/// Which columns hold reviews and stars, and which rows are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// The column of texts.
    pub text: String,
    /// The column of stars.
    pub star: String,
    /// Read only this many rows, the first ones.
    pub rows: Option<usize>,
    /// What to do with rows without stars or text.
    pub empty: Empty,
    /// How reviews are divided.
    pub split_by: SplitBy,
    /// Column of the weights in training; without one every review has weight 1.
    pub weight: Option<String>,
    /// Leave out copies of earlier reviews, after the split.
    pub dedup: Option<Dedup>,
}

impl Labels {
    /// The usual column names, divided as in the notebook.
    pub fn usual() -> Labels {
        Labels {
            text: "review".into(),
            star: "star".into(),
            rows: None,
            empty: Empty::Keep,
            split_by: SplitBy::Stars,
            weight: None,
            dedup: None,
        }
    }

    /// The columns to read.
    pub(super) fn columns(&self) -> Vec<&str> {
        let one = [
            Some(self.text.as_str()),
            Some(&self.star),
            self.split_by.column(),
            self.weight.as_deref(),
        ];
        one.into_iter()
            .flatten()
            .chain(
                self.dedup
                    .iter()
                    .flat_map(|dedup| &dedup.0)
                    .map(String::as_str),
            )
            .collect()
    }

    /// Divides `rows` with `seed` as these labels say.
    ///
    /// # Errors
    /// When there are too few for a part to get any.
    pub(super) fn split(&self, rows: &Rows, seed: u64) -> Result<Split> {
        let parts = rows.split(&self.split_by, seed, self.empty == Empty::Drop)?;
        for (part, name) in [
            (&parts.train, "training"),
            (&parts.val, "validation"),
            (&parts.test, "test"),
        ] {
            match &self.split_by {
                SplitBy::Given(column) => {
                    ensure!(!part.is_empty(), "no review has {name} in `{column}`");
                }
                _ => ensure!(
                    !part.is_empty(),
                    "the {name} split is empty after leaving out copies and reviews without text"
                ),
            }
        }
        Ok(parts)
    }

    /// # Errors
    /// When no review is left of the `read` rows of `name`.
    pub(super) fn check(&self, name: &str, read: usize, left: usize) -> Result<()> {
        ensure!(read > 0, "{name}: no reviews: the file has no rows");
        ensure!(left > 0, "{name}: no row has stars in `{}`", self.star);
        Ok(())
    }
}

/// Reviews with their stars, ready to be divided.
pub struct Reviews {
    /// The rows, with their origins and columns.
    pub table: Table,
    texts: LargeStringArray,
    labels: Labels,
    pub(super) rows: Rows,
}

/// What to do with reviews without text, and with rows that lack a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Empty {
    /// Empty reviews stay, as in the notebook; a missing value (null) is an error.
    Keep,
    /// Rows without stars are left out at once, rows without text after the split.
    Drop,
}

impl Reviews {
    /// Reads the reviews of files, with all columns or with those named besides text and stars.
    ///
    /// # Errors
    /// When there is no row, a file is broken or lacks a column, a star is not 1 to 5, or (with
    /// [`Empty::Keep`]) a row has no text or stars. The error names the row.
    pub fn read(files: &[PathBuf], labels: &Labels, columns: Option<&[&str]>) -> Result<Reviews> {
        let names = columns.map(|more| [more, &labels.columns()].concat());
        let table = Tables::open(files, names.as_deref(), labels.rows)?.join()?;
        let (name, rows) = (table.name(), table.len());
        let reviews = Reviews::of(table, labels)?;
        labels.check(&name, rows, reviews.len())?;
        Ok(reviews)
    }

    /// Takes the texts and stars of `table`.
    ///
    /// # Errors
    /// As [`Reviews::read`], except that a table without rows is not an error.
    pub(super) fn of(mut table: Table, labels: &Labels) -> Result<Reviews> {
        let mut texts = table.texts(&labels.text)?;
        let mut stars = table.stars(&labels.star)?;
        match labels.empty {
            Empty::Keep => refuse_gaps(&table, labels, &texts, &stars)?,
            Empty::Drop if stars.contains(&None) => {
                let kept: Vec<usize> = (0..stars.len()).filter(|i| stars[*i].is_some()).collect();
                table.keep(&kept)?;
                texts = table.texts(&labels.text)?;
                stars.retain(Option::is_some);
            }
            Empty::Drop => {}
        }
        let all: Vec<&str> = (0..texts.len())
            .map(|i| if texts.is_null(i) { "" } else { texts.value(i) })
            .collect();
        let rows = Rows {
            values: split_values(&table, &labels.split_by)?,
            copies: copy_keys(&table, labels, &all, &stars)?,
            blank: all.iter().map(|text| text.trim().is_empty()).collect(),
            texts: if labels.split_by == SplitBy::Text {
                text_keys(&all)
            } else {
                Vec::new()
            },
            weights: labels
                .weight
                .as_ref()
                .map(|column| table.weights(column))
                .transpose()?
                .unwrap_or_default(),
            stars: stars.into_iter().flatten().collect(),
        };
        Ok(Reviews {
            table,
            texts,
            labels: labels.clone(),
            rows,
        })
    }

    /// Divides the reviews with `seed`, as their labels say.
    ///
    /// # Errors
    /// When there are too few.
    pub fn split(&self, seed: u64) -> Result<Split> {
        self.labels
            .split(&self.rows, seed)
            .with_context(|| self.table.name())
    }

    /// The rows of one part, in the order of the split.
    ///
    /// # Errors
    /// When the reviews cannot be divided, or none is left.
    pub fn part(&self, name: SplitName, seed: u64) -> Result<Vec<usize>> {
        if name != SplitName::All {
            return Ok(self.split(seed)?.part(name));
        }
        let kept = self.rows.kept(self.labels.empty == Empty::Drop);
        let rows: Vec<usize> = (0..self.len()).filter(|i| kept[*i]).collect();
        ensure!(
            !rows.is_empty(),
            "{}: no review with text is left",
            self.table.name()
        );
        Ok(rows)
    }

    /// The number of reviews.
    pub fn len(&self) -> usize {
        self.rows.stars.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.stars.is_empty()
    }

    /// The text of review `i`; empty if it has none.
    pub fn text(&self, i: usize) -> &str {
        if self.texts.is_null(i) {
            ""
        } else {
            self.texts.value(i)
        }
    }

    /// The label of review `i`: stars - 1.
    pub fn label(&self, i: usize) -> usize {
        usize::from(self.rows.stars[i]) - 1
    }

    /// The stars of all reviews.
    pub fn stars(&self) -> &[u8] {
        &self.rows.stars
    }

    /// Number of reviews whose text is empty or only white space.
    pub fn blank(&self) -> usize {
        self.rows.blank.iter().filter(|blank| **blank).count()
    }
}

/// Checks that every row has a text and stars.
fn refuse_gaps(
    table: &Table,
    labels: &Labels,
    texts: &LargeStringArray,
    stars: &[Option<u8>],
) -> Result<()> {
    let gap = |column: &str, i| {
        format!(
            "{}: `{column}` is empty; --drop-empty leaves such rows out",
            table.origins().place(i)
        )
    };
    if let Some(i) = stars.iter().position(Option::is_none) {
        bail!(gap(&labels.star, i));
    }
    if let Some(i) = (0..texts.len()).find(|i| texts.is_null(*i)) {
        bail!(gap(&labels.text, i));
    }
    Ok(())
}

/// The value of each row in the column that reviews are divided by; empty without one.
fn split_values(table: &Table, by: &SplitBy) -> Result<Vec<u128>> {
    let Some(name) = by.column() else {
        return Ok(Vec::new());
    };
    let column = table.shown(name)?;
    let refused = |i: usize| {
        anyhow!(
            "{}: `{name}` is {:?}; expected train, validation or test (or training, val, valid, dev)",
            table.origins().place(i),
            column[i]
        )
    };
    values(by, &column).map_err(refused)
}

/// The key that each row shares with its copies; empty if copies are kept.
fn copy_keys(
    table: &Table,
    labels: &Labels,
    texts: &[&str],
    stars: &[Option<u8>],
) -> Result<Vec<CopyKey>> {
    let Some(Dedup(names)) = &labels.dedup else {
        return Ok(Vec::new());
    };
    let columns = names
        .iter()
        .map(|name| table.shown(name))
        .collect::<Result<Vec<_>>>()?;
    let key = |(i, text): (usize, TextKey)| {
        copy_key(
            text,
            stars[i],
            columns.iter().map(|column| column[i].as_str()),
        )
    };
    Ok(text_keys(texts).into_iter().enumerate().map(key).collect())
}
