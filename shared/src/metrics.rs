//! Metrics of ratings against the stars that the reviewers gave.

use serde::{Deserialize, Serialize};

use crate::LABELS;
use crate::rating::{Decoding, argmax, softmax};

/// Bins of the calibration error.
pub const CALIBRATION_BINS: usize = 15;

/// Metrics over a set of rated reviews. Shares range from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Number of reviews.
    pub samples: usize,
    /// Mean cross-entropy, in nats.
    pub loss: f64,
    /// Share of reviews with the right number of stars.
    pub accuracy: f64,
    /// Share of reviews that are at most one star off.
    pub off_by_one: f64,
    /// Accuracy of "4 or 5 stars" against "1 to 3 stars".
    pub binary_great: f64,
    /// Accuracy of "5 stars" against the rest, which the notebook calls binary accuracy.
    pub binary_five: f64,
    /// Mean absolute error in stars.
    pub mae: f64,
    /// F1 averaged with equal weights over the classes that occur among the true or the predicted
    /// stars.
    pub macro_f1: f64,
    /// Cohen's kappa with quadratic weights (Cohen 1968): agreement beyond chance, where an error
    /// of two stars counts four times as much as an error of one.
    pub qwk: f64,
    /// Expected calibration error of the most probable number of stars, over 15 bins of equal width
    /// (Guo et al. 2017).
    pub ece: f64,
    /// Counts: row = true label, column = predicted label.
    pub confusion: [[u64; LABELS]; LABELS],
}

/// Collects logits and labels and computes their metrics.
#[derive(Debug, Clone, Default)]
pub struct Scores {
    decoding: Decoding,
    confusion: [[u64; LABELS]; LABELS],
    loss: f64,
    bins: [Bin; CALIBRATION_BINS],
}

/// The result for a rated review that metrics need.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReviewScore {
    /// Cross-entropy in nats.
    pub loss: f32,
    /// The true label, 0 to 4.
    pub label: u8,
    /// The rated label.
    pub rated: u8,
    /// The most probable label.
    pub likeliest: u8,
    /// The probability of the most probable label.
    pub confidence: f32,
}

impl ReviewScore {
    /// Compares the logits of a review, already divided by the calibration temperature, with its
    /// label, 0 to 4.
    pub fn of(logits: &[f32; LABELS], label: usize, decoding: Decoding) -> ReviewScore {
        let likeliest = argmax(logits);
        ReviewScore {
            loss: cross_entropy(logits, label) as f32,
            label: label as u8,
            rated: decoding.label(logits) as u8,
            likeliest: likeliest as u8,
            confidence: softmax(logits)[likeliest],
        }
    }

    /// The index in a row-major confusion matrix, 0 to 24.
    pub fn cell(self) -> usize {
        usize::from(self.label) * LABELS + usize::from(self.rated)
    }

    /// The difference in stars between the true and the rated label.
    pub fn distance(self) -> u8 {
        self.label.abs_diff(self.rated)
    }
}

/// A bin of the calibration curve: reviews with similar confidence.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bin {
    /// Number of reviews.
    pub samples: u64,
    /// Number of reviews whose most probable number of stars was right.
    pub right: u64,
    /// Sum of the probabilities of the most probable numbers of stars.
    pub confidence: f64,
}

impl Scores {
    /// Empty scores for ratings with this decoding rule.
    pub fn of(decoding: Decoding) -> Scores {
        Scores {
            decoding,
            ..Scores::default()
        }
    }

    /// Adds a review with its true label, 0 to 4.
    pub fn add(&mut self, logits: &[f32; LABELS], label: usize) {
        self.loss += cross_entropy(logits, label);
        self.count(&ReviewScore::of(logits, label, self.decoding));
    }

    /// Adds a review whose logits are no longer available.
    pub fn add_score(&mut self, review: &ReviewScore) {
        self.loss += f64::from(review.loss);
        self.count(review);
    }

