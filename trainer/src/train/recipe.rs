//! What decides a run: the notebook's recipe, unless told otherwise.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use starsight_model::rating::Decoding;

use super::criterion::Criterion;
use super::groups::Grouping;
use super::loss::{ClassWeights, DEFAULT_LESSONS, Lessons, Loss};
use super::repeats::Repeats;
use super::schedule::{Decay, Schedule};
use crate::data::{Corpus, SPLIT_SEED, Split};

/// Hyperparameters of a run. The same recipe on the same data and base model gives the same weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(rename_all = "kebab-case")]
pub struct Recipe {
    /// Passes over the training split
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Length and batches")]
    pub epochs: u32,
    /// Steps of the whole run, however many passes that takes; --epochs then says nothing
    #[arg(long, value_parser = positive, help_heading = "Length and batches")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<usize>,
    /// Reviews in a batch
    #[arg(long, default_value_t = 64, value_parser = positive, help_heading = "Length and batches")]
    pub batch: usize,
    /// Batches whose gradients make one step
    #[arg(long, default_value_t = 2, value_parser = positive, help_heading = "Length and batches")]
    pub accum: usize,
    /// Highest learning rate
    #[arg(long, default_value_t = 2e-5, value_parser = above_zero, help_heading = "Schedule")]
    pub lr: f64,
    /// How the learning rate goes on after the warm-up
    #[arg(long, value_enum, default_value_t = Decay::Linear, help_heading = "Schedule")]
    pub schedule: Decay,
    /// Learning rate at which the polynomial schedule ends
    #[arg(long, default_value_t = 1e-7, value_parser = zero_or_more, help_heading = "Schedule")]
    pub lr_end: f64,
    /// Power of the polynomial schedule
    #[arg(long, default_value_t = 1.0, value_parser = above_zero, help_heading = "Schedule")]
    pub lr_power: f64,
    /// Share of the steps over which the learning rate rises
    #[arg(long, default_value_t = 0.1, value_parser = share, help_heading = "Schedule")]
    pub warmup: f64,
    /// Steps over which the learning rate rises; --warmup then says nothing
    #[arg(long, help_heading = "Schedule")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<usize>,
    /// Factor of the learning rate from each layer to the one below it
    #[arg(long, default_value_t = 1.0, value_parser = factor, help_heading = "Schedule")]
    pub layer_decay: f64,
    /// Leave the embeddings as they are
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, help_heading = "Schedule")]
    pub freeze_embeddings: bool,
    /// Leave this many of the lowest layers, and the embeddings below them, as they are
    #[arg(long, default_value_t = 0, help_heading = "Schedule")]
    pub freeze_layers: usize,
    /// Share of the steps, at the beginning, in which the head alone moves
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share, help_heading = "Schedule")]
    #[serde(default)]
    pub head_first: f64,
    /// Weight decay, of matrices and embeddings only
    #[arg(long, default_value_t = 0.01, value_parser = share, help_heading = "Regularisation and loss")]
    pub weight_decay: f64,
    /// Gradients are clipped to this norm
    #[arg(long, default_value_t = 1.0, value_parser = above_zero, help_heading = "Regularisation and loss")]
    pub max_grad_norm: f64,
    /// Share of the truth that is spread evenly over the stars
    #[arg(long, default_value_t = 0.0, value_parser = rate, help_heading = "Regularisation and loss")]
    pub label_smoothing: f64,
    /// Share the truth with the stars beside it: a number of stars d away gets a share in proportion to exp(-A d²)
    #[arg(long, value_name = "A", value_parser = above_zero, help_heading = "Regularisation and loss")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft_targets: Option<f64>,
    /// Add this much of the ordinal log-loss, by which probabilities cost the more the further off their stars are
    #[arg(long, value_name = "W", default_value_t = 0.0, value_parser = zero_or_more, help_heading = "Regularisation and loss")]
    #[serde(default)]
    pub ordinal_log_loss: f64,
    /// What an error costs, for 1 to 5 stars: five numbers as in 1,2,2,2,1, or `balanced`, the rarer the dearer
    #[arg(long, help_heading = "Regularisation and loss")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
    /// Share of the loss by which the student follows its teacher, with --teacher; what the stars say is the rest; 0: the teacher labels only the unlabelled reviews. 0.9 unless given
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Regularisation and loss")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher_share: Option<f64>,
    /// What the teacher's and the student's logits are divided by before they are compared: the higher, the more counts what the teacher thinks of other stars. 2 unless given
    #[arg(long, value_name = "T", value_parser = above_zero, help_heading = "Regularisation and loss")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher_temperature: Option<f64>,
    /// Steps between two evaluations, each with its checkpoint; the end of each epoch unless given
    #[arg(long, value_parser = positive, help_heading = "Evaluation and the model that is kept")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_every: Option<usize>,
    /// Steps between two checkpoints besides; one is saved every five minutes in any case
    #[arg(long, value_parser = positive, help_heading = "Evaluation and the model that is kept")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub save_every: Option<usize>,
    /// Metric on the validation split that chooses the weights to keep
    #[arg(long, value_enum, default_value_t = Criterion::Loss, help_heading = "Evaluation and the model that is kept")]
    pub best_by: Criterion,
    /// How stars follow from the probabilities: the likeliest number is right most often, the median the fewest stars off on average, the rounded mean (expected) has the least squared error, balanced lies between the first two
    #[arg(
        long,
        default_value_t,
        value_name = "likeliest|median|expected|balanced",
        help_heading = "Evaluation and the model that is kept"
    )]
    #[serde(default)]
    pub decode: Decoding,
    /// Leave the calibration temperature apart, in the bundle's manifest, and the weights as they were trained; else the head's last weights are divided by it, so that every program that
    /// loads the bundle gives calibrated probabilities
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, help_heading = "Evaluation and the model that is kept")]
    #[serde(default)]
    pub temperature_apart: bool,
    /// Stop after this many evaluations without a better one
    #[arg(long, value_parser = positive, help_heading = "Evaluation and the model that is kept")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// Share of the steps, at the end, that are taken with the weights that int8 leaves of the model's own, so that it learns to live with them. What is kept are those weights, in
    /// floating point too
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share, help_heading = "Evaluation and the model that is kept")]
    #[serde(default)]
    pub int8: f64,
    /// Seed of the order of reviews, of dropout and of a fresh head
    #[arg(long, default_value_t = 42, value_parser = clap::value_parser!(u64).range(..=TOML_MAX), help_heading = "Reproducibility")]
    pub seed: u64,
    /// Seed of the split into training, validation and test
    #[arg(long, default_value_t = SPLIT_SEED, value_parser = clap::value_parser!(u64).range(..=TOML_MAX), help_heading = "Data")]
    pub split_seed: u64,
    /// Learn from so many reviews of the training split only, as from a smaller set; validation and test stay as they are
    #[arg(long, value_parser = positive, help_heading = "Data")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_rows: Option<usize>,
    /// How reviews with the same text are learned from: `each` by itself, as the notebook does, or `counted`: as one text with the counts of its stars, in as few examples as there are 16 reviews each
    #[arg(long, value_enum, default_value_t = Repeats::Each, help_heading = "Data")]
    #[serde(default)]
    pub repeats: Repeats,
    /// Column that says how much a review counts in training, a number above 0; each counts 1 unless given
    #[arg(long, value_name = "COLUMN", help_heading = "Data")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_column: Option<String>,
    /// Longest review in tokens; the base model's maximum unless given
    #[arg(long, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(3..), help_heading = "Length and batches")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// Every dropout rate; the base model's own unless given
    #[arg(long, value_parser = rate, help_heading = "Regularisation and loss")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
    /// Tokens computed at once; bounds the memory, and does not change the result but for rounding. 2048 on the processor, 32768 on a GPU unless given
    #[arg(long, value_parser = positive, help_heading = "Length and batches")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_budget: Option<usize>,
}

