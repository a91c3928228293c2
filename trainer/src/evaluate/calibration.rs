//! Temperature scaling: logits are divided by one number, so that ratings with a probability of 80%
//! are right 80% of the time (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017).
//! It changes the confidence of ratings, never the likeliest stars.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use starsight_model::LABELS;
use starsight_model::metrics::{Metrics, Scores};

/// Bounds of the temperature. A value beyond them does not mean a badly calibrated model, but too
/// few reviews, or reviews that are all rated right.
const BOUNDS: [f64; 2] = [0.25, 4.0];

/// A temperature, and the metrics it gives on the reviews that it was fitted to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The number to divide logits by.
    pub temperature: f32,
    /// Mean cross-entropy with this temperature, in nats.
    pub loss: f64,
    /// Expected calibration error with this temperature.
    pub ece: f64,
}

impl Calibration {
    /// Fits the temperature to reviews that the model was not trained on: the one with the lowest
    /// mean cross-entropy between 1/4 and 4; 1 if there are no reviews.
    pub fn fit(logits: &[[f32; LABELS]], labels: &[usize]) -> Calibration {
        // The loss is convex in the inverse temperature, so its slope crosses zero once. Bisection
        // finds the crossing and cannot diverge, as Newton's method could.
        let [mut low, mut high] = BOUNDS.map(f64::recip);
        (low, high) = (high, low);
        if logits.is_empty() {
            (low, high) = (1.0, 1.0);
        }
        while high - low > 1e-6 {
            let middle = 0.5 * (low + high);
            if slope(logits, labels, middle) > 0.0 {
                high = middle;
            } else {
                low = middle;
            }
        }
        let temperature = (2.0 / (low + high)) as f32;
        let mut scores = Scores::default();
        logits.iter().zip(labels).for_each(|(logits, label)| {
            scores.add(&divide_by_temperature(logits, temperature), *label);
        });
        let Metrics { loss, ece, .. } = scores.metrics();
        Calibration {
            temperature,
            loss,
            ece,
        }
    }

    /// The metrics of the same reviews with calibrated probabilities: only loss and calibration
    /// error change.
    pub fn applied(&self, metrics: &Metrics) -> Metrics {
        Metrics {
            loss: self.loss,
            ece: self.ece,
            ..metrics.clone()
        }
    }
}

/// Divides logits by a temperature.
pub fn divide_by_temperature(logits: &[f32; LABELS], temperature: f32) -> [f32; LABELS] {
    logits.map(|x| x / temperature)
}

/// Slope of the mean cross-entropy with respect to the inverse temperature s: with p = softmax(s
/// z), the mean of Σ p_c z_c - z_label.
fn slope(logits: &[[f32; LABELS]], labels: &[usize], s: f64) -> f64 {
    let of = |(logits, label): (&[f32; LABELS], &usize)| {
        let z = logits.map(f64::from);
        let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let exp = z.map(|z| (s * (z - max)).exp());
        let expected =
            exp.iter().zip(&z).map(|(e, z)| e * z).sum::<f64>() / exp.iter().sum::<f64>();
        expected - z[*label]
    };
    // Summed in fixed chunks, so that the result does not depend on the number of cores.
    let pieces: Vec<f64> = logits
        .par_chunks(PIECE)
        .zip(labels.par_chunks(PIECE))
        .map(|(logits, labels)| logits.iter().zip(labels).map(of).sum())
        .collect();
    pieces.iter().sum::<f64>() / logits.len() as f64
}

/// Reviews in a chunk of the sum.
const PIECE: usize = 4096;

#[cfg(test)]
mod tests {
    use starsight_model::rating::softmax;
    use starsight_model::rng;

    use super::*;

    /// Reviews whose stars are drawn from softmax(logits / temperature), so that this temperature
    /// calibrates them.
    fn drawn(n: usize, temperature: f32) -> (Vec<[f32; LABELS]>, Vec<usize>) {
        let numbers = rng::normals(7, n * LABELS, 2.0);
        let logits: Vec<[f32; LABELS]> = numbers.as_chunks().0.to_vec();
        let label = |(i, logits): (usize, &[f32; LABELS])| {
            let draw = (rng::stream(11, i as u64) >> 40) as f32 / (1u64 << 24) as f32;
            let mut sum = 0.0;
            softmax(&divide_by_temperature(logits, temperature))
                .iter()
                .position(|p| {
                    sum += p;
                    draw < sum
                })
        };
        let labels = logits
            .iter()
            .enumerate()
            .map(|item| label(item).unwrap_or(LABELS - 1))
            .collect();
        (logits, labels)
    }

    #[test]
    fn the_temperature_that_made_the_stars_is_found() {
        for wanted in [0.5, 1.0, 1.7, 3.0] {
            let (logits, labels) = drawn(20_000, wanted);
            let found = Calibration::fit(&logits, &labels);
            assert!(
                (found.temperature / wanted - 1.0).abs() < 0.04,
                "{wanted}: {found:?}"
            );
            assert!(found.ece < 0.015, "{wanted}: {found:?}");
            // Neighbouring temperatures have a higher loss.
            for beside in [0.97, 1.03] {
                let mut scores = Scores::default();
                logits.iter().zip(&labels).for_each(|(logits, label)| {
                    scores.add(
                        &divide_by_temperature(logits, found.temperature * beside),
                        *label,
                    );
                });
                assert!(scores.metrics().loss > found.loss, "{wanted} {beside}");
            }
        }
    }

    #[test]
    fn only_what_depends_on_confidence_changes() {
        let (logits, labels) = drawn(500, 2.0);
        let mut scores = Scores::default();
        logits
            .iter()
            .zip(&labels)
            .for_each(|(logits, label)| scores.add(logits, *label));
        let (before, calibration) = (scores.metrics(), Calibration::fit(&logits, &labels));
        let after = calibration.applied(&before);
        assert!(
            after.loss < before.loss && after.ece < before.ece,
            "{before:?} {after:?}"
        );
        assert_eq!(
            Metrics {
                loss: before.loss,
                ece: before.ece,
                ..after
            },
            before
        );
    }

    #[test]
    fn what_cannot_tell_stays_within_bounds() {
        let sure = [[0.0, 0.0, 0.0, 0.0, 9.0]; 3];
        assert!(
            (Calibration::fit(&sure, &[4, 4, 4]).temperature - 0.25).abs() < 1e-4,
            "no error at all"
        );
        assert!(
            (Calibration::fit(&sure, &[0, 1, 2]).temperature - 4.0).abs() < 1e-3,
            "nothing but errors"
        );
        assert_eq!(Calibration::fit(&[], &[]).temperature, 1.0);
    }
}
