//! The recipe of a run. Its defaults are the notebook's recipe.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use starsight_model::rating::Decoding;

use super::criterion::Criterion;
use super::groups::Grouping;
use super::loss::{ClassWeights, DEFAULT_DISTILLATION, DistillationSettings, Loss};
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
    /// Total number of steps; overrides --epochs
    #[arg(long, value_parser = positive, help_heading = "Length and batches")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<usize>,
    /// Reviews in a batch
    #[arg(long, default_value_t = 64, value_parser = positive, help_heading = "Length and batches")]
    pub batch: usize,
    /// Batches whose gradients are accumulated into one step
    #[arg(long, default_value_t = 2, value_parser = positive, help_heading = "Length and batches")]
    pub accum: usize,
    /// Peak learning rate
    #[arg(long, default_value_t = 2e-5, value_parser = above_zero, help_heading = "Schedule")]
    pub lr: f64,
    /// Shape of the learning rate after the warm-up
    #[arg(long, value_enum, default_value_t = Decay::Linear, help_heading = "Schedule")]
    pub schedule: Decay,
    /// Final learning rate of the polynomial schedule
    #[arg(long, default_value_t = 1e-7, value_parser = zero_or_more, help_heading = "Schedule")]
    pub lr_end: f64,
    /// Power of the polynomial schedule
    #[arg(long, default_value_t = 1.0, value_parser = above_zero, help_heading = "Schedule")]
    pub lr_power: f64,
    /// Share of the steps used for warm-up, in which the learning rate rises
    #[arg(long, default_value_t = 0.1, value_parser = share, help_heading = "Schedule")]
    pub warmup: f64,
    /// Number of warm-up steps; overrides --warmup
    #[arg(long, help_heading = "Schedule")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<usize>,
    /// Factor of the learning rate from each layer to the one below
    #[arg(long, default_value_t = 1.0, value_parser = factor, help_heading = "Schedule")]
    pub layer_decay: f64,
    /// Freeze the embeddings
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, help_heading = "Schedule")]
    pub freeze_embeddings: bool,
    /// Freeze this many of the lowest layers, and the embeddings below them
    #[arg(long, default_value_t = 0, help_heading = "Schedule")]
    pub freeze_layers: usize,
    /// Share of the steps, at the beginning, in which only the head is trained
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share, help_heading = "Schedule")]
    #[serde(default)]
    pub head_first: f64,
    /// Weight decay, of matrices and embeddings only
    #[arg(long, default_value_t = 0.01, value_parser = share, help_heading = "Regularisation and loss")]
    pub weight_decay: f64,
    /// Clip gradients to this norm
    #[arg(long, default_value_t = 1.0, value_parser = above_zero, help_heading = "Regularisation and loss")]
    pub max_grad_norm: f64,
    /// Label smoothing: share of the target that is spread evenly over all stars
    #[arg(long, default_value_t = 0.0, value_parser = rate, help_heading = "Regularisation and loss")]
    pub label_smoothing: f64,
    /// Soft targets: stars at distance d from the label get a share of the target in proportion to
    /// exp(-A d²)
    #[arg(long, value_name = "A", value_parser = above_zero, help_heading = "Regularisation and loss")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft_targets: Option<f64>,
    /// Weight of an added ordinal log-loss, in which a probability costs more the further its stars
    /// are from the label
    #[arg(long, value_name = "W", default_value_t = 0.0, value_parser = zero_or_more, help_heading = "Regularisation and loss")]
    #[serde(default)]
    pub ordinal_log_loss: f64,
    /// Class weights in the loss, for 1 to 5 stars: five numbers as in 1,2,2,2,1, or `balanced` for
    /// weights inverse to the frequency; default: all 1
    #[arg(long, help_heading = "Regularisation and loss")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
    /// Share of the loss that comes from the teacher, with --teacher; the stars have the rest; with
    /// 0 the teacher labels only the unlabelled reviews; default: 0.9
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Regularisation and loss")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher_share: Option<f64>,
    /// Temperature of distillation: divides the teacher's and the student's logits before they are
    /// compared; higher values emphasise the less likely stars; default: 2
    #[arg(long, value_name = "T", value_parser = above_zero, help_heading = "Regularisation and loss")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher_temperature: Option<f64>,
    /// Steps between evaluations, each with a checkpoint; default: the end of each epoch
    #[arg(long, value_parser = positive, help_heading = "Evaluation and model selection")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_every: Option<usize>,
    /// Steps between further checkpoints; one is saved every five minutes in any case
    #[arg(long, value_parser = positive, help_heading = "Evaluation and model selection")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub save_every: Option<usize>,
    /// Validation metric that selects the weights to keep
    #[arg(long, value_enum, default_value_t = Criterion::Loss, help_heading = "Evaluation and model selection")]
    pub best_by: Criterion,
    /// How to derive stars from the probabilities: `likeliest` is right most often, `median` has
    /// the lowest mean error in stars, `expected` (the rounded mean) the lowest squared error,
    /// `balanced` lies between the first two
    #[arg(
        long,
        default_value_t,
        value_name = "likeliest|median|expected|balanced",
        help_heading = "Evaluation and model selection"
    )]
    #[serde(default)]
    pub decode: Decoding,
    /// Keep the weights as trained, and store the calibration temperature in the bundle's manifest;
    /// by default the head's last layer is divided by it, so that every program that loads the
    /// bundle gives calibrated probabilities
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, help_heading = "Evaluation and model selection")]
    #[serde(default)]
    pub temperature_apart: bool,
    /// Stop after this many evaluations without an improvement
    #[arg(long, value_parser = positive, help_heading = "Evaluation and model selection")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// Share of the steps, at the end, that compute with weights rounded to int8, so that the model
    /// adapts to them (quantisation-aware training); the bundle's floating-point weights are then
    /// the rounded ones too
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share, help_heading = "Evaluation and model selection")]
    #[serde(default)]
    pub int8: f64,
    /// Seed of the order of reviews, of dropout and of a new head
    #[arg(long, default_value_t = 42, value_parser = clap::value_parser!(u64).range(..=TOML_MAX), help_heading = "Reproducibility")]
    pub seed: u64,
    /// Seed of the split into training, validation and test
    #[arg(long, default_value_t = SPLIT_SEED, value_parser = clap::value_parser!(u64).range(..=TOML_MAX), help_heading = "Data")]
    pub split_seed: u64,
    /// Train on only this many reviews of the training split; validation and test stay the same
    #[arg(long, value_parser = positive, help_heading = "Data")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_rows: Option<usize>,
    /// How to train on reviews with the same text: `each` separately, as in the notebook, or
    /// `counted`: as one text with the counts of its stars, in as few examples as hold at most 16
    /// reviews each
    #[arg(long, value_enum, default_value_t = Repeats::Each, help_heading = "Data")]
    #[serde(default)]
    pub repeats: Repeats,
    /// Column with the weight of each review in training, a number above 0; default: 1 each
    #[arg(long, value_name = "COLUMN", help_heading = "Data")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_column: Option<String>,
    /// Maximum length of a review in tokens; default: the base model's maximum
    #[arg(long, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(3..), help_heading = "Length and batches")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// Dropout rate for all layers; default: the base model's own rates
    #[arg(long, value_parser = rate, help_heading = "Regularisation and loss")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
    /// Tokens computed at once; limits memory, and changes results only by rounding; default: 2048
    /// on the processor, 32768 on a GPU
    #[arg(long, value_parser = positive, help_heading = "Length and batches")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_budget: Option<usize>,
}

