//! Metrics by group: by any column of the file, or by the length of the review.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Serialize;
use starsight_model::metrics::{Metrics, ReviewScore, Scores};

use crate::data::Table;

/// The name that selects groups by length.
pub const LENGTH: &str = "length";

/// Upper bounds of the bins of length, in tokens; longer reviews are in a last bin.
const LENGTH_BINS: [usize; 9] = [2, 4, 8, 16, 32, 64, 128, 256, 512];

/// Metrics of a group. Shares are between 0 and 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// The column's value, or the bin of lengths in tokens.
    pub group: String,
    /// Number of reviews.
    pub samples: usize,
    /// Share with the right number of stars.
    pub accuracy: f64,
    /// Share at most one star off.
    pub off_by_one: f64,
    /// Mean absolute error in stars.
    pub mae: f64,
    /// Quadratic weighted kappa.
    pub qwk: f64,
    /// Expected calibration error.
    pub ece: f64,
}

/// Divides reviews into groups.
pub struct Grouping {
    /// What reviews are grouped by: a column, or [`LENGTH`].
    pub by: String,
    /// The group of each row of the table; `None` if grouped by length.
    values: Option<Vec<String>>,
}

impl Grouping {
    /// Groups by the column `by` of `table`, or by length.
    ///
    /// # Errors
    /// When there is no such column, or its values cannot be shown as text.
    pub fn new(table: &Table, by: &str) -> Result<Grouping> {
        let of_column = || {
            let asks = || {
                format!("--by takes a column of the file, or `{LENGTH}` for the number of tokens")
            };
            table.shown(by).with_context(asks)
        };
        Ok(Grouping {
            by: by.into(),
            values: if by == LENGTH {
                None
            } else {
                Some(of_column()?)
            },
        })
    }

    /// The groups of `reviews`. `reviews[i]` is row `rows[i]` of the table and has `lengths[i]`
    /// tokens. Groups of a column are sorted by size, the largest first; those of length by length,
    /// the shortest first.
    pub fn groups(&self, rows: &[usize], lengths: &[usize], reviews: &[ReviewScore]) -> Vec<Group> {
        match &self.values {
            None => {
                let bin = |length: usize| LENGTH_BINS.partition_point(|end| *end < length);
                let sums = sums(lengths.iter().map(|n| bin(*n)).zip(reviews));
                sums.into_iter()
                    .map(|(bin, scores)| group(bin_name(bin), &scores))
                    .collect()
            }
            Some(values) => {
                let sums = sums(rows.iter().map(|row| values[*row].as_str()).zip(reviews));
                let mut groups: Vec<Group> = sums
                    .into_iter()
                    .map(|(value, scores)| group(value.into(), &scores))
                    .collect();
                // The sort is stable: groups of equal size stay in the order of their names.
                groups.sort_by_key(|g| std::cmp::Reverse(g.samples));
                groups
            }
        }
    }
}

fn bin_name(bin: usize) -> String {
    let first = if bin == 0 {
        0
    } else {
        LENGTH_BINS[bin - 1] + 1
    };
    match LENGTH_BINS.get(bin) {
        Some(last) => format!("{first}-{last} tokens"),
        None => format!("{first} tokens or more"),
    }
}

fn group(group: String, scores: &Scores) -> Group {
    let Metrics {
        samples,
        accuracy,
        off_by_one,
        mae,
        qwk,
        ece,
        ..
    } = scores.metrics();
    Group {
        group,
        samples,
        accuracy,
        off_by_one,
        mae,
        qwk,
        ece,
    }
}

fn sums<'a, K: Ord>(reviews: impl Iterator<Item = (K, &'a ReviewScore)>) -> BTreeMap<K, Scores> {
    let mut sums = BTreeMap::<K, Scores>::new();
    for (key, review) in reviews {
        sums.entry(key).or_default().add_score(review);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(label: u8, rated: u8) -> ReviewScore {
        ReviewScore {
            loss: 0.0,
            label,
            rated,
            likeliest: rated,
            confidence: 0.5,
        }
    }

    fn table(content: &str) -> Table {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.csv");
        std::fs::write(&path, content).expect("written");
        crate::data::Tables::open(&[path], None, None)
            .and_then(crate::data::Tables::join)
            .expect("a table")
    }

    #[test]
    fn by_a_column() {
        let grouping = Grouping::new(
            &table("review,star,app\nx,5,b\nx,5,a\nx,5,\nx,5,a\n"),
            "app",
        )
        .expect("a grouping");
        let groups = grouping.groups(
            &[3, 0, 1],
            &[9, 9, 9],
            &[judged(4, 4), judged(0, 1), judged(4, 1)],
        );
        assert_eq!(
            groups[0],
            Group {
                group: "a".into(),
                samples: 2,
                accuracy: 0.5,
                off_by_one: 0.5,
                mae: 1.5,
                qwk: 0.0,
                ece: 0.0
            }
        );
        assert_eq!(
            groups[1],
            Group {
                group: "b".into(),
                samples: 1,
                accuracy: 0.0,
                off_by_one: 1.0,
                mae: 1.0,
                qwk: 0.0,
                ece: 0.5
            }
        );
        assert_eq!(groups.len(), 2);
    }

    #[test]
    fn by_length() {
        let grouping = Grouping::new(&table("review,star\nx,5\n"), LENGTH).expect("a grouping");
        let groups = grouping.groups(&[0; 5], &[2, 600, 5, 3, 8], &[judged(1, 1); 5]);
        let found: Vec<(&str, usize)> = groups
            .iter()
            .map(|g| (g.group.as_str(), g.samples))
            .collect();
        assert_eq!(
            found,
            [
                ("0-2 tokens", 1),
                ("3-4 tokens", 1),
                ("5-8 tokens", 2),
                ("513 tokens or more", 1)
            ]
        );
    }

    #[test]
    fn a_column_that_is_not_there() {
        let error = Grouping::new(&table("review,star\nx,5\n"), "app")
            .err()
            .map(|error| format!("{error:#}"))
            .expect("an error");
        assert!(
            error.contains("a.csv: no column `app`; it has review, star")
                && error.contains("`length`"),
            "{error}"
        );
    }
}
