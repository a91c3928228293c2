//! What the page says: all of it, so that a translation is a change to this file.

use crate::figures::{duration, megabytes, percent, speed, time_left, whole};
use crate::model::Arriving;
use crate::starsight::{Kept, Rating, Trouble};

pub const NAME: &str = "Starsight";
pub const TITLE: &str = "How many stars is this review?";
pub const LEAD: &str = "A small language model reads it and rates it from one to five stars, right here in your browser. ";
pub const PRIVACY: &str = "No text leaves this page.";

pub const MODEL: &str = "Model";
pub const SIZE: &str = "Download";
pub const WEIGHTS: &str = "Parameters";
pub const ACCURACY: &str = "Test accuracy";
pub const UNMEASURED: &str = "not measured";

pub const FETCHING: &str = "Fetching the model";
pub const WAITING_FOR_TAB: &str = "Another tab is fetching the model";
pub const PREPARING: &str = "Building the model and checking its ratings";
pub const CONNECTING: &str = "Looking for the model";
pub const CANCEL: &str = "Cancel";
pub const RETRY: &str = "Try again";
pub const LOAD: &str = "Load the model";
pub const READY: &str = "The model is ready.";
pub const NEWER: &str = "There is a newer version of this model.";
pub const LOAD_NEWER: &str = "Load it";

pub const TOKEN: &str = "Access token, if the model is private";
pub const TOKEN_USE: &str = "It goes to the Hub alone, and is forgotten when you leave the page.";
pub const DELETE: &str = "Delete";
pub const DELETE_ALL: &str = "Delete everything that is kept";
pub const DELETED: &str = "Deleted.";

pub const ONE_TITLE: &str = "Rate one review";
pub const ONE_LABEL: &str = "Review";
pub const ONE_PLACEHOLDER: &str = "Type or paste a review";
pub const TRY: &str = "Or try";
pub const RATING: &str = "Rating";
pub const NOTHING_TYPED: &str = "The rating shows here as you type.";
pub const WAITING: &str = "The rating shows here once the model is ready.";
pub const RATING_FAILED: &str = "This review could not be rated";
pub const PROBABILITIES: &str = "Probability of each number of stars";

/// Reviews to try with a click, from glad to angry and back.
pub const EXAMPLES: [&str; 5] = [
    "Absolutely love it, use it every day 😍",
    "Good app, but the new menu is confusing",
    "It's okay, nothing more",
    "Too many ads, and it drains my battery",
    "Crashes on start. Lost all my notes!",
];

pub const MANY_TITLE: &str = "Rate many";
pub const MANY_LABEL: &str = "Reviews, one a line";
pub const MANY_PLACEHOLDER: &str = "Great game, my kids love it\nWon't open on my tablet\n…";
pub const RATE: &str = "Rate";
pub const STOP: &str = "Stop";
pub const DOWNLOAD: &str = "Download as CSV";
pub const FILE_NAME: &str = "ratings.csv";
pub const NOTHING_PASTED: &str = "Paste some reviews first, one a line.";
pub const NOT_READY: &str = "The model is not ready yet.";
pub const WHAT_COMES: &str = "The ratings appear below, and can be downloaded as CSV.";
pub const NO_VALUE: &str = "–";
pub const SUMMARY: &str = "Summary";
pub const AVERAGE: &str = "stars on average";
pub const DISTRIBUTION: &str = "How many reviews got each number of stars";
pub const RESULTS: &str = "Ratings";
pub const COLUMN_NUMBER: &str = "No.";
pub const COLUMN_REVIEW: &str = "Review";
pub const COLUMN_STARS: &str = "Stars";
pub const COLUMN_EXPECTED: &str = "Expected";
pub const COLUMN_SURE: &str = "Sure";
pub const MANY_FAILED: &str = "Rating stopped";

pub const FOOTER: &str = "Starsight is free software, and so is this page: save it, host it, use its module in your own.";

/// `1 star`, `2 stars`.
pub fn stars(count: u8) -> String {
    if count == 1 { "1 star".into() } else { format!("{count} stars") }
}

/// `4.2 of 5 stars`.
pub fn of_five(value: f32) -> String {
    format!("{value:.1} of 5 stars")
}

/// The expected value, as the large figure beside the stars.
pub fn expected(value: f32) -> String {
    format!("{value:.1}")
}

/// The mean number of stars, as the large figure of the summary.
pub fn mean(value: f32) -> String {
    format!("{value:.2}")
}

/// The rating in plain words: `4 stars, fairly sure`.
pub fn verdict(rating: &Rating) -> String {
    let likeliest = usize::from(rating.stars) - 1;
    let p = rating.probabilities[likeliest];
    let (second, q) = (rating.probabilities.iter().enumerate())
        .filter(|(i, _)| *i != likeliest)
        .fold((0, 0.0), |best: (usize, f32), (i, &q)| if q > best.1 { (i, q) } else { best });
    let sure = match p {
        0.9.. => "almost certain".to_string(),
        0.7.. => "fairly sure".to_string(),
        _ if p - q < 0.1 => format!("but it may as well be {}", second + 1),
        0.5.. => "probably".to_string(),
        _ => "not very sure".to_string(),
    };
    format!("{}, {sure}", stars(rating.stars))
}

/// What a rating took.
pub fn effort(tokens: f64, seconds: f64) -> String {
    let tokens = if tokens == 1.0 { "1 token".into() } else { format!("{} tokens", whole(tokens)) };
    format!("{tokens}, {}", duration(seconds))
}

/// Beside [`effort`], for a review that does not fit.
pub fn cut_off(max_tokens: f64) -> String {
    format!("only the first {} tokens were read", whole(max_tokens))
}

