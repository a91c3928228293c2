//! Unlabelled texts made from parts of reviews: common words and phrases, short reviews in other
//! case, beginnings and ends of reviews. The teacher labels them.

use std::collections::{BTreeMap, HashSet};

use starsight::data::text_key;
use starsight_model::rng;

use crate::Review;

/// A phrase is taken if at least this many different texts contain it.
const COMMON: usize = 20;
/// The longest phrase and the longest short review, in words.
const SHORT: usize = 3;
/// One review in this many gives its beginning, and one in this many its end.
const CUTS: u64 = 8;
/// Length of a beginning or an end, in words.
const CUT: std::ops::RangeInclusive<u64> = 2..=8;

/// Returns the texts, each once, in an order that depends on `reviews` alone.
pub fn texts(reviews: &[&Review]) -> Vec<String> {
    let phrases = common_phrases(reviews)
        .into_iter()
        .flat_map(|phrase| in_each_case(&phrase));
    let short = reviews
        .iter()
        .filter(|review| review.text.split_whitespace().count() <= SHORT)
        .flat_map(|review| in_each_case(&review.text));
    let cuts = reviews
        .iter()
        .flat_map(|review| [beginning(&review.text), end(&review.text)])
        .flatten();
    let reviewed: HashSet<&str> = reviews.iter().map(|review| review.text.as_str()).collect();
    let mut seen = HashSet::new();
    phrases
        .chain(short)
        .chain(cuts)
        .filter(|text| !reviewed.contains(text.as_str()) && seen.insert(text.clone()))
        .collect()
}

/// Runs of one to [`SHORT`] words that occur in at least [`COMMON`] texts, in lower case and
/// without punctuation around each word.
fn common_phrases(reviews: &[&Review]) -> Vec<String> {
    let mut counts = BTreeMap::<String, usize>::new();
    for review in reviews {
        let text = review.text.to_lowercase();
        let words: Vec<&str> = text
            .split_whitespace()
            .map(|word| word.trim_matches(|c: char| c.is_ascii_punctuation()))
            .collect();
        let runs = (1..=SHORT)
            .flat_map(|length| words.windows(length))
            .filter(|run| run.iter().all(|word| !word.is_empty()));
        let own: HashSet<String> = runs.map(|run| run.join(" ")).collect();
        own.into_iter()
            .for_each(|phrase| *counts.entry(phrase).or_default() += 1);
    }
    counts
        .into_iter()
        .filter(|(_, count)| *count >= COMMON)
        .map(|(phrase, _)| phrase)
        .collect()
}

/// In lower case, with a capital first letter and, for a single word, in upper case.
fn in_each_case(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let mut letters = lower.chars();
    let capital = letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect());
    let upper = (!text.contains(char::is_whitespace)).then(|| text.to_uppercase());
    [Some(lower.clone()), capital, upper]
        .into_iter()
        .flatten()
        .collect()
}

fn beginning(text: &str) -> Option<String> {
    let (words, length) = cut(text, 1)?;
    Some(words[..length].join(" "))
}

fn end(text: &str) -> Option<String> {
    let (words, length) = cut(text, 3)?;
    Some(words[words.len() - length..].join(" "))
}

/// If the text is drawn to be cut: its words, and the length of the cut.
fn cut(text: &str, draw: u64) -> Option<(Vec<&str>, usize)> {
    let key = text_key(text);
    let words: Vec<&str> = text.split_whitespace().collect();
    let length = CUT.start() + rng::bits(key, draw + 1) % (CUT.end() - CUT.start() + 1);
    (rng::bits(key, draw).is_multiple_of(CUTS) && words.len() as u64 > length + 2)
        .then_some((words, length as usize))
}