/// The largest integer in a TOML file.
const TOML_MAX: u64 = i64::MAX as u64;

/// Length of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    /// Reviews per step; the last step of an epoch has the rest.
    pub reviews_a_step: usize,
    /// Steps per epoch, in which every training review is seen once.
    pub steps_an_epoch: usize,
    /// Steps of the whole run.
    pub steps: usize,
    /// Reviews of the whole run, counted each time they are seen.
    pub reviews: usize,
}

impl Recipe {
    /// The training, validation and test rows of `reviews`.
    ///
    /// # Errors
    /// As [`Corpus::split`].
    pub fn parts(&self, reviews: &Corpus) -> Result<Split> {
        let mut parts = reviews.split(self.split_seed)?;
        // The training split is in random order, so its first rows are a random sample.
        parts.train.truncate(self.train_rows.unwrap_or(usize::MAX));
        Ok(parts)
    }

    /// The part of this recipe that can be computed only on the processor, if any; `has_teacher`
    /// says whether there is a teacher.
    pub fn processor_only_flag(&self, has_teacher: bool) -> Option<&'static str> {
        let flags = [
            (has_teacher, "--teacher"),
            (self.ordinal_log_loss > 0.0, "--ordinal-log-loss"),
            (self.int8 > 0.0, "--int8"),
            (self.repeats == Repeats::Counted, "--repeats counted"),
            (self.weight_column.is_some(), "--weight-column"),
        ];
        flags
            .into_iter()
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
    /// When the learning rate would never reach its peak, or would end above it.
    pub fn schedule(&self, steps: usize) -> Result<Schedule> {
        // Rounded up, as in `Trainer`.
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

    /// The step from which a run of `steps` steps computes with weights rounded to int8; `None` for
    /// never.
    pub fn rounded_from(&self, steps: usize) -> Option<usize> {
        (self.int8 > 0.0).then(|| steps - (self.int8 * steps as f64).ceil() as usize)
    }

    /// Settings of distillation.
    pub fn distillation(&self) -> DistillationSettings {
        let DistillationSettings { share, temperature } = DEFAULT_DISTILLATION;
        DistillationSettings {
            share: self.teacher_share.unwrap_or(share),
            temperature: self.teacher_temperature.unwrap_or(temperature),
        }
    }

    /// Which tensors are trained in a run of `steps` steps, and at which rate.
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
        _ => Err("expected a whole number above 0".into()),
    }
}

fn number(text: &str, fits: impl Fn(f64) -> bool, wanted: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|x: &f64| x.is_finite() && fits(*x))
        .ok_or_else(|| format!("expected {wanted}"))
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
        // 1000 reviews in steps of 128 are 7 full steps and one of 104.
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
        let flag = |flags: &[&str], has_teacher| recipe(flags).processor_only_flag(has_teacher);
        assert_eq!(
            [flag(&[], false), flag(&["--label-smoothing", "0.1"], false)],
            [None, None]
        );
        assert_eq!(flag(&[], true), Some("--teacher"));
        assert_eq!(
            flag(&["--ordinal-log-loss", "0.5"], false),
            Some("--ordinal-log-loss")
        );
        assert_eq!(flag(&["--int8", "0.2"], false), Some("--int8"));
        assert_eq!(
            flag(&["--repeats", "counted"], false),
            Some("--repeats counted")
        );
        assert_eq!(
            flag(&["--weight-column", "w"], false),
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