/// The largest whole number that a TOML file holds.
const TOML_MAX: u64 = i64::MAX as u64;

/// How long a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    /// Reviews of a step; the last step of an epoch has what is left.
    pub reviews_a_step: usize,
    /// Steps in which every review of the training split is seen once.
    pub steps_an_epoch: usize,
    /// Steps of the whole run.
    pub steps: usize,
    /// Reviews of the whole run, each as often as it is seen.
    pub reviews: usize,
}

impl Recipe {
    /// The training, validation and test rows of `reviews`.
    ///
    /// # Errors
    /// As [`Corpus::split`].
    pub fn parts(&self, reviews: &Corpus) -> Result<Split> {
        let mut parts = reviews.split(self.split_seed)?;
        // They are in a random order.
        parts.train.truncate(self.train_rows.unwrap_or(usize::MAX));
        Ok(parts)
    }

    /// What of this recipe, `taught` by another model or by the stars alone, is computed on the processor only.
    pub fn tied_to_processor(&self, taught: bool) -> Option<&'static str> {
        let tied = [
            (taught, "learning from a --teacher"),
            (self.ordinal_log_loss > 0.0, "--ordinal-log-loss"),
            (self.int8 > 0.0, "--int8"),
            (self.repeats == Repeats::Counted, "--repeats counted"),
            (self.weight_column.is_some(), "--weight-column"),
        ];
        tied.into_iter()
            .find(|(given, _)| *given)
            .map(|(_, what)| what)
    }

    /// The length of a run over `reviews` reviews, at least one.
    pub fn length(&self, reviews: usize) -> Length {
        let reviews_a_step = self.batch.saturating_mul(self.accum);
        let steps_an_epoch = reviews.div_ceil(reviews_a_step);
        let steps = self
            .max_steps
            .unwrap_or(steps_an_epoch.saturating_mul(self.epochs as usize));
        let last = (steps % steps_an_epoch)
            .saturating_mul(reviews_a_step)
            .min(reviews);
        Length {
            reviews_a_step,
            steps_an_epoch,
            steps,
            reviews: (steps / steps_an_epoch)
                .saturating_mul(reviews)
                .saturating_add(last),
        }
    }

    /// The learning rate over a run of `steps` steps.
    ///
    /// # Errors
    /// When it would never reach its highest, or end above it.
    pub fn schedule(&self, steps: usize) -> Result<Schedule> {
        // Rounded up as `Trainer` does.
        let warmup = self
            .warmup_steps
            .unwrap_or((self.warmup * steps as f64).ceil() as usize);
        ensure!(
            warmup <= steps,
            "--warmup-steps {warmup} is more than the run's {steps} steps"
        );
        let (decay, peak, end) = (self.schedule, self.lr, self.lr_end);
        ensure!(
            decay != Decay::Polynomial || end < peak,
            "--lr-end {end} is not below --lr {peak}"
        );
        Ok(Schedule {
            decay,
            peak,
            end,
            power: self.lr_power,
            warmup,
            total: steps,
        })
    }

    /// The loss, given the labels of the training split.
    pub fn loss(&self, labels: impl Iterator<Item = usize>) -> Loss {
        let plain = ClassWeights::Given([1.0; 5]);
        let loss = Loss::new(
            self.label_smoothing,
            self.class_weights
                .as_ref()
                .unwrap_or(&plain)
                .resolve(labels),
        );
        loss.with_soft_targets(self.soft_targets)
            .with_log_loss(self.ordinal_log_loss)
    }

    /// The step from which, in a run of `steps` steps, the model computes with the weights that int8 leaves of its own; none if it never does.
    pub fn rounded_from(&self, steps: usize) -> Option<usize> {
        (self.int8 > 0.0).then(|| steps - (self.int8 * steps as f64).ceil() as usize)
    }

    /// How a teacher is followed.
    pub fn lessons(&self) -> Lessons {
        let Lessons { share, temperature } = DEFAULT_LESSONS;
        Lessons {
            share: self.teacher_share.unwrap_or(share),
            temperature: self.teacher_temperature.unwrap_or(temperature),
        }
    }

    /// Which tensors move in a run of `steps` steps, and how fast.
    pub fn grouping(&self, steps: usize) -> Grouping {
        let head_first = (self.head_first * steps as f64).ceil() as i32;
        Grouping {
            layer_decay: self.layer_decay,
            freeze_embeddings: self.freeze_embeddings,
            freeze_layers: self.freeze_layers,
            head_first,
        }
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n @ 1..) => Ok(n),
        _ => Err("wanted a whole number above 0".into()),
    }
}