    fn count(&mut self, review: &ReviewScore) {
        let ReviewScore {
            label,
            rated,
            likeliest,
            confidence,
            ..
        } = *review;
        self.confusion[usize::from(label)][usize::from(rated)] += 1;
        let confidence = f64::from(confidence);
        // Bins are open on the left and closed on the right, as in the paper.
        let bin =
            ((confidence * CALIBRATION_BINS as f64).ceil() as usize).clamp(1, CALIBRATION_BINS) - 1;
        self.bins[bin].samples += 1;
        self.bins[bin].right += u64::from(likeliest == label);
        self.bins[bin].confidence += confidence;
    }

    /// The metrics of all added reviews; zeros if there are none.
    pub fn metrics(&self) -> Metrics {
        let samples = self.bins.iter().map(|b| b.samples).sum::<u64>().max(1) as f64;
        let ece = self
            .bins
            .iter()
            .map(|b| (b.right as f64 - b.confidence).abs())
            .sum::<f64>()
            / samples;
        Metrics::of(&self.confusion, self.loss / samples, ece)
    }

    /// The calibration curve: bins of equal width over confidences from 0 to 1.
    pub fn calibration(&self) -> &[Bin; CALIBRATION_BINS] {
        &self.bins
    }
}

impl Metrics {
    /// The metrics of a confusion matrix (row = true label, column = predicted label). The mean
    /// loss and the calibration error do not follow from it and are given.
    pub fn of(confusion: &[[u64; LABELS]; LABELS], loss: f64, ece: f64) -> Metrics {
        let c = confusion;
        let cells = || (0..LABELS).flat_map(|t| (0..LABELS).map(move |p| (t, p)));
        let samples: u64 = c.iter().flatten().sum();
        let n = samples.max(1) as f64;
        let share = |counts: &dyn Fn(usize, usize) -> bool| {
            cells()
                .filter(|&(t, p)| counts(t, p))
                .map(|(t, p)| c[t][p])
                .sum::<u64>() as f64
                / n
        };
        let truth: [f64; LABELS] = std::array::from_fn(|t| c[t].iter().sum::<u64>() as f64);
        let guess: [f64; LABELS] =
            std::array::from_fn(|p| c.iter().map(|row| row[p]).sum::<u64>() as f64);
        let present = (0..LABELS).filter(|&i| truth[i] + guess[i] > 0.0);
        let f1: Vec<f64> = present
            .map(|i| 2.0 * c[i][i] as f64 / (truth[i] + guess[i]))
            .collect();
        let distance = |t: usize, p: usize| (t as f64 - p as f64).powi(2);
        let observed: f64 = cells().map(|(t, p)| distance(t, p) * c[t][p] as f64).sum();
        let by_chance: f64 = cells()
            .map(|(t, p)| distance(t, p) * truth[t] * guess[p] / n)
            .sum();
        Metrics {
            samples: samples as usize,
            loss,
            accuracy: share(&|t, p| t == p),
            off_by_one: share(&|t, p| t.abs_diff(p) <= 1),
            binary_great: share(&|t, p| (t >= 3) == (p >= 3)),
            binary_five: share(&|t, p| (t == 4) == (p == 4)),
            mae: cells()
                .map(|(t, p)| (t.abs_diff(p) as u64 * c[t][p]) as f64)
                .sum::<f64>()
                / n,
            macro_f1: f1.iter().sum::<f64>() / f1.len().max(1) as f64,
            // If all reviews belong to one class and are rated so, no disagreement is expected, and
            // kappa is undefined; it is set to 0.
            qwk: if by_chance > 0.0 {
                1.0 - observed / by_chance
            } else {
                0.0
            },
            ece,
            confusion: *c,
        }
    }
}

/// The loss of one review: the negative logarithm of the probability of its true label, in nats.
pub fn cross_entropy(logits: &[f32; LABELS], label: usize) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let log_sum = logits
        .iter()
        .map(|x| f64::from(x - max).exp())
        .sum::<f64>()
        .ln();
    log_sum - f64::from(logits[label] - max)
}
