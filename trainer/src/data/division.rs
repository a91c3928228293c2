//! How reviews are divided, and what the division needs of each review.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use anyhow::Result;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::split::{Split, split, split_as_given, split_by_date, split_groups};

/// How reviews are divided.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SplitBy {
    /// Stratified by stars, as in the notebook: each part has its share of each number of stars.
    #[default]
    Stars,
    /// By stars, with equal texts in one part.
    Text,
    /// By stars, with equal values of this column in one part: all reviews of an app, for example.
    Column(String),
    /// By this column's values: the first are for training, the last for testing.
    Date(String),
    /// As this column says: `train`, `validation` or `test`.
    Given(String),
}

/// Names of the parts in a column, in lower case: training, validation, test.
const PART_NAMES: [&[&str]; 3] = [
    &["train", "training"],
    &["validation", "val", "valid", "dev"],
    &["test"],
];

impl SplitBy {
    /// The column that is needed besides text and stars.
    pub fn column(&self) -> Option<&str> {
        match self {
            SplitBy::Stars | SplitBy::Text => None,
            SplitBy::Column(name) | SplitBy::Date(name) | SplitBy::Given(name) => Some(name),
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
            Some(("given", name)) if !name.is_empty() => Ok(SplitBy::Given(name.into())),
            _ => Err("expected `stars`, `text`, `column:NAME`, `date:NAME` or `given:NAME`".into()),
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
            SplitBy::Given(name) => write!(f, "given:{name}"),
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

/// The columns that must be equal, besides text and stars, for a review to be a copy of an earlier
/// one.
///
/// Serialised as column names joined by commas; `true` stands for no columns, as in files of
/// earlier versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Dedup(pub Vec<String>);

impl From<String> for Dedup {
    fn from(text: String) -> Dedup {
        match text.as_str() {
            "true" => Dedup(Vec::new()),
            _ => Dedup(
                text.split(',')
                    .map(|name| name.trim().to_owned())
                    .filter(|name| !name.is_empty())
                    .collect(),
            ),
        }
    }
}

impl From<Dedup> for String {
    fn from(Dedup(columns): Dedup) -> String {
        if columns.is_empty() {
            "true".into()
        } else {
            columns.join(",")
        }
    }
}

impl FromStr for Dedup {
    type Err = String;

    fn from_str(text: &str) -> Result<Dedup, String> {
        if text.trim().is_empty() {
            Err("expected comma-separated column names, such as package_name,date".into())
        } else {
            Ok(text.to_owned().into())
        }
    }
}

impl Dedup {
    /// Whether this is `dedup = false` of an earlier version: no copies are left out.
    pub fn is_off(&self) -> bool {
        self.0 == ["false"]
    }
}

/// Hash of a text. Texts that differ only in case and white space have the same key.
pub type TextKey = u64;

/// The first 8 bytes of the SHA-256 of the text's words in lower case. Among ten million texts, two
/// different ones share a key with a probability of 3 in a million.
pub fn text_key(text: &str) -> TextKey {
    let mut hash = Sha256::new();
    for word in text.split_whitespace() {
        hash.update(word.to_lowercase());
        hash.update([0]);
    }
    let digest = hash.finalize();
    TextKey::from_le_bytes(std::array::from_fn(|i| digest[i]))
}

/// Hash of what a review shares with its copies.
pub(super) type CopyKey = u64;

/// The key of a review with this text, these stars and these values of other columns.
pub(super) fn copy_key<'a>(
    text: TextKey,
    stars: Option<u8>,
    values: impl Iterator<Item = &'a str>,
) -> CopyKey {
    let mut hash = Sha256::new();
    hash.update(text.to_le_bytes());
    hash.update([stars.unwrap_or(0)]);
    for value in values {
        hash.update((value.len() as u64).to_le_bytes());
        hash.update(value);
    }
    let digest = hash.finalize();
    CopyKey::from_le_bytes(std::array::from_fn(|i| digest[i]))
}

/// What a division needs of each review.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows {
    /// Stars, 1 to 5.
    pub stars: Vec<u8>,
    /// Whether its text is empty or only white space.
    pub blank: Vec<bool>,
    /// Key of its text, if reviews are divided by text.
    pub texts: Vec<TextKey>,
    /// Key of its copies, if copies are left out.
    pub copies: Vec<CopyKey>,
    /// Value of the column that reviews are divided by: a hash; for dates their first bytes, which
    /// sort as the dates do; for given parts the number of the part.
    pub values: Vec<u128>,
    /// Weight in training; empty if every weight is 1.
    pub weights: Vec<f32>,
}

impl Rows {
    pub fn append(&mut self, other: Rows) {
        self.stars.extend(other.stars);
        self.blank.extend(other.blank);
        self.texts.extend(other.texts);
        self.copies.extend(other.copies);
        self.values.extend(other.values);
        self.weights.extend(other.weights);
    }

