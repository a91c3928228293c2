//! `starsight rate`

use std::io::{BufRead, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use arrow::array::{Array, ArrayRef, Float32Array, UInt8Array};
use arrow::datatypes::Schema;
use serde_json::json;
use starsight_model::rating::RatingSettings;
use starsight_model::{LABELS, Rater, Rating};
use starsight_table::rating_columns;

use super::hub;
use crate::cli::Rate;
use crate::cli::source::data_files;
use crate::data::{Tables, check_writable, with_columns, write_table};
use crate::rate::device::Workload;
use crate::rate::rating;
use crate::system::progress::Progress;

pub(super) fn run(args: &Rate) -> Result<()> {
    // Check before the rating rather than after it.
    args.out.as_deref().map_or(Ok(()), check_writable)?;
    let workload = match args.out {
        Some(_) => Workload::Large,
        None => Workload::Small,
    };
    let place = args.hardware.open(workload)?;
    let (mut rater, _) = rating::load(&args.model.model_folder(|| hub(&args.hub))?, &place)?;
    if let Some(decoding) = args.decode {
        rater.set_settings(RatingSettings {
            decoding,
            ..rater.settings()
        });
    }
    match &args.out {
        Some(out) => rate_files(args, &rater, out),
        None if args.text.is_empty() => rate_lines(args, &rater),
        None => {
            print(args, &args.text, &ratings(&rater, &args.text)?);
            Ok(())
        }
    }
}

fn ratings<T: AsRef<str> + Sync>(rater: &Rater, texts: &[T]) -> Result<Vec<Rating>> {
    let ids = rater.tokenizer().encode_all(texts)?;
    let ids: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    let mut progress = Progress::new("rating", "reviews", ids.len());
    let logits = rating::logits(rater.engine(), &ids, &mut progress)?;
    progress.finish();
    Ok(logits
        .iter()
        .map(|logits| Rating::from_logits(logits, rater.settings()))
        .collect())
}

fn rate_lines(args: &Rate, rater: &Rater) -> Result<()> {
    let input = std::io::stdin();
    if input.is_terminal() {
        say!("one review per line; end with Ctrl-D");
    }
    let mut texts = Vec::new();
    for (line, number) in input.lock().split(b'\n').zip(1..) {
        let line = line.context("settings standard input")?;
        let text = String::from_utf8(line)
            .ok()
            .with_context(|| format!("standard input, line {number}: not UTF-8"))?;
        texts.push(text.trim_end_matches('\r').to_string());
    }
    print(args, &texts, &ratings(rater, &texts)?);
    Ok(())
}

fn print(args: &Rate, texts: &[String], ratings: &[Rating]) {
    if args.json {
        out!("{}", json!({ "ratings": ratings }));
        return;
    }
    for (text, rating) in texts.iter().zip(ratings) {
        out!(
            "{}  {:.2}  {text}",
            "★".repeat(rating.stars.into()) + &"☆".repeat(LABELS - usize::from(rating.stars)),
            rating.expected
        );
    }
    if let guesses @ 1.. = guesses(ratings) {
        say!("{}", of_guesses(guesses, ratings.len()));
    }
}

fn guesses(ratings: &[Rating]) -> usize {
    ratings.iter().filter(|rating| rating.guess).count()
}

fn of_guesses(guesses: usize, all: usize) -> String {
    let (are, their) = if guesses == 1 {
        ("is a guess", "its")
    } else {
        ("are guesses", "their")
    };
    format!(
        "{guesses} of {all} ratings {are}: {their} probabilities are close to the training distribution"
    )
}

/// The names of the ratings' columns beside those of the file, which keep theirs.
fn names_beside(schema: &Schema, file: &str) -> [String; 2 + LABELS] {
    let own: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let names = rating_columns(&own);
    if names != rating_columns(&[]) {
        say!(
            "{file} has columns with the names of ratings, which are kept; the new ratings are in {}",
            names.join(", ")
        );
    }
    names
}

/// Rates the reviews of files, and writes them with the columns stars, expected and p1 to p5.
fn rate_files(args: &Rate, rater: &Rater, out: &Path) -> Result<()> {
    let table =
        Tables::open(&data_files(&args.data, || hub(&args.hub))?, None, args.rows)?.join()?;
    let column = table.texts(&args.text_column)?;
    ensure!(
        !table.is_empty(),
        "{}: no reviews: the file has no rows",
        table.name()
    );
    let texts: Vec<&str> = (0..column.len())
        .map(|i| {
            if column.is_null(i) {
                ""
            } else {
                column.value(i)
            }
        })
        .collect();
    let clock = Instant::now();
    let ratings = ratings(rater, &texts)?;
    let seconds = clock.elapsed().as_secs_f64();
    let floats = |value: &dyn Fn(&Rating) -> f32| -> ArrayRef {
        Arc::new(
            ratings
                .iter()
                .map(|r| Some(value(r)))
                .collect::<Float32Array>(),
        )
    };
    let stars: ArrayRef = Arc::new(
        ratings
            .iter()
            .map(|r| Some(r.stars))
            .collect::<UInt8Array>(),
    );
    let mut columns = vec![stars, floats(&|r| r.expected)];
    columns.extend((0..LABELS).map(|i| floats(&|r: &Rating| r.probabilities[i])));
    let names = names_beside(table.batch().schema_ref(), &table.name());
    let columns = names.into_iter().zip(columns).collect();
    write_table(out, &with_columns(table.batch(), columns)?)?;
    let rate = ratings.len() as f64 / seconds;
    if args.json {
        out!(
            "{}",
            json!({ "samples": ratings.len(), "guesses": guesses(&ratings), "seconds": seconds, "samples_per_second": rate })
        );
    } else {
        out!(
            "{}: {} reviews rated in {seconds:.1} s, {rate:.1} reviews/s",
            out.display(),
            ratings.len()
        );
    }
    if let guesses @ 1.. = guesses(&ratings) {
        say!("{}", of_guesses(guesses, ratings.len()));
    }
    Ok(())
}
