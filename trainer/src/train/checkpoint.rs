//! Checkpoints: all that a run needs to resume as if it had never stopped.
//!
//! Whenever the program is killed, `newest` finds a complete checkpoint if one was ever saved. A
//! folder is written under another name, synced to disk and then renamed. Existing files are never
//! overwritten, except the state, which is replaced by a rename too. The state holds the SHA-256 of
//! each file, so that a file damaged later is not used.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Error, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use starsight_model::bundle::FileEntry;
use starsight_model::metrics::Metrics;
use starsight_model::weights::Weights;
use starsight_model::{EncoderConfig, load};

use super::recipe::Recipe;
use super::trainee::Trainee;
use super::watch::LossWatch;
use crate::evaluate::calibration::Calibration;
use crate::model::fresh::Shape;
use crate::model::verify;
use crate::system::files;

const WEIGHTS: &str = "model.safetensors";
const FIRST_MOMENT: &str = "first_moment.safetensors";
const SECOND_MOMENT: &str = "second_moment.safetensors";
const STATE: &str = "state.json";

/// Prefix of the name of a folder that is being written.
const UNFINISHED: &str = ".saving-";

/// State of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckpointState {
    /// Steps done.
    pub step: usize,
    /// Updates of the optimiser.
    pub updates: i32,
    /// Reviews learned from, counted each time they were seen.
    pub samples: usize,
    /// Tokens learned from, likewise.
    pub tokens: usize,
    /// Seconds of training, including validation and checkpoints.
    pub seconds: f64,
    /// Watches the loss for an explosion.
    pub watch: LossWatch,
    /// The evaluations so far.
    pub evaluations: Vec<Evaluation>,
    /// The inputs of the run; only a run with the same inputs can resume.
    pub run: Run,
}

/// An evaluation on the validation split.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Evaluation {
    /// Steps done.
    pub step: usize,
    /// Epochs done, as a fraction.
    pub epoch: f64,
    /// The metrics, from uncalibrated probabilities.
    pub validation: Metrics,
    /// The calibration of these weights.
    pub calibration: Calibration,
}

/// The inputs of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The recipe.
    pub recipe: Recipe,
    /// The base model's name, as given.
    pub model: String,
    /// SHA-256 of its weights. Earlier versions did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// The requested shape of a new base model. Earlier versions did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub student: Option<Shape>,
    /// SHA-256 of the training and validation rows: token ids and labels.
    pub data: String,
    /// SHA-256 of the teachers' logits of the training rows, if there are teachers.
    #[serde(rename = "lessons", default, skip_serializing_if = "Option::is_none")]
    pub teacher_logits: Option<String>,
}

impl Run {
    /// Whether a run with these inputs can resume from `saved`. Inputs that `saved` does not record
    /// match anything.
    pub fn continues(&self, saved: &Run) -> bool {
        let mut known = saved.clone();
        known.base = known.base.or_else(|| self.base.clone());
        known.student = known.student.or_else(|| self.student.clone());
        *self == known
    }
}

impl CheckpointState {
    /// A run that has not begun.
    pub fn new(run: Run) -> CheckpointState {
        CheckpointState {
            step: 0,
            updates: 0,
            samples: 0,
            tokens: 0,
            seconds: 0.0,
            watch: LossWatch::default(),
            evaluations: Vec::new(),
            run,
        }
    }

    /// The best evaluation so far by the recipe's criterion; the first of equals.
    pub fn best(&self) -> Option<&Evaluation> {
        self.best_until(self.step)
    }

    /// The best evaluation up to `step`.
    fn best_until(&self, step: usize) -> Option<&Evaluation> {
        let criterion = self.run.recipe.best_by;
        self.evaluations
            .iter()
            .filter(|e| e.step <= step)
            .min_by(|a, b| criterion.compare(&a.validation, &b.validation))
    }

    /// Number of evaluations since the best one.
    pub fn stale(&self) -> usize {
        let best = self.best().map(|e| e.step);
        self.evaluations
            .iter()
            .rev()
            .take_while(|e| Some(e.step) != best)
            .count()
    }
}

