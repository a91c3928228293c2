//! A model in training: the one door through which the loop, the checkpoints and the evaluations know it, wherever it is computed.

use anyhow::Result;
use starsight_model::fused::Depth;
use starsight_model::weights::Weights;
use starsight_model::{EncoderConfig, Engine};

use super::groups::Group;
use super::loss::Loss;
use super::step::Step;

/// What a model is trained with.
pub struct Setup<'a> {
    /// Its configuration.
    pub config: &'a EncoderConfig,
    /// Where it starts.
    pub weights: &'a Weights,
    /// How each tensor of the layout is treated.
    pub groups: &'a [Group],
    /// How far down gradients are asked for.
    pub depth: Depth,
    /// What is made small.
    pub loss: Loss,
    /// Of matrices and embeddings.
    pub weight_decay: f64,
    /// To which gradients are clipped.
    pub max_grad_norm: f64,
    /// Tokens computed at once; the device's own number unless given.
    pub token_budget: Option<usize>,
    /// The most reviews of a step.
    pub reviews_a_step: usize,
    /// Of dropout.
    pub seed: u64,
    /// The step from which it computes with the weights that int8 leaves of its own; never unless given.
    pub rounded_from: Option<usize>,
}

/// What a step came to.
#[derive(Debug, Clone)]
pub struct Done {
    /// Mean loss of the step's reviews.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub norm: f64,
    /// A tensor whose gradient is not finite: then nothing was moved.
    pub broken: Option<String>,
    /// After the first step of all, the trained tensors whose gradient is zero throughout.
    pub unmoved: Vec<String>,
}

/// A model in training, with its optimiser.
pub trait Trainee {
    /// Takes a step at the learning rate `rate`, after `number` others; it may go on when this returns.
    ///
    /// # Errors
    /// When a review does not fit the model, or the device fails.
    fn step(&mut self, step: &Step<'_>, number: usize, rate: f64) -> Result<()>;

    /// What steps came to, in their order: of those that are done, or, if `all`, of all, once they are.
    ///
    /// # Errors
    /// When the device failed.
    fn finished(&mut self, all: bool) -> Result<Vec<Done>>;

    /// What rates with the weights as all steps so far left them.
    fn engine(&mut self) -> &dyn Engine;

    /// Weights, first and second moments, as all steps so far left them.
    ///
    /// # Errors
    /// When memory cannot be had, or the device failed.
    fn state(&mut self) -> Result<[Weights; 3]>;

    /// Goes on from moments that were saved after `updates` updates.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    fn restore(&mut self, first: &Weights, second: &Weights, updates: i32) -> Result<()>;
}
