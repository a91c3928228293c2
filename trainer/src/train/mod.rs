//! Fine-tuning: from a base model and reviews to a bundle.

mod checkpoint;
mod log;
pub mod optimizer;
mod recipe;
mod report;
pub mod schedule;
pub mod step;
mod tensorboard;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use candle_core::Var;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use starsight_model::bundle::hex;
use starsight_model::metrics::{Metrics, Scores};
use starsight_model::model::Classifier;
use starsight_model::weights::{Role, Weights, specs};
use starsight_model::{EncoderConfig, Engine, LABELS, bundle, rng};

use self::checkpoint::{Checkpoints, Epoch, Run, State};
use self::log::Log;
pub use self::log::{Evaluated, Line};
use self::optimizer::AdamW;
pub use self::recipe::Recipe;
use self::schedule::LinearSchedule;
use self::step::Step;
use crate::base::BaseModel;
use crate::data::{Reviews, Split, SplitName, split};
use crate::evaluation::Evaluation;
use crate::progress::Progress;
use crate::{files, interrupt, package, rating};

/// A run of training.
pub struct Training<'a> {
    /// The base model.
    pub base: BaseModel,
    /// How the base model was named.
    pub base_name: String,
    /// The reviews, to be divided.
    pub reviews: &'a Reviews,
    /// How the data were named.
    pub data_name: String,
    /// Leave reviews without text out, after the split.
    pub drop_empty: bool,
    /// The hyperparameters.
    pub recipe: Recipe,
    /// Where the bundle goes.
    pub out: PathBuf,
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
    /// On the validation split, by which the best epoch was chosen.
    pub validation: Metrics,
    /// The step of the best epoch.
    pub best_step: usize,
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
}

/// Token ids and labels of every review.
struct Tokens {
    ids: Vec<Vec<u32>>,
    labels: Vec<usize>,
}

impl Tokens {
    /// SHA-256 of the ids and labels of `rows`, in that order.
    fn fingerprint(&self, rows: impl Iterator<Item = usize>) -> String {
        let mut hash = Sha256::new();
        for row in rows {
            hash.update((self.ids[row].len() as u64).to_le_bytes());
            hash.update((self.labels[row] as u64).to_le_bytes());
            self.ids[row].iter().for_each(|id| hash.update(id.to_le_bytes()));
        }
        hex(&hash.finalize())
    }

    fn logits(&self, engine: &dyn Engine, rows: &[usize], label: &'static str) -> Result<Vec<[f32; LABELS]>> {
        let mut progress = Progress::new(label, "reviews", rows.len());
        let ids: Vec<&[u32]> = rows.iter().map(|row| self.ids[*row].as_slice()).collect();
        let logits = rating::logits(engine, &ids, &mut progress)?;
        progress.finish();
        Ok(logits)
    }

    fn evaluate(&self, engine: &dyn Engine, rows: &[usize], label: &'static str) -> Result<Metrics> {
        let logits = self.logits(engine, rows, label)?;
        let mut scores = Scores::default();
        rows.iter().zip(&logits).for_each(|(row, logits)| scores.add(logits, self.labels[*row]));
        Ok(scores.metrics())
    }
}