/// `state.json`, which is written last.
#[derive(Serialize, Deserialize)]
struct Saved {
    state: CheckpointState,
    /// The other files.
    files: Vec<FileEntry>,
}

/// The folder of a run's checkpoints.
pub struct Checkpoints {
    dir: PathBuf,
}

impl Checkpoints {
    /// The checkpoints under `out`.
    pub fn under(out: &Path) -> Checkpoints {
        Checkpoints {
            dir: out.join("checkpoints"),
        }
    }

    /// File of the logits of teacher `number`, from 0, which a resumed run reads again.
    pub fn teacher_file(&self, number: usize) -> PathBuf {
        self.dir.join(if number == 0 {
            "teacher.logits".into()
        } else {
            format!("teacher-{}.logits", number + 1)
        })
    }

    fn path(&self, step: usize) -> PathBuf {
        self.dir.join(format!("step-{step:08}"))
    }

    /// Saves the state of the run. The folder gets its name only once it is completely on disk.
    /// Then all checkpoints are removed except the two newest and the best one up to each of these.
    ///
    /// # Errors
    /// When the disk is full or cannot be written; earlier checkpoints stay.
    pub fn save(&self, state: &CheckpointState, trainee: &mut dyn Trainee) -> Result<()> {
        self.write(state, trainee).with_context(|| {
            format!("saving the checkpoint {}", self.path(state.step).display())
        })?;
        let steps = self.steps()?;
        let newest = [
            Some(state.step),
            steps
                .iter()
                .copied()
                .filter(|step| *step < state.step)
                .max(),
        ]
        .into_iter()
        .flatten();
        let kept: Vec<usize> = newest
            .flat_map(|step| [Some(step), state.best_until(step).map(|e| e.step)])
            .flatten()
            .collect();
        steps
            .into_iter()
            .filter(|step| !kept.contains(step))
            .try_for_each(|step| self.remove(step))
    }