/// How much this browser keeps: `Kept in this browser: 2 models, 48.4 MB`.
pub fn kept(kept: &Kept) -> String {
    let bytes = kept.models.iter().map(|model| model.bytes).sum::<f64>() + kept.unfinished;
    let models = if kept.models.len() == 1 { "1 model".to_string() } else { format!("{} models", kept.models.len()) };
    format!("Kept in this browser: {models}, {} MB", megabytes(bytes))
}

/// Where a kept model came from, short: the Hub's name for it, or the folder's address.
pub fn source(model: &str) -> String {
    let short = model.split_once("://").map_or(model, |(_, rest)| rest);
    short.replacen("/tree/", " @ ", 1).trim_end_matches('/').to_string()
}

/// What a button that deletes a model does.
pub fn delete(model: &str) -> String {
    format!("Delete {}", source(model))
}

/// What downloads that were cut off take.
pub fn unfinished(bytes: f64) -> String {
    format!("And {} MB of downloads that were cut off; loading the model goes on with them.", megabytes(bytes))
}

/// What went otherwise than expected, as a sentence.
pub fn notice(notice: &str) -> String {
    let mut letters = notice.chars();
    let first = letters.next().map(char::to_uppercase).into_iter().flatten();
    format!("{}.", first.chain(letters).collect::<String>().trim_end_matches('.'))
}

/// How far the download is: `12.3 of 91.0 MB, 8.2 MB/s, 9 s left`.
pub fn arriving(at: &Arriving) -> String {
    let mut out = format!("{} of {} MB", megabytes(at.loaded), megabytes(at.total));
    if let (Some(speed), Some(left)) = (at.speed, at.seconds_left()) {
        out += &format!(" · {} MB/s · {} left", megabytes(speed), time_left(left));
    }
    out
}

/// A failure to load, as a headline.
pub fn failure(trouble: &Trouble) -> &'static str {
    match trouble.name.as_str() {
        "AbortError" => "The download was cancelled",
        "DownloadError" => "The model could not be downloaded",
        "BundleError" => "This model cannot be used",
        "EngineError" => "The rating engine is not running",
        "TypeError" | "RangeError" => "The address of this page asks for something impossible",
        _ => "The model could not be loaded",
    }
}

/// What to do about it.
pub fn advice(trouble: &Trouble) -> &'static str {
    match trouble.name.as_str() {
        "AbortError" => "Nothing is rated without it.",
        "DownloadError" => "Check the connection and the address, then try again.",
        "BundleError" => "It may have been damaged on the way: try again. If that does not help, it has to be published anew.",
        "EngineError" => "Try again. If that does not help, close other tabs or use a newer browser.",
        "TypeError" | "RangeError" => "Correct what stands after the question mark in the address.",
        _ => "Try again, or reload the page.",
    }
}

/// The number of pasted reviews: `120 reviews, 3 empty lines skipped`.
pub fn counted(reviews: u32, empty: u32) -> String {
    let mut out = if reviews == 1 { "1 review".into() } else { format!("{} reviews", whole(reviews.into())) };
    if empty > 0 {
        let lines = if empty == 1 { "empty line" } else { "empty lines" };
        out += &format!(", {} {lines} skipped", whole(empty.into()));
    }
    out
}

/// While texts are turned into tokens.
pub fn reading(tokenised: f64, total: f64) -> String {
    format!("Reading {} of {}", whole(tokenised), whole(total))
}

/// While reviews are rated.
pub fn rated_of(rated: f64, total: f64) -> String {
    format!("Rated {} of {}", whole(rated), whole(total))
}

/// After the last review.
pub fn rated_all(rated: f64, seconds: f64) -> String {
    let reviews = if rated == 1.0 { "review" } else { "reviews" };
    format!("Rated {} {reviews} in {}", whole(rated), duration(seconds))
}

/// After the reader stopped it.
pub fn stopped(rated: f64, total: f64) -> String {
    format!("Stopped after {} of {}", whole(rated), whole(total))
}

/// How fast it goes.
pub fn throughput(samples: f64, tokens: f64) -> String {
    format!("{} reviews/s · {} tokens/s", speed(samples), speed(tokens))
}

/// A count and its share: `120 (34.2%)`.
pub fn count_and_share(count: u32, total: u32) -> String {
    if count == 0 { "0".into() } else { format!("{} ({})", whole(count.into()), percent(f64::from(count) / f64::from(total))) }
}

/// Under a table that does not show everything.
pub fn not_shown(shown: usize, more: usize) -> String {
    format!("The first {} are shown. The other {} are in the download.", whole(shown as f64), whole(more as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict_of(probabilities: [f32; 5], stars: u8) -> String {
        verdict(&Rating { stars, expected: 3.0, probabilities })
    }

    #[test]
    fn verdicts() {
        assert_eq!(verdict_of([0.02, 0.01, 0.01, 0.01, 0.95], 5), "5 stars, almost certain");
        assert_eq!(verdict_of([0.75, 0.1, 0.05, 0.05, 0.05], 1), "1 star, fairly sure");
        assert_eq!(verdict_of([0.0, 0.2, 0.6, 0.1, 0.1], 3), "3 stars, probably");
        assert_eq!(verdict_of([0.0, 0.0, 0.05, 0.49, 0.46], 4), "4 stars, but it may as well be 5");
        assert_eq!(verdict_of([0.1, 0.2, 0.4, 0.2, 0.1], 3), "3 stars, not very sure");
    }

    #[test]
    fn counts() {
        assert_eq!(counted(0, 0), "0 reviews");
        assert_eq!(counted(1, 1), "1 review, 1 empty line skipped");
        assert_eq!(count_and_share(0, 0), "0");
        assert_eq!(count_and_share(120, 351), "120 (34.2%)");
        assert_eq!(counted(1200, 3), "1,200 reviews, 3 empty lines skipped");
    }
}
