//! Training on the processor, with the fused encoder and AdamW.

use std::collections::BTreeSet;

use anyhow::Result;
use starsight_model::fused::{Fused, Precision};
use starsight_model::weights::Weights;
use starsight_model::{Engine, int8};

use super::loss::Loss;
use super::optimizer::AdamW;
use super::step::{self, Step, Workspace};
use super::trainee::{Done, Setup, Trainee};

/// Default number of tokens computed at once: enough for long sums, few enough for the cache.
const TOKEN_BUDGET: usize = 2048;

/// A model being trained on the processor.
pub struct Processor {
    model: Fused,
    workspace: Workspace,
    optimizer: AdamW,
    loss: Loss,
    token_budget: usize,
    seed: u64,
    first: bool,
    done: Vec<Done>,
    rounded_from: Option<usize>,
    /// The unrounded weights, while the model holds the weights rounded to int8; the buffer is
    /// reused.
    unrounded: Vec<f32>,
    rounded: bool,
}

impl Processor {
    /// A model at its start, with products in `precision`.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn new(precision: Precision, setup: &Setup<'_>) -> Result<Processor> {
        let mut model = Fused::new(setup.config, setup.weights)?;
        model.set_precision(precision);
        Ok(Processor {
            workspace: Workspace::new(&model, setup.depth),
            optimizer: AdamW::new(
                model.layout(),
                setup.groups.to_vec(),
                setup.weight_decay,
                setup.max_grad_norm,
            ),
            loss: setup.loss,
            token_budget: setup.token_budget.unwrap_or(TOKEN_BUDGET),
            seed: setup.seed,
            first: true,
            done: Vec::new(),
            rounded_from: setup.rounded_from,
            unrounded: Vec::new(),
            rounded: false,
            model,
        })
    }

    /// Rounds the model's weights as int8 does, including the embeddings of these words. The
    /// unrounded weights are kept: the gradients at the rounded weights update them (the
    /// straight-through estimator of Bengio, Léonard and Courville, "Estimating or Propagating
    /// Gradients Through Stochastic Neurons", 2013).
    fn use_int8_weights(&mut self, words: impl Iterator<Item = usize>) {
        self.unrounded.clear();
        self.unrounded.extend_from_slice(self.model.values());
        let layout = self.model.layout().clone();
        int8::round(&layout, self.model.values_mut(), words);
        self.rounded = true;
    }

    /// Restores the unrounded weights.
    fn restore_weights(&mut self) {
        if std::mem::take(&mut self.rounded) {
            self.model.values_mut().copy_from_slice(&self.unrounded);
        }
    }
}

impl Trainee for Processor {
    fn step(&mut self, step: &Step<'_>, number: usize, rate: f64) -> Result<()> {
        self.restore_weights();
        self.optimizer
            .prepare(&mut self.model, step.token_ids.iter().copied().flatten());
        if self.rounded_from.is_some_and(|from| number >= from) {
            let words: BTreeSet<usize> = step
                .token_ids
                .iter()
                .copied()
                .flatten()
                .map(|id| *id as usize)
                .collect();
            self.use_int8_weights(words.into_iter());
        }
        let Processor {
            model, workspace, ..
        } = self;
        let loss = step::gradient(
            model,
            workspace,
            step,
            &self.loss,
            self.token_budget,
            self.seed,
            number,
        )?;
        self.restore_weights();
        let Processor {
            model,
            workspace,
            optimizer,
            ..
        } = self;
        let mut done = Done {
            loss,
            norm: f64::NAN,
            broken: None,
            unmoved: Vec::new(),
        };
        // A loss that is not finite stops the run elsewhere; the weights are not changed by it.
        if loss.is_finite() {
            if std::mem::take(&mut self.first) {
                done.unmoved = optimizer
                    .unmoved(&workspace.gradients)
                    .into_iter()
                    .map(str::to_string)
                    .collect();
            }
            done.norm = optimizer.step(model, &workspace.gradients, rate)?;
        }
        self.done.push(done);
        Ok(())
    }

    fn finished(&mut self, _all: bool) -> Result<Vec<Done>> {
        Ok(std::mem::take(&mut self.done))
    }

    fn engine(&mut self) -> &dyn Engine {
        self.restore_weights();
        self.optimizer.settle(&mut self.model);
        if self.rounded_from.is_some() {
            let words = self.model.layout().words().len() / self.model.layout().width();
            self.use_int8_weights(0..words);
        }
        &self.model
    }

    fn state(&mut self) -> Result<[Weights; 3]> {
        self.restore_weights();
        self.optimizer.settle(&mut self.model);
        let [first, second] = self.optimizer.moments(&self.model)?;
        Ok([
            self.model.layout().name(self.model.values())?,
            first,
            second,
        ])
    }

    fn restore(&mut self, first: &Weights, second: &Weights, updates: i32) -> Result<()> {
        self.optimizer.restore(first, second, updates)
    }
}
