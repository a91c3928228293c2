//! Tests of whole steps: logits, loss, gradients and weights.

use super::super::learner::{Learner, LearnerSettings, StepReport, TrainingStep};
use super::super::{Encoder, Precision};
use super::{assert_close, bert, device, distilbert, reviews, weights};
use crate::batch::{PackedBatch, plan};
use crate::config::Activation;
use crate::engine::Engine;
use crate::fused::update::{self, BETA1, BETA2, Update};
use crate::fused::{Depth, Fused, Gradients, Tape};
use crate::rng::dropout_keys;
use crate::{EncoderConfig, LABELS};

/// The largest distance of results from the reference's, relative to the reference's length.
fn bound(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 1e-5,
        // The passes through three layers round some dozens of times to 8 bits, each time with a
        // relative error of at most 2^-9.
        Precision::Bf16 => 8e-2,
    }
}

const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

/// Shapes that together cover all code paths of the kernels: rows that are whole vectors and rows
/// that are not, wide heads, both architectures and both activations.
fn shapes() -> Vec<EncoderConfig> {
    vec![
        distilbert(32, 4, 64),
        bert(24, 2, 40, "gelu"),
        bert(12, 3, 20, "relu"),
        distilbert(160, 2, 96),
        distilbert(264, 4, 40),
    ]
}

/// Targets with label smoothing and class weights, for reviews with these labels.
fn targets(labels: &[usize]) -> [[f32; LABELS]; LABELS] {
    let (smoothing, class_weights) = (0.1, [1.0, 2.0, 0.5, 1.5, 0.75]);
    let total: f64 = labels.iter().map(|label| class_weights[*label]).sum();
    std::array::from_fn(|label| {
        std::array::from_fn(|c| {
            let truth = smoothing / LABELS as f64 + if c == label { 1.0 - smoothing } else { 0.0 };
            (class_weights[c] * truth / total) as f32
        })
    })
}

/// The loss -Σ t ln p and its gradient p Σ t - t, computed directly.
fn loss(logits: &[f32; LABELS], targets: &[f32; LABELS]) -> (f64, [f32; LABELS]) {
    let highest = logits.iter().copied().fold(f32::MIN, f32::max);
    let log_sum = f64::from(highest)
        + logits
            .iter()
            .map(|x| f64::from(x - highest).exp())
            .sum::<f64>()
            .ln();
    let log_shares = logits.map(|x| f64::from(x) - log_sum);
    let whole: f64 = targets.iter().map(|t| f64::from(*t)).sum();
    let loss = log_shares
        .iter()
        .zip(targets)
        .map(|(share, t)| -share * f64::from(*t))
        .sum();
    (
        loss,
        std::array::from_fn(|c| (log_shares[c].exp() * whole) as f32 - targets[c]),
    )
}

/// The same model on the CPU and on the device.
struct Pair {
    fused: Fused,
    learner: Learner,
    config: EncoderConfig,
    token_ids: Vec<Vec<u32>>,
    labels: Vec<usize>,
    trained: Vec<bool>,
    depth: Depth,
}

impl Pair {
    fn new(
        config: &EncoderConfig,
        precision: Precision,
        depth: Depth,
        token_budget: usize,
    ) -> Pair {
        let weights = weights(config);
        let fused = Fused::new(config, &weights).expect("a model");
        let lowest = if let Depth::Layer(layer) = depth {
            layer
        } else {
            0
        };
        let is_trained = |name: &str, head: bool| match name
            .split_once(".layer.")
            .and_then(|(_, rest)| rest.split('.').next()?.parse::<usize>().ok())
        {
            _ if head => true,
            Some(layer) => layer >= lowest,
            None => depth == Depth::Embeddings,
        };
        let trained: Vec<bool> = fused
            .layout()
            .tensors()
            .iter()
            .map(|t| is_trained(&t.spec.name, t.spec.head))
            .collect();
        let settings = LearnerSettings {
            precision,
            depth,
            trained: &trained,
            token_budget,
            reviews: 8,
        };
        let learner = Learner::new(&device(), config, &weights, &settings).expect("a learner");
        let (token_ids, labels) = reviews(config);
        Pair {
            fused,
            learner,
            config: config.clone(),
            token_ids,
            labels,
            trained,
            depth,
        }
    }

