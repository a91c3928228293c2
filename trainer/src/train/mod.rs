//! Fine-tuning: from a base model and reviews to a bundle.

mod checkpoint;
pub mod criterion;
#[cfg(feature = "cuda")]
pub(crate) mod gpu;
pub mod groups;
mod learn;
mod log;
pub mod loss;
pub mod optimizer;
pub(crate) mod processor;
mod recipe;
pub mod repeats;
mod report;
pub mod schedule;
pub mod step;
pub mod teacher;
mod tensorboard;
pub(crate) mod trainee;
mod watch;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use starsight_model::bundle::hex;
use starsight_model::fused::Fused;
use starsight_model::metrics::{Metrics, Scores, cross_entropy};
use starsight_model::rating::Decoding;
use starsight_model::{Engine, LABELS, bundle, int8};

use self::checkpoint::{Checkpoints, Run, State};
use self::learn::Plan;
pub use self::log::{Evaluated, Line};
use self::loss::{Counts, one};
pub use self::recipe::Recipe;
use self::repeats::{Learned, Repeats};
use self::teacher::{Taught, Teacher};
use crate::base::BaseModel;
use crate::calibration::{Calibration, cooled};
use crate::data::{Corpus, Empty, Split, Texts, Unlabelled};
use crate::device::{Numbers, Place};
use crate::evaluation::Evaluation;
use crate::fresh::Shape;
use crate::interrupt::Interrupted;
use crate::package::{self, Package};
use crate::progress::Progress;
use crate::tokens::Tokens;
use crate::{files, memory, rating};

/// Time after which a checkpoint is saved besides, unless told otherwise: what a crash may cost.
pub const SAVE_AFTER: Duration = Duration::from_secs(5 * 60);

/// A run of training.
pub struct Training<'a> {
    /// The base model.
    pub base: BaseModel,
    /// What the base model is called.
    pub base_name: String,
    /// The shape that was asked for, if the base model is a fresh one.
    pub student: Option<Shape>,
    /// Whom it learns from besides the stars: nobody, or the mean of these.
    pub teachers: Vec<Teacher>,
    /// The reviews, to be divided.
    pub reviews: &'a Corpus,
    /// Reviews of which the teachers alone say what they are worth.
    pub unlabelled: Option<&'a Unlabelled>,
    /// What the data are called.
    pub data_name: String,
    /// The hyperparameters.
    pub recipe: Recipe,
    /// What `recipe.toml` will hold: the flags of this run, as `--config` reads them.
    pub recipe_toml: String,
    /// What the model is computed on.
    pub place: Place,
    /// Where the bundle goes.
    pub out: PathBuf,
    /// Save a checkpoint when this time has gone by since the last, whatever the recipe says.
    pub save_after: Duration,
    /// Go on from the newest checkpoint in `out`.
    pub resume: bool,
    /// Replace what `out` holds of an earlier run.
    pub overwrite: bool,
}

/// What a run came to: `metrics.json`.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// On the test split, which nothing was chosen by.
    pub test: Evaluation,
    /// On those reviews of the test split whose text does not stand in the training split; none where that is so of all or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unseen: Option<Evaluation>,
    /// Cross-entropy on the test split by the model's own probabilities, before the temperature: what other trainers report.
    pub uncalibrated_loss: f64,
    /// On the validation split, by which the weights and the temperature were chosen.
    pub validation: Metrics,
    /// What logits are divided by for calibrated probabilities, fitted to the validation split. Both of the above are by these.
    pub temperature: f32,
    /// Whether the bundle's weights are as they were trained, and its manifest holds the temperature; else the head's last weights are divided by it, and the logits of the bundle are calibrated.
    pub temperature_apart: bool,
    /// How stars follow from the probabilities.
    pub decoding: Decoding,
    /// Steps after which the weights are those that were kept.
    pub best_step: usize,
    /// Epochs after which they are, as a fraction.
    pub best_epoch: f64,
    /// What the model was computed on.
    pub device: String,
    /// What its products were computed in.
    pub precision: Numbers,
    /// Steps in all.
    pub steps: usize,
    /// Reviews that the training split holds.
    pub train_samples: usize,
    /// Reviews learned from a second, validation and checkpoints included.
    pub train_samples_per_second: f64,
    /// Tokens learned from a second, likewise.
    pub tokens_per_second: f64,
    /// Seconds of training, validation and checkpoints included.
    pub seconds: f64,
    /// Reviews of the test split rated a second.
    pub eval_samples_per_second: f64,
    /// The most memory that the process held at once, in 10^6 bytes, where the system tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory_mb: Option<u64>,
}

