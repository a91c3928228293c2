//! Texts of the view for one review.

use crate::figures::{duration, whole};
use crate::starsight::Rating;
use crate::words::stars;

pub const TITLE: &str = "Rate one review";
pub const LABEL: &str = "Review";
pub const PLACEHOLDER: &str = "Type or paste a review";
pub const TRY: &str = "Or try";
pub const RATING: &str = "Rating";
pub const NOTHING_TYPED: &str = "The rating appears here as you type.";
pub const WAITING: &str = "The rating appears here once the model is ready.";
pub const FAILED: &str = "This review could not be rated";
pub const GUESS: &str = "This text tells the model almost nothing: it may be in a language that the model does not know, or say nothing about an app. The probabilities are those of an average review.";
pub const PROBABILITIES: &str = "Probability of each number of stars";

pub const PULLS: &str = "Words that affect the rating";
pub const UP: &str = "Up";
pub const DOWN: &str = "Down";
pub const NO_WORD: &str = "no single word";
pub const BETWEEN_WORDS: &str = " · ";
pub const WHAT_PULLS_ARE: &str =
    "The words that raise or lower the rating will be marked and listed here.";
pub const NOT_WEIGHED: &str = "The effect of the words could not be computed";
pub const SHARE: &str = "Copy a link to this review";
pub const WHAT_SHARING_MEANS: &str = "Whoever has the link can read the text. The text is in the part after \"#\", which browsers do not send to servers.";
pub const TOO_LONG_TO_SHARE: &str = "This review is too long for a link.";

/// Example reviews to try with a click, from happy to angry.
pub const EXAMPLES: [&str; 5] = [
    "Absolutely love it, use it every day 😍",
    "Good app, but the new menu is confusing",
    "It's okay, nothing more",
    "Too many ads, and it drains my battery",
    "Crashes on start. Lost all my notes!",
];

/// The expected value, as the large figure beside the stars.
pub fn expected(value: f32) -> String {
    format!("{value:.1}")
}

/// The rating in words: `4 stars, fairly sure`.
pub fn verdict(rating: &Rating) -> String {
    if rating.guess {
        return format!("{}, but that is a guess", stars(rating.stars));
    }
    let likeliest = usize::from(rating.stars) - 1;
    let p = rating.probabilities[likeliest];
    let (second, q) = (rating.probabilities.iter().enumerate())
        .filter(|(i, _)| *i != likeliest)
        .fold(
            (0, 0.0),
            |best: (usize, f32), (i, &q)| if q > best.1 { (i, q) } else { best },
        );
    let sure = match p {
        0.9.. => "almost certain".to_string(),
        0.7.. => "fairly sure".to_string(),
        _ if p - q < 0.1 => format!("but {} is almost as likely", second + 1),
        0.5.. => "probably".to_string(),
        _ => "not very sure".to_string(),
    };
    format!("{}, {sure}", stars(rating.stars))
}

/// The size and duration of a rating. `cut` is the number of tokens that were read, if the review
/// was truncated.
pub fn effort(tokens: f64, seconds: f64, cut: Option<f64>) -> String {
    let tokens = if tokens == 1.0 {
        "1 token".into()
    } else {
        format!("{} tokens", whole(tokens))
    };
    let cut = cut.map(|most| format!("; only the first {} tokens were read", whole(most)));
    format!("{tokens}, {}{}", duration(seconds), cut.unwrap_or_default())
}

/// A word's effect on the rating, in stars: `+1.2`.
pub fn pull(by: f32) -> String {
    let sign = if by < 0.0 { '−' } else { '+' };
    format!("{sign}{:.1}", by.abs())
}

/// How the words' effects were computed.
pub fn weighed(words_a_piece: usize) -> String {
    let how = match words_a_piece {
        1 => "Each word was left out in turn".to_string(),
        count => format!("The review is long, so {count} words at a time were left out"),
    };
    format!("{how}; the figure shows how many stars the rating gains or loses with it.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict_of(probabilities: [f32; 5], stars: u8) -> String {
        verdict(&Rating {
            stars,
            expected: 3.0,
            probabilities,
            guess: false,
        })
    }

    #[test]
    fn verdicts() {
        assert_eq!(
            verdict_of([0.02, 0.01, 0.01, 0.01, 0.95], 5),
            "5 stars, almost certain"
        );
        assert_eq!(
            verdict_of([0.75, 0.1, 0.05, 0.05, 0.05], 1),
            "1 star, fairly sure"
        );
        assert_eq!(
            verdict_of([0.0, 0.2, 0.6, 0.1, 0.1], 3),
            "3 stars, probably"
        );
        assert_eq!(
            verdict_of([0.0, 0.0, 0.05, 0.49, 0.46], 4),
            "4 stars, but 5 is almost as likely"
        );
        assert_eq!(
            verdict_of([0.1, 0.2, 0.4, 0.2, 0.1], 3),
            "3 stars, not very sure"
        );
        assert_eq!(
            verdict(&Rating {
                stars: 5,
                expected: 3.9,
                probabilities: [0.2, 0.05, 0.1, 0.1, 0.55],
                guess: true
            }),
            "5 stars, but that is a guess"
        );
    }
}