fn number(text: &str, fits: impl Fn(f64) -> bool, wanted: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|x: &f64| x.is_finite() && fits(*x))
        .ok_or_else(|| format!("wanted {wanted}"))
}

fn above_zero(text: &str) -> Result<f64, String> {
    number(text, |x| x > 0.0, "a number above 0")
}

fn zero_or_more(text: &str) -> Result<f64, String> {
    number(text, |x| x >= 0.0, "a number from 0")
}

fn share(text: &str) -> Result<f64, String> {
    number(text, |x| (0.0..=1.0).contains(&x), "a number from 0 to 1")
}

fn factor(text: &str) -> Result<f64, String> {
    number(text, |x| x > 0.0 && x <= 1.0, "a number above 0, up to 1")
}

fn rate(text: &str) -> Result<f64, String> {
    number(
        text,
        |x| (0.0..1.0).contains(&x),
        "a rate from 0 to below 1",
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    /// The recipe of these flags.
    pub fn recipe(flags: &[&str]) -> Recipe {
        let command = Recipe::augment_args(Command::new("train").no_binary_name(true));
        Recipe::from_arg_matches(&command.get_matches_from(flags)).expect("a recipe")
    }

    #[test]
    fn a_run_is_as_long_as_its_epochs_or_steps() {
        let length = |flags: &[&str]| recipe(flags).length(1000);
        // 1000 reviews in steps of 128 are 7 whole steps and one of 104.
        assert_eq!(
            length(&[]),
            Length {
                reviews_a_step: 128,
                steps_an_epoch: 8,
                steps: 8,
                reviews: 1000
            }
        );
        assert_eq!(length(&["--epochs", "3"]).reviews, 3000);
        let short = length(&["--max-steps", "3", "--epochs", "5"]);
        assert_eq!((short.steps, short.reviews), (3, 384));
        let long = length(&["--max-steps", "17"]);
        assert_eq!((long.steps, long.reviews), (17, 2128));
        let large = length(&["--batch", "18446744073709551615"]);
        assert_eq!((large.steps, large.reviews), (1, 1000));
        assert_eq!(
            length(&["--max-steps", "18446744073709551615"]).reviews,
            usize::MAX,
            "as good as endless"
        );
    }

    #[test]
    fn what_only_the_processor_computes_is_named() {
        let tied = |flags: &[&str], taught| recipe(flags).tied_to_processor(taught);
        assert_eq!(
            [tied(&[], false), tied(&["--label-smoothing", "0.1"], false)],
            [None, None]
        );
        assert_eq!(tied(&[], true), Some("learning from a --teacher"));
        assert_eq!(
            tied(&["--ordinal-log-loss", "0.5"], false),
            Some("--ordinal-log-loss")
        );
        assert_eq!(tied(&["--int8", "0.2"], false), Some("--int8"));
        assert_eq!(
            tied(&["--repeats", "counted"], false),
            Some("--repeats counted")
        );
        assert_eq!(
            tied(&["--weight-column", "w"], false),
            Some("--weight-column")
        );
    }

    #[test]
    fn a_recipe_of_an_earlier_version_is_read_as_what_it_was() {
        let recipe = recipe(&["--epochs", "3"]);
        let mut json = serde_json::to_value(&recipe).expect("JSON");
        let fields = json.as_object_mut().expect("an object");
        for later in [
            "decode",
            "ordinal-log-loss",
            "head-first",
            "int8",
            "repeats",
            "temperature-apart",
        ] {
            assert!(fields.remove(later).is_some(), "{later}");
        }
        assert_eq!(
            serde_json::from_value::<Recipe>(json).expect("a recipe"),
            recipe
        );
    }

    #[test]
    fn a_warm_up_is_a_share_or_steps() {
        let warmup = |flags: &[&str]| {
            recipe(flags)
                .schedule(15)
                .map(|schedule| schedule.warmup)
                .map_err(|e| e.to_string())
        };
        assert_eq!(warmup(&[]), Ok(2));
        assert_eq!(warmup(&["--warmup", "0"]), Ok(0));
        assert_eq!(warmup(&["--warmup", "0.5", "--warmup-steps", "3"]), Ok(3));
        assert_eq!(
            warmup(&["--warmup-steps", "16"]),
            Err("--warmup-steps 16 is more than the run's 15 steps".into())
        );
        assert_eq!(
            warmup(&["--schedule", "polynomial", "--lr-end", "2e-5"]),
            Err("--lr-end 0.00002 is not below --lr 0.00002".into())
        );
    }

    #[test]
    fn the_default_is_the_notebooks() {
        let recipe = recipe(&[]);
        assert_eq!(
            (
                recipe.epochs,
                recipe.batch,
                recipe.accum,
                recipe.lr,
                recipe.seed,
                recipe.split_seed
            ),
            (1, 64, 2, 2e-5, 42, 42)
        );
        assert_eq!(recipe.loss([0, 4].into_iter()), Loss::plain());
        assert_eq!(recipe.grouping(10).layer_decay, 1.0);
        assert!(
            !recipe.freeze_embeddings
                && !super::tests::recipe(&["--freeze-embeddings=false"]).freeze_embeddings
        );
        assert!(super::tests::recipe(&["--freeze-embeddings"]).freeze_embeddings);
    }
}
