//! Runs training, from the split data to the bundle.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use starsight_model::fused::Fused;
use starsight_model::metrics::cross_entropy;
use starsight_model::weights::Weights;
use starsight_model::{EncoderConfig, LABELS, bundle, int8};

use super::checkpoint::{CheckpointState, Checkpoints, Evaluation as Checkpoint, Run};
use super::examples::Examples;
use super::learn::{self, Plan};
use super::report;
use super::training::Training;
use crate::bundle::package::{self, Package};
use crate::data::{Corpus, Split, Texts};
use crate::evaluate::calibration::divide_by_temperature;
use crate::evaluate::{Evaluation, Outcome};
use crate::system::interrupt::Interrupted;
use crate::system::{files, memory};

/// Trains a model, writes the bundle, `metrics.json` and `report.html` to `out`, and returns the
/// results.
///
/// # Errors
/// When the data cannot be divided, `out` holds an earlier run and neither `resume` nor `overwrite`
/// is set, the disk is full, the loss explodes, or the user interrupts the run (its state is saved
/// first).
pub fn train(training: Training<'_>) -> Result<Outcome> {
    let Training {
        base,
        reviews,
        recipe,
        out,
        ..
    } = &training;
    let parts = recipe.parts(reviews)?;
    let config = match recipe.dropout {
        Some(rate) => base.config.clone().with_dropout(rate as f32),
        None => base.config.clone(),
    };
    let has_teacher = !training.teachers.is_empty();
    let plan = |examples: usize| {
        Plan::new(
            recipe,
            &config,
            parts.train.iter().map(|row| reviews.label(*row)),
            examples,
            has_teacher,
        )
    };
    // Check the flags before the costly tokenisation, although counting repeats may later leave
    // fewer examples.
    plan(parts.train.len() + training.unlabelled.map_or(0, Texts::count))?;
    let checkpoints = Checkpoints::under(out);
    let resumed = prepare(&training, &checkpoints)?;
    let mut run = identity(&training, resumed.as_ref())?;
    // Compare what is known so far before the costly tokenisation and teacher.
    resumed
        .iter()
        .try_for_each(|state| ensure_same_run(state, &run, out))?;

    let mut examples = Examples::tokenised(&training, &parts)?;
    let plan = plan(examples.count())?;
    examples.compute_teacher_logits(&training, &parts, &checkpoints)?;
    run.data = examples.fingerprint(&parts.val);
    run.teacher_logits = examples.teacher_fingerprint();
    resumed
        .iter()
        .try_for_each(|state| ensure_same_run(state, &run, out))?;
    files::write_bytes(&out.join("recipe.toml"), training.recipe_toml.as_bytes())?;
    let state = learn::learn(
        &training,
        &config,
        plan,
        &checkpoints,
        resumed.unwrap_or_else(|| CheckpointState::new(run)),
        &parts,
        &examples,
    )?;

    let best = state.best().context("a run has at least one evaluation")?;
    let (by, score) = (recipe.best_by, recipe.best_by.of(&best.validation));
    say!(
        "kept step {} (epoch {:.2}): best {by} {score:.4} of {} evaluations",
        best.step,
        best.epoch,
        state.evaluations.len()
    );
    let kept = Kept::new(&training, &config, &checkpoints, best)?;
    let (outcome, logits) = kept.test(&training, &config, &state, best, &parts, &examples)?;
    kept.write(&training, &config, &outcome, &parts, &logits)?;
    Ok(outcome)
}

/// Identifies the run, so that `--resume` continues only the same one. The fingerprints of the data
/// and of the teachers' logits are taken from `resumed` until they are computed.
fn identity(training: &Training<'_>, resumed: Option<&CheckpointState>) -> Result<Run> {
    Ok(Run {
        recipe: training.recipe.clone(),
        model: training.base_name.clone(),
        base: Some(bundle::sha256_hex(&training.base.weights.to_safetensors()?)),
        student: training.student.clone(),
        data: resumed
            .map(|state| state.run.data.clone())
            .unwrap_or_default(),
        teacher_logits: resumed.and_then(|state| state.run.teacher_logits.clone()),
    })
}

/// The final weights of a run.
struct Kept {
    /// In floating point, as in the bundle.
    weights: Weights,
    /// The same weights in int8.
    integers: Vec<u8>,
}

impl Kept {
    fn new(
        training: &Training<'_>,
        config: &EncoderConfig,
        checkpoints: &Checkpoints,
        best: &Checkpoint,
    ) -> Result<Kept> {
        let mut weights = checkpoints.weights(best.step, config)?;
        // Before quantisation, so that the int8 weights match the bundle's.
        if !training.recipe.temperature_apart {
            weights.divide_logits(best.calibration.temperature)?;
        }
        let integers = int8::quantize(config, &weights)?;
        let weights = if training.recipe.int8 > 0.0 {
            int8::restore(config, integers.clone())?
        } else {
            weights
        };
        Ok(Kept { weights, integers })
    }

