//! The history of a training run: its steps and evaluations, as logged.

use serde::{Deserialize, Serialize};
use starsight_model::metrics::Metrics;

/// Log line of a step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    /// The step, from 1.
    pub step: usize,
    /// Epochs done, as a fraction.
    pub epoch: f64,
    /// Mean loss of the step's reviews.
    pub loss: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Reviews in the step.
    pub samples: usize,
    /// Tokens in the step.
    pub tokens: usize,
    /// Seconds of training so far.
    pub seconds: f64,
}

/// Log line of an evaluation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Evaluated {
    /// The step after which it ran.
    pub step: usize,
    /// Epochs done.
    pub epoch: f64,
    /// Metrics on the validation split.
    pub validation: Metrics,
}
