//! Training on a GPU: steps are queued, and reported when they are done.

use std::sync::Arc;

use anyhow::{Result, ensure};
use starsight_model::Engine;
use starsight_model::cuda::encoder::TOKEN_BUDGET;
use starsight_model::cuda::learner::{LearnerSettings, StepReport, TrainingStep};
use starsight_model::cuda::{Device, Learner, Precision};
use starsight_model::rng::dropout_keys;
use starsight_model::weights::Weights;

use super::groups::Group;
use super::loss::Loss;
use super::step::Step;
use super::trainee::{Done, Setup, Trainee};

/// A model being trained on a GPU.
pub struct Gpu {
    learner: Learner,
    groups: Vec<Group>,
    loss: Loss,
    weight_decay: f64,
    max_grad_norm: f32,
    updates: i32,
    seed: u64,
    first: bool,
}

impl Gpu {
    /// A model at its start. Reports on standard error if it does not fit with the requested token
    /// budget.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape, or the device cannot take the model.
    pub fn new(device: &Arc<dyn Device>, precision: Precision, setup: &Setup<'_>) -> Result<Gpu> {
        ensure!(
            setup.loss.is_cross_entropy(),
            "--ordinal-log-loss and --teacher run only on the processor: omit them, or use --device cpu"
        );
        let trained: Vec<bool> = setup.groups.iter().map(|group| group.trained).collect();
        let token_budget = setup.token_budget.unwrap_or(TOKEN_BUDGET);
        let settings = LearnerSettings {
            precision,
            depth: setup.depth,
            trained: &trained,
            token_budget,
            reviews: setup.reviews_a_step,
        };
        let learner = Learner::new(device, setup.config, setup.weights, &settings)?;
        if learner.token_budget() < token_budget {
            say!(
                "GPU memory is too small for --token-budget {token_budget}; using {}",
                learner.token_budget()
            );
        }
        Ok(Gpu {
            learner,
            groups: setup.groups.to_vec(),
            loss: setup.loss,
            weight_decay: setup.weight_decay,
            max_grad_norm: setup.max_grad_norm as f32,
            updates: 0,
            seed: setup.seed,
            first: true,
        })
    }

    fn done(&mut self, report: &StepReport) -> Done {
        let layout = self.learner.layout();
        let trained = || {
            layout
                .tensors()
                .iter()
                .zip(&self.groups)
                .zip(&report.squares)
                .filter(|((_, group), _)| group.trained)
        };
        let names = |which: fn(f32) -> bool| {
            trained()
                .filter(move |(_, squares)| which(**squares))
                .map(|((tensor, _), _)| tensor.spec.name.clone())
        };
        let broken = names(|squares| !squares.is_finite()).next();
        let unmoved = if self.first {
            names(|squares| squares == 0.0).collect()
        } else {
            Vec::new()
        };
        self.first = false;
        Done {
            loss: report.loss,
            norm: report.norm,
            broken,
            unmoved,
        }
    }
}

impl Trainee for Gpu {
    fn step(&mut self, step: &Step<'_>, number: usize, rate: f64) -> Result<()> {
        self.updates += 1;
        let updates: Vec<_> = self
            .groups
            .iter()
            .map(|group| {
                group
                    .trained
                    .then(|| group.update(rate, self.weight_decay, self.updates))
            })
            .collect();
        // Each example is a single review; texts with counts are learned only on the processor.
        let labels: Vec<usize> = step
            .counts
            .iter()
            .flatten()
            .filter_map(|counts| counts.iter().position(|count| *count > 0.0))
            .collect();
        let keys = dropout_keys(self.seed, number as u64, step.rows.iter().copied());
        self.learner.step(&TrainingStep {
            reviews: &step.token_ids,
            keys: &keys,
            labels: &labels,
            targets: self.loss.targets(&labels),
            updates: &updates,
            max_norm: self.max_grad_norm,
        })?;
        Ok(())
    }

    fn finished(&mut self, all: bool) -> Result<Vec<Done>> {
        let reports = self.learner.reports(all)?;
        Ok(reports.iter().map(|report| self.done(report)).collect())
    }

    fn engine(&mut self) -> &dyn Engine {
        &self.learner
    }

    fn state(&mut self) -> Result<[Weights; 3]> {
        let layout = self.learner.layout();
        let [first, second] = self.learner.moments()?;
        Ok([
            layout.name(&self.learner.values()?)?,
            layout.name(&first)?,
            layout.name(&second)?,
        ])
    }

    fn restore(&mut self, first: &Weights, second: &Weights, updates: i32) -> Result<()> {
        let layout = self.learner.layout().clone();
        self.learner
            .restore([&layout.gather(first)?, &layout.gather(second)?])?;
        self.updates = updates;
        Ok(())
    }
}
