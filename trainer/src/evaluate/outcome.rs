//! The outcome of a training run.

use serde::Serialize;
use starsight_model::metrics::Metrics;
use starsight_model::rating::Decoding;

use crate::evaluate::Evaluation;
use crate::rate::device::Numbers;

/// What a run came to: `metrics.json`.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// On the test split, which nothing was chosen by.
    pub test: Evaluation,
    /// On those reviews of the test split whose text does not stand in the training split; none where that is so of all or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unseen: Option<Evaluation>,
    /// Cross-entropy on the test split by the model's own probabilities, before the temperature: what other trainers report.
    pub uncalibrated_loss: f64,
    /// On the validation split, by which the weights and the temperature were chosen.
    pub validation: Metrics,
    /// What logits are divided by for calibrated probabilities, fitted to the validation split. Both of the above are by these.
    pub temperature: f32,
    /// Whether the bundle's weights are as they were trained, and its manifest holds the temperature; else the head's last weights are divided by it, and the logits of the bundle are calibrated.
    pub temperature_apart: bool,
    /// How stars follow from the probabilities.
    pub decoding: Decoding,
    /// Steps after which the weights are those that were kept.
    pub best_step: usize,
    /// Epochs after which they are, as a fraction.
    pub best_epoch: f64,
    /// What the model was computed on.
    pub device: String,
    /// What its products were computed in.
    pub precision: Numbers,
    /// Steps in all.
    pub steps: usize,
    /// Reviews that the training split holds.
    pub train_samples: usize,
    /// Reviews learned from a second, validation and checkpoints included.
    pub train_samples_per_second: f64,
    /// Tokens learned from a second, likewise.
    pub tokens_per_second: f64,
    /// Seconds of training, validation and checkpoints included.
    pub seconds: f64,
    /// Reviews of the test split rated a second.
    pub eval_samples_per_second: f64,
    /// The most memory that the process held at once, in 10^6 bytes, where the system tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory_mb: Option<u64>,
}
