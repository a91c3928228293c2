//! Texts of the view for many reviews.

use starsight_table::protocol::{
    Chosen, ColumnChoice, Described, Encoding, Fault, Key, Metrics, Problem, Rated,
};

use crate::figures::{duration, megabytes, percent, speed, time_left, whole};
use crate::words::NO_VALUE;

pub const TITLE: &str = "Rate many";
pub const LABEL: &str = "Reviews, one per line";
pub const PLACEHOLDER: &str = "Great game, my kids love it\nWon't open on my tablet\n…";
pub const RATE: &str = "Rate";
pub const RATE_AGAIN: &str = "Rate again";
pub const PAUSE: &str = "Pause";
pub const RESUME: &str = "Resume";
pub const CANCEL: &str = "Cancel";
pub const NOTHING_PASTED: &str = "Paste some reviews first, one per line.";
pub const BUSY: &str = "A file is being rated. Pause or cancel that first.";
pub const ONE_FILE: &str = "Please choose one file at a time.";
pub const WHAT_COMES: &str = "The ratings appear below, and can be downloaded.";

pub const CHOOSE: &str = "Choose a file";
pub const CHOOSE_ANOTHER: &str = "Choose another file";
pub const KINDS: &str =
    "or drop it here: .csv, .tsv, .jsonl, .parquet or .txt. It stays on this device.";
pub const PASTE_INSTEAD: &str = "Paste lines instead";
pub const COLUMNS: &str = "Columns";
pub const TEXT_COLUMN: &str = "Reviews are in";
pub const LABEL_COLUMN: &str = "True stars are in";
pub const NO_COLUMN: &str = "no column";
pub const CHOOSE_COLUMN: &str = "choose a column";
pub const HEADER: &str = "The first line names the columns";
pub const PREVIEW: &str = "The first rows";

pub const SUMMARY: &str = "Summary";
pub const AVERAGE: &str = "stars on average";
pub const DISTRIBUTION: &str = "Reviews by number of stars";
pub const LOWEST: &str = "Most negative";
pub const HIGHEST: &str = "Most positive";

pub const ACCURACY_TITLE: &str = "Compared with the true stars";
pub const CONFUSION: &str = "Ratings by true stars";
pub const CONFUSION_AXES: &str = "true ↓ rated →";

pub const RESULTS: &str = "Ratings";
pub const COLUMN_NUMBER: &str = "Row";
pub const COLUMN_REVIEW: &str = "Review";
pub const COLUMN_STARS: &str = "Stars";
pub const COLUMN_EXPECTED: &str = "Expected";
pub const COLUMN_SURE: &str = "Confidence";
pub const COLUMN_TRUE: &str = "True";
pub const NO_ROWS: &str = "No rows match.";
pub const ARRANGE: &str = "Search, order and filter";
pub const SEARCH: &str = "Search the reviews";
pub const ORDER: &str = "Order";
pub const FILTER: &str = "Only rows rated";
pub const UNRATED: &str = "not rated";
pub const DETAIL: &str = "Selected row";
pub const DETAIL_HINT: &str =
    "Select a row to read all of it: click it, or use the arrow keys in the table.";

pub const DOWNLOAD: &str = "Download";
pub const DOWNLOAD_CSV: &str = "Download CSV";
pub const DOWNLOAD_JSON: &str = "Download JSONL";

/// The orders of the table: name, key with direction, and whether it needs true stars.
pub static ORDERS: [(&str, (Key, bool), bool); 8] = [
    ("File order", (Key::File, false), false),
    ("Fewest stars first", (Key::Stars, false), false),
    ("Most stars first", (Key::Stars, true), false),
    ("Most negative first", (Key::Expected, false), false),
    ("Most positive first", (Key::Expected, true), false),
    ("Least confident first", (Key::Confidence, false), false),
    ("Most confident first", (Key::Confidence, true), false),
    (
        "Furthest from the true stars first",
        (Key::Error, true),
        true,
    ),
];

fn many(number: usize, one: &str, more: &str) -> String {
    format!(
        "{} {}",
        whole(number as f64),
        if number == 1 { one } else { more }
    )
}

/// The number of pasted reviews.
pub fn lines(reviews: usize) -> String {
    many(reviews, "review", "reviews")
}

/// Shown while a file is read.
pub fn reading(share: f64) -> String {
    format!("Reading, {:.0}%", share * 100.0)
}

/// The description of a file: `1,200 rows, 3.4 MB, UTF-8, separated by commas`.
pub fn about(described: &Described, bytes: f64) -> String {
    let size = if bytes < 1e5 {
        format!("{} KB", whole((bytes / 1e3).ceil()))
    } else {
        format!("{} MB", megabytes(bytes))
    };
    let encoding = match described.encoding {
        Encoding::Utf8 => "UTF-8",
        Encoding::Utf16 => "UTF-16",
        Encoding::Windows1252 => "Latin-1 (Windows-1252)",
    };
    let separator = match described.separator {
        Some(',') => ", separated by commas",
        Some(';') => ", separated by semicolons",
        Some(_) => ", separated by tabs",
        None => "",
    };
    format!(
        "{}, {size}, {encoding}{separator}",
        many(described.rows, "row", "rows")
    )
}

