//! Texts that occur more than once.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use starsight_model::LABELS;

use crate::data::{Split, TextKey};

/// Minimum number of reviews for a text to count as frequent.
pub const OFTEN: usize = 10;

/// Repetition of texts, and disagreement of stars between reviews with the same text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Repeats {
    /// Number of distinct texts.
    pub texts: usize,
    /// Reviews whose text occurs in an earlier review.
    pub copies: usize,
    /// Reviews whose text and stars both equal those of an earlier review.
    pub copies_with_stars: usize,
    /// Texts that occur in [`OFTEN`] or more reviews.
    pub frequent_texts: usize,
    /// Reviews with such a text.
    pub frequent_reviews: usize,
    /// Texts that were given different stars.
    pub conflicting_texts: usize,
    /// Reviews with such a text.
    pub conflicting_reviews: usize,
    /// The best accuracy that a model can reach on these reviews if it sees only their texts: it
    /// gives each text its most frequent number of stars.
    pub ceiling: f64,
}

impl Repeats {
    /// Counts repeats among texts, given by their keys, and their stars.
    pub fn of(keys: &[TextKey], stars: &[u8]) -> Repeats {
        let counts = counts(keys.iter().copied().zip(stars.iter().copied()));
        let given = |of: &&[usize; LABELS]| of.iter().filter(|n| **n > 0).count();
        let conflicting: Vec<&[usize; LABELS]> =
            counts.values().filter(|of| given(of) > 1).collect();
        let frequent: Vec<usize> = counts
            .values()
            .map(|of| of.iter().sum::<usize>())
            .filter(|n| *n >= OFTEN)
            .collect();
        let right: usize = counts.values().filter_map(|of| of.iter().max()).sum();
        Repeats {
            texts: counts.len(),
            copies: keys.len() - counts.len(),
            copies_with_stars: keys.len() - counts.values().map(|of| given(&of)).sum::<usize>(),
            frequent_texts: frequent.len(),
            frequent_reviews: frequent.iter().sum(),
            conflicting_texts: conflicting.len(),
            conflicting_reviews: conflicting.iter().map(|of| of.iter().sum::<usize>()).sum(),
            ceiling: if keys.is_empty() {
                1.0
            } else {
                right as f64 / keys.len() as f64
            },
        }
    }
}

/// Overlap of validation and test with the training split.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Leakage {
    /// Share of the validation reviews whose text occurs in the training split.
    pub val: f64,
    /// Share of the test reviews whose text occurs in the training split.
    pub test: f64,
    /// The ceiling of accuracy on the test reviews.
    pub test_ceiling: f64,
    /// The same for test reviews whose text does not occur in the training split.
    pub unseen_ceiling: f64,
}

impl Leakage {
    /// Measures the overlap between the parts of `split`.
    pub fn of(keys: &[TextKey], stars: &[u8], split: &Split) -> Leakage {
        let learned: HashSet<TextKey> = split.train.iter().map(|row| keys[*row]).collect();
        let share = |rows: &[usize]| {
            rows.iter()
                .filter(|row| learned.contains(&keys[**row]))
                .count() as f64
                / rows.len().max(1) as f64
        };
        let ceiling = |rows: &mut dyn Iterator<Item = &usize>| {
            let (keys, stars): (Vec<TextKey>, Vec<u8>) =
                rows.map(|row| (keys[*row], stars[*row])).unzip();
            Repeats::of(&keys, &stars).ceiling
        };
        Leakage {
            val: share(&split.val),
            test: share(&split.test),
            test_ceiling: ceiling(&mut split.test.iter()),
            unseen_ceiling: ceiling(
                &mut split
                    .test
                    .iter()
                    .filter(|row| !learned.contains(&keys[**row])),
            ),
        }
    }
}

/// Number of reviews of each text with 1 to 5 stars.
fn counts(reviews: impl Iterator<Item = (TextKey, u8)>) -> HashMap<TextKey, [usize; LABELS]> {
    let mut counts = HashMap::<TextKey, [usize; LABELS]>::new();
    for (key, stars) in reviews {
        counts.entry(key).or_default()[usize::from(stars) - 1] += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::text_key;

    fn keys(texts: &[&str]) -> Vec<TextKey> {
        texts.iter().map(|text| text_key(text)).collect()
    }

    #[test]
    fn repeats_are_counted_and_set_the_ceiling() {
        // "good" five times: 5 5 5 4 1; "bad" twice: 1 1; "meh" once.
        let keys = keys(&["good", "Good", "bad", "good", "meh", "good ", "bad", "GOOD"]);
        let repeats = Repeats::of(&keys, &[5, 5, 1, 4, 3, 5, 1, 1]);
        let wanted = Repeats {
            texts: 3,
            copies: 5,
            copies_with_stars: 3,
            frequent_texts: 0,
            frequent_reviews: 0,
            conflicting_texts: 1,
            conflicting_reviews: 5,
            ceiling: 6.0 / 8.0,
        };
        assert_eq!(repeats, wanted);
        let often = Repeats::of(
            &[vec![7; OFTEN], vec![8; OFTEN - 1]].concat(),
            &[5; 2 * OFTEN - 1],
        );
        assert_eq!((often.frequent_texts, often.frequent_reviews), (1, OFTEN));
        assert_eq!(Repeats::of(&[], &[]).ceiling, 1.0);
    }

    #[test]
    fn leakage_is_what_training_has_seen() {
        let keys = keys(&["a", "b", "c", "a", "d", "b", "e", "e"]);
        let split = Split {
            train: vec![0, 1, 2],
            val: vec![3, 4],
            test: vec![5, 6, 7],
        };
        let found = Leakage::of(&keys, &[1, 1, 1, 1, 1, 1, 2, 3], &split);
        assert_eq!(
            found,
            Leakage {
                val: 0.5,
                test: 1.0 / 3.0,
                test_ceiling: 2.0 / 3.0,
                unseen_ceiling: 0.5
            }
        );
    }
}
