//! Divides reviews into training, validation and test, and weights them by language.

use std::collections::{BTreeSet, HashMap};

use sha2::{Digest, Sha256};
use starsight::data::text_key;

use crate::Review;

/// Apps, products and places kept for testing: none of their reviews is used for training.
const APPS_SET_ASIDE: [&str; 14] = [
    "com.dropbox.android",
    "flipboard.app",
    "com.lean.sehhaty",
    "Samsung Health",
    "bank:KAKAO",
    "bank:HANA",
    "diet:SS",
    "com.tokopedia.tkpd",
    "com.squareenixmontreal.hitmansniperandroid",
    "com.fantablade.icey",
    "com.sozlerkosku.beste5v2",
    "fondeadora-libérate-del-banco",
    "cuenca-alternativa-a-un-banco",
    "n26-mobile-banking",
];

/// Apps whose reviews from [`LATER`] on are kept for testing.
const APPS_LATER: [&str; 2] = ["com.spotify.music", "com.snapchat.android"];
/// First year that is kept for testing.
const LATER: &str = "2025";

/// Of apps with fewer reviews than this, [`SMALL_SET_ASIDE`] percent are kept for testing.
const SMALL: usize = 500;
const SMALL_SET_ASIDE: u64 = 8;

/// Percentage of texts in the validation split.
const VALIDATED: u64 = 3;

/// The weight of a language is (reviews of the most frequent language / its own reviews)^BALANCE,
/// at most [`HEAVIEST`].
const BALANCE: f64 = 0.3;
const HEAVIEST: f64 = 3.0;

/// Assigns reviews to splits, and weights to languages.
pub struct Parts {
    set_aside: BTreeSet<String>,
    weights: HashMap<String, f32>,
}

fn number(bytes: &[u8]) -> u64 {
    let digest = Sha256::digest(bytes);
    u64::from_le_bytes(std::array::from_fn(|i| digest[i]))
}

impl Parts {
    /// Computes the splits and weights of `reviews`.
    pub fn of(reviews: &[Review]) -> Parts {
        let mut sizes = HashMap::<&str, usize>::new();
        reviews
            .iter()
            .for_each(|review| *sizes.entry(&review.package).or_default() += 1);
        let aside = |(name, size): &(&str, usize)| {
            APPS_SET_ASIDE.contains(name)
                || *size < SMALL && number(name.as_bytes()) % 100 < SMALL_SET_ASIDE
        };
        let set_aside = sizes
            .into_iter()
            .filter(aside)
            .map(|(name, _)| name.to_owned())
            .collect();
        let mut parts = Parts {
            set_aside,
            weights: HashMap::new(),
        };
        let mut counts = HashMap::<&str, usize>::new();
        reviews
            .iter()
            .filter(|review| parts.place(review).0 == "train")
            .for_each(|review| *counts.entry(&review.language).or_default() += 1);
        let most = counts.values().copied().max().unwrap_or(1) as f64;
        parts.weights = counts
            .into_iter()
            .map(|(language, n)| {
                (
                    language.to_owned(),
                    (most / n as f64).powf(BALANCE).min(HEAVIEST) as f32,
                )
            })
            .collect();
        parts
    }

    /// Returns the split of a review and, in the test split, the set it belongs to.
    pub fn place(&self, review: &Review) -> (&'static str, String) {
        let english = review.language == "en";
        let set = |kind: &str| format!("{} {kind}", if english { "en" } else { "other" });
        if self.set_aside.contains(&review.package) {
            ("test", set("apps"))
        } else if APPS_LATER.contains(&review.package.as_str()) && review.date.as_str() >= LATER {
            ("test", set("later"))
        } else if text_key(&review.text) % 100 < VALIDATED {
            ("validation", String::new())
        } else {
            ("train", String::new())
        }
    }

    /// The weight of a review in this language.
    pub fn weight(&self, language: &str) -> f32 {
        self.weights.get(language).copied().unwrap_or(1.0)
    }
}

/// Converts `June 15 2024` to `2024-06-15`; `None` for other formats.
pub fn iso_date(text: &str) -> Option<String> {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let [month, day, year] = text.split_whitespace().collect::<Vec<_>>()[..] else {
        return None;
    };
    let month = 1 + MONTHS.iter().position(|name| *name == month)?;
    Some(format!(
        "{year}-{month:02}-{:02}",
        day.trim_end_matches(',').parse::<u32>().ok()?
    ))
}