/// Token ids and labels of every review. Those without stars have the rows after the others.
struct Examples<'a> {
    ids: Tokens,
    reviews: &'a Corpus,
    unlabelled: Option<Tokens>,
    /// What is learned from: the training split, and all without stars.
    learned: Learned,
    /// The teachers' logits of these.
    lessons: Option<Taught>,
}

impl Examples<'_> {
    fn ids(&self, row: usize) -> &[u32] {
        match &self.unlabelled {
            Some(ids) if row >= self.reviews.len() => ids.get(row - self.reviews.len()),
            _ => self.ids.get(row),
        }
    }

    /// The star counts of example `i`.
    fn counts(&self, i: usize) -> Option<Counts> {
        self.learned.counts(i, |row| self.reviews.label(row))
    }

    /// SHA-256 of the ids and labels of all examples, then of the rows `val`, in that order.
    fn fingerprint(&self, val: &[usize]) -> String {
        let mut hash = Sha256::new();
        let mut add = |row: usize, counts: Option<Counts>| {
            let ids = self.ids(row);
            hash.update((ids.len() as u64).to_le_bytes());
            match counts {
                None => hash.update(u64::MAX.to_le_bytes()),
                Some(counts) => match (0..LABELS).find(|label| counts == one(*label)) {
                    Some(label) => hash.update((label as u64).to_le_bytes()),
                    None => counts.iter().for_each(|count| hash.update(count.to_le_bytes())),
                },
            }
            ids.iter().for_each(|id| hash.update(id.to_le_bytes()));
        };
        (0..self.learned.count()).for_each(|i| add(self.learned.row(i), self.counts(i)));
        val.iter().for_each(|row| add(*row, Some(one(self.reviews.label(*row)))));
        hex(&hash.finalize())
    }

    /// Which of the test reviews have a text that is not learned from, as places in that part; none where that is so of all or none.
    fn unseen(&self, parts: &Split) -> Option<Vec<usize>> {
        let learned: HashSet<&[u32]> = parts.train.iter().map(|row| self.ids(*row)).collect();
        let unseen: Vec<usize> = (0..parts.test.len()).filter(|i| !learned.contains(self.ids(parts.test[*i]))).collect();
        (!unseen.is_empty() && unseen.len() < parts.test.len()).then_some(unseen)
    }

    fn logits(&self, engine: &dyn Engine, rows: &[usize], label: &'static str) -> Result<Vec<[f32; LABELS]>> {
        let mut progress = Progress::new(label, "reviews", rows.len());
        let ids: Vec<&[u32]> = rows.iter().map(|row| self.ids.get(*row)).collect();
        let logits = rating::logits(engine, &ids, &mut progress)?;
        progress.finish();
        Ok(logits)
    }

    /// The metrics of `rows` by the model's own probabilities, and the temperature that calibrates them; stars are those that follow from calibrated ones.
    fn evaluate(&self, engine: &dyn Engine, rows: &[usize], decoding: Decoding, label: &'static str) -> Result<(Metrics, Calibration)> {
        let logits = self.logits(engine, rows, label)?;
        let labels: Vec<usize> = rows.iter().map(|row| self.reviews.label(*row)).collect();
        let calibration = Calibration::fit(&logits, &labels);
        let scores = |temperature| {
            let mut scores = Scores::of(decoding);
            logits.iter().zip(&labels).for_each(|(logits, label)| scores.add(&cooled(logits, temperature), *label));
            scores.metrics()
        };
        let Metrics { loss, ece, .. } = scores(1.0);
        Ok((Metrics { loss, ece, ..scores(calibration.temperature) }, calibration))
    }
}