    fn keys(&self, number: u64) -> Vec<u64> {
        dropout_keys(42, number, 0..self.token_ids.len()).to_vec()
    }

    /// The loss and gradients of step `number` on the CPU.
    fn wanted(&self, number: u64) -> (f64, Vec<f32>) {
        let lengths: Vec<usize> = self.token_ids.iter().map(Vec::len).collect();
        let (mut gradients, mut tape, mut sum) = (
            Gradients::new(self.fused.layout(), self.depth),
            Tape::default(),
            0.0,
        );
        let targets = targets(&self.labels);
        for group in plan(&lengths, 90) {
            let reviews: Vec<&[u32]> = group
                .iter()
                .map(|i| self.token_ids[*i].as_slice())
                .collect();
            let keys: Vec<u64> = group.iter().map(|i| self.keys(number)[*i]).collect();
            let mut logits = self
                .fused
                .forward(
                    &PackedBatch::new(&reviews).expect("a batch"),
                    &keys,
                    &mut tape,
                )
                .expect("logits");
            for (logits, i) in logits.iter_mut().zip(group) {
                let (value, slope) = loss(logits, &targets[self.labels[i]]);
                sum += value;
                *logits = slope;
            }
            self.fused.backward(&logits, &mut tape, &mut gradients);
        }
        (sum, gradients.to_dense())
    }

    /// Runs step `number` on the device.
    fn step(&mut self, number: u64, updates: &[Option<Update>], max_norm: f32) {
        let keys = self.keys(number);
        let reviews: Vec<&[u32]> = self.token_ids.iter().map(Vec::as_slice).collect();
        let step = TrainingStep {
            reviews: &reviews,
            keys: &keys,
            labels: &self.labels,
            targets: targets(&self.labels),
            updates,
            max_norm,
        };
        self.learner.step(&step).expect("a step");
    }

    fn report(&mut self) -> StepReport {
        let mut reports = self.learner.reports(true).expect("reports");
        assert_eq!(reports.len(), 1);
        reports.remove(0)
    }

    /// Updates of step `t`, each tensor with its own learning rate.
    fn updates(&self, t: i32) -> Vec<Option<Update>> {
        let update = |(i, trained): (usize, &bool)| {
            let rate = 1e-3 * (1.0 + i as f32 / 10.0);
            let decay = if i % 2 == 0 { 0.01 } else { 0.0 };
            trained.then(|| Update {
                clip: 1.0,
                shrink: 1.0 - rate * decay,
                size: rate / (1.0 - BETA1.powi(t)),
                root: (1.0 - f64::from(BETA2).powi(t)).sqrt() as f32,
            })
        };
        self.trained.iter().enumerate().map(update).collect()
    }

    /// Updates that change nothing.
    fn still(&self) -> Vec<Option<Update>> {
        self.trained
            .iter()
            .map(|trained| {
                trained.then_some(Update {
                    clip: 1.0,
                    shrink: 1.0,
                    size: 0.0,
                    root: 1.0,
                })
            })
            .collect()
    }
}

#[test]
fn logits_are_those_of_the_processor() {
    for config in shapes() {
        for precision in PRECISIONS {
            let (weights, (token_ids, _)) = (weights(&config), reviews(&config));
            let encoder =
                Encoder::new(&device(), &config, &weights, precision, 100).expect("an encoder");
            let fused = Fused::new(&config, &weights).expect("a model");
            // More tokens than the encoder's budget.
            let batch = PackedBatch::new(&token_ids.iter().map(Vec::as_slice).collect::<Vec<_>>())
                .expect("a batch");
            let (found, wanted) = (
                encoder.logits(&batch).expect("logits"),
                fused.logits(&batch).expect("logits"),
            );
            assert_close(
                &format!("{precision:?} {}", config.hidden_size),
                found.as_flattened(),
                wanted.as_flattened(),
                0.0,
                bound(precision),
            );
            assert!(
                encoder
                    .logits(&PackedBatch::new(&[]).expect("a batch"))
                    .expect("no logits")
                    .is_empty()
            );
            assert!(
                encoder
                    .logits(&PackedBatch::new(&[&[50]]).expect("a batch"))
                    .expect_err("an error")
                    .to_string()
                    .contains("token id 50")
            );
        }
    }
}