    fn write(&self, state: &CheckpointState, trainee: &mut dyn Trainee) -> Result<()> {
        let path = self.path(state.step);
        let json = |files| {
            serde_json::to_vec_pretty(&Saved {
                state: state.clone(),
                files,
            })
        };
        // Within one step the weights do not change, so a second save only adds the evaluation.
        if let Ok(saved) = self.whole(state.step)
            && saved.state.run == state.run
        {
            return files::write_bytes(&path.join(STATE), &json(saved.files)?);
        }
        fs::create_dir_all(&self.dir)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(UNFINISHED);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // Permissions of any new folder; the process's umask applies.
            builder.permissions(fs::Permissions::from_mode(0o777));
        }
        let work = builder.tempdir_in(&self.dir)?;
        let mut entries = Vec::new();
        for (name, weights) in [WEIGHTS, FIRST_MOMENT, SECOND_MOMENT]
            .into_iter()
            .zip(trainee.state()?)
        {
            let bytes = weights.to_safetensors()?;
            files::write_bytes(&work.path().join(name), &bytes)?;
            entries.push(FileEntry::of(name, &bytes));
        }
        files::write_bytes(&work.path().join(STATE), &json(entries)?)?;
        // An existing folder of this name is damaged or of another run.
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::rename(work.path(), &path)?;
        files::sync_folder(&self.dir)
    }

    /// The steps of the existing checkpoints, ascending.
    fn steps(&self) -> Result<Vec<usize>> {
        let mut steps: Vec<usize> = self
            .names()?
            .iter()
            .filter_map(|name| name.strip_prefix("step-")?.parse().ok())
            .collect();
        steps.sort_unstable();
        Ok(steps)
    }

    fn names(&self) -> Result<Vec<String>> {
        if !self.dir.is_dir() {
            return Ok(Vec::new());
        }
        let entries = fs::read_dir(&self.dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let entries = entries.with_context(|| format!("reading {}", self.dir.display()))?;
        Ok(entries
            .into_iter()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect())
    }

    /// Whether there is a checkpoint, complete or not.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn any(&self) -> Result<bool> {
        Ok(!self.steps()?.is_empty())
    }

    /// Removes all checkpoints. The teachers' logits stay, because their files identify their
    /// inputs.
    ///
    /// # Errors
    /// When the folder cannot be read, or a checkpoint cannot be removed.
    pub fn clear(&self) -> Result<()> {
        self.steps()?
            .into_iter()
            .try_for_each(|step| self.remove(step))
    }

    fn remove(&self, step: usize) -> Result<()> {
        let path = self.path(step);
        fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))
    }

    /// Removes temporary files of a run that was killed while it saved.
    ///
    /// # Errors
    /// When the folder cannot be read, or something cannot be removed.
    pub fn sweep(&self) -> Result<()> {
        for name in self
            .names()?
            .iter()
            .filter(|name| name.starts_with(UNFINISHED))
        {
            let path = self.dir.join(name);
            fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        self.steps()?
            .into_iter()
            .try_for_each(|step| files::sweep(&self.path(step)))
    }

    /// The state of the newest complete checkpoint; `None` if there is no checkpoint. Newer ones
    /// that are damaged are reported on standard error.
    ///
    /// # Errors
    /// When there are checkpoints, but none is complete.
    pub fn newest(&self) -> Result<Option<CheckpointState>> {
        let steps = self.steps()?;
        for step in steps.iter().rev() {
            match self
                .whole(*step)
                .and_then(|saved| self.with_best(saved.state))
            {
                Ok(state) => return Ok(Some(state)),
                Err(error) => say!(
                    "the checkpoint {} cannot be used: {error:#}",
                    self.path(*step).display()
                ),
            }
        }
        ensure!(
            steps.is_empty(),
            "{} has no complete checkpoint; --overwrite starts from the beginning",
            self.dir.display()
        );
        Ok(None)
    }

    /// The checkpoint of `step`, if all its files are as they were saved.
    fn whole(&self, step: usize) -> Result<Saved> {
        let path = self.path(step).join(STATE);
        let saved: Saved = serde_json::from_slice(&files::read(&path)?).map_err(|error| {
            // Valid JSON of another form was written by another version.
            let what = if error.classify() == Category::Data {
                "was written by another version of Starsight"
            } else {
                "is not readable"
            };
            Error::new(error).context(format!("{} {what}", path.display()))
        })?;
        ensure!(
            saved.state.step == step,
            "{} says step {}",
            path.display(),
            saved.state.step
        );
        for entry in &saved.files {
            let path = self.path(step).join(&entry.path);
            let (size, sha256) = verify::hashed(&path, &mut io::sink())?;
            ensure!(
                size == entry.size && sha256 == entry.sha256,
                "{} is damaged: its SHA-256 differs",
                path.display()
            );
        }
        Ok(saved)
    }

    /// Returns `state` if the weights of its best evaluation are complete too.
    fn with_best(&self, state: CheckpointState) -> Result<CheckpointState> {
        if let Some(best) = state.best().filter(|best| best.step != state.step) {
            self.whole(best.step)
                .context("the best checkpoint so far cannot be used")?;
        }
        Ok(state)
    }

    /// The weights saved at `step`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn weights(&self, step: usize, config: &EncoderConfig) -> Result<Weights> {
        self.read(step, WEIGHTS, config)
    }

    /// Restores the optimiser's state at `state`.
    ///
    /// # Errors
    /// When the checkpoint cannot be read.
    pub fn restore(
        &self,
        state: &CheckpointState,
        trainee: &mut dyn Trainee,
        config: &EncoderConfig,
    ) -> Result<()> {
        let [first, second] =
            [FIRST_MOMENT, SECOND_MOMENT].map(|name| self.read(state.step, name, config));
        trainee.restore(&first?, &second?, state.updates)
    }

    fn read(&self, step: usize, name: &str, config: &EncoderConfig) -> Result<Weights> {
        let path = self.path(step).join(name);
        load::weights(&files::read(&path)?, config).with_context(|| format!("{}", path.display()))
    }
}
