//! The training loop: steps, evaluations and checkpoints.

use std::collections::VecDeque;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::json;
use starsight_model::fused::Depth;
use starsight_model::fused::layout::Layout;
use starsight_model::{EncoderConfig, rng};

use super::checkpoint::{CheckpointState, Checkpoints, Evaluation};
use super::examples::Examples;
use super::groups::Group;
use super::log::Log;
use super::loss::Loss;
use super::optimizer::not_finite;
use super::recipe::{Length, Recipe};
use super::schedule::Schedule;
use super::step::Step;
use super::trainee::{Done, Setup, Trainee};
use super::training::Training;
use super::{place, watch};
use crate::data::Split;
use crate::evaluate::history::Line;
use crate::system::interrupt::{self, Interrupted};
use crate::system::progress::Progress;

/// The settings that follow from a recipe for one model and training split.
pub(super) struct Plan {
    length: Length,
    schedule: Schedule,
    loss: Loss,
    groups: Vec<Group>,
    depth: Depth,
}

impl Plan {
    /// The plan for a model with this configuration. `labels` are those of the training split,
    /// `learned` is the number of examples with unlabelled ones, and `has_teacher` says whether
    /// there is a teacher.
    ///
    /// # Errors
    /// When a flag does not fit the model or the length of the run.
    pub fn new(
        recipe: &Recipe,
        config: &EncoderConfig,
        labels: impl Iterator<Item = usize>,
        learned: usize,
        has_teacher: bool,
    ) -> Result<Plan> {
        let length = recipe.length(learned);
        let (grouping, layout) = (recipe.grouping(length.steps), Layout::of(config));
        let groups = grouping.of(config, layout.tensors().iter().map(|tensor| &tensor.spec))?;
        let loss = recipe
            .loss(labels)
            .with_distillation(has_teacher.then(|| recipe.distillation()));
        Ok(Plan {
            length,
            schedule: recipe.schedule(length.steps)?,
            loss,
            groups,
            depth: grouping.depth(),
        })
    }
}

/// A run in progress.
struct Learner<'a> {
    training: &'a Training<'a>,
    checkpoints: &'a Checkpoints,
    parts: &'a Split,
    examples: &'a Examples<'a>,
    plan: Plan,
    trainee: Box<dyn Trainee>,
    /// Steps begun; the finished ones are in the state.
    taken: usize,
    /// Steps begun and not finished.
    under_way: VecDeque<Begun>,
    state: CheckpointState,
    log: Log,
    /// An epoch, and the order of its examples.
    order: (usize, Vec<usize>),
    /// Seconds of the run before it was resumed.
    seconds_before: f64,
    clock: Instant,
    /// Time of the last checkpoint, or of the start of the run.
    saved: Instant,
}

/// A step that was begun.
struct Begun {
    /// Its row numbers.
    rows: Vec<usize>,
    tokens: usize,
    learning_rate: f64,
}

/// Continues from `state` to the end of the run, and returns the final state.
///
/// # Errors
/// When the checkpoint of `state` cannot be read, the disk is full, the loss explodes, or the user
/// interrupts the run (its state is saved first).
pub(super) fn learn(
    training: &Training<'_>,
    config: &EncoderConfig,
    plan: Plan,
    checkpoints: &Checkpoints,
    state: CheckpointState,
    parts: &Split,
    examples: &Examples<'_>,
) -> Result<CheckpointState> {
    let recipe = &training.recipe;
    let resumed = state.step > 0;
    let weights = if resumed {
        &checkpoints.weights(state.step, config)?
    } else {
        &training.base.weights
    };
    let mut trainee = place::trainee(
        &training.place,
        &Setup {
            config,
            weights,
            groups: &plan.groups,
            depth: plan.depth,
            loss: plan.loss,
            weight_decay: recipe.weight_decay,
            max_grad_norm: recipe.max_grad_norm,
            token_budget: recipe.token_budget,
            // No step has more examples than there are, however large a batch may be.
            reviews_a_step: plan.length.reviews_a_step.min(examples.count()),
            seed: recipe.seed,
            rounded_from: recipe.rounded_from(plan.length.steps),
        },
    )?;
    if resumed {
        checkpoints.restore(&state, trainee.as_mut(), config)?;
    }
    let learner = Learner {
        training,
        checkpoints,
        parts,
        examples,
        trainee,
        log: Log::open(&training.out, &state)?,
        order: order(recipe, state.step / plan.length.steps_an_epoch, examples),
        plan,
        taken: state.step,
        under_way: VecDeque::new(),
        seconds_before: state.seconds,
        clock: Instant::now(),
        saved: Instant::now(),
        state,
    };
    learner.run()
}