/// Trains, writes the bundle, `metrics.json` and `report.html` to `out`, and returns what came of it.
///
/// # Errors
/// When the data cannot be divided, `out` holds an earlier run and neither `resume` nor `overwrite` is said, the disk is full, the loss explodes, or someone interrupts the run
/// (its state is saved first).
pub fn train(training: Training<'_>) -> Result<Outcome> {
    let Training { base, reviews, recipe, out, .. } = &training;
    let checkpoints = Checkpoints::under(out);
    let resumed = prepare(&training, &checkpoints)?;

    let mut parts = split(reviews.stars(), recipe.seed).with_context(|| reviews.table.path().display().to_string())?;
    if training.drop_empty {
        for part in [&mut parts.train, &mut parts.val, &mut parts.test] {
            part.retain(|row| !reviews.is_blank(*row));
            ensure!(!part.is_empty(), "{}: no review with text is left in one part of the split", reviews.table.path().display());
        }
    }
    eprintln!("{} reviews: {} to train, {} to validate, {} to test", reviews.len(), parts.train.len(), parts.val.len(), parts.test.len());
    let texts: Vec<&str> = (0..reviews.len()).map(|i| reviews.text(i)).collect();
    let tokens = Tokens { ids: base.tokenizer.encode_all(&texts)?, labels: (0..reviews.len()).map(|i| reviews.label(i)).collect() };

    let run =
        Run { recipe: recipe.clone(), model: training.base_name.clone(), data: tokens.fingerprint(parts.train.iter().chain(&parts.val).copied()) };
    if let Some(state) = &resumed {
        ensure!(
            state.run == run,
            "{} holds a run of another recipe, base model or data; --resume goes on only with the same:\n  there: {}\n  here:  {}",
            out.display(),
            serde_json::to_string(&state.run)?,
            serde_json::to_string(&run)?
        );
    }
    let config = match recipe.dropout {
        Some(rate) => base.config.clone().with_dropout(rate),
        None => base.config.clone(),
    };
    let state = learn(&training, &config, &checkpoints, resumed, run, &parts, &tokens)?;

    let best = state.best().context("a run has at least one epoch")?.clone();
    let weights = checkpoints.weights(best.step, &config)?;
    let classifier = Classifier::new(&config, &weights)?;
    let clock = Instant::now();
    let logits = tokens.logits(&classifier, &parts.test, "test")?;
    let labels: Vec<usize> = parts.test.iter().map(|row| tokens.labels[*row]).collect();
    let outcome = Outcome {
        eval_samples_per_second: parts.test.len() as f64 / clock.elapsed().as_secs_f64(),
        test: Evaluation::new(&logits, &labels),
        validation: best.validation,
        best_step: best.step,
        steps: state.step,
        train_samples: parts.train.len(),
        train_samples_per_second: state.samples as f64 / state.seconds,
        tokens_per_second: state.tokens as f64 / state.seconds,
        seconds: state.seconds,
    };
    write(&training, &classifier, &weights, &outcome, &parts.test, &logits)?;
    Ok(outcome)
}

/// Settles what becomes of an earlier run in `out`; where it stands when it is to be resumed.
fn prepare(training: &Training<'_>, checkpoints: &Checkpoints) -> Result<Option<State>> {
    let out = &training.out;
    let newest = checkpoints.newest();
    if training.resume {
        let state = newest?;
        match &state {
            Some(state) => eprintln!("going on after step {}", state.step),
            None => eprintln!("{} holds no checkpoint: starting from the beginning", out.display()),
        }
        return Ok(state);
    }
    let used = out.join(bundle::MANIFEST).exists() || newest.as_ref().map_or(true, Option::is_some);
    ensure!(!used || training.overwrite, "{} holds an earlier run; choose another folder, or say --resume or --overwrite", out.display());
    let folder = out.join("checkpoints");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    // Found now rather than after the first epoch.
    std::fs::create_dir_all(out).with_context(|| format!("creating {}", out.display()))?;
    Ok(None)
}