#[test]
fn a_steps_loss_and_gradients_are_those_of_the_processor() {
    for config in shapes() {
        for precision in PRECISIONS {
            // Rounding can move a unit across the kink of ReLU, where its slope jumps. No bound
            // covers that.
            if precision == Precision::Bf16 && config.activation == Activation::Relu {
                continue;
            }
            for token_budget in [1000, 90] {
                check_step(&config, precision, Depth::Embeddings, token_budget);
            }
        }
    }
}

#[test]
fn what_is_frozen_has_no_gradient() {
    for depth in [Depth::Layer(0), Depth::Layer(1), Depth::Layer(3)] {
        for config in [distilbert(32, 4, 64), bert(24, 2, 40, "gelu")] {
            check_step(&config, Precision::F32, depth, 90);
        }
    }
}

fn check_step(config: &EncoderConfig, precision: Precision, depth: Depth, token_budget: usize) {
    let mut pair = Pair::new(config, precision, depth, token_budget);
    // The second step reuses buffers that hold values of the first.
    for number in 1..3 {
        let (loss, wanted) = pair.wanted(number);
        pair.step(number, &pair.still(), 1.0);
        let report = pair.report();
        let found = pair.learner.gradients().expect("gradients");
        let whole = wanted
            .iter()
            .map(|x| f64::from(*x).powi(2))
            .sum::<f64>()
            .sqrt();
        let what = format!(
            "{precision:?}, {} wide, {depth:?}, {token_budget} tokens, step {number}",
            config.hidden_size
        );
        assert!(
            (report.loss - loss).abs() <= bound(precision) * loss,
            "{what}: loss {}, wanted {loss}",
            report.loss
        );
        assert!(
            (report.norm - whole).abs() <= bound(precision) * whole,
            "{what}: norm {}, wanted {whole}",
            report.norm
        );
        for (tensor, squares) in pair.learner.layout().tensors().iter().zip(&report.squares) {
            let (found, wanted) = (&found[tensor.range.clone()], &wanted[tensor.range.clone()]);
            // A small tensor's gradient may have an error that is proportional to the whole
            // gradient.
            let floor = if precision == Precision::F32 {
                0.01
            } else {
                0.2
            } * whole;
            assert_close(
                &format!("{what}: {}", tensor.spec.name),
                found,
                wanted,
                floor,
                bound(precision),
            );
            let sum: f64 = found.iter().map(|x| f64::from(*x).powi(2)).sum();
            assert!(
                (f64::from(*squares) - sum).abs() <= 1e-5 * sum,
                "{what}: {}",
                tensor.spec.name
            );
        }
    }
}

#[test]
fn weights_and_moments_move_as_the_processor_moves_them() {
    for (config, depth) in [
        (distilbert(32, 4, 64), Depth::Embeddings),
        (bert(12, 3, 20, "gelu"), Depth::Layer(1)),
    ] {
        for precision in PRECISIONS {
            let mut pair = Pair::new(&config, precision, depth, 90);
            let mut values = pair.learner.values().expect("values");
            let [mut first, mut second] = pair.learner.moments().expect("moments");
            for t in 1..5 {
                // Even steps are clipped, odd steps are not.
                let max_norm = if t % 2 == 0 { 1e-3 } else { 1e3 };
                let updates = pair.updates(t);
                pair.step(t as u64, &updates, max_norm);
                let report = pair.report();
                let gradients = pair.learner.gradients().expect("gradients");
                let clip = (f64::from(max_norm) / (report.norm + 1e-6)).min(1.0) as f32;
                assert_eq!(clip < 1.0, t % 2 == 0);
                for (tensor, update) in pair.learner.layout().tensors().iter().zip(&updates) {
                    let Some(update) = update else { continue };
                    let range = tensor.range.clone();
                    let (p, g) = (&mut values[range.clone()], &gradients[range.clone()]);
                    update::apply(
                        &Update { clip, ..*update },
                        p,
                        g,
                        &mut first[range.clone()],
                        &mut second[range],
                    );
                }
                let found = pair.learner.values().expect("values");
                let [found_first, found_second] = pair.learner.moments().expect("moments");
                // A difference may be much smaller than its operands, so an absolute error is
                // allowed too.
                let pairs = [
                    ("values", &found, &values, 1e-8),
                    ("first", &found_first, &first, 1e-9),
                    ("second", &found_second, &second, 0.0),
                ];
                for (what, found, wanted, least) in pairs {
                    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
                        assert!(
                            (found - wanted).abs() <= 2e-6 * wanted.abs() + least,
                            "{precision:?}, step {t}, {what} {i}: {found}, wanted {wanted}"
                        );
                    }
                }
            }
            // The learner rates with the trained weights.
            let weights = pair.learner.layout().name(&values).expect("weights");
            let fused = Fused::new(&pair.config, &weights).expect("a model");
            let batch =
                PackedBatch::new(&pair.token_ids.iter().map(Vec::as_slice).collect::<Vec<_>>())
                    .expect("a batch");
            let (found, wanted) = (
                pair.learner.logits(&batch).expect("logits"),
                fused.logits(&batch).expect("logits"),
            );
            assert_close(
                "after learning",
                found.as_flattened(),
                wanted.as_flattened(),
                0.0,
                bound(precision),
            );
        }
    }
}

