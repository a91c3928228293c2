//! Evaluation of ratings against the reviewers' stars: metrics with confidence intervals, the
//! calibration curve, and the single reviews.

use std::cmp::Reverse;

use rayon::prelude::*;
use serde::{Serialize, Serializer};
use serde_json::json;
use starsight_model::LABELS;
use starsight_model::metrics::{Bin, CALIBRATION_BINS, Metrics, ReviewScore, Scores};
use starsight_model::rating::Decoding;

use crate::evaluate::bootstrap::{Interval, Intervals};

/// Evaluation of the ratings of a set of reviews. As JSON: the metrics, with `intervals` beside
/// them.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    /// The metrics.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// Their 95% confidence intervals.
    pub intervals: Intervals,
    /// The calibration curve.
    #[serde(serialize_with = "curve")]
    pub calibration: [Bin; CALIBRATION_BINS],
    /// Each review, in the given order.
    #[serde(skip)]
    pub reviews: Vec<ReviewScore>,
}

/// A calibration curve as JSON: for each bin with reviews, their number, the number rated right,
/// and the mean probability of the rated stars.
fn curve<S: Serializer>(bins: &[Bin; CALIBRATION_BINS], serializer: S) -> Result<S::Ok, S::Error> {
    let filled = bins.iter().filter(|bin| bin.samples > 0);
    let mean = |bin: &Bin| bin.confidence / bin.samples as f64;
    serializer.collect_seq(
        filled.map(
            |bin| json!({ "samples": bin.samples, "right": bin.right, "confidence": mean(bin) }),
        ),
    )
}

/// A metric for display.
pub struct Measure {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub of: fn(&Metrics) -> f64,
    /// Whether it is a share, shown in percent.
    pub is_share: bool,
    /// Its 95% confidence interval, where there is one.
    pub interval: Option<Interval>,
}

impl Measure {
    /// Formats a value.
    pub fn show(&self, value: f64) -> String {
        if self.is_share {
            format!("{:.2}%", 100.0 * value)
        } else {
            format!("{value:.4}")
        }
    }

    /// Formats the interval; empty if there is none.
    pub fn show_interval(&self) -> String {
        self.interval
            .map(|[low, high]| format!("{} to {}", self.show(low), self.show(high)))
            .unwrap_or_default()
    }
}

impl Evaluation {
    /// Evaluates logits, already divided by the calibration temperature, against labels 0 to 4.
    pub fn new(logits: &[[f32; LABELS]], labels: &[usize], decoding: Decoding) -> Evaluation {
        let mut scores = Scores::of(decoding);
        logits
            .iter()
            .zip(labels)
            .for_each(|(logits, label)| scores.add(logits, *label));
        let judge =
            |(logits, label): (&[f32; LABELS], &usize)| ReviewScore::of(logits, *label, decoding);
        let reviews: Vec<ReviewScore> = logits.par_iter().zip(labels).map(judge).collect();
        Evaluation {
            metrics: scores.metrics(),
            intervals: Intervals::of(&reviews),
            calibration: *scores.calibration(),
            reviews,
        }
    }

    /// The metrics in display order.
    pub fn measures(&self) -> [Measure; 9] {
        let Intervals {
            loss,
            accuracy,
            off_by_one,
            binary_great,
            binary_five,
            mae,
            macro_f1,
            qwk,
        } = self.intervals;
        let measure = |name, of, is_share, interval| Measure {
            name,
            of,
            is_share,
            interval,
        };
        [
            measure("Accuracy", |m| m.accuracy, true, Some(accuracy)),
            measure(
                "At most one star off",
                |m| m.off_by_one,
                true,
                Some(off_by_one),
            ),
            measure(
                "4-5 stars against 1-3",
                |m| m.binary_great,
                true,
                Some(binary_great),
            ),
            measure(
                "5 stars against the rest",
                |m| m.binary_five,
                true,
                Some(binary_five),
            ),
            measure("Mean absolute error, stars", |m| m.mae, false, Some(mae)),
            measure("Macro F1", |m| m.macro_f1, false, Some(macro_f1)),
            measure("Quadratic weighted kappa", |m| m.qwk, false, Some(qwk)),
            measure("Expected calibration error", |m| m.ece, false, None),
            measure("Loss, cross-entropy in nats", |m| m.loss, false, Some(loss)),
        ]
    }

    /// Indices of the `count` wrong ratings with the highest loss, the worst first.
    pub fn worst(&self, count: usize) -> Vec<usize> {
        let mut wrong: Vec<usize> = (0..self.reviews.len())
            .filter(|i| self.reviews[*i].distance() > 0)
            .collect();
        // Losses are not negative, so their bit patterns sort as they do.
        wrong.sort_by_key(|i| Reverse(self.reviews[*i].loss.to_bits()));
        wrong.truncate(count);
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_mistakes_come_first() {
        let sure =
            |label: usize, by: f32| std::array::from_fn(|i| if i == label { by } else { 0.0 });
        let logits = [
            sure(4, 3.0),
            sure(4, 9.0),
            sure(0, 1.0),
            sure(2, 5.0),
            sure(3, 0.1),
        ];
        let evaluation = Evaluation::new(&logits, &[4, 0, 1, 1, 3], Decoding::Likeliest);
        assert_eq!(evaluation.worst(30), [1, 3, 2]);
        assert_eq!(evaluation.worst(1), [1]);
        assert_eq!(evaluation.metrics.accuracy, 0.4);
        assert_eq!(
            evaluation
                .calibration
                .iter()
                .map(|b| b.samples)
                .sum::<u64>(),
            5
        );
        let json = serde_json::to_value(&evaluation).expect("JSON");
        assert_eq!(json["samples"], 5);
        assert_eq!(
            json["intervals"]["accuracy"].as_array().map(Vec::len),
            Some(2)
        );
        assert_eq!(
            json["calibration"].as_array().map(|bins| bins
                .iter()
                .map(|bin| bin["samples"].as_u64().expect("a count"))
                .sum::<u64>()),
            Some(5)
        );
        assert!(json.get("reviews").is_none());
    }
}