/// The epochs: steps, evaluation, checkpoint.
fn learn(
    training: &Training<'_>,
    config: &EncoderConfig,
    checkpoints: &Checkpoints,
    resumed: Option<State>,
    run: Run,
    parts: &Split,
    tokens: &Tokens,
) -> Result<State> {
    let recipe = &training.recipe;
    let (mut trained, mut variables) = (Weights::default(), Vec::new());
    for spec in specs(config) {
        let variable = Var::from_tensor(&training.base.weights.get(&spec.name, &spec.shape)?)?;
        trained.insert(spec.name.clone(), variable.as_tensor().clone());
        variables.push((spec.name, variable.as_tensor().clone(), spec.role == Role::Matrix));
    }
    let mut optimizer = AdamW::new(variables, recipe.weight_decay, recipe.max_grad_norm)?;
    let model = Classifier::new(config, &trained)?;
    // The same weights, off the graph: validation then keeps no intermediate results for a backward pass.
    let rater = Classifier::new(config, &optimizer.weights())?;

    let reviews_a_step = recipe.batch * recipe.accum;
    let steps_an_epoch = parts.train.len().div_ceil(reviews_a_step);
    let total = steps_an_epoch * recipe.epochs as usize;
    let schedule = LinearSchedule::new(recipe.lr, recipe.warmup, total);
    let mut state = match resumed {
        Some(state) => {
            checkpoints.restore(&state, &mut optimizer, config)?;
            state
        }
        None => State { step: 0, updates: 0, samples: 0, tokens: 0, seconds: 0.0, epochs: Vec::new(), run },
    };
    let mut log = Log::open(&training.out, state.step)?;
    let before = state.seconds;
    let clock = Instant::now();
    let mut progress = Progress::new("training", "reviews", parts.train.len() * recipe.epochs as usize).from(state.samples);
    while state.step < total || state.epochs.len() < recipe.epochs as usize {
        let epoch = state.step / steps_an_epoch;
        // An epoch that was interrupted between its last step and its evaluation is evaluated first.
        if state.epochs.len() < epoch {
            state.epochs.push(Epoch { step: state.step, validation: tokens.evaluate(&rater, &parts.val, "validation")? });
            state.seconds = before + clock.elapsed().as_secs_f64();
            checkpoints.save(&state, &optimizer)?;
            let Some(Epoch { validation, .. }) = state.epochs.last() else { continue };
            eprintln!("epoch {epoch}: validation loss {:.4}, accuracy {:.2}%", validation.loss, 100.0 * validation.accuracy);
            log.write(&json!({ "step": state.step, "epoch": epoch, "validation": validation }))?;
        } else {
            let order = rng::permutation(rng::stream(recipe.seed, epoch as u64), parts.train.len());
            let first = (state.step % steps_an_epoch) * reviews_a_step;
            for chosen in order[first..].chunks(reviews_a_step) {
                let rows: Vec<usize> = chosen.iter().map(|i| parts.train[*i]).collect();
                let step = Step {
                    token_ids: rows.iter().map(|row| tokens.ids[*row].as_slice()).collect(),
                    labels: rows.iter().map(|row| tokens.labels[*row]).collect(),
                    rows: &rows,
                };
                let at = || format!("step {} of {total}", state.step + 1);
                let (loss, gradients) =
                    step::gradient(&model, optimizer.tensors(), &step, recipe.token_budget, recipe.seed, state.step).with_context(at)?;
                let learning_rate = schedule.rate(state.step);
                let grad_norm = optimizer.step(&gradients, learning_rate).with_context(at)?;
                let count = step.token_ids.iter().map(|ids| ids.len()).sum::<usize>();
                state.step += 1;
                state.updates += 1;
                state.samples += rows.len();
                state.tokens += count;
                state.seconds = before + clock.elapsed().as_secs_f64();
                let epoch = state.step as f64 / steps_an_epoch as f64;
                log.write(&Line {
                    step: state.step,
                    epoch,
                    loss,
                    learning_rate,
                    grad_norm,
                    samples: rows.len(),
                    tokens: count,
                    seconds: state.seconds,
                })?;
                progress.advance(rows.len(), &format!("loss {loss:.3}"));
                if interrupt::requested() {
                    checkpoints.save(&state, &optimizer)?;
                    bail!("interrupted after step {} of {total}; all is saved in {}: go on with --resume", state.step, training.out.display());
                }
            }
        }
    }
    progress.finish();
    Ok(state)
}

/// The bundle, `metrics.json` and the report. `logits` are those of the test split, whose rows are `rows`.
fn write(
    training: &Training<'_>,
    classifier: &Classifier,
    weights: &Weights,
    outcome: &Outcome,
    rows: &[usize],
    logits: &[[f32; LABELS]],
) -> Result<()> {
    let out: &Path = &training.out;
    let provenance = json!({
        "base_model": training.base_name,
        "fresh_tensors": training.base.fresh,
        "data": training.data_name,
        "reviews": training.reviews.len(),
        "split_seed": training.recipe.seed,
        "drop_empty": training.drop_empty,
        "recipe": training.recipe,
        "code": concat!("starsight ", env!("CARGO_PKG_VERSION")),
    });
    files::write_bytes(&out.join("metrics.json"), &serde_json::to_vec_pretty(outcome)?)?;
    report::write(training, outcome, &provenance, rows, logits)?;
    package::Package { base: &training.base, weights, outcome, provenance, name: package::name_of(out) }.write(out, classifier)
}

/// The rows of one part of `reviews`, in the order of the split.
///
/// # Errors
/// When the reviews cannot be divided.
pub fn part_of(reviews: &Reviews, name: SplitName, seed: u64) -> Result<Vec<usize>> {
    if name == SplitName::All {
        return Ok((0..reviews.len()).collect());
    }
    Ok(split(reviews.stars(), seed).with_context(|| reviews.table.path().display().to_string())?.part(name))
}