#[test]
fn moments_are_taken_up_again() {
    let config = distilbert(32, 4, 64);
    let mut whole = Pair::new(&config, Precision::F32, Depth::Embeddings, 1000);
    let mut resumed = Pair::new(&config, Precision::F32, Depth::Embeddings, 1000);
    let (first, second) = (whole.updates(1), whole.updates(2));
    whole.step(1, &first, 1.0);
    let weights = whole
        .learner
        .layout()
        .name(&whole.learner.values().expect("values"))
        .expect("weights");
    let settings = LearnerSettings {
        precision: Precision::F32,
        depth: Depth::Embeddings,
        trained: &whole.trained,
        token_budget: 1000,
        reviews: 8,
    };
    resumed.learner = Learner::new(&device(), &config, &weights, &settings).expect("a learner");
    let moments = whole.learner.moments().expect("moments");
    resumed
        .learner
        .restore([&moments[0], &moments[1]])
        .expect("restored");
    whole.step(2, &second, 1.0);
    resumed.step(2, &second, 1.0);
    assert!(
        whole.learner.values().expect("values") == resumed.learner.values().expect("values"),
        "to the bit"
    );
}

#[test]
fn what_is_no_number_halts_the_optimiser() {
    let config = distilbert(32, 4, 64);
    let mut pair = Pair::new(&config, Precision::F32, Depth::Embeddings, 1000);
    let before = pair.learner.values().expect("values");
    // Infinite weights of the classifier make the logits infinite or NaN, so that the loss is NaN.
    let mut broken = before.clone();
    let classifier = pair
        .learner
        .layout()
        .tensors()
        .iter()
        .find(|t| t.spec.name == "classifier.weight")
        .expect("there")
        .range
        .clone();
    broken[classifier].fill(f32::INFINITY);
    pair.learner.core.values.write(&broken).expect("written");
    let updates = pair.updates(1);
    pair.step(1, &updates, 1.0);
    let report = pair.report();
    assert!(
        !report.loss.is_finite() || !report.norm.is_finite(),
        "{report:?}"
    );
    pair.learner.core.values.write(&before).expect("written");
    pair.step(2, &updates, 1.0);
    assert!(pair.report().norm.is_finite());
    assert!(
        pair.learner.values().expect("values") == before,
        "nothing moves after that"
    );
}

#[test]
fn reports_come_in_order_and_only_when_they_are_there() {
    let config = distilbert(32, 4, 64);
    let mut pair = Pair::new(&config, Precision::F32, Depth::Embeddings, 1000);
    let still = pair.still();
    let wanted: Vec<f64> = (1..4).map(|number| pair.wanted(number).0).collect();
    for number in 1..4 {
        pair.step(number, &still, 1.0);
    }
    // The emulated device runs nothing until someone waits.
    if std::env::var_os("STARSIGHT_TEST_GPU").is_none() {
        assert!(pair.learner.reports(false).expect("reports").is_empty());
    }
    let found: Vec<f64> = pair
        .learner
        .reports(true)
        .expect("reports")
        .iter()
        .map(|report| report.loss)
        .collect();
    assert_eq!(found.len(), 3);
    found.iter().zip(&wanted).for_each(|(found, wanted)| {
        assert!(
            (found - wanted).abs() < 1e-5 * wanted,
            "{found}, wanted {wanted}"
        );
    });
}
