//! `train_log.jsonl`: a line a step and a line an evaluation; TensorBoard's events tell the same.

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
    /// Opens the log in `out`, keeping the lines of what was done up to `state`: a resumed run does not do it again.
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

/// The steps and the evaluations that are logged in `out`.
///
/// # Errors
/// When the log cannot be read.
pub fn read(out: &Path) -> Result<(Vec<Line>, Vec<Evaluated>)> {
    let lines = lines(out)?.into_iter().map(|(_, line)| line);
    let (evaluations, steps): (Vec<Value>, Vec<Value>) =
        lines.partition(|line| line["validation"].is_object());
    Ok((parsed(steps), parsed(evaluations)))
}

/// A line that another version wrote is left out rather than spoil a run that is over.
fn parsed<T: DeserializeOwned>(lines: Vec<Value>) -> Vec<T> {
    lines
        .into_iter()
        .filter_map(|line| serde_json::from_value(line).ok())
        .collect()
}

fn path(out: &Path) -> PathBuf {
    out.join("train_log.jsonl")
}

/// The lines of the log in `out`, as they stand and parsed; none when there is no log. The last line of a killed run may be half a line: it is left out.
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
