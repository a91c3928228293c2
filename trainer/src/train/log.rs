//! `train_log.jsonl`: a line a step.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use super::checkpoint::State;
use crate::files;

/// The log of a run, written as it goes.
pub struct Log {
    path: PathBuf,
    file: std::fs::File,
}

/// What is logged of a step.
#[derive(Debug, Serialize)]
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

impl Log {
    /// Opens the log in `out`, keeping the lines of what was done up to `state`: a resumed run does not do it again.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(out: &Path, state: &State) -> Result<Log> {
        let path = out.join("train_log.jsonl");
        let done = |line: &Value| {
            let Some(step) = line["step"].as_u64().map(|step| step as usize) else { return false };
            match line["validation"].is_null() {
                true => step <= state.step,
                false => state.evaluations.iter().any(|evaluation| evaluation.step == step),
            }
        };
        let kept = match path.is_file() {
            true => String::from_utf8_lossy(&files::read(&path)?)
                .lines()
                // The last line of a killed run may be half a line.
                .filter(|line| serde_json::from_str(line).is_ok_and(|line| done(&line)))
                .map(|line| format!("{line}\n"))
                .collect(),
            false => String::new(),
        };
        files::write_bytes(&path, kept.as_bytes())?;
        let file = OpenOptions::new().append(true).open(&path).with_context(|| format!("opening {}", path.display()))?;
        Ok(Log { path, file })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn write(&mut self, line: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(line)? + "\n";
        self.file.write_all(text.as_bytes()).with_context(|| format!("writing {}", self.path.display()))
    }
}