/// Trains, writes the bundle, `metrics.json` and `report.html` to `out`, and returns what came of it.
///
/// # Errors
/// When the data cannot be divided, `out` holds an earlier run and neither `resume` nor `overwrite` is said, the disk is full, the loss explodes, or someone interrupts the run
/// (its state is saved first).
pub fn train(training: Training<'_>) -> Result<Outcome> {
    let Training { base, reviews, recipe, out, .. } = &training;
    let parts = recipe.parts(reviews)?;
    let config = match recipe.dropout {
        Some(rate) => base.config.clone().with_dropout(rate as f32),
        None => base.config.clone(),
    };
    let more = training.unlabelled.map_or(0, Texts::count);
    let learned = Learned::each(&parts.train, reviews.len(), more);
    let weighed = recipe.repeats == Repeats::Counted || recipe.weight_column.is_some();
    let taught = !training.teachers.is_empty();
    let plan = |examples: usize| Plan::new(recipe, &config, parts.train.iter().map(|row| reviews.label(*row)), examples, taught);
    // A flag that does not fit is refused before tokens cost time, though there may be fewer examples once repeats are counted.
    plan(learned.count())?;
    let checkpoints = Checkpoints::under(out);
    let resumed = prepare(&training, &checkpoints)?;
    let mut run = Run {
        recipe: recipe.clone(),
        model: training.base_name.clone(),
        base: Some(bundle::sha256_hex(&base.weights.to_safetensors()?)),
        student: training.student.clone(),
        data: resumed.as_ref().map(|state| state.run.data.clone()).unwrap_or_default(),
        lessons: resumed.as_ref().and_then(|state| state.run.lessons.clone()),
    };
    // What is known without tokens or a teacher is compared before they cost time.
    resumed.iter().try_for_each(|state| same(state, &run, out))?;

    let without = if more > 0 { format!("; and {more} without stars to train") } else { String::new() };
    say!("{} reviews: {} to train, {} to validate, {} to test{without}", reviews.len(), parts.train.len(), parts.val.len(), parts.test.len());
    let ids = Tokens::of(&base.tokenizer, *reviews)?;
    let unlabelled = training.unlabelled.map(|texts| Tokens::of(&base.tokenizer, texts)).transpose()?;
    let learned = match weighed {
        true => learned.weighed(recipe.repeats, |row| reviews.label(row), |row| reviews.weight(row), |row| ids.get(row)),
        false => learned,
    };
    if recipe.repeats == Repeats::Counted {
        say!("the {} reviews to train on are {} examples: texts with the counts of their stars", parts.train.len(), learned.count() - more);
    }
    let plan = plan(learned.count())?;
    // Where it does not count beside the stars, a teacher is asked about reviews without stars alone.
    let asked = if recipe.lessons().share > 0.0 { &parts.train[..] } else { &[] };
    let teach =
        |(number, teacher): (usize, &Teacher)| teacher.teach(reviews, asked, training.unlabelled, &training.place, &checkpoints.lessons(number));
    let lessons = Taught::mean(training.teachers.iter().enumerate().map(teach).collect::<Result<_>>()?);
    let examples = Examples { ids, reviews, unlabelled, learned, lessons };

    run.data = examples.fingerprint(&parts.val);
    run.lessons = examples.lessons.as_ref().map(Taught::fingerprint);
    resumed.iter().try_for_each(|state| same(state, &run, out))?;
    files::write_bytes(&out.join("recipe.toml"), training.recipe_toml.as_bytes())?;
    let state = learn::learn(&training, &config, plan, &checkpoints, resumed.unwrap_or_else(|| State::new(run)), &parts, &examples)?;

    let best = state.best().context("a run has at least one evaluation")?.clone();
    let (by, score) = (recipe.best_by, recipe.best_by.of(&best.validation));
    say!("the weights after step {}, epoch {:.2}, are kept: {by} {score:.4}, the best of {}", best.step, best.epoch, state.evaluations.len());
    let mut weights = checkpoints.weights(best.step, &config)?;
    let Calibration { temperature, .. } = best.calibration;
    // Before they are quantised: the integers stand for the weights of the bundle.
    if !recipe.temperature_apart {
        weights.divide_logits(temperature)?;
    }
    let integers = int8::quantize(&config, &weights)?;
    let weights = if recipe.int8 > 0.0 { int8::restore(&config, integers.clone())? } else { weights };
    let engine = training.place.engine(&config, &weights)?;
    let clock = Instant::now();
    let mut logits = examples.logits(engine.as_ref(), &parts.test, "test").map_err(|error| match error.is::<Interrupted>() {
        true => anyhow!("interrupted before the test split was rated; all is saved in {}: go on with --resume", out.display()),
        false => error,
    })?;
    let labels: Vec<usize> = parts.test.iter().map(|row| reviews.label(*row)).collect();
    if recipe.temperature_apart {
        logits.iter_mut().for_each(|logits| *logits = cooled(logits, temperature));
    }
    let uncalibrated = |(logits, label): (&[f32; LABELS], &usize)| cross_entropy(&logits.map(|x| x * temperature), *label);
    let uncalibrated_loss = logits.iter().zip(&labels).map(uncalibrated).sum::<f64>() / labels.len() as f64;
    let outcome = Outcome {
        eval_samples_per_second: parts.test.len() as f64 / clock.elapsed().as_secs_f64(),
        test: Evaluation::new(&logits, &labels, recipe.decode),
        unseen: examples.unseen(&parts).map(|at| {
            let (logits, labels): (Vec<_>, Vec<_>) = at.into_iter().map(|i| (logits[i], labels[i])).unzip();
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
    drop(engine);
    // The bundle's probes are computed as every reader will, on the processor in f32.
    let model = Fused::new(&config, &weights)?;
    let package = Package {
        base: &training.base,
        weights: &weights,
        integers,
        outcome: &outcome,
        provenance: provenance(&training),
        name: package::name_of(out),
    };
    files::write_bytes(&out.join("metrics.json"), &serde_json::to_vec_pretty(&outcome)?)?;
    report::write(&training, &outcome, &package.provenance, &parts.test, &logits)?;
    package.write(out, &model)?;
    Ok(outcome)
}

/// Whether a run in `out` goes on from a checkpoint of an earlier one. To be asked before the work begins.
///
/// # Errors
/// When `out` holds an earlier run and neither `resume` nor `overwrite` is said, or cannot be read.
pub fn goes_on(out: &Path, resume: bool, overwrite: bool) -> Result<bool> {
    let saved = Checkpoints::under(out).any()?;
    ensure!(
        resume || overwrite || !(saved || out.join(bundle::MANIFEST).exists()),
        "{} holds an earlier run; choose another folder, or say --resume or --overwrite",
        out.display()
    );
    Ok(resume && saved)
}

/// Passes a `run` that goes on where `state` stands.
fn same(state: &State, run: &Run, out: &Path) -> Result<()> {
    ensure!(
        run.continues(&state.run),
        "{} holds a run of another recipe, base model or data; --resume goes on only with the same:\n  there: {}\n  here:  {}",
        out.display(),
        serde_json::to_string(&state.run)?,
        serde_json::to_string(run)?
    );
    Ok(())
}

/// Settles what becomes of an earlier run in `out`; where it stands when it is to be resumed.
fn prepare(training: &Training<'_>, checkpoints: &Checkpoints) -> Result<Option<State>> {
    let out = &training.out;
    goes_on(out, training.resume, training.overwrite)?;
    files::sweep(out)?;
    checkpoints.sweep()?;
    if training.resume {
        let state = checkpoints.newest()?;
        match &state {
            Some(state) => say!("going on after step {}", state.step),
            None => say!("{} holds no checkpoint: starting from the beginning", out.display()),
        }
        return Ok(state);
    }
    checkpoints.clear()?;
    // Found now rather than after the first epoch.
    std::fs::create_dir_all(out).with_context(|| format!("creating {}", out.display()))?;
    Ok(None)
}

/// Where the weights of a run come from.
fn provenance(training: &Training<'_>) -> Value {
    let labels = training.reviews.labels();
    json!({
        "base_model": training.base_name,
        "fresh_tensors": training.base.fresh,
        "teacher": (!training.teachers.is_empty()).then(|| training.teachers.iter().map(|teacher| teacher.name.as_str()).collect::<Vec<_>>().join(", ")),
        "student": training.student,
        "data": training.data_name,
        "rows": labels.rows,
        "reviews": training.reviews.len(),
        "unlabelled": training.unlabelled.map_or(0, Texts::count),
        "split_seed": training.recipe.split_seed,
        "split_by": labels.split_by,
        "drop_empty": labels.empty == Empty::Drop,
        "dedup": labels.dedup,
        "recipe": training.recipe,
        "device": training.place.name(),
        "precision": training.place.numbers(),
        "code": concat!("starsight ", env!("CARGO_PKG_VERSION")),
    })
}