    /// Divides the reviews `by` with `seed`. Then leaves out blank reviews, with `drop_blank`, and
    /// copies of earlier ones, if their keys are known.
    pub fn split(&self, by: &SplitBy, seed: u64, drop_blank: bool) -> Result<Split> {
        let texts = || {
            self.texts
                .iter()
                .map(|key| u128::from(*key))
                .collect::<Vec<_>>()
        };
        let mut parts = match by {
            SplitBy::Stars => split(&self.stars, seed)?,
            SplitBy::Text => split_groups(&self.stars, &texts(), "text", seed)?,
            SplitBy::Column(name) => split_groups(
                &self.stars,
                &self.values,
                &format!("value of `{name}`"),
                seed,
            )?,
            SplitBy::Date(name) => split_by_date(&self.values, name)?,
            SplitBy::Given(_) => split_as_given(&self.values, seed),
        };
        let kept = self.kept(drop_blank);
        for part in [&mut parts.train, &mut parts.val, &mut parts.test] {
            part.retain(|row| kept[*row]);
        }
        Ok(parts)
    }

    /// Whether each review is kept: not if it is blank, with `drop_blank`, nor if it is a copy of
    /// an earlier one.
    pub fn kept(&self, drop_blank: bool) -> Vec<bool> {
        let mut seen = HashSet::new();
        let mut is_copy = |i: usize| self.copies.get(i).is_some_and(|key| !seen.insert(*key));
        (0..self.stars.len())
            .map(|i| !(is_copy(i) || drop_blank && self.blank[i]))
            .collect()
    }
}

/// The keys of `texts`.
pub(super) fn text_keys(texts: &[&str]) -> Vec<TextKey> {
    texts.par_iter().map(|text| text_key(text)).collect()
}

/// Numbers for the values of a column: for dates their first 16 bytes, which sort as the dates do
/// (`2024-06-01 12:30`), for given parts 0, 1 or 2, else a hash.
///
/// # Errors
/// For given parts, the index of the first value that is not a part's name.
pub(super) fn values(by: &SplitBy, column: &[String]) -> Result<Vec<u128>, usize> {
    let beginning = |text: &String| {
        let mut bytes = [0; 16];
        bytes
            .iter_mut()
            .zip(text.trim().bytes())
            .for_each(|(to, from)| *to = from);
        u128::from_be_bytes(bytes)
    };
    let part = |(i, text): (usize, &String)| {
        let name = text.trim().to_lowercase();
        PART_NAMES
            .iter()
            .zip(0..)
            .find(|(names, _)| names.contains(&name.as_str()))
            .map(|(_, part)| part)
            .ok_or(i)
    };
    match by {
        SplitBy::Date(_) => Ok(column.iter().map(beginning).collect()),
        SplitBy::Given(_) => column.iter().enumerate().map(part).collect(),
        _ => Ok(column
            .iter()
            .map(|value| u128::from_le_bytes(std::array::from_fn(|i| Sha256::digest(value)[i])))
            .collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_white_space_make_no_other_text() {
        let [a, b, c, d] = text_keys(&["Great  app", " great APP\n", "greatapp", "great app!"])[..]
        else {
            panic!("four keys")
        };
        assert!(a == b && a != c && a != d && c != d);
        assert_eq!(text_key(""), text_key(" \t"));
    }

    #[test]
    fn what_a_division_goes_by_is_written_as_it_is_read() {
        for text in [
            "stars",
            "text",
            "column:package_name",
            "date:date",
            "given:part",
        ] {
            assert_eq!(text.parse::<SplitBy>().expect("one").to_string(), text);
        }
        for text in ["", "star", "column:", "column", "day:date", "given:"] {
            assert!(
                text.parse::<SplitBy>()
                    .expect_err("an error")
                    .contains("column:NAME"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_makes_a_copy_is_written_as_it_is_read() {
        for (text, columns) in [
            ("package_name,date", &["package_name", "date"][..]),
            ("date", &["date"]),
            ("true", &[]),
        ] {
            let dedup: Dedup = text.parse().expect("columns");
            assert_eq!(
                (
                    dedup.0.iter().map(String::as_str).collect::<Vec<_>>(),
                    String::from(dedup.clone())
                ),
                (columns.to_vec(), text.to_owned())
            );
        }
        assert!(
            "".parse::<Dedup>().is_err()
                && "false".parse::<Dedup>().is_ok_and(|dedup| dedup.is_off())
        );
    }

    #[test]
    fn dates_sort_as_they_are_written() {
        let by = SplitBy::Date("date".into());
        let dates = [
            "2023-12-31",
            "2024-01-01",
            "2024-01-01 09:30:00",
            "2024-01-02",
        ]
        .map(String::from);
        assert!(values(&by, &dates).expect("dates").is_sorted());
        let apps = values(
            &SplitBy::Column("app".into()),
            &["a", "b", "a"].map(String::from),
        )
        .expect("keys");
        assert!(apps[0] == apps[2] && apps[0] != apps[1]);
    }

    #[test]
    fn given_parts_are_taken_and_others_are_named() {
        let by = SplitBy::Given("part".into());
        let column = ["test", "train", " Dev ", "training", "val", "validation"].map(String::from);
        let rows = Rows {
            stars: vec![5; 6],
            blank: vec![false; 6],
            values: values(&by, &column).expect("parts"),
            ..Rows::default()
        };
        let mut found = rows.split(&by, 7, false).expect("a split");
        for part in [&mut found.train, &mut found.val, &mut found.test] {
            part.sort_unstable();
        }
        assert_eq!(
            found,
            Split {
                train: vec![1, 3],
                val: vec![2, 4, 5],
                test: vec![0]
            }
        );
        assert_eq!(values(&by, &["train", "holdout"].map(String::from)), Err(1));
    }

    #[test]
    fn blank_reviews_and_copies_are_left_out_of_every_part() {
        let texts: Vec<String> = (0..60)
            .map(|i| {
                if i % 10 == 9 {
                    " ".into()
                } else {
                    format!("text {}", i % 20)
                }
            })
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let stars: Vec<u8> = (0..60).map(|i| 1 + (i % 2)).collect();
        let rows = Rows {
            stars,
            blank: texts.iter().map(|t| t.trim().is_empty()).collect(),
            texts: text_keys(&texts),
            ..Rows::default()
        };
        let all = |split: Split| {
            let mut all = [split.train, split.val, split.test].concat();
            all.sort_unstable();
            all
        };
        assert_eq!(
            all(rows.split(&SplitBy::Stars, 42, false).expect("a split")),
            (0..60).collect::<Vec<_>>()
        );
        let copies = rows
            .texts
            .iter()
            .zip(&rows.stars)
            .map(|(text, stars)| copy_key(*text, Some(*stars), std::iter::empty()))
            .collect();
        let with_copies = Rows { copies, ..rows };
        let kept = all(with_copies
            .split(&SplitBy::Stars, 42, true)
            .expect("a split"));
        assert_eq!(
            kept,
            (0..20).filter(|i| i % 10 != 9).collect::<Vec<_>>(),
            "the first of each"
        );
    }
}
