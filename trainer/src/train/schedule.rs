//! The learning rate schedule, by the formulas of transformers' `optimization.py`.

use std::f64::consts::PI;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Shape of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// Linear, down to 0
    Linear,
    /// Half a cosine, down to 0
    Cosine,
    /// Constant
    Constant,
    /// Down to --lr-end, along a power of the remaining share of the run
    Polynomial,
}

/// The learning rate of each step: a linear rise from 0 over the first `warmup` steps, then
/// `decay`.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// transformers' `get_linear_schedule_with_warmup`, `get_cosine_schedule_with_warmup`, `get_constant_schedule_with_warmup` or
    /// `get_polynomial_decay_schedule_with_warmup`.
    pub decay: Decay,
    /// Peak rate.
    pub peak: f64,
    /// Final rate of the polynomial.
    pub end: f64,
    /// The power of the polynomial.
    pub power: f64,
    /// Number of warm-up steps.
    pub warmup: usize,
    /// Total number of steps.
    pub total: usize,
}

impl Schedule {
    /// The rate of step `step`, counted from 0. With a warm-up the first step's rate is 0.
    pub fn rate(&self, step: usize) -> f64 {
        if step < self.warmup {
            return self.peak * step as f64 / self.warmup as f64;
        }
        // 1 at the end of the warm-up, 0 at the end of the run.
        let left = self.total.saturating_sub(step) as f64
            / self.total.saturating_sub(self.warmup).max(1) as f64;
        match self.decay {
            Decay::Linear => self.peak * left,
            Decay::Cosine => self.peak * 0.5 * (1.0 + (PI * (1.0 - left)).cos()),
            Decay::Constant => self.peak,
            Decay::Polynomial => (self.peak - self.end) * left.powf(self.power) + self.end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps at which the rates of transformers 5.23 were recorded, with
    /// `LambdaLR.lr_lambdas[0](step)` of the four functions named at [`Schedule::decay`]: 15 steps,
    /// 2 of them warm-up, a peak of 2, an end of 0.5, a power of 2.
    const STEPS: [usize; 6] = [0, 1, 2, 7, 14, 15];

    #[test]
    fn rates_are_those_of_transformers() {
        for (decay, wanted) in [
            (
                Decay::Linear,
                [
                    0.0,
                    1.0,
                    2.0,
                    1.230_769_230_769_230_8,
                    0.153_846_153_846_153_85,
                    0.0,
                ],
            ),
            (
                Decay::Cosine,
                [
                    0.0,
                    1.0,
                    2.0,
                    1.354_604_887_042_535_6,
                    0.029_058_182_573_947_988,
                    0.0,
                ],
            ),
            (Decay::Constant, [0.0, 1.0, 2.0, 2.0, 2.0, 2.0]),
            (
                Decay::Polynomial,
                [
                    0.0,
                    1.0,
                    2.0,
                    1.068_047_337_278_106_6,
                    0.508_875_739_644_970_4,
                    0.5,
                ],
            ),
        ] {
            let schedule = Schedule {
                decay,
                peak: 2.0,
                end: 0.5,
                power: 2.0,
                warmup: 2,
                total: 15,
            };
            for (step, wanted) in STEPS.into_iter().zip(wanted) {
                let found = schedule.rate(step);
                assert!(
                    (found - wanted).abs() < 1e-12,
                    "{decay:?}, step {step}: {found}, recorded {wanted}"
                );
            }
        }
    }

    #[test]
    fn short_runs_have_a_rate_too() {
        let schedule = Schedule {
            decay: Decay::Linear,
            peak: 1.0,
            end: 0.0,
            power: 1.0,
            warmup: 0,
            total: 1,
        };
        assert_eq!(schedule.rate(0), 1.0);
        assert_eq!(
            Schedule {
                warmup: 1,
                ..schedule
            }
            .rate(0),
            0.0
        );
        assert_eq!(
            Schedule {
                warmup: 3,
                total: 3,
                ..schedule
            }
            .rate(3),
            0.0
        );
    }
}
