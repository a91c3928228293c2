//! Confidence intervals: how much a metric would vary with another sample of reviews of the same
//! kind.
//!
//! The percentile bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993,
//! chapter 13): as many reviews as there are are drawn with replacement, many times, and the
//! interval holds the middle 95% of the resulting metrics.

use rayon::prelude::*;
use serde::Serialize;
use starsight_model::metrics::Metrics;
use starsight_model::{LABELS, rng};

use starsight_model::metrics::ReviewScore;

const RESAMPLES: u64 = 1000;

/// Fixed, so that the same ratings always give the same intervals.
const SEED: u64 = 1979;

/// Number of draws computed side by side.
const LANES: usize = 4;

/// The ends of a 95% confidence interval.
pub type Interval = [f64; 2];

/// 95% confidence intervals of the metrics of the same names. The calibration error has none: it
/// sums absolute values, which resampling increases, so its interval would be too high and often
/// above the metric itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[allow(missing_docs, reason = "see Metrics")]
pub struct Intervals {
    pub loss: Interval,
    pub accuracy: Interval,
    pub off_by_one: Interval,
    pub binary_great: Interval,
    pub binary_five: Interval,
    pub mae: Interval,
    pub macro_f1: Interval,
    pub qwk: Interval,
}

impl Intervals {
    /// The intervals over `reviews`; zeros if there are none.
    pub fn of(reviews: &[ReviewScore]) -> Intervals {
        let drawn: Vec<Metrics> = (0..RESAMPLES)
            .into_par_iter()
            .map(|i| resample(reviews, rng::stream(SEED, i)))
            .collect();
        let interval = |metric: fn(&Metrics) -> f64| {
            let mut values: Vec<f64> = drawn.iter().map(metric).collect();
            values.sort_unstable_by(f64::total_cmp);
            [quantile(&values, 0.025), quantile(&values, 0.975)]
        };
        Intervals {
            loss: interval(|m| m.loss),
            accuracy: interval(|m| m.accuracy),
            off_by_one: interval(|m| m.off_by_one),
            binary_great: interval(|m| m.binary_great),
            binary_five: interval(|m| m.binary_five),
            mae: interval(|m| m.mae),
            macro_f1: interval(|m| m.macro_f1),
            qwk: interval(|m| m.qwk),
        }
    }
}

/// The metrics of as many reviews as there are, drawn with replacement from the stream `key`; all
/// except the calibration error, which has no interval.
fn resample(reviews: &[ReviewScore], key: u64) -> Metrics {
    // One table per lane: most reviews fall into a few cells, and with a single table each count
    // would wait for the previous one.
    let mut counts = [[0u64; LABELS * LABELS]; LANES];
    let mut loss = [0.0f64; LANES];
    let n = reviews.len();
    for first in (0..n).step_by(LANES) {
        let pair = (first / 2) as u64;
        let bits = [rng::bits(key, pair), rng::bits(key, pair + 1)];
        let draws = [
            bits[0] >> 32,
            bits[0] & 0xffff_ffff,
            bits[1] >> 32,
            bits[1] & 0xffff_ffff,
        ];
        for (lane, draw) in draws.into_iter().enumerate().take(n - first) {
            // The high half of a product of 32 x 32 bits: uniform to within n / 2^32.
            let review = &reviews[((draw * n as u64) >> 32) as usize];
            counts[lane][review.cell()] += 1;
            loss[lane] += f64::from(review.loss);
        }
    }
    let confusion = std::array::from_fn(|t| {
        std::array::from_fn(|p| counts.iter().map(|c| c[t * LABELS + p]).sum())
    });
    Metrics::of(&confusion, loss.iter().sum::<f64>() / n.max(1) as f64, 0.0)
}

/// The quantile `at` of ascending `values`, interpolated linearly between neighbours, as numpy's
/// `quantile`.
fn quantile(values: &[f64], at: f64) -> f64 {
    let place = at * (values.len() - 1) as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    values[low] + (values[high] - values[low]) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reviews(n: usize) -> Vec<ReviewScore> {
        (0..n)
            .map(|i| ReviewScore {
                loss: (i % 4) as f32,
                label: (i % 5) as u8,
                rated: if i % 4 == 0 {
                    4 - (i % 5) as u8
                } else {
                    (i % 5) as u8
                },
                likeliest: 0,
                confidence: 0.5,
            })
            .collect()
    }

    #[test]
    fn an_interval_is_as_wide_as_theory_says() {
        let n = 10_000;
        let intervals = Intervals::of(&reviews(n));
        // Of 20 consecutive reviews five have their stars reversed; one of these has three stars
        // and stays right: 16 are right.
        let half = 1.96 * (0.8f64 * 0.2 / n as f64).sqrt();
        for (end, wanted) in intervals.accuracy.iter().zip([0.8 - half, 0.8 + half]) {
            assert!(
                (end - wanted).abs() < 0.1 * half,
                "{:?}, wanted {wanted}",
                intervals.accuracy
            );
        }
        // Losses 0, 1, 2 and 3 in equal shares: mean 1.5, variance 1.25.
        let half = 1.96 * (1.25 / n as f64).sqrt();
        for (end, wanted) in intervals.loss.iter().zip([1.5 - half, 1.5 + half]) {
            assert!(
                (end - wanted).abs() < 0.1 * half,
                "{:?}, wanted {wanted}",
                intervals.loss
            );
        }
        assert!(intervals.macro_f1[0] < 0.8 && 0.8 < intervals.macro_f1[1]);
        // Labels and ratings are uniform, so the mean squared distance by chance is 4. Of 20
        // consecutive reviews two are four stars off and two are two off: 40 / 20 = 2, so kappa is
        // 1 - 2 / 4.
        assert!(
            intervals.qwk[0] < 0.5
                && 0.5 < intervals.qwk[1]
                && intervals.qwk[1] - intervals.qwk[0] < 0.1,
            "{:?}",
            intervals.qwk
        );
        assert_eq!(intervals, Intervals::of(&reviews(n)), "the same each time");
    }

    #[test]
    fn few_reviews_are_no_trouble() {
        assert_eq!(Intervals::of(&reviews(1)[..]).accuracy, [0.0, 0.0]);
        assert_eq!(Intervals::of(&[]).loss, [0.0, 0.0]);
        let three = Intervals::of(&reviews(3));
        assert!(three.accuracy[0] < three.accuracy[1] && three.accuracy[1] <= 1.0);
    }

    #[test]
    fn quantiles_are_those_of_numpy() {
        let values = [1.0, 2.0, 4.0, 8.0];
        assert_eq!(
            [0.0, 0.5, 1.0].map(|at| quantile(&values, at)),
            [1.0, 3.0, 8.0]
        );
        assert!((quantile(&values, 0.9) - 6.8).abs() < 1e-12);
    }
}
