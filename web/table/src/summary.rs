//! Summaries of ratings.

use starsight_model::LABELS;
use starsight_model::metrics::Metrics;

use crate::ratings::Ratings;

/// Number of reviews listed as the most negative and the most positive.
pub const EXTREMES: usize = 3;

/// Half the width of a 95% interval, in standard errors.
const Z_95: f64 = 1.959_964;

/// The mean number of stars, and half the width of its 95% confidence interval (normal
/// approximation). A single review has no interval, because it says nothing about the variance.
pub fn mean(counts: &[u64; 5]) -> Option<(f64, Option<f64>)> {
    let n = counts.iter().sum::<u64>() as f64;
    let moment = |power: i32| {
        counts
            .iter()
            .zip(1..)
            .map(|(count, stars)| *count as f64 * f64::from(stars).powi(power))
            .sum::<f64>()
    };
    if n == 0.0 {
        return None;
    }
    let mean = moment(1) / n;
    let half = (n > 1.0).then(|| {
        let variance = (moment(2) - n * mean * mean).max(0.0) / (n - 1.0);
        Z_95 * (variance / n).sqrt()
    });
    Some((mean, half))
}

/// The rows with the lowest or the highest expected stars; among equal ones the first.
pub fn extremes(ratings: &Ratings, rows: usize, highest: bool) -> Vec<usize> {
    let mut best: Vec<(f32, usize)> = Vec::with_capacity(EXTREMES + 1);
    for row in 0..rows {
        let Some(rating) = ratings.get(row) else {
            continue;
        };
        let key = if highest {
            -rating.expected
        } else {
            rating.expected
        };
        if best.len() == EXTREMES && best.last().is_some_and(|last| last.0 <= key) {
            continue;
        }
        let place = best.partition_point(|other| other.0 <= key);
        best.insert(place, (key, row));
        best.truncate(EXTREMES);
    }
    best.into_iter().map(|(_, row)| row).collect()
}

/// The metrics of the rows that have true stars. Logits are not available here, so loss and
/// calibration error are 0.
pub fn metrics(labels: &[u8], ratings: &Ratings) -> Metrics {
    let mut confusion = [[0; LABELS]; LABELS];
    for (row, label) in labels.iter().enumerate() {
        if let (Some(truth), Some(rated)) =
            (label.checked_sub(1), ratings.stars(row).checked_sub(1))
        {
            confusion[usize::from(truth)][usize::from(rated)] += 1;
        }
    }
    Metrics::of(&confusion, 0.0, 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Rated;

    #[test]
    fn the_mean_has_its_interval() {
        assert_eq!(mean(&[0; 5]), None);
        assert_eq!(mean(&[0, 0, 0, 0, 1]), Some((5.0, None)));
        assert_eq!(mean(&[0, 0, 0, 7, 0]), Some((4.0, Some(0.0))));
        // For 1, 1, 5, 5 the standard deviation is 4 / sqrt(3), and the standard error is half of
        // it.
        let (mean, half) = mean(&[2, 0, 0, 0, 2]).unwrap();
        let half = half.unwrap();
        assert!(
            (mean - 3.0).abs() < 1e-12 && (half - 1.959_964 * 2.0 / 3f64.sqrt()).abs() < 1e-9,
            "{mean} {half}"
        );
    }

    #[test]
    fn extremes_are_the_first_of_the_furthest() {
        let mut ratings = Ratings::none(6);
        for (row, expected) in [(0, 2.0), (1, 4.5), (2, 1.1), (4, 1.1), (5, 3.0)] {
            ratings.set(
                row,
                Rated {
                    stars: 3,
                    expected,
                    probabilities: [0.2; 5],
                },
            );
        }
        assert_eq!(
            (extremes(&ratings, 6, false), extremes(&ratings, 6, true)),
            (vec![2, 4, 0], vec![1, 5, 0])
        );
    }
}