/// Announced when a file has been read.
pub fn opened(name: &str, described: &Described) -> String {
    let faults: usize = described.problems.iter().map(|problem| problem.count).sum();
    let faulty = if faults > 0 {
        format!("; {} with problems", many(faults, "row", "rows"))
    } else {
        String::new()
    };
    format!(
        "{name} was read: {}{faulty}.",
        many(described.rows, "row", "rows")
    )
}

/// Announced when a file could not be read.
pub fn refused(name: &str, why: &str) -> String {
    format!("{name} could not be read: {why}")
}

/// The names of columns; a column without a name gets its number.
pub fn columns(names: &[String]) -> Vec<String> {
    let name = |(i, name): (usize, &String)| {
        if name.trim().is_empty() {
            format!("column {}", i + 1)
        } else {
            name.clone()
        }
    };
    names.iter().enumerate().map(name).collect()
}

/// A note on the encoding, if it needs one.
pub fn encoding_note(encoding: Encoding) -> Option<&'static str> {
    match encoding {
        Encoding::Windows1252 => Some(
            "The file is not UTF-8. It was read as Latin-1 (Windows-1252); the download is UTF-8.",
        ),
        Encoding::Utf8 | Encoding::Utf16 => None,
    }
}

/// The problem, the affected rows and how they were handled: `3 rows (2, 5, 9) with too few cells:
/// …`.
pub fn problem(problem: &Problem) -> String {
    let Problem {
        fault,
        count,
        first,
    } = problem;
    let (row, line) = (many(*count, "row", "rows"), many(*count, "line", "lines"));
    let numbers = first
        .iter()
        .map(|row| whole(*row as f64))
        .collect::<Vec<_>>()
        .join(", ");
    let numbers = format!(
        "({numbers}{})",
        if *count > first.len() { ", …" } else { "" }
    );
    match fault {
        Fault::TooFew(found, wanted) => format!(
            "{row} {numbers} with too few cells: the first has {found} of {wanted}. The missing cells are left empty."
        ),
        Fault::TooMany(found, wanted) => {
            format!(
                "{row} {numbers} with too many cells: the first has {found} instead of {wanted}. The extra cells are in a separate column."
            )
        }
        Fault::Endless => format!(
            "{row} {numbers} with a cell of over a thousand lines. Is a closing quotation mark missing?"
        ),
        Fault::Unclosed => {
            format!(
                "{row} {numbers} with a quotation mark that is never closed: the cell contains the rest of the file."
            )
        }
        Fault::EmptyLine => format!("{line} {numbers} empty; skipped."),
        Fault::NotUtf8 => {
            format!(
                "{row} {numbers} with bytes that are not UTF-8, unlike the rest of the file. They were read as Latin-1 (Windows-1252); the download is UTF-8."
            )
        }
        Fault::NotJson(why) => {
            format!("{line} {numbers} without a JSON object; skipped. The first: {why}.")
        }
    }
}

/// A summary of what the chosen columns contain.
pub fn chosen(choice: ColumnChoice, chosen: Chosen) -> String {
    if choice.text.is_none() {
        return "No column looks like reviews. Choose the column with the reviews.".into();
    }
    let mut out = format!("{} to rate", many(chosen.reviews, "review", "reviews"));
    if chosen.without_text > 0 {
        out += &format!(
            "; {} without text, which get no rating",
            many(chosen.without_text, "row", "rows")
        );
    }
    if choice.label.is_some() {
        out += &format!("; {} with true stars", whole(chosen.labelled as f64));
    }
    out + "."
}

/// Shown before the first rating.
pub fn starting(total: usize) -> String {
    format!("Starting on {}", many(total, "review", "reviews"))
}

/// Shown while reviews are rated; `left` is in seconds.
pub fn running(rated: usize, total: usize, left: Option<f64>) -> String {
    let left = left
        .map(|left| format!(", {} left", time_left(left)))
        .unwrap_or_default();
    format!(
        "Rated {} of {}{left}",
        whole(rated as f64),
        whole(total as f64)
    )
}

/// Shown while the run is paused.
pub fn paused(rated: usize, total: usize) -> String {
    format!(
        "Paused after {} of {}",
        whole(rated as f64),
        whole(total as f64)
    )
}

/// Shown after the last review. `guesses` is the number of ratings whose texts gave the model
/// almost no information.
pub fn done(rated: usize, guesses: usize, seconds: f64) -> String {
    let guessed = match guesses {
        0 => String::new(),
        1 => ". 1 rating is a guess: its text tells the model almost nothing".into(),
        _ => format!(
            ". {} ratings are guesses: their texts tell the model almost nothing",
            whole(guesses as f64)
        ),
    };
    format!(
        "Rated {} in {}{guessed}",
        many(rated, "review", "reviews"),
        duration(seconds)
    )
}

/// Shown when the run stopped with an error.
pub fn failed(rated: usize, total: usize, why: &str) -> String {
    format!(
        "Stopped after {} of {}: {why}",
        whole(rated as f64),
        whole(total as f64)
    )
}

