//! Detects an exploded loss.

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};
use starsight_model::LABELS;

/// Number of first steps whose mean loss is the reference.
const FIRST: usize = 10;
/// Factor above the reference at which a loss is too high.
const TIMES: f64 = 10.0;
/// Consecutive steps with too high a loss that stop the run. Fewer may be due to unlucky reviews,
/// or pass with the warm-up.
const PATIENCE: usize = 20;

const ADVICE: &str = "a lower --lr, a longer --warmup or a lower --max-grad-norm may help";

/// Checks that a loss is finite.
///
/// # Errors
/// When it is not finite.
pub fn finite(loss: f64) -> Result<()> {
    ensure!(
        loss.is_finite(),
        "the loss is {loss}: it has exploded; {ADVICE}"
    );
    Ok(())
}

/// Watches the loss of each step. It is part of a run's state, so that a resumed run stops where an
/// uninterrupted one would.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LossWatch {
    /// The losses of the first [`FIRST`] steps.
    first: Vec<f64>,
    /// Number of consecutive steps, up to now, with too high a loss.
    high: usize,
}

impl LossWatch {
    /// Adds the loss of the next step.
    ///
    /// A run has exploded when a loss is not finite, or when for 20 consecutive steps it is above
    /// 10 times the reference. The reference is the mean loss of the run's first 10 steps, or ln 5,
    /// the loss of a uniform prediction, if that is larger. A model with a loss that stays above
    /// this bound learns nothing, while one that starts well below ln 5 may rise for good reasons.
    ///
    /// # Errors
    /// When the loss has exploded.
    pub fn check(&mut self, loss: f64) -> Result<()> {
        finite(loss)?;
        if self.first.len() < FIRST {
            self.first.push(loss);
            return Ok(());
        }
        let beginning = self.first.iter().sum::<f64>() / FIRST as f64;
        let bound = TIMES * beginning.max((LABELS as f64).ln());
        self.high = if loss > bound { self.high + 1 } else { 0 };
        if self.high >= PATIENCE {
            bail!(
                "the loss is {loss:.3}, and has been above {bound:.3} for {PATIENCE} steps, after {beginning:.3} in the first {FIRST}: it has exploded; {ADVICE}"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stops_at(losses: impl Iterator<Item = f64>) -> Option<usize> {
        let mut watch = LossWatch::default();
        losses
            .enumerate()
            .find(|(_, loss)| watch.check(*loss).is_err())
            .map(|(i, _)| i)
    }

    #[test]
    fn an_explosion_stops_and_a_bad_step_does_not() {
        let then = |loss: f64, times: usize| {
            [1.6; FIRST]
                .into_iter()
                .chain(std::iter::repeat_n(loss, times))
        };
        assert_eq!(stops_at(then(1.2, 1000)), None);
        assert_eq!(stops_at(then(f64::NAN, 1)), Some(FIRST));
        assert_eq!(stops_at([f64::INFINITY].into_iter()), Some(0));
        assert_eq!(stops_at(then(16.2, 1000)), Some(FIRST + PATIENCE - 1));
        assert_eq!(
            stops_at(
                then(16.2, PATIENCE - 1)
                    .chain([1.0])
                    .chain([16.2; PATIENCE - 1])
            ),
            None
        );
    }

    #[test]
    fn the_bound_follows_the_beginning() {
        let steady = |first: f64, then: f64| {
            stops_at(
                [first; FIRST]
                    .into_iter()
                    .chain(std::iter::repeat_n(then, 100)),
            )
        };
        assert_eq!(
            steady(0.01, 2.0),
            None,
            "worse than an excellent beginning, but no explosion"
        );
        assert_eq!(steady(40.0, 300.0), None, "a head that starts out far off");
        assert_eq!(steady(40.0, 401.0), Some(FIRST + PATIENCE - 1));
    }

    #[test]
    fn a_resumed_watch_goes_on() {
        let mut watch = LossWatch::default();
        (0..FIRST).for_each(|_| watch.check(1.6).expect("fine"));
        (1..PATIENCE).for_each(|_| watch.check(100.0).expect("not yet"));
        let mut again: LossWatch =
            serde_json::from_str(&serde_json::to_string(&watch).expect("JSON")).expect("a watch");
        assert!(
            again
                .check(100.0)
                .expect_err("an error")
                .to_string()
                .contains("for 20 steps")
        );
    }
}
