//! The sample reviews: app reviews written by a small grammar, so that the demo and the tests have
//! training data without a network. No real person wrote any of them. The same seed gives the same
//! file, byte for byte.
//!
//! - `grammar`: phrase banks (`samples/*.txt`), and drawing phrases from them.
//! - `voice`: ways of typing: capitals, punctuation, typos, stretched words, emoji.
//! - this file: apps, dates, stars and lengths of the reviews.

mod grammar;
mod random;
mod voice;

use std::collections::HashSet;

use grammar::Grammar;
use random::Random;
use voice::Voice;

/// Number of reviews in the committed file.
pub const ROWS: usize = 9600;
/// The seed of the committed file.
pub const SEED: u64 = 2025;

/// The fictional apps: package name, and prefix of their sections in `apps.txt`. An app that is
/// listed more often gets more reviews.
const APPS: [(&str, &str); 16] = [
    ("com.example.marlowbank", "bank"),
    ("com.example.tallpod", "podcast"),
    ("com.example.quillnote", "notes"),
    ("com.example.stridely", "fitness"),
    ("com.example.pebblepop", "puzzle"),
    ("com.example.turbocomet", "racing"),
    ("com.example.wayfern", "maps"),
    ("com.example.parleo", "messenger"),
    ("com.example.lumishot", "photo"),
    ("com.example.brambleshop", "shopping"),
    ("com.example.nimbuscast", "weather"),
    ("com.example.flickerbox", "video"),
    ("com.example.verbola", "language"),
    ("com.example.forkandfern", "food"),
    ("com.example.hopride", "travel"),
    ("com.example.dozely", "sleep"),
];

/// Percentage of reviews with each number of stars, as skewed as in app stores.
const STARS: [(u8, u32); 5] = [(1, 19), (2, 7), (3, 8), (4, 10), (5, 56)];
/// Percentage of reviews with each number of sentences after the first. `None` is a review of a
/// word or two.
const LENGTHS: [(Option<u32>, u32); 8] = [
    (None, 21),
    (Some(0), 46),
    (Some(1), 18),
    (Some(2), 6),
    (Some(3), 3),
    (Some(4), 3),
    (Some(8), 2),
    (Some(16), 1),
];
/// Share of reviews whose stars do not fit the text: people misclick, and some think that one star
/// is the best.
const MISLABELLED: f64 = 0.025;
/// Share of reviewers who give a star more or less than their words suggest.
const MILDER_OR_HARSHER: f64 = 0.035;
const LONGEST_IN_WORDS: usize = 120;
const ATTEMPTS_TO_BE_NEW: usize = 40;

/// `rows` reviews as CSV text with the columns `package_name,review,date,star`.
pub fn generate(rows: usize, seed: u64) -> String {
    let grammar = Grammar::new();
    let mut random = Random::new(seed);
    let mut seen = HashSet::new();
    let mut csv = String::from("package_name,review,date,star\n");
    for _ in 0..rows {
        let (package, kind) = random.pick(&APPS);
        let star = random.weighted(&STARS);
        let mut review = write_review(&grammar, kind, star, &mut random);
        // Reviews of a word or two repeat each other, as in real data; longer ones seldom do.
        for _ in 0..ATTEMPTS_TO_BE_NEW {
            if words(&review) <= 2 || !seen.contains(&review) {
                break;
            }
            review = write_review(&grammar, kind, star, &mut random);
        }
        let label = given_stars(star, &mut random);
        let date = iso_date(random.below(DAYS));
        csv.push_str(&format!("{package},{},{date},{label}\n", quoted(&review)));
        seen.insert(review);
    }
    csv
}

/// Draws the stars that a reviewer gives with a text that reads like `star`: mostly these, at times
/// a neighbour (at the ends perhaps the same), at times any, by their frequencies.
fn given_stars(star: u8, random: &mut Random) -> u8 {
    if random.chance(MISLABELLED) {
        random.weighted(&STARS)
    } else if random.chance(MILDER_OR_HARSHER) {
        if random.chance(0.5) {
            (star + 1).min(5)
        } else {
            (star - 1).max(1)
        }
    } else {
        star
    }
}

