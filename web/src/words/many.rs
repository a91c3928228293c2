//! Rate many.

use crate::figures::{duration, percent, speed, whole};

pub const TITLE: &str = "Rate many";
pub const LABEL: &str = "Reviews, one a line";
pub const PLACEHOLDER: &str = "Great game, my kids love it\nWon't open on my tablet\n…";
pub const RATE: &str = "Rate";
pub const STOP: &str = "Stop";
pub const DOWNLOAD: &str = "Download as CSV";
pub const FILE_NAME: &str = "ratings.csv";
pub const NOTHING_PASTED: &str = "Paste some reviews first, one a line.";
pub const WHAT_COMES: &str = "The ratings appear below, and can be downloaded as CSV.";
pub const SUMMARY: &str = "Summary";
pub const AVERAGE: &str = "stars on average";
pub const DISTRIBUTION: &str = "How many reviews got each number of stars";
pub const RESULTS: &str = "Ratings";
pub const COLUMN_NUMBER: &str = "No.";
pub const COLUMN_REVIEW: &str = "Review";
pub const COLUMN_STARS: &str = "Stars";
pub const COLUMN_EXPECTED: &str = "Expected";
pub const COLUMN_SURE: &str = "Sure";
pub const FAILED: &str = "Rating stopped";

/// The mean number of stars, as the large figure of the summary.
pub fn mean(value: f32) -> String {
    format!("{value:.2}")
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

    #[test]
    fn counts() {
        assert_eq!(counted(0, 0), "0 reviews");
        assert_eq!(counted(1, 1), "1 review, 1 empty line skipped");
        assert_eq!(count_and_share(0, 0), "0");
        assert_eq!(count_and_share(120, 351), "120 (34.2%)");
        assert_eq!(counted(1200, 3), "1,200 reviews, 3 empty lines skipped");
    }
}