/// The speed of the run.
pub fn throughput(samples: f64, tokens: f64) -> String {
    format!("{} reviews/s · {} tokens/s", speed(samples), speed(tokens))
}

/// The mean number of stars, as the large figure of the summary.
pub fn mean(value: f64) -> String {
    format!("{value:.2}")
}

/// Its 95% confidence interval, if there are enough reviews.
pub fn interval((mean, half): (f64, Option<f64>)) -> Option<String> {
    half.map(|half| {
        format!(
            "95% interval {:.2} to {:.2}",
            (mean - half).max(1.0),
            (mean + half).min(5.0)
        )
    })
}

/// A count and its share: `120 (34.2%)`.
pub fn count_and_share(count: u64, total: u64) -> String {
    if count == 0 {
        "0".into()
    } else {
        format!(
            "{} ({})",
            whole(count as f64),
            percent(count as f64 / total as f64)
        )
    }
}

/// A count.
pub fn count(count: u64) -> String {
    whole(count as f64)
}

/// A number of stars in its shortest form.
pub fn star(stars: usize) -> String {
    format!("{stars}★")
}

/// The number of reviews behind the metrics.
pub fn compared(samples: usize) -> String {
    format!(
        "Based on {} with both a rating and true stars.",
        many(samples, "review", "reviews")
    )
}

/// Metrics, each as id, name and figure; a placeholder while there are none.
pub fn measures(metrics: Option<&Metrics>) -> [(&'static str, &'static str, String); 6] {
    let figure = |of: fn(&Metrics) -> String| metrics.map_or_else(|| NO_VALUE.to_string(), of);
    [
        (
            "metric-accuracy",
            "Accuracy",
            figure(|metrics| percent(metrics.accuracy)),
        ),
        (
            "metric-off-by-one",
            "At most one star off",
            figure(|metrics| percent(metrics.off_by_one)),
        ),
        (
            "metric-great",
            "4 or 5 against the rest",
            figure(|metrics| percent(metrics.binary_great)),
        ),
        (
            "metric-five",
            "5 against the rest",
            figure(|metrics| percent(metrics.binary_five)),
        ),
        (
            "metric-mae",
            "Mean error, in stars",
            figure(|metrics| format!("{:.3}", metrics.mae)),
        ),
        (
            "metric-qwk",
            "Quadratic kappa",
            figure(|metrics| format!("{:.3}", metrics.qwk)),
        ),
    ]
}

/// A row's number, from 1.
pub fn number(row: usize) -> String {
    whole((row + 1) as f64)
}

/// The title of a row.
pub fn row(row: usize) -> String {
    format!("Row {}", number(row))
}

/// A row's stars, for screen readers.
pub fn of_five(stars: u8) -> String {
    format!("{stars} of 5 stars")
}

/// The mean of a rating's distribution.
pub fn expected(value: f32) -> String {
    format!("{value:.2}")
}

/// A probability.
pub fn probability(p: f32) -> String {
    percent(p.into())
}

/// The probability of the rated number of stars.
pub fn sure(rating: &Rated) -> String {
    usize::from(rating.stars)
        .checked_sub(1)
        .and_then(|place| rating.probabilities.get(place))
        .map_or(NO_VALUE.into(), |p| probability(*p))
}

/// The number of rows that match the search and filters.
pub fn found(rows: usize, total: usize) -> String {
    if rows == total {
        many(total, "row", "rows")
    } else {
        format!("{} of {}", whole(rows as f64), many(total, "row", "rows"))
    }
}

/// Shown under a table with more rows than a browser can scroll.
pub fn not_shown(shown: usize) -> String {
    format!(
        "The first {} rows are shown. Search or filter to see others; the download contains all rows.",
        whole(shown as f64)
    )
}

/// Shown when a file could not be written.
pub fn not_written(name: &str, why: &str) -> String {
    format!("{name} could not be written: {why}")
}

/// Announced when a file has been written.
pub fn written(name: &str) -> String {
    format!("{name} is downloaded.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        assert_eq!(lines(1), "1 review");
        assert_eq!(count_and_share(0, 0), "0");
        assert_eq!(count_and_share(120, 351), "120 (34.2%)");
        assert_eq!(found(1200, 1200), "1,200 rows");
        assert_eq!(found(1, 1200), "1 of 1,200 rows");
    }

    #[test]
    fn one_review_has_a_mean_and_no_interval() {
        assert_eq!(interval((5.0, None)), None);
        assert_eq!(
            interval((4.9, Some(0.3))).as_deref(),
            Some("95% interval 4.60 to 5.00")
        );
    }

    #[test]
    fn problems_name_their_rows() {
        let problem = |fault, count, first: &[usize]| {
            super::problem(&Problem {
                fault,
                count,
                first: first.to_vec(),
            })
        };
        assert_eq!(
            problem(Fault::TooFew(1, 3), 1, &[7]),
            "1 row (7) with too few cells: the first has 1 of 3. The missing cells are left empty."
        );
        assert!(
            problem(Fault::EmptyLine, 1200, &[1, 2, 3])
                .starts_with("1,200 lines (1, 2, 3, …) empty; skipped")
        );
    }
}