fn write_review(grammar: &Grammar, kind: &str, star: u8, random: &mut Random) -> String {
    let voice = Voice::draw(random);
    let mut sentences = Vec::new();
    match random.weighted(&LENGTHS) {
        None => sentences.push(grammar.phrase(&format!("{star}.word"), kind, random)),
        Some(more) => {
            sentences.push(grammar.phrase(&format!("{star}.lead"), kind, random));
            let more_section = format!("{star}.more");
            let mut length = words(&sentences[0]);
            for _ in 0..more {
                let sentence = grammar.phrase(&more_section, kind, random);
                length += words(&sentence);
                if length <= LONGEST_IN_WORDS && !sentences.contains(&sentence) {
                    sentences.push(sentence);
                }
            }
        }
    }
    voice.say(
        &sentences,
        &mut |random| grammar.raw(&format!("{star}.emoji"), random).to_owned(),
        random,
    )
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

/// A CSV field: in quotes if it holds a comma, a quote or a line break.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// The days from 2023-01-01 to 2025-12-31.
const DAYS: usize = 365 + 366 + 365;

/// The date `day` days after 2023-01-01.
fn iso_date(mut day: usize) -> String {
    for year in 2023.. {
        let february = if year == 2024 { 29 } else { 28 };
        for (month, days) in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
            .into_iter()
            .enumerate()
        {
            if day < days {
                return format!("{year}-{:02}-{:02}", month + 1, day + 1);
            }
            day -= days;
        }
    }
    unreachable!("the years do not end")
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../samples/reviews.csv");

    /// The fields of every record, by the rules of RFC 4180.
    fn parse(csv: &str) -> Vec<Vec<String>> {
        let mut records = vec![vec![String::new()]];
        let mut in_quotes = false;
        let mut chars = csv.chars().peekable();
        while let Some(c) = chars.next() {
            let record = records.last_mut().expect("never empty");
            match c {
                '"' if in_quotes && chars.peek() == Some(&'"') => {
                    chars.next();
                    record.last_mut().expect("never empty").push('"');
                }
                '"' => in_quotes = !in_quotes,
                ',' if !in_quotes => record.push(String::new()),
                '\n' if !in_quotes => records.push(vec![String::new()]),
                c => record.last_mut().expect("never empty").push(c),
            }
        }
        records.pop(); // what follows the last line break
        records
    }

    #[test]
    fn the_committed_file_is_what_the_generator_writes() {
        let committed = std::fs::read_to_string(COMMITTED)
            .expect("samples/reviews.csv is there; `cargo xtask samples` writes it");
        assert!(
            committed == generate(ROWS, SEED),
            "samples/reviews.csv is out of date: run `cargo xtask samples`"
        );
    }

    #[test]
    fn reviews_parse_back_and_look_like_an_app_stores() {
        let csv = generate(ROWS, SEED);
        assert!(csv.len() < 900_000, "{} bytes", csv.len());
        let records = parse(&csv);
        assert_eq!(records[0], ["package_name", "review", "date", "star"]);
        let reviews = &records[1..];
        assert_eq!(reviews.len(), ROWS);

        let mut stars = [0; 5];
        let mut lengths = Vec::new();
        let mut with_emoji = 0;
        let mut longer = Vec::new();
        for record in reviews {
            let [package, review, date, star] = &record[..] else {
                panic!("four fields, found {record:?}")
            };
            assert!(APPS.iter().any(|(name, _)| name == package), "{package}");
            assert!(
                !review.trim().is_empty() && review.trim() == review,
                "{review:?}"
            );
            assert!(
                ("2023-01-01".."2026-01-01").contains(&date.as_str()) && date.len() == 10,
                "{date}"
            );
            stars[star.parse::<usize>().expect("a number") - 1] += 1;
            lengths.push(words(review));
            with_emoji += usize::from(review.chars().any(|c| c >= '\u{2190}'));
            if words(review) > 2 {
                longer.push(review);
            }
        }
        assert!(stars.iter().all(|&count| count > ROWS / 25), "{stars:?}");
        assert!(
            (ROWS * 55 / 100..ROWS * 62 / 100).contains(&stars[4]),
            "{stars:?}"
        );
        assert!(with_emoji * 5 >= ROWS, "{with_emoji} of {ROWS} with emoji");
        lengths.sort_unstable();
        assert!(
            (6..=8).contains(&lengths[ROWS / 2]),
            "median of {} words",
            lengths[ROWS / 2]
        );
        assert!(
            (80..=LONGEST_IN_WORDS + 10).contains(&lengths[ROWS - 1]),
            "at most {} words",
            lengths[ROWS - 1]
        );
        let distinct: HashSet<_> = longer.iter().collect();
        assert!(
            distinct.len() * 100 >= longer.len() * 97,
            "{} of {} are distinct",
            distinct.len(),
            longer.len()
        );
    }

    #[test]
    fn a_seed_is_a_file() {
        assert_eq!(generate(50, 1), generate(50, 1));
        assert_ne!(generate(50, 1), generate(50, 2));
        assert_eq!(generate(0, 1), "package_name,review,date,star\n");
    }

    #[test]
    fn dates_follow_the_calendar() {
        assert_eq!(iso_date(0), "2023-01-01");
        assert_eq!(iso_date(365 + 31 + 28), "2024-02-29");
        assert_eq!(iso_date(DAYS - 1), "2025-12-31");
    }

    #[test]
    fn fields_are_quoted_only_when_they_must_be() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(
            quoted("it says \"error\", always"),
            "\"it says \"\"error\"\", always\""
        );
    }
}
