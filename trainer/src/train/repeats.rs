//! The examples to train on: single reviews, or texts with counts of their stars.
//!
//! A third of 378,203 app reviews are 1,208 short texts, about which their counts say everything.
//! As one example with counts, a text is computed once, and its loss is the sum over all its
//! reviews.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use starsight_model::LABELS;
use starsight_model::batch::Distinct;

use super::loss::{Counts, one};

/// How to train on reviews with the same text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Repeats {
    /// Each separately
    #[default]
    Each,
    /// As one text with the counts of its stars
    Counted,
}

/// Largest count of an example. More frequent texts are divided into equal shares, spread over the
/// epoch. As one example, a text of 15,000 reviews would dominate its step and be seen only once.
const HEAVIEST: f64 = 16.0;

/// The examples of an epoch before they are shuffled: rows of the data, with their star counts.
pub struct Learned {
    rows: Vec<usize>,
    /// Counts of each row; empty if each row has only its own star.
    counts: Vec<[f32; LABELS]>,
    /// Rows from here on have no stars.
    unlabelled_from: usize,
}

impl Learned {
    /// One example for each row in `train`, then one for each of `more` unlabelled rows, which are
    /// numbered from `labelled` on.
    pub fn each(train: &[usize], labelled: usize, more: usize) -> Learned {
        Learned {
            rows: train
                .iter()
                .copied()
                .chain(labelled..labelled + more)
                .collect(),
            counts: Vec::new(),
            unlabelled_from: labelled,
        }
    }

    /// Adds the weight of each row. With [`Repeats::Counted`], rows with the same token `ids`
    /// become one example with the number of the first row.
    pub fn with_weights<'a>(
        self,
        repeats: Repeats,
        label: impl Fn(usize) -> usize,
        weight: impl Fn(usize) -> f64,
        ids: impl Fn(usize) -> &'a [u32],
    ) -> Learned {
        let starts = self
            .rows
            .partition_point(|row| *row < self.unlabelled_from)
            .min(self.rows.len());
        let (train, more) = self.rows.split_at(starts);
        let distinct = match repeats {
            Repeats::Each => Distinct::all(train.len()),
            Repeats::Counted => {
                Distinct::of(&train.iter().map(|row| ids(*row)).collect::<Vec<_>>())
            }
        };
        let mut sums = vec![[0f64; LABELS]; distinct.firsts.len()];
        train
            .iter()
            .zip(&distinct.like)
            .for_each(|(row, first)| sums[*first][label(*row)] += weight(*row));
        let (mut rows, mut counts) = (
            Vec::with_capacity(sums.len()),
            Vec::with_capacity(sums.len()),
        );
        for (first, sum) in distinct.firsts.iter().zip(sums) {
            let shares = if repeats == Repeats::Counted {
                (sum.iter().sum::<f64>() / HEAVIEST).ceil().max(1.0)
            } else {
                1.0
            };
            let share = sum.map(|count| (count / shares) as f32);
            (0..shares as usize).for_each(|_| {
                rows.push(train[*first]);
                counts.push(share);
            });
        }
        rows.extend(more);
        Learned {
            rows,
            counts,
            ..self
        }
    }

    /// Number of examples in an epoch.
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// The row of example `i`.
    pub fn row(&self, i: usize) -> usize {
        self.rows[i]
    }

    /// The rows of all examples; some occur more than once.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// The star counts of example `i`; `None` for an unlabelled text. `label` returns the label of
    /// a row.
    pub fn counts(&self, i: usize, label: impl Fn(usize) -> usize) -> Option<Counts> {
        let row = self.rows[i];
        (row < self.unlabelled_from).then(|| {
            self.counts
                .get(i)
                .map_or_else(|| one(label(row)), |counts| counts.map(f64::from))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: [usize; 6] = [4, 0, 4, 2, 0, 1];

    #[test]
    fn counts_of_a_text_are_those_of_its_reviews() {
        let texts: [&[u32]; 7] = [
            &[2, 7, 3],
            &[2, 8, 3],
            &[2, 7, 3],
            &[2, 7, 3],
            &[2, 9, 3],
            &[2, 8, 3],
            &[2, 7, 3],
        ];
        let weights = [1.0, 2.0, 1.0, 0.5, 1.0, 1.0];
        let train = [5, 0, 2, 1, 3];
        let of = |repeats| {
            Learned::each(&train, 6, 1).with_weights(
                repeats,
                |row| LABEL[row],
                |row| weights[row],
                |row| texts[row],
            )
        };
        let counted = of(Repeats::Counted);
        // Row 6 has no stars, and stays a separate example although its text occurs elsewhere.
        assert_eq!(counted.rows(), [5, 0, 6]);
        let counts = |learned: &Learned| {
            (0..learned.count())
                .map(|i| learned.counts(i, |row| LABEL[row]))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            counts(&counted),
            [
                Some([2.0, 1.0, 0.0, 0.0, 0.0]),
                Some([0.0, 0.0, 0.5, 0.0, 2.0]),
                None
            ]
        );
        let each = of(Repeats::Each);
        assert_eq!(each.rows(), [5, 0, 2, 1, 3, 6]);
        assert_eq!(counts(&each)[3], Some([2.0, 0.0, 0.0, 0.0, 0.0]));
        let plain = Learned::each(&train, 6, 1);
        assert_eq!(
            (plain.rows(), counts(&plain)[0]),
            (each.rows(), Some(one(1)))
        );
    }

    #[test]
    fn what_was_written_often_comes_in_equal_shares() {
        let train: Vec<usize> = (0..50).collect();
        let learned = Learned::each(&train, 50, 0).with_weights(
            Repeats::Counted,
            |row| row % 2,
            |_| 1.0,
            |row| if row < 40 { &[1] } else { &[2] },
        );
        // 40 reviews of one text in 3 shares, 10 of the other in one.
        assert_eq!(learned.rows(), [0, 0, 0, 40]);
        let sum = |label: usize| {
            (0..4)
                .map(|i| learned.counts(i, |row| row % 2).expect("counts")[label])
                .sum::<f64>()
        };
        assert!((sum(0) - 25.0).abs() < 1e-5 && (sum(1) - 25.0).abs() < 1e-5);
    }
}
