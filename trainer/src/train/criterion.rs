//! The metric by which the best evaluation is chosen.

use std::cmp::Ordering;
use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use starsight_model::metrics::Metrics;

/// A metric on the validation split by which the best evaluation of a run is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Criterion {
    /// Mean cross-entropy, lowest
    Loss,
    /// Share with the right stars, highest
    Accuracy,
    /// Share at most one star off, highest
    OffByOne,
    /// Share on the right side of 4-5 stars against 1-3, highest
    BinaryGreat,
    /// Share on the right side of 5 stars against the rest, highest
    BinaryFive,
    /// Mean absolute error, lowest
    Mae,
    /// F1 averaged over the classes, highest
    MacroF1,
    /// Quadratic weighted kappa, highest
    Qwk,
    /// Expected calibration error, lowest
    Ece,
}

impl Criterion {
    /// The metric's value.
    pub fn of(self, metrics: &Metrics) -> f64 {
        match self {
            Criterion::Loss => metrics.loss,
            Criterion::Accuracy => metrics.accuracy,
            Criterion::OffByOne => metrics.off_by_one,
            Criterion::BinaryGreat => metrics.binary_great,
            Criterion::BinaryFive => metrics.binary_five,
            Criterion::Mae => metrics.mae,
            Criterion::MacroF1 => metrics.macro_f1,
            Criterion::Qwk => metrics.qwk,
            Criterion::Ece => metrics.ece,
        }
    }

    /// `Less` when `a` is better than `b`. NaN is worse than any other value.
    pub fn compare(self, a: &Metrics, b: &Metrics) -> Ordering {
        let (a, b) = (self.of(a), self.of(b));
        let order = match self {
            Criterion::Loss | Criterion::Mae | Criterion::Ece => a.total_cmp(&b),
            _ => b.total_cmp(&a),
        };
        a.is_nan().cmp(&b.is_nan()).then(order)
    }
}

impl fmt::Display for Criterion {
    /// The name on the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value()
            .map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

#[cfg(test)]
mod tests {
    use starsight_model::metrics::Scores;

    use super::*;

    #[test]
    fn better_is_lower_for_errors_and_higher_for_shares() {
        let metrics = |right: f32| {
            let mut scores = Scores::default();
            scores.add(&[right, 0.0, 0.0, 0.0, 0.0], 0);
            scores.add(&[0.0, 0.0, 0.0, 0.0, right], 4);
            scores.metrics()
        };
        let (good, bad) = (metrics(3.0), metrics(-3.0));
        for criterion in Criterion::value_variants() {
            assert_eq!(
                criterion.compare(&good, &bad),
                Ordering::Less,
                "{criterion}"
            );
            assert_eq!(
                criterion.compare(&bad, &good),
                Ordering::Greater,
                "{criterion}"
            );
            assert_eq!(
                criterion.compare(&good, &good),
                Ordering::Equal,
                "{criterion}"
            );
        }
        let unknown = Metrics {
            loss: f64::NAN,
            accuracy: f64::NAN,
            ..good.clone()
        };
        for criterion in [Criterion::Loss, Criterion::Accuracy] {
            assert_eq!(criterion.compare(&bad, &unknown), Ordering::Less);
            assert_eq!(criterion.compare(&unknown, &bad), Ordering::Greater);
        }
        assert_eq!(Criterion::OffByOne.to_string(), "off-by-one");
    }
}
