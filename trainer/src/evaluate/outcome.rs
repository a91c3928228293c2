//! The outcome of a training run.

use serde::Serialize;
use starsight_model::metrics::Metrics;
use starsight_model::rating::Decoding;

use crate::evaluate::Evaluation;
use crate::rate::device::Numbers;

/// The results of a run: `metrics.json`.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Evaluation on the test split, which no choice was based on.
    pub test: Evaluation,
    /// Evaluation on the test reviews whose text does not occur in the training split; `None` if
    /// that holds for all or none of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unseen: Option<Evaluation>,
    /// Cross-entropy on the test split without the temperature, as other trainers report it.
    pub uncalibrated_loss: f64,
    /// Metrics on the validation split, by which the weights and the temperature were chosen.
    pub validation: Metrics,
    /// Calibration temperature, fitted to the validation split. `test`, `unseen` and `validation`
    /// use probabilities calibrated with it.
    pub temperature: f32,
    /// Whether the temperature is kept in the manifest and the weights are as trained. Otherwise
    /// the head's last layer is divided by it, and the bundle's logits are calibrated.
    pub temperature_apart: bool,
    /// How stars are derived from the probabilities.
    pub decoding: Decoding,
    /// Step whose weights were kept.
    pub best_step: usize,
    /// Epochs until that step, as a fraction.
    pub best_epoch: f64,
    /// Device of the training.
    pub device: String,
    /// Precision of its matrix products.
    pub precision: Numbers,
    /// Total number of steps.
    pub steps: usize,
    /// Number of reviews in the training split.
    pub train_samples: usize,
    /// Training reviews per second, including validation and checkpoints.
    pub train_samples_per_second: f64,
    /// Training tokens per second, likewise.
    pub tokens_per_second: f64,
    /// Seconds of training, including validation and checkpoints.
    pub seconds: f64,
    /// Reviews of the test split rated per second.
    pub eval_samples_per_second: f64,
    /// Peak memory of the process in 10^6 bytes, where the system reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory_mb: Option<u64>,
}
