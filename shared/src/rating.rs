//! Ratings: what a reader is told about a review.

use serde::{Deserialize, Serialize};

use crate::LABELS;

/// A review's rating.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rating {
    /// The likeliest number of stars, 1 to 5; the lower of two that are equally likely.
    pub stars: u8,
    /// The mean of the distribution, in stars, 1.0 to 5.0.
    pub expected: f32,
    /// The probabilities of one to five stars; they add up to 1.
    pub probabilities: [f32; LABELS],
}

impl Rating {
    /// The rating of `logits`, softened by `temperature` (1 leaves them as they are; Guo et al., "On Calibration of Modern Neural Networks", ICML 2017).
    pub fn from_logits(logits: &[f32; LABELS], temperature: f32) -> Rating {
        let probabilities = softmax(&logits.map(|x| x / temperature));
        let expected = probabilities.iter().zip(1u8..).map(|(p, star)| p * f32::from(star)).sum();
        Rating { stars: argmax(logits) as u8 + 1, expected, probabilities }
    }
}

/// The index of the largest value, the first of equals.
pub fn argmax(values: &[f32; LABELS]) -> usize {
    (1..LABELS).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

/// exp(x) / sum(exp(x)), shifted by the maximum so that it cannot overflow.
pub fn softmax(logits: &[f32; LABELS]) -> [f32; LABELS] {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exp = logits.map(|x| libm::expf(x - max));
    let sum: f32 = exp.iter().sum();
    exp.map(|x| x / sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rating_follows_its_logits() {
        let rating = Rating::from_logits(&[0.0, 0.0, 0.0, 0.0, 4f32.ln()], 1.0);
        assert_eq!(rating.stars, 5);
        assert!((rating.probabilities[4] - 0.5).abs() < 1e-6);
        assert!((rating.expected - (0.125 * 10.0 + 0.5 * 5.0)).abs() < 1e-6);
        assert_eq!(Rating::from_logits(&[1.0; 5], 1.0).stars, 1);
        assert_eq!(Rating::from_logits(&[-1e4, 1e4, 0.0, 0.0, 0.0], 1.0).probabilities[1], 1.0);
    }

    #[test]
    fn temperature_softens_but_keeps_the_stars() {
        let logits = [0.3, -1.0, 0.2, 2.0, 1.9];
        let (cold, warm) = (Rating::from_logits(&logits, 1.0), Rating::from_logits(&logits, 2.0));
        assert_eq!(cold.stars, warm.stars);
        assert!(warm.probabilities[3] < cold.probabilities[3]);
    }
}
