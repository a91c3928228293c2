//! `train_log.jsonl`: one line per step and per evaluation. TensorBoard's events have the same
//! values.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::checkpoint::CheckpointState;
use super::tensorboard::Events;
use crate::evaluate::history::{Evaluated, Line};
use crate::system::files;

/// The log of a run, written as it goes.
pub struct Log {
    path: PathBuf,
    file: std::fs::File,
    events: Events,
}

impl Log {
    /// Opens the log in `out`, keeping only lines up to `state`: a resumed run repeats the steps
    /// after it.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(out: &Path, state: &CheckpointState) -> Result<Log> {
        let path = path(out);
        let done = |line: &Value| {
            let Some(step) = line["step"].as_u64().map(|step| step as usize) else {
                return false;
            };
            match line["validation"].is_null() {
                true => step <= state.step,
                false => state
                    .evaluations
                    .iter()
                    .any(|evaluation| evaluation.step == step),
            }
        };
        let (text, kept): (Vec<String>, Vec<Value>) = lines(out)?
            .into_iter()
            .filter(|(_, line)| done(line))
            .unzip();
        files::write_bytes(&path, text.concat().as_bytes())?;
        let file = OpenOptions::new()
            .append(true)
            .open(&path)
            .with_context(|| format!("opening {}", path.display()))?;
        Ok(Log {
            file,
            path,
            events: Events::open(out, &kept)?,
        })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn write(&mut self, line: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(line)? + "\n";
        self.file
            .write_all(text.as_bytes())
            .with_context(|| format!("writing {}", self.path.display()))?;
        self.events.add(&serde_json::from_str(&text)?)
    }
}

/// The logged steps and evaluations of the run in `out`.
///
/// # Errors
/// When the log cannot be read.
pub fn read(out: &Path) -> Result<(Vec<Line>, Vec<Evaluated>)> {
    let lines = lines(out)?.into_iter().map(|(_, line)| line);
    let (evaluations, steps): (Vec<Value>, Vec<Value>) =
        lines.partition(|line| line["validation"].is_object());
    Ok((parsed(steps), parsed(evaluations)))
}

/// Lines that another version wrote are skipped, because the run they belong to is over.
fn parsed<T: DeserializeOwned>(lines: Vec<Value>) -> Vec<T> {
    lines
        .into_iter()
        .filter_map(|line| serde_json::from_value(line).ok())
        .collect()
}

fn path(out: &Path) -> PathBuf {
    out.join("train_log.jsonl")
}

/// The lines of the log in `out`, as text and parsed; empty if there is no log. A killed run may
/// leave half a line at the end, which is skipped.
fn lines(out: &Path) -> Result<Vec<(String, Value)>> {
    let path = path(out);
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let text = String::from_utf8_lossy(&files::read(&path)?).into_owned();
    Ok(text
        .lines()
        .filter_map(|line| Some((format!("{line}\n"), serde_json::from_str(line).ok()?)))
        .collect())
}