fn order(recipe: &Recipe, epoch: usize, examples: &Examples<'_>) -> (usize, Vec<usize>) {
    (
        epoch,
        rng::permutation(rng::stream(recipe.seed, epoch as u64), examples.count()),
    )
}

impl Learner<'_> {
    fn run(mut self) -> Result<CheckpointState> {
        let recipe = &self.training.recipe;
        let mut progress = Progress::new("training", "reviews", self.plan.length.reviews)
            .from(self.state.samples as u64);
        while !self.over() {
            // An evaluation that was interrupted is made first.
            let save = if self.evaluation_due() {
                match self.evaluate(&progress) {
                    Err(error) if error.is::<Interrupted>() => {}
                    evaluated => evaluated?,
                }
                true
            } else {
                self.step()?;
                recipe
                    .save_every
                    .is_some_and(|steps| self.taken.is_multiple_of(steps))
                    || self.saved.elapsed() >= self.training.save_after
            };
            let interrupted = interrupt::requested();
            // Finish all steps before evaluating, saving or stopping.
            self.settle(save || interrupted || self.evaluation_due(), &mut progress)?;
            if save || interrupted {
                self.checkpoints.save(&self.state, self.trainee.as_mut())?;
                self.saved = Instant::now();
            }
            if interrupted {
                let (step, out) = (self.state.step, self.training.out.display());
                bail!(
                    "interrupted after step {step} of {}; saved in {out}; continue with --resume",
                    self.plan.length.steps
                );
            }
        }
        progress.finish();
        if self.state.step < self.plan.length.steps {
            let stale = self.state.stale();
            say!(
                "stopped after step {} of {}: {stale} evaluations without a better {}",
                self.state.step,
                self.plan.length.steps,
                recipe.best_by
            );
        }
        Ok(self.state)
    }

    fn over(&self) -> bool {
        let patience = self.training.recipe.patience;
        patience.is_some_and(|patience| self.state.stale() >= patience)
            || self.taken >= self.plan.length.steps && !self.evaluation_due()
    }

    /// Whether the validation split is rated before the next step.
    fn evaluation_due(&self) -> bool {
        let Length {
            steps,
            steps_an_epoch,
            ..
        } = self.plan.length;
        let step = self.taken;
        let every = self.training.recipe.eval_every.unwrap_or(steps_an_epoch);
        let evaluated = self
            .state
            .evaluations
            .last()
            .is_some_and(|evaluation| evaluation.step == step);
        step > 0 && !evaluated && (step.is_multiple_of(every) || step >= steps)
    }

    fn epoch(&self) -> f64 {
        self.state.step as f64 / self.plan.length.steps_an_epoch as f64
    }

    fn evaluate(&mut self, progress: &Progress) -> Result<()> {
        let (validation, calibration) = self.examples.evaluate(
            self.trainee.engine(),
            &self.parts.val,
            self.training.recipe.decode,
            "validation",
        )?;
        let (step, epoch) = (self.state.step, self.epoch());
        watch::finite(validation.loss).with_context(|| format!("validation after step {step}"))?;
        self.log.write(&json!({ "step": step, "epoch": epoch, "validation": validation, "temperature": calibration.temperature }))?;
        let (loss, accuracy) = (validation.loss, 100.0 * validation.accuracy);
        self.state.evaluations.push(Evaluation {
            step,
            epoch,
            validation,
            calibration,
        });
        self.state.seconds = self.seconds_before + self.clock.elapsed().as_secs_f64();
        let best = if self.state.stale() == 0 {
            ", the best so far"
        } else {
            ""
        };
        progress.note(&format!("step {step}, epoch {epoch:.2}: validation loss {loss:.4}, accuracy {accuracy:.2}%{best}"));
        Ok(())
    }

    /// Begins the next step.
    fn step(&mut self) -> Result<()> {
        let recipe = &self.training.recipe;
        let Length {
            reviews_a_step,
            steps_an_epoch,
            ..
        } = self.plan.length;
        let number = self.taken;
        if self.order.0 != number / steps_an_epoch {
            self.order = order(recipe, number / steps_an_epoch, self.examples);
        }
        let first = number % steps_an_epoch * reviews_a_step;
        let picked: Vec<usize> = self
            .order
            .1
            .iter()
            .skip(first)
            .take(reviews_a_step)
            .copied()
            .collect();
        let rows: Vec<usize> = picked.iter().map(|i| self.examples.row(*i)).collect();
        let step = Step {
            token_ids: rows.iter().map(|row| self.examples.ids(*row)).collect(),
            counts: picked.iter().map(|i| self.examples.counts(*i)).collect(),
            teacher_logits: self.examples.teacher_logits(&rows),
            rows: &rows,
        };
        let learning_rate = self.plan.schedule.rate(number);
        let tokens = step.token_ids.iter().map(|ids| ids.len()).sum::<usize>();
        self.trainee
            .step(&step, number, learning_rate)
            .with_context(|| self.place(number, &rows))?;
        self.taken += 1;
        self.under_way.push_back(Begun {
            rows,
            tokens,
            learning_rate,
        });
        Ok(())
    }

    /// Checks and logs the finished steps in order; with `all`, waits for the unfinished ones too.
    fn settle(&mut self, all: bool, progress: &mut Progress) -> Result<()> {
        for done in self.trainee.finished(all)? {
            let Some(Begun {
                rows,
                tokens,
                learning_rate,
            }) = self.under_way.pop_front()
            else {
                break;
            };
            let Done {
                loss,
                norm: grad_norm,
                broken,
                unmoved,
            } = done;
            let number = self.state.step;
            self.state
                .watch
                .check(loss)
                .with_context(|| self.place(number, &rows))?;
            if let Some(name) = broken {
                return Err(not_finite(&name)).with_context(|| self.place(number, &rows));
            }
            if !unmoved.is_empty() {
                progress.note(&format!(
                    "step {}: {} have zero gradients and do not train",
                    number + 1,
                    unmoved.join(", ")
                ));
            }
            self.state.step += 1;
            self.state.updates += 1;
            self.state.samples += rows.len();
            self.state.tokens += tokens;
            self.state.seconds = self.seconds_before + self.clock.elapsed().as_secs_f64();
            let (step, epoch, seconds) = (self.state.step, self.epoch(), self.state.seconds);
            self.log.write(&Line {
                step,
                epoch,
                loss,
                learning_rate,
                grad_norm,
                samples: rows.len(),
                tokens,
                seconds,
            })?;
            progress.advance(rows.len(), &format!("loss {loss:.3}"));
        }
        Ok(())
    }

    /// Describes a step and the places of its reviews, for an error.
    fn place(&self, number: usize, rows: &[usize]) -> String {
        let known: Vec<usize> = rows
            .iter()
            .copied()
            .filter(|row| *row < self.training.reviews.len())
            .collect();
        let others = match rows.len() - known.len() {
            0 => String::new(),
            n => format!(" and {n} unlabelled reviews"),
        };
        format!(
            "step {} of {}, on {}{others}",
            number + 1,
            self.plan.length.steps,
            self.training.reviews.origins().places(&known)
        )
    }
}
