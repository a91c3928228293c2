//! Builds the starter's training texts from two files of reviews. Each review gets a split and a
//! weight. Some reviews are added again with a typing error, and so are texts without meaning.
//!
//!     cargo run --release --package starsight --example starter_texts -- PLAY.parquet MULTILINGUAL.parquet OUT
//!
//! It writes OUT/reviews.parquet (columns review, star, package_name, date, language, set, part,
//! weight), OUT/made.parquet (the same columns: reviews with typing errors, texts without meaning)
//! and OUT/unlabelled.parquet (words, phrases and parts of reviews, for the teacher to label). The
//! same input gives the same bytes.

mod nonsense;
mod parts;
mod phrases;
mod slips;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arrow::array::{Array, ArrayRef, Float32Array, Int8Array, LargeStringArray, RecordBatch};
use starsight::data::{Tables, text_key, write_table};
use starsight_model::rng;

use crate::parts::Parts;

/// A review and its metadata.
#[derive(Debug, Clone)]
pub struct Review {
    /// The text.
    pub text: String,
    /// Stars, 1 to 5.
    pub star: u8,
    /// The reviewed app, product or place.
    pub package: String,
    /// The date, as in 2024-06-15.
    pub date: String,
    /// The language, as in `en`.
    pub language: String,
}

/// Language of texts in no language.
pub const NO_LANGUAGE: &str = "none";

/// One distinct text in this many is added again with a typing error.
const SLIPS: u64 = 4;
/// Weight of such a copy, relative to its original.
const SLIP_WEIGHT: f32 = 0.5;
/// One text without meaning is added for this many training reviews.
const NONSENSE: usize = 120;

fn main() -> Result<()> {
    let [play, multilingual, out] = &std::env::args()
        .skip(1)
        .map(PathBuf::from)
        .collect::<Vec<_>>()[..]
    else {
        bail!("usage: starter_texts PLAY.parquet MULTILINGUAL.parquet OUT");
    };
    let mut reviews = read(play, Some("en"))?;
    reviews.extend(read(multilingual, None)?);
    reviews.retain(|review| !review.text.trim().is_empty());
    let parts = Parts::of(&reviews);
    let rows: Vec<Row> = reviews
        .iter()
        .map(|review| Row::of(review, &parts))
        .collect();
    let train: Vec<&Review> = reviews
        .iter()
        .zip(&rows)
        .filter(|(_, row)| row.part == "train")
        .map(|(review, _)| review)
        .collect();
    let different = different(&train);
    let unlabelled = phrases::texts(&different);
    let made: Vec<Row> = slipped(&different, &parts).chain(nothing(&train)).collect();
    std::fs::create_dir_all(out).with_context(|| format!("creating {}", out.display()))?;
    write_table(&out.join("reviews.parquet"), &table(&rows)?)?;
    write_table(&out.join("made.parquet"), &table(&made)?)?;
    let texts = LargeStringArray::from_iter_values(&unlabelled);
    write_table(
        &out.join("unlabelled.parquet"),
        &RecordBatch::try_from_iter([("review", Arc::new(texts) as ArrayRef)])?,
    )?;
    let mut counts = BTreeMap::<(&str, &str), usize>::new();
    rows.iter()
        .chain(&made)
        .for_each(|row| *counts.entry((row.part, &row.set)).or_default() += 1);
    counts
        .iter()
        .for_each(|((part, set), count)| println!("{part:<12}{set:<16}{count:>9}"));
    println!("without stars {:>23}", unlabelled.len());
    Ok(())
}

/// Reads reviews; their language is `language`, or that of a column.
fn read(path: &Path, language: Option<&str>) -> Result<Vec<Review>> {
    let table = Tables::open(&[path.to_owned()], None, None)?.join()?;
    let texts = table.texts("review")?;
    let (stars, packages, dates) = (
        table.stars("star")?,
        table.shown("package_name")?,
        table.shown("date")?,
    );
    let languages = match language {
        Some(language) => vec![language.to_owned(); table.len()],
        None => table.shown("language")?,
    };
    let review = |(i, language): (usize, String)| {
        let star = stars[i]?;
        // The two files write dates in two formats.
        let date = parts::iso_date(&dates[i]).unwrap_or_else(|| dates[i].clone());
        let text = (!texts.is_null(i)).then(|| texts.value(i).to_owned())?;
        Some(Review {
            text,
            star,
            package: packages[i].clone(),
            date,
            language,
        })
    };
    Ok(languages
        .into_iter()
        .enumerate()
        .filter_map(review)
        .collect())
}

/// A row of the output.
#[derive(Debug, Clone)]
struct Row {
    review: Review,
    set: String,
    part: &'static str,
    weight: f32,
}

impl Row {
    fn of(review: &Review, parts: &Parts) -> Row {
        let (part, set) = parts.place(review);
        Row {
            set,
            part,
            weight: parts.weight(&review.language),
            review: review.clone(),
        }
    }
}

fn table(rows: &[Row]) -> Result<RecordBatch> {
    let text = |of: fn(&Row) -> &str| {
        Arc::new(LargeStringArray::from_iter_values(rows.iter().map(of))) as ArrayRef
    };
    Ok(RecordBatch::try_from_iter([
        ("review", text(|row| &row.review.text)),
        (
            "star",
            Arc::new(Int8Array::from_iter_values(
                rows.iter().map(|row| row.review.star as i8),
            )) as ArrayRef,
        ),
        ("package_name", text(|row| &row.review.package)),
        ("date", text(|row| &row.review.date)),
        ("language", text(|row| &row.review.language)),
        ("set", text(|row| &row.set)),
        ("part", text(|row| row.part)),
        (
            "weight",
            Arc::new(Float32Array::from_iter_values(
                rows.iter().map(|row| row.weight),
            )) as ArrayRef,
        ),
    ])?)
}

/// The first review of each distinct text.
fn different<'a>(reviews: &[&'a Review]) -> Vec<&'a Review> {
    let mut seen = HashSet::new();
    reviews
        .iter()
        .copied()
        .filter(|review| seen.insert(text_key(&review.text)))
        .collect()
}

/// Some of the reviews with a typing error. Which ones, and which errors, depends only on the text.
fn slipped<'a>(different: &'a [&Review], parts: &'a Parts) -> impl Iterator<Item = Row> + 'a {
    different.iter().filter_map(|review| {
        let key = text_key(&review.text);
        let text = rng::bits(key, 0)
            .is_multiple_of(SLIPS)
            .then(|| slips::slip(&review.text, key))
            .flatten()?;
        let weight = SLIP_WEIGHT * parts.weight(&review.language);
        Some(Row {
            review: Review {
                text,
                ..(*review).clone()
            },
            set: "slip".into(),
            part: "train",
            weight,
        })
    })
}

/// Texts without meaning, with the stars of randomly drawn reviews: the best guess for such a text
/// is the distribution of all stars.
fn nothing<'a>(train: &'a [&Review]) -> impl Iterator<Item = Row> + 'a {
    (0..train.len() / NONSENSE).map(|i| {
        let drawn = train[(rng::bits(nonsense::SEED, i as u64) % train.len() as u64) as usize];
        let review = Review {
            text: nonsense::text(i as u64),
            star: drawn.star,
            package: "nonsense".into(),
            date: drawn.date.clone(),
            language: NO_LANGUAGE.into(),
        };
        Row {
            review,
            set: "nonsense".into(),
            part: "train",
            weight: 1.0,
        }
    })
}
