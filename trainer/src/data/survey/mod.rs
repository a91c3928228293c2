//! Describes a data set before training: stars, repeated and contradictory texts, lengths, emoji,
//! scripts and languages.

mod repeats;
mod text;

use std::collections::BTreeMap;

use anyhow::Result;
use rayon::prelude::*;
use serde::Serialize;
use starsight_model::LABELS;

use crate::data::{Reviews, TextKey, split, text_key};

pub use self::repeats::{Leakage, OFTEN, Repeats};
use self::text::Traits;

/// Number of emoji, languages and groups that are listed.
const NAMED: usize = 20;

/// Description of a set of reviews. Shares are between 0 and 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Survey {
    /// Number of reviews.
    pub reviews: usize,
    /// Reviews without text.
    pub blank: usize,
    /// Number of reviews with each number of stars, 1 to 5.
    pub stars: [usize; LABELS],
    /// Mean of the stars.
    pub mean_stars: f64,
    /// Repeated texts and their effects.
    pub repeats: Repeats,
    /// How much of validation and test also occurs in the training split, with the notebook's
    /// split; `None` if the reviews cannot be divided.
    pub leakage: Option<Leakage>,
    /// Length in characters.
    pub characters: Spread,
    /// Length in words, separated by white space.
    pub words: Spread,
    /// Share of the reviews with an emoji.
    pub with_emoji: f64,
    /// The emoji that occur in the most reviews, with the number of reviews.
    pub emoji: Vec<(String, usize)>,
    /// The main script of the reviews, with the number of reviews.
    pub scripts: Vec<(String, usize)>,
    /// Languages of the reviews that are long enough to identify, the most frequent first.
    pub languages: Vec<(String, usize)>,
    /// Reviews too short, or too ambiguous, to identify their language.
    pub unknown_language: usize,
    /// Stars by the values of a column, the most frequent first.
    pub groups: Vec<StarsOf>,
}

/// Quantiles of a set of numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Half are at most this.
    pub median: usize,
    /// 90% are at most this.
    pub p90: usize,
    /// 99% are at most this.
    pub p99: usize,
    /// The largest.
    pub max: usize,
}

/// The stars of a group of reviews.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StarsOf {
    /// The column's value.
    pub group: String,
    /// Number of reviews.
    pub reviews: usize,
    /// Mean of the stars.
    pub mean_stars: f64,
    /// Number of reviews with each number of stars, 1 to 5.
    pub stars: [usize; LABELS],
}

impl Survey {
    /// Surveys `reviews`, divided with `seed` to measure leakage; `groups` holds the group of each
    /// review, if there are groups.
    ///
    /// # Errors
    /// When the user interrupts.
    pub fn of(reviews: &Reviews, seed: u64, groups: Option<&[String]>) -> Result<Survey> {
        let stars = reviews.stars();
        let keys: Vec<TextKey> = (0..reviews.len())
            .into_par_iter()
            .map(|i| text_key(reviews.text(i)))
            .collect();
        let mut traits = (0..reviews.len())
            .into_par_iter()
            .fold(Traits::default, |traits, i| traits.with(reviews.text(i)))
            .reduce(Traits::default, Traits::merged);
        crate::system::interrupt::check()?;
        let counts = count(stars.iter());
        Ok(Survey {
            reviews: reviews.len(),
            blank: reviews.blank(),
            stars: counts,
            mean_stars: mean(&counts),
            repeats: Repeats::of(&keys, stars),
            leakage: split(stars, seed)
                .ok()
                .map(|split| Leakage::of(&keys, stars, &split)),
            characters: Spread::of(&mut traits.characters),
            words: Spread::of(&mut traits.words),
            with_emoji: traits.with_emoji as f64 / reviews.len().max(1) as f64,
            emoji: most(traits.emoji),
            scripts: most(traits.scripts),
            languages: most(traits.languages),
            unknown_language: traits.unknown_language,
            groups: groups
                .map(|groups| stars_of(groups, stars))
                .unwrap_or_default(),
        })
    }
}

impl Spread {
    fn of(numbers: &mut [u32]) -> Spread {
        numbers.sort_unstable();
        let at = |share: f64| {
            numbers
                .get(((numbers.len() as f64 * share).ceil() as usize).max(1) - 1)
                .map_or(0, |n| *n as usize)
        };
        Spread {
            median: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: at(1.0),
        }
    }
}

fn count<'a>(stars: impl Iterator<Item = &'a u8>) -> [usize; LABELS] {
    let mut counts = [0; LABELS];
    stars.for_each(|stars| counts[usize::from(*stars) - 1] += 1);
    counts
}

fn mean(counts: &[usize; LABELS]) -> f64 {
    let n: usize = counts.iter().sum();
    counts
        .iter()
        .zip(1..)
        .map(|(count, stars)| (count * stars) as f64)
        .sum::<f64>()
        / n.max(1) as f64
}

/// The most frequent entries; ties are in order of their names.
fn most(counts: BTreeMap<String, usize>) -> Vec<(String, usize)> {
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    counts.truncate(NAMED);
    counts
}

fn stars_of(groups: &[String], stars: &[u8]) -> Vec<StarsOf> {
    let mut of = BTreeMap::<&str, [usize; LABELS]>::new();
    for (group, stars) in groups.iter().zip(stars) {
        of.entry(group).or_default()[usize::from(*stars) - 1] += 1;
    }
    let make = |(group, stars): (&str, [usize; LABELS])| StarsOf {
        group: group.into(),
        reviews: stars.iter().sum(),
        mean_stars: mean(&stars),
        stars,
    };
    let mut groups: Vec<StarsOf> = of.into_iter().map(make).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.reviews));
    groups.truncate(NAMED);
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_those_of_the_sorted_numbers() {
        assert_eq!(Spread::of(&mut []), Spread::default());
        assert_eq!(
            Spread::of(&mut [7]),
            Spread {
                median: 7,
                p90: 7,
                p99: 7,
                max: 7
            }
        );
        let mut numbers: Vec<u32> = (1..=100).rev().collect();
        assert_eq!(
            Spread::of(&mut numbers),
            Spread {
                median: 50,
                p90: 90,
                p99: 99,
                max: 100
            }
        );
    }

    #[test]
    fn the_most_frequent_come_first() {
        let found = stars_of(&["b", "a", "b", "c"].map(String::from), &[5, 1, 4, 2]);
        assert_eq!(
            found
                .iter()
                .map(|g| (g.group.as_str(), g.reviews, g.mean_stars))
                .collect::<Vec<_>>(),
            [("b", 2, 4.5), ("a", 1, 1.0), ("c", 1, 2.0)]
        );
        assert_eq!(found[0].stars, [0, 0, 0, 1, 1]);
    }
}
