//! How far two ways of computing the same model agree.

use serde::Serialize;
use starsight_model::LABELS;
use starsight_model::rating::{Decoding, softmax};

/// The ratings of some reviews beside those of a reference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Agreement {
    /// Reviews.
    pub samples: usize,
    /// The share of reviews that get the same star.
    pub same_star: f64,
    /// The mean absolute difference of two probabilities of the same star.
    pub mean_difference: f64,
    /// The largest one.
    pub largest_difference: f64,
}

impl Agreement {
    /// Holds `logits` against those of a `reference`, review by review; both already divided by the calibration temperature. Stars follow from both by `decoding`.
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
        // Another is the likeliest, and the median still the third.
        assert_eq!(
            Agreement::new(&other, &reference, Decoding::Median).same_star,
            1.0
        );
    }
}
