//! Agreement between two ways of computing the same model.

use serde::Serialize;
use starsight_model::LABELS;
use starsight_model::rating::{Decoding, softmax};

/// Comparison of the ratings of some reviews with reference ratings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Agreement {
    /// Number of reviews.
    pub samples: usize,
    /// Share of reviews with the same number of stars.
    pub same_star: f64,
    /// Mean absolute difference of the probabilities.
    pub mean_difference: f64,
    /// Largest absolute difference.
    pub largest_difference: f64,
}

impl Agreement {
    /// Compares `logits` with those of a `reference`, review by review. Both must already be
    /// divided by the calibration temperature. `decoding` gives the stars of both.
    pub fn new(
        logits: &[[f32; LABELS]],
        reference: &[[f32; LABELS]],
        decoding: Decoding,
    ) -> Agreement {
        let (mut same, mut sum, mut largest) = (0, 0.0, 0f64);
        for (a, b) in logits.iter().zip(reference) {
            same += usize::from(decoding.label(a) == decoding.label(b));
            for (p, q) in softmax(a).into_iter().zip(softmax(b)) {
                let difference = f64::from((p - q).abs());
                sum += difference;
                largest = largest.max(difference);
            }
        }
        let samples = logits.len();
        let n = samples.max(1) as f64;
        Agreement {
            samples,
            same_star: same as f64 / n,
            mean_difference: sum / (n * LABELS as f64),
            largest_difference: largest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_probabilities_are_compared() {
        let logits = |p: [f32; LABELS]| p.map(f32::ln);
        let reference = [
            logits([0.2, 0.2, 0.2, 0.3, 0.1]),
            logits([0.6, 0.1, 0.1, 0.1, 0.1]),
        ];
        let other = [logits([0.35, 0.1, 0.3, 0.15, 0.1]), reference[1]];
        let found = Agreement::new(&other, &reference, Decoding::Likeliest);
        assert_eq!((found.samples, found.same_star), (2, 0.5));
        assert!(
            (found.mean_difference - 0.05).abs() < 1e-6
                && (found.largest_difference - 0.15).abs() < 1e-6,
            "{found:?}"
        );
        // The likeliest star differs, while the median is still the third.
        assert_eq!(
            Agreement::new(&other, &reference, Decoding::Median).same_star,
            1.0
        );
    }
}
