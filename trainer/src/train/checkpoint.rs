//! Checkpoints: all that a run needs to go on as if it had never stopped.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use starsight_model::EncoderConfig;
use starsight_model::fused::Fused;
use starsight_model::metrics::Metrics;
use starsight_model::weights::Weights;

use super::optimizer::AdamW;
use super::recipe::Recipe;
use crate::files;

const WEIGHTS: &str = "model.safetensors";
const FIRST_MOMENT: &str = "first_moment.safetensors";
const SECOND_MOMENT: &str = "second_moment.safetensors";
const STATE: &str = "state.json";

/// Where a run stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// Steps done.
    pub step: usize,
    /// Updates that the optimiser made.
    pub updates: i32,
    /// Reviews learned from, each as often as it was seen.
    pub samples: usize,
    /// Tokens learned from.
    pub tokens: usize,
    /// Seconds spent on training steps.
    pub seconds: f64,
    /// The evaluation of each epoch that is over.
    pub epochs: Vec<Epoch>,
    /// What the run is made of; another one cannot go on from here.
    pub run: Run,
}

/// An epoch that is over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Epoch {
    /// The step that ended it.
    pub step: usize,
    /// Metrics on the validation split.
    pub validation: Metrics,
}

/// What a run is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The recipe.
    pub recipe: Recipe,
    /// The base model as it was named.
    pub model: String,
    /// SHA-256 of the training and validation rows: token ids and labels.
    pub data: String,
}

impl State {
    /// The epoch with the lowest validation loss, the first of equals.
    pub fn best(&self) -> Option<&Epoch> {
        self.epochs.iter().min_by(|a, b| a.validation.loss.total_cmp(&b.validation.loss))
    }
}

/// The folder of a run's checkpoints.
pub struct Checkpoints {
    dir: PathBuf,
}

impl Checkpoints {
    /// The checkpoints under `out`.
    pub fn under(out: &Path) -> Checkpoints {
        Checkpoints { dir: out.join("checkpoints") }
    }

    fn path(&self, step: usize) -> PathBuf {
        self.dir.join(format!("step-{step:08}"))
    }

    /// Saves where the run stands. The folder appears under its name only when all of it is on the disk; then those are removed that are neither the newest nor the best.
    ///
    /// # Errors
    /// When the disk is full or cannot be written: earlier checkpoints stay.
    pub fn save(&self, state: &State, model: &Fused, optimizer: &AdamW) -> Result<()> {
        let path = self.path(state.step);
        let failed = || format!("saving the checkpoint {}", path.display());
        fs::create_dir_all(&self.dir).with_context(failed)?;
        let work = tempfile::Builder::new().prefix(".saving-").tempdir_in(&self.dir).with_context(failed)?;
        let [first, second] = optimizer.moments(model)?;
        for (name, weights) in [(WEIGHTS, model.name_values(model.values())?), (FIRST_MOMENT, first), (SECOND_MOMENT, second)] {
            files::write_bytes(&work.path().join(name), &weights.to_safetensors()?)?;
        }
        files::write_bytes(&work.path().join(STATE), &serde_json::to_vec_pretty(state)?)?;
        if path.exists() {
            fs::remove_dir_all(&path).with_context(failed)?;
        }
        fs::rename(work.path(), &path).with_context(failed)?;
        let kept = [Some(state.step), state.best().map(|e| e.step)];
        for step in self.steps()?.into_iter().filter(|step| !kept.contains(&Some(*step))) {
            fs::remove_dir_all(self.path(step)).with_context(|| format!("removing {}", self.path(step).display()))?;
        }
        Ok(())
    }

    /// The steps of the checkpoints that are there, ascending.
    fn steps(&self) -> Result<Vec<usize>> {
        if !self.dir.is_dir() {
            return Ok(Vec::new());
        }
        let entries = fs::read_dir(&self.dir).with_context(|| format!("reading {}", self.dir.display()))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut steps: Vec<usize> = names.filter_map(|name| name.strip_prefix("step-")?.parse().ok()).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// Where the newest checkpoint stands; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn newest(&self) -> Result<Option<State>> {
        let Some(step) = self.steps()?.pop() else { return Ok(None) };
        let path = self.path(step).join(STATE);
        let state: State = serde_json::from_slice(&files::read(&path)?).with_context(|| format!("{} is not readable", path.display()))?;
        ensure!(state.step == step, "{} says step {}", path.display(), state.step);
        Ok(Some(state))
    }

    /// The weights saved at `step`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn weights(&self, step: usize, config: &EncoderConfig) -> Result<Weights> {
        self.read(step, WEIGHTS, config)
    }

    /// Puts the optimiser where it was at `state`.
    ///
    /// # Errors
    /// When the checkpoint cannot be read.
    pub fn restore(&self, state: &State, optimizer: &mut AdamW, config: &EncoderConfig) -> Result<()> {
        let [first, second] = [FIRST_MOMENT, SECOND_MOMENT].map(|name| self.read(state.step, name, config));
        optimizer.restore(&first?, &second?, state.updates)
    }

    fn read(&self, step: usize, name: &str, config: &EncoderConfig) -> Result<Weights> {
        let path = self.path(step).join(name);
        Weights::from_safetensors(&files::read(&path)?, config).with_context(|| format!("{}", path.display()))
    }
}