    /// Rates the test split; returns the results and the calibrated logits.
    fn test(
        &self,
        training: &Training<'_>,
        config: &EncoderConfig,
        state: &CheckpointState,
        best: &Checkpoint,
        parts: &Split,
        examples: &Examples<'_>,
    ) -> Result<(Outcome, Vec<[f32; LABELS]>)> {
        let Training {
            reviews,
            recipe,
            out,
            ..
        } = training;
        let temperature = best.calibration.temperature;
        let engine = training.place.engine(config, &self.weights)?;
        let clock = Instant::now();
        let mut logits = examples.logits(engine.as_ref(), &parts.test, "test").map_err(|error| match error.is::<Interrupted>() {
            true => anyhow!("interrupted before the test split was rated; saved in {}; continue with --resume", out.display()),
            false => error,
        })?;
        let labels: Vec<usize> = parts.test.iter().map(|row| reviews.label(*row)).collect();
        if recipe.temperature_apart {
            logits
                .iter_mut()
                .for_each(|logits| *logits = divide_by_temperature(logits, temperature));
        }
        let uncalibrated = |(logits, label): (&[f32; LABELS], &usize)| {
            cross_entropy(&logits.map(|x| x * temperature), *label)
        };
        let uncalibrated_loss =
            logits.iter().zip(&labels).map(uncalibrated).sum::<f64>() / labels.len() as f64;
        let outcome = Outcome {
            eval_samples_per_second: parts.test.len() as f64 / clock.elapsed().as_secs_f64(),
            test: Evaluation::new(&logits, &labels, recipe.decode),
            unseen: examples.unseen(parts).map(|at| {
                let (logits, labels): (Vec<_>, Vec<_>) =
                    at.into_iter().map(|i| (logits[i], labels[i])).unzip();
                Evaluation::new(&logits, &labels, recipe.decode)
            }),
            uncalibrated_loss,
            validation: best.calibration.applied(&best.validation),
            temperature,
            temperature_apart: recipe.temperature_apart,
            decoding: recipe.decode,
            best_step: best.step,
            best_epoch: best.epoch,
            device: training.place.name(),
            precision: training.place.numbers(),
            steps: state.step,
            train_samples: parts.train.len(),
            train_samples_per_second: state.samples as f64 / state.seconds,
            tokens_per_second: state.tokens as f64 / state.seconds,
            seconds: state.seconds,
            peak_memory_mb: memory::peak().map(|bytes| bytes / 1_000_000),
        };
        Ok((outcome, logits))
    }

    /// Writes `metrics.json`, the report and the bundle.
    fn write(
        self,
        training: &Training<'_>,
        config: &EncoderConfig,
        outcome: &Outcome,
        parts: &Split,
        logits: &[[f32; LABELS]],
    ) -> Result<()> {
        let out = &training.out;
        // The bundle's probes are computed on the processor in f32, as its readers will compute
        // them.
        let model = Fused::new(config, &self.weights)?;
        let package = Package {
            base: &training.base,
            weights: &self.weights,
            integers: self.integers,
            outcome,
            prior: prior(training.reviews, &parts.train),
            provenance: training.provenance(),
            name: package::name_of(out),
        };
        files::write_bytes(
            &out.join("metrics.json"),
            &serde_json::to_vec_pretty(outcome)?,
        )?;
        report::write(training, outcome, &package.provenance, &parts.test, logits)?;
        package.write(out, &model)
    }
}

/// Shares of one to five stars among `rows`, by their weights. One review of mean weight is added
/// to each class, so that no share is 0.
fn prior(reviews: &Corpus, rows: &[usize]) -> [f32; LABELS] {
    let all: f64 = rows.iter().map(|row| reviews.weight(*row)).sum();
    let mean = all / rows.len().max(1) as f64;
    let mut sums = [mean; LABELS];
    rows.iter()
        .for_each(|row| sums[reviews.label(*row)] += reviews.weight(*row));
    let all: f64 = sums.iter().sum();
    sums.map(|sum| (sum / all) as f32)
}

/// Whether a run in `out` resumes from an earlier checkpoint. Call it before the work begins.
///
/// # Errors
/// When `out` holds an earlier run and neither `resume` nor `overwrite` is set, or cannot be read.
pub fn resumes(out: &Path, resume: bool, overwrite: bool) -> Result<bool> {
    let saved = Checkpoints::under(out).any()?;
    ensure!(
        resume || overwrite || !(saved || out.join(bundle::MANIFEST).exists()),
        "{} contains an earlier run; choose another folder, or use --resume or --overwrite",
        out.display()
    );
    Ok(resume && saved)
}

/// Checks that `run` can continue from `state`.
fn ensure_same_run(state: &CheckpointState, run: &Run, out: &Path) -> Result<()> {
    ensure!(
        run.continues(&state.run),
        "{} contains a run that differs; --resume needs the same recipe, base model and data:\n  saved: {}\n  now:   {}",
        out.display(),
        serde_json::to_string(&state.run)?,
        serde_json::to_string(run)?
    );
    Ok(())
}

/// Handles an earlier run in `out`, and returns its state if it is to be resumed.
fn prepare(training: &Training<'_>, checkpoints: &Checkpoints) -> Result<Option<CheckpointState>> {
    let out = &training.out;
    resumes(out, training.resume, training.overwrite)?;
    files::sweep(out)?;
    checkpoints.sweep()?;
    if training.resume {
        let state = checkpoints.newest()?;
        match &state {
            Some(state) => say!("resuming after step {}", state.step),
            None => say!(
                "{} has no checkpoint: starting from the beginning",
                out.display()
            ),
        }
        return Ok(state);
    }
    checkpoints.clear()?;
    // Fails now rather than after the first epoch.
    std::fs::create_dir_all(out).with_context(|| format!("creating {}", out.display()))?;
    Ok(None)
}
