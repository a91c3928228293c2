//! What a division of reviews goes by, and what of each review it needs.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use anyhow::Result;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::split::{Split, split, split_by_date, split_groups};

/// What reviews are divided by.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SplitBy {
    /// Stars alone, as the notebook does: each part has its share of each number of stars.
    #[default]
    Stars,
    /// Stars, but reviews with the same text stay together.
    Text,
    /// Stars, but reviews with the same value in this column stay together: those of an app, for example.
    Column(String),
    /// The values of this column: the first ones are learned from, the last ones tested on.
    Date(String),
}

impl SplitBy {
    /// The column that it needs besides text and stars.
    pub fn column(&self) -> Option<&str> {
        match self {
            SplitBy::Stars | SplitBy::Text => None,
            SplitBy::Column(name) | SplitBy::Date(name) => Some(name),
        }
    }
}

impl FromStr for SplitBy {
    type Err = String;

    fn from_str(text: &str) -> Result<SplitBy, String> {
        match text.split_once(':') {
            None if text == "stars" => Ok(SplitBy::Stars),
            None if text == "text" => Ok(SplitBy::Text),
            Some(("column", name)) if !name.is_empty() => Ok(SplitBy::Column(name.into())),
            Some(("date", name)) if !name.is_empty() => Ok(SplitBy::Date(name.into())),
            _ => Err("wanted `stars`, `text`, `column:NAME` or `date:NAME`".into()),
        }
    }
}

impl fmt::Display for SplitBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SplitBy::Stars => f.write_str("stars"),
            SplitBy::Text => f.write_str("text"),
            SplitBy::Column(name) => write!(f, "column:{name}"),
            SplitBy::Date(name) => write!(f, "date:{name}"),
        }
    }
}

impl TryFrom<String> for SplitBy {
    type Error = String;

    fn try_from(text: String) -> Result<SplitBy, String> {
        text.parse()
    }
}

impl From<SplitBy> for String {
    fn from(by: SplitBy) -> String {
        by.to_string()
    }
}

/// Stands for a text: two with one key are the same but for case and white space.
pub type TextKey = u64;

/// The key of a text: the beginning of the SHA-256 of its words in lower case. Among ten million texts two different ones share a key with a probability of 3 in a million.
pub fn text_key(text: &str) -> TextKey {
    let mut hash = Sha256::new();
    for word in text.split_whitespace() {
        hash.update(word.to_lowercase());
        hash.update([0]);
    }
    let digest = hash.finalize();
    TextKey::from_le_bytes(std::array::from_fn(|i| digest[i]))
}

/// What is known of each review when reviews are divided.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows {
    /// Stars, 1 to 5.
    pub stars: Vec<u8>,
    /// Whether it has no text but white space.
    pub blank: Vec<bool>,
    /// Its text, where repeats matter.
    pub texts: Vec<TextKey>,
    /// The value of the column that is gone by: a key, or for dates the beginning of it, which sorts as the whole does.
    pub values: Vec<u128>,
}

impl Rows {
    pub fn append(&mut self, other: Rows) {
        self.stars.extend(other.stars);
        self.blank.extend(other.blank);
        self.texts.extend(other.texts);
        self.values.extend(other.values);
    }

    /// Divides them `by` with `seed`. Then blank reviews are left out, and copies of earlier ones, where that is asked for.
    pub fn split(&self, by: &SplitBy, seed: u64, drop_blank: bool, dedup: bool) -> Result<Split> {
        let texts = || self.texts.iter().map(|key| u128::from(*key)).collect::<Vec<_>>();
        let mut parts = match by {
            SplitBy::Stars => split(&self.stars, seed)?,
            SplitBy::Text => split_groups(&self.stars, &texts(), "text", seed)?,
            SplitBy::Column(name) => split_groups(&self.stars, &self.values, &format!("value of `{name}`"), seed)?,
            SplitBy::Date(name) => split_by_date(&self.values, name)?,
        };
        let kept = self.kept(drop_blank, dedup);
        for part in [&mut parts.train, &mut parts.val, &mut parts.test] {
            part.retain(|row| kept[*row]);
        }
        Ok(parts)
    }

    /// Which of them stay: not blank ones with `drop_blank`, nor with `dedup` those whose text and stars stood in an earlier one.
    pub fn kept(&self, drop_blank: bool, dedup: bool) -> Vec<bool> {
        let mut seen = HashSet::new();
        let mut is_copy = |i: usize| dedup && !seen.insert((self.texts[i], self.stars[i]));
        (0..self.stars.len()).map(|i| !(is_copy(i) || drop_blank && self.blank[i])).collect()
    }
}

/// The keys of `texts`.
pub(super) fn text_keys(texts: &[&str]) -> Vec<TextKey> {
    texts.par_iter().map(|text| text_key(text)).collect()
}

/// What stands for the values of a column: for dates their first 16 bytes as a number, which sorts as they do (`2024-06-01 12:30`), else a key.
pub(super) fn values(by: &SplitBy, column: &[String]) -> Vec<u128> {
    let beginning = |text: &String| {
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(text.trim().bytes()).for_each(|(to, from)| *to = from);
        u128::from_be_bytes(bytes)
    };
    match by {
        SplitBy::Date(_) => column.iter().map(beginning).collect(),
        _ => column.iter().map(|value| u128::from_le_bytes(std::array::from_fn(|i| Sha256::digest(value)[i]))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_white_space_make_no_other_text() {
        let [a, b, c, d] = text_keys(&["Great  app", " great APP\n", "greatapp", "great app!"])[..] else { panic!("four keys") };
        assert!(a == b && a != c && a != d && c != d);
        assert_eq!(text_key(""), text_key(" \t"));
    }

    #[test]
    fn what_a_division_goes_by_is_written_as_it_is_read() {
        for text in ["stars", "text", "column:package_name", "date:date"] {
            assert_eq!(text.parse::<SplitBy>().expect("one").to_string(), text);
        }
        for text in ["", "star", "column:", "column", "day:date"] {
            assert!(text.parse::<SplitBy>().expect_err("an error").contains("column:NAME"), "{text}");
        }
    }

    #[test]
    fn dates_sort_as_they_are_written() {
        let by = SplitBy::Date("date".into());
        let dates = ["2023-12-31", "2024-01-01", "2024-01-01 09:30:00", "2024-01-02"].map(String::from);
        assert!(values(&by, &dates).is_sorted());
        let apps = values(&SplitBy::Column("app".into()), &["a", "b", "a"].map(String::from));
        assert!(apps[0] == apps[2] && apps[0] != apps[1]);
    }

    #[test]
    fn blank_reviews_and_copies_are_left_out_of_every_part() {
        let texts: Vec<String> = (0..60).map(|i| if i % 10 == 9 { " ".into() } else { format!("text {}", i % 20) }).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let stars: Vec<u8> = (0..60).map(|i| 1 + (i % 2)).collect();
        let rows = Rows { stars, blank: texts.iter().map(|t| t.trim().is_empty()).collect(), texts: text_keys(&texts), values: vec![] };
        let all = |split: Split| {
            let mut all = [split.train, split.val, split.test].concat();
            all.sort_unstable();
            all
        };
        assert_eq!(all(rows.split(&SplitBy::Stars, 42, false, false).expect("a split")), (0..60).collect::<Vec<_>>());
        let kept = all(rows.split(&SplitBy::Stars, 42, true, true).expect("a split"));
        assert_eq!(kept, (0..20).filter(|i| i % 10 != 9).collect::<Vec<_>>(), "the first of each");
    }
}
