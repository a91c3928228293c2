//! A model being trained: the interface through which the loop, the checkpoints and the evaluations
//! use it on any device.

use anyhow::Result;
use starsight_model::fused::Depth;
use starsight_model::weights::Weights;
use starsight_model::{EncoderConfig, Engine};

use super::groups::Group;
use super::loss::Loss;
use super::step::Step;

/// The inputs of a trainee.
pub struct Setup<'a> {
    /// Its configuration.
    pub config: &'a EncoderConfig,
    /// Initial weights.
    pub weights: &'a Weights,
    /// The settings of each tensor of the layout.
    pub groups: &'a [Group],
    /// Lowest part of the model that needs gradients.
    pub depth: Depth,
    /// The loss to minimise.
    pub loss: Loss,
    /// Weight decay, for matrices and embeddings.
    pub weight_decay: f64,
    /// Norm to which gradients are clipped.
    pub max_grad_norm: f64,
    /// Tokens computed at once; `None` for the device's default.
    pub token_budget: Option<usize>,
    /// Largest number of reviews in a step.
    #[cfg_attr(
        not(feature = "cuda"),
        expect(dead_code, reason = "a GPU's buffers are sized by it")
    )]
    pub reviews_a_step: usize,
    /// Seed of dropout.
    pub seed: u64,
    /// Step from which to compute with weights rounded to int8; `None` for never.
    pub rounded_from: Option<usize>,
}

/// The result of a step.
#[derive(Debug, Clone)]
pub struct Done {
    /// Mean loss of the step's reviews.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub norm: f64,
    /// Name of a tensor whose gradient is not finite; then no weight was changed.
    pub broken: Option<String>,
    /// After the first step of a run, the trained tensors whose gradient is zero everywhere.
    pub unmoved: Vec<String>,
}

/// A model being trained, with its optimiser.
pub trait Trainee {
    /// Starts a step at the learning rate `rate`, after `number` others; the device may still
    /// compute it when this returns.
    ///
    /// # Errors
    /// When a review does not fit the model, or the device fails.
    fn step(&mut self, step: &Step<'_>, number: usize, rate: f64) -> Result<()>;

    /// The results of the finished steps, in order; with `all`, waits for the unfinished ones too.
    ///
    /// # Errors
    /// When the device has failed.
    fn finished(&mut self, all: bool) -> Result<Vec<Done>>;

    /// An engine with the weights after all steps so far.
    fn engine(&mut self) -> &dyn Engine;

    /// Weights, first and second moments after all steps so far.
    ///
    /// # Errors
    /// When there is not enough memory, or the device has failed.
    fn state(&mut self) -> Result<[Weights; 3]>;

    /// Restores moments that were saved after `updates` updates.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    fn restore(&mut self, first: &Weights, second: &Weights, updates: i32) -> Result<()>;
}
