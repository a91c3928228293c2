//! Training, checked step by step against PyTorch and transformers; tests/record/steps.py made the
//! fixture.

mod common;
#[path = "common/difference.rs"]
mod difference;

use candle_core::{DType, Device, Tensor, Var};
use common::words;
use difference::Difference;
use serde_json::Value;
use starsight::train::groups::Grouping;
use starsight::train::loss::{Counts, Loss, one};
use starsight::train::optimizer::AdamW;
use starsight::train::schedule::{Decay, Schedule};
use starsight::train::step::{Step, Workspace, gradient};
use starsight_model::batch::PackedBatch;
use starsight_model::fused::{Depth, Fused, Precision};
use starsight_model::model::Classifier;
use starsight_model::rng::dropout_keys;
use starsight_model::tokenizer::Tokenizer;
use starsight_model::weights::Weights;
use starsight_model::{EncoderConfig, Engine};

fn fixture(path: &str) -> Vec<u8> {
    let path = format!("{}/../tests/fixtures/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

struct Run {
    optimizer: AdamW,
    loss: Loss,
    model: Fused,
    workspace: Workspace,
    ids: Vec<Vec<u32>>,
    labels: Vec<usize>,
}

impl Run {
    fn new(name: &str, dropout: f32, recorded: &Value) -> Run {
        let config = EncoderConfig::from_json(&fixture(&format!("{name}/config.json")))
            .expect("a config")
            .with_dropout(dropout);
        let weights =
            Weights::from_safetensors(&fixture(&format!("{name}/model.safetensors")), &config)
                .expect("weights");
        let model = Fused::new(&config, &weights).expect("a model");
        let number = |key: &str| recorded["recipe"][key].as_f64().expect("a number");
        let grouping = Grouping {
            layer_decay: 1.0,
            freeze_embeddings: false,
            freeze_layers: 0,
            head_first: 0,
        };
        let groups = grouping
            .of(&config, model.layout().tensors().iter().map(|t| &t.spec))
            .expect("groups");
        let optimizer = AdamW::new(
            model.layout(),
            groups,
            number("weight_decay"),
            number("max_grad_norm"),
        );
        let tokenizer = Tokenizer::from_json(
            &fixture(&format!("{name}/tokenizer.json")),
            None,
            config.max_positions,
        )
        .expect("a tokeniser");
        let reviews = recorded["reviews"].as_array().expect("reviews");
        let ids = reviews
            .iter()
            .map(|r| {
                tokenizer
                    .encode(r["text"].as_str().expect("a text"))
                    .expect("ids")
            })
            .collect();
        let labels = reviews
            .iter()
            .map(|r| r["label"].as_u64().expect("a label") as usize)
            .collect();
        Run {
            optimizer,
            loss: Loss::plain(),
            workspace: Workspace::new(&model, Depth::Embeddings),
            model,
            ids,
            labels,
        }
    }

    /// Returns the loss of a step and leaves its gradient in the workspace.
    fn gradient(&mut self, rows: &[usize], token_budget: usize, number: usize) -> f64 {
        let counts: Vec<Counts> = rows.iter().map(|row| one(self.labels[*row])).collect();
        self.gradient_of(rows, &counts, token_budget, number)
    }

    /// The same for texts with counts of each number of stars.
    fn gradient_of(
        &mut self,
        rows: &[usize],
        counts: &[Counts],
        token_budget: usize,
        number: usize,
    ) -> f64 {
        let step = Step {
            rows,
            token_ids: rows.iter().map(|row| self.ids[*row].as_slice()).collect(),
            counts: counts.iter().map(|counts| Some(*counts)).collect(),
            teacher_logits: Vec::new(),
        };
        self.optimizer
            .prepare(&mut self.model, step.token_ids.iter().copied().flatten());
        gradient(
            &self.model,
            &mut self.workspace,
            &step,
            &self.loss,
            token_budget,
            42,
            number,
        )
        .expect("a gradient")
    }

    /// The gradient in the workspace, by tensor name.
    fn gradients(&self) -> Vec<(String, Vec<f32>)> {
        let all = self.workspace.gradients.to_dense();
        self.model
            .layout()
            .tensors()
            .iter()
            .map(|t| (t.spec.name.clone(), all[t.range.clone()].to_vec()))
            .collect()
    }

    fn weights(&mut self) -> Vec<(String, Vec<f32>)> {
        self.optimizer.settle(&mut self.model);
        let tensors = self.model.layout().tensors().iter();
        tensors
            .map(|t| {
                (
                    t.spec.name.clone(),
                    self.model.values()[t.range.clone()].to_vec(),
                )
            })
            .collect()
    }
}

fn recorded() -> Value {
    serde_json::from_slice(&fixture("steps.json")).expect("JSON")
}

/// Sum, L2 norm, and a sum weighted by position, which detects a transposed tensor; as in
/// tests/record/steps.py.
fn summary(x: &[f32]) -> [f64; 3] {
    let x = || x.iter().map(|x| f64::from(*x));
    let weighted = x()
        .enumerate()
        .map(|(i, x)| x * (((i * 7919) % 1009) as f64 / 1009.0 - 0.5))
        .sum();
    [x().sum(), x().map(|x| x * x).sum::<f64>().sqrt(), weighted]
}

/// Compares the sums of a tensor's elements with the recorded ones.
fn compare_summary(
    difference: &mut Difference,
    tensor: &[f32],
    wanted: &Value,
    tolerance: f64,
    place: &str,
) {
    let wanted: Vec<f64> = wanted
        .as_array()
        .expect("three numbers")
        .iter()
        .map(|v| v.as_f64().expect("a number"))
        .collect();
    let root = (tensor.len() as f64).sqrt();
    for (i, (found, wanted_i)) in summary(tensor).iter().zip(&wanted).enumerate() {
        // A sum of n elements can differ by sqrt(n) where their norm differs by 1.
        let scale = wanted[1] * if i == 1 { 1.0 } else { root };
        difference.value(*found, *wanted_i, tolerance * scale, place);
    }
}

#[test]
fn twenty_steps_are_those_of_transformers() {
    let recorded = recorded();
    for (name, model) in recorded["models"].as_object().expect("models") {
        let mut run = Run::new(name, 0.0, &recorded);
        let mut difference = Difference::of(format!("{name}, twenty steps from transformers"));
        let in_doubt = model["rounding"].as_array().expect("names");
        let recipe = &recorded["recipe"];
        let warmup = recipe["warmup_steps"].as_u64().expect("steps") as usize;
        let schedule = Schedule {
            decay: Decay::Linear,
            peak: recipe["learning_rate"].as_f64().expect("a rate"),
            end: 0.0,
            power: 1.0,
            warmup,
            total: 20,
        };
        for (number, step) in model["steps"].as_array().expect("steps").iter().enumerate() {
            let rows: Vec<usize> = step["reviews"]
                .as_array()
                .expect("rows")
                .iter()
                .map(|r| r.as_u64().expect("a row") as usize)
                .collect();
            let loss = run.gradient(&rows, 40, number);
            if number == 0 {
                for (tensor, gradient) in run.gradients() {
                    if !in_doubt.iter().any(|n| *n == tensor) {
                        compare_summary(
                            &mut difference,
                            &gradient,
                            &model["first_gradients"][&tensor],
                            1e-4,
                            &format!("gradient of {tensor}"),
                        );
                    }
                }
            }
            let rate = schedule.rate(number);
            let norm = run
                .optimizer
                .step(&mut run.model, &run.workspace.gradients, rate)
                .expect("a step");
            for (what, found) in [("lr", rate), ("loss", loss), ("grad_norm", norm)] {
                let wanted = step[what].as_f64().expect("a number");
                let place = format!("step {number}: {what}");
                difference.value(found, wanted, 1e-4 * (1.0 + wanted), &place);
            }
        }
        let mut seen = 0;
        for (tensor, value) in run.weights() {
            if !in_doubt.iter().any(|n| *n == tensor) {
                compare_summary(
                    &mut difference,
                    &value,
                    &model["parameters"][&tensor],
                    1e-5,
                    &format!("{tensor} after twenty steps"),
                );
                seen += 1;
            }
        }
        assert!(seen > 30, "{seen} tensors compared");
    }
}

#[test]
fn a_gradient_does_not_depend_on_the_packing() {
    let recorded = recorded();
    for name in ["distilbert", "bert"] {
        // Dropout is on and the classes have unequal weights: a review's dropout and weight must
        // not depend on its place in the batch either.
        let mut run = Run::new(name, 0.3, &recorded);
        run.loss = Loss::new(0.1, [1.0, 2.0, 2.5, 2.0, 0.5]);
        let rows = [7, 0, 5, 3, 8, 2, 11, 4];
        let loss = run.gradient(&rows, 10_000, 3);
        let together = run.gradients();
        let apart_loss = run.gradient(&rows, 1, 3);
        assert!((loss - apart_loss).abs() < 1e-6, "{loss} {apart_loss}");
        for ((tensor, a), (_, b)) in together.iter().zip(&run.gradients()) {
            let norm = summary(a)[1];
            for (x, y) in a.iter().zip(b) {
                assert!(
                    f64::from((x - y).abs()) <= 1e-5 * (1.0 + norm),
                    "{name}, {tensor}: {x} {y}"
                );
            }
        }
        let other = run.gradient(&rows, 10_000, 4);
        assert!(
            (loss - other).abs() > 1e-6,
            "another step draws another dropout"
        );
        let mut without = Run::new(name, 0.0, &recorded);
        without.loss = run.loss;
        let without = without.gradient(&rows, 10_000, 3);
        assert!((loss - without).abs() > 1e-6, "dropout does something");
    }
}

#[test]
fn texts_with_counts_have_the_loss_and_the_gradient_of_all_their_reviews() {
    let recorded = recorded();
    for name in recorded["models"].as_object().expect("models").keys() {
        let mut run = Run::new(name, 0.0, &recorded);
        run.loss = Loss::new(0.1, [1.0, 2.0, 2.5, 2.0, 0.5]);
        // Three texts, one of them fifty times, with all numbers of stars.
        let counts: [Counts; 3] = [
            [20.0, 3.0, 0.0, 7.0, 20.0],
            [0.0, 0.0, 1.0, 0.0, 0.0],
            [2.0, 0.0, 0.0, 0.0, 5.0],
        ];
        let each = counts.iter().enumerate().flat_map(|(row, counts)| {
            counts
                .iter()
                .enumerate()
                .flat_map(move |(label, n)| vec![(row, one(label)); *n as usize])
        });
        let (rows, ones): (Vec<usize>, Vec<Counts>) = each.unzip();
        assert_eq!(rows.len(), 58);
        let wanted = run.gradient_of(&rows, &ones, 64, 0);
        let gradients = run.gradients();
        let found = run.gradient_of(&[0, 1, 2], &counts, 64, 0);
        assert!(
            (found - wanted).abs() < 1e-6 * wanted,
            "{name}: {found}, of all reviews {wanted}"
        );
        for ((tensor, found), (_, wanted)) in run.gradients().iter().zip(&gradients) {
            let norm = wanted
                .iter()
                .map(|x| f64::from(*x).powi(2))
                .sum::<f64>()
                .sqrt();
            let far = found
                .iter()
                .zip(wanted)
                .map(|(a, b)| f64::from(a - b).powi(2))
                .sum::<f64>()
                .sqrt();
            // Some gradients are zero except for rounding: a key's bias shifts all scores of a
            // query alike.
            assert!(
                far <= 1e-4 * norm + 1e-6,
                "{name}: {tensor} is {far} off {norm}"
            );
        }
    }
}

#[test]
fn every_tensor_gets_a_gradient_and_clipping_only_shortens() {
    let recorded = recorded();
    let mut run = Run::new("bert", 0.1, &recorded);
    run.gradient(&[0, 1, 2, 3], 64, 0);
    for (name, gradient) in run.gradients() {
        let [_, norm, _] = summary(&gradient);
        assert!(norm.is_finite() && norm > 0.0, "{name}: {norm}");
    }
    // The first AdamW step moves every weight by about the learning rate, however large the
    // gradient is.
    let classifier = |weights: Vec<(String, Vec<f32>)>| {
        weights
            .into_iter()
            .find(|(name, _)| name == "classifier.weight")
            .expect("a tensor")
            .1
    };
    let before = classifier(run.weights());
    run.optimizer
        .step(&mut run.model, &run.workspace.gradients, 1e-3)
        .expect("a step");
    let moved = classifier(run.weights())
        .iter()
        .zip(&before)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!((0.5e-3..1.5e-3).contains(&moved), "{moved}");
    assert!(run.optimizer.unmoved(&run.workspace.gradients).is_empty());
    run.model.values_mut().fill(f32::NAN);
    assert!(run.gradient(&[0, 1], 64, 1).is_nan());
    let error = run
        .optimizer
        .step(&mut run.model, &run.workspace.gradients, 1e-3)
        .expect_err("a NaN is noticed");
    assert!(error.to_string().contains("not finite"), "{error}");
}

#[test]
fn a_nan_in_the_head_is_not_hidden() {
    for name in ["distilbert", "bert"] {
        let mut run = Run::new(name, 0.0, &recorded());
        // The bias of the layer before the activation.
        let mut head = run
            .model
            .layout()
            .tensors()
            .iter()
            .filter(|t| t.spec.head && t.spec.name.ends_with(".bias"));
        let bias = head
            .find(|t| t.spec.name != "classifier.bias")
            .expect("a tensor")
            .range
            .clone();
        run.model.values_mut()[bias].fill(f32::NAN);
        let logits = run
            .model
            .logits(&PackedBatch::new(&[&run.ids[0]]).expect("a batch"))
            .expect("logits");
        assert!(logits[0].iter().all(|x| x.is_nan()), "{name}: {logits:?}");
    }
}

#[test]
fn a_gradient_that_vanished_is_told_of_once() {
    // A classifier of zeros passes no gradient back.
    let dir = common::folder_with("reviews.csv", common::csv(80));
    let at = dir.path();
    common::good(
        at,
        &words("init --data reviews.csv --out base --layers 1 --hidden 16 --vocab-size 150"),
    );
    let path = at.join("base/model.safetensors");
    let config =
        EncoderConfig::from_json(&std::fs::read(at.join("base/config.json")).expect("a file"))
            .expect("a config");
    let mut weights = Weights::from_safetensors(&std::fs::read(&path).expect("a file"), &config)
        .expect("weights");
    weights.insert(
        "classifier.weight".into(),
        Tensor::zeros((5, 16), DType::F32, &Device::Cpu).expect("zeros"),
    );
    std::fs::write(&path, weights.to_safetensors().expect("bytes")).expect("written");
    let output = common::starsight(
        at,
        &words("train --model base --data reviews.csv --out model --max-steps 3 --batch 8"),
    );
    let said = common::text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let told: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("have zero gradients"))
        .collect();
    let [line] = told[..] else {
        panic!("told {} times: {said}", told.len())
    };
    assert!(
        line.starts_with("step 1: ") && line.ends_with(" have zero gradients and do not train"),
        "{line}"
    );
    let list = line
        .trim_start_matches("step 1: ")
        .trim_end_matches(" have zero gradients and do not train");
    let mut named: Vec<&str> = list.split(", ").collect();
    let mut wanted: Vec<&str> = weights
        .iter()
        .map(|(name, _)| name)
        .filter(|name| !name.starts_with("classifier."))
        .collect();
    named.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(named, wanted);
}

/// The same model on candle's graph, with candle's gradients.
#[test]
fn logits_and_gradients_are_those_of_candles_graph() {
    let recorded = recorded();
    for name in ["distilbert", "bert"] {
        for dropout in [0.0, 0.25] {
            let mut run = Run::new(name, dropout, &recorded);
            let rows = [3, 9, 1, 0, 10, 6, 2];
            let mut variables = Weights::default();
            for (name, tensor) in run
                .model
                .layout()
                .name(run.model.values())
                .expect("weights")
                .iter()
            {
                variables.insert(
                    name.to_string(),
                    Var::from_tensor(tensor)
                        .expect("a variable")
                        .as_tensor()
                        .clone(),
                );
            }
            let graph = Classifier::new(run.model.config(), &variables).expect("a model");
            let batch =
                PackedBatch::new(&rows.map(|row| run.ids[row].as_slice())).expect("a batch");
            let labels = Tensor::from_iter(
                rows.iter().map(|row| run.labels[*row] as u32),
                graph.device(),
            )
            .expect("labels");
            let keys = dropout_keys(42, 5, rows.iter().copied());
            let logits = graph.forward(&batch, Some(&keys)).expect("logits");
            let loss = candle_nn::loss::cross_entropy(&logits, &labels).expect("a loss");
            let wanted = loss.backward().expect("gradients");

            // A small token budget makes several batches.
            let found = run.gradient(&rows, 30, 5);
            let loss = f64::from(loss.to_scalar::<f32>().expect("a number"));
            let mut difference =
                Difference::of(format!("{name}, dropout {dropout}, from candle's graph"));
            difference.value(found, loss, 1e-5, "loss");
            for (tensor, gradient) in run.gradients() {
                let shape = &run
                    .model
                    .layout()
                    .tensors()
                    .iter()
                    .find(|t| t.spec.name == tensor)
                    .expect("a tensor")
                    .spec
                    .shape;
                let wanted = wanted
                    .get(&variables.get(&tensor, shape).expect("a tensor"))
                    .expect("a gradient");
                let wanted = wanted
                    .flatten_all()
                    .and_then(|t| t.to_vec1::<f32>())
                    .expect("f32");
                let norm = summary(&wanted)[1] as f32;
                let tolerance = f64::from(2e-5 * (0.1 + norm));
                difference.values(&gradient, &wanted, tolerance, &tensor);
            }
            let rated = run.model.logits(&batch).expect("logits");
            for (found, wanted) in rated.iter().zip(graph.logits(&batch).expect("logits")) {
                difference.values(found, &wanted, 1e-5, "logits");
            }
        }
    }
}

#[test]
fn what_is_frozen_costs_nothing_and_stays() {
    let recorded = recorded();
    let mut run = Run::new("bert", 0.1, &recorded);
    run.gradient(&[0, 1, 2, 3, 4], 64, 0);
    let all = run.gradients();
    for (grouping, lowest) in [
        (
            Grouping {
                layer_decay: 1.0,
                freeze_embeddings: true,
                freeze_layers: 0,
                head_first: 0,
            },
            "bert.encoder",
        ),
        (
            Grouping {
                layer_decay: 0.5,
                freeze_embeddings: false,
                freeze_layers: 1,
                head_first: 0,
            },
            "bert.encoder.layer.1",
        ),
    ] {
        run.workspace = Workspace::new(&run.model, grouping.depth());
        run.gradient(&[0, 1, 2, 3, 4], 64, 0);
        for ((name, found), (_, wanted)) in run.gradients().iter().zip(&all) {
            let trained = !name.starts_with("bert.e") || name.starts_with(lowest);
            assert!(
                if trained {
                    found == wanted
                } else {
                    found.iter().all(|x| *x == 0.0)
                },
                "{name}"
            );
        }
        let groups = grouping
            .of(
                run.model.config(),
                run.model.layout().tensors().iter().map(|t| &t.spec),
            )
            .expect("groups");
        run.optimizer = AdamW::new(run.model.layout(), groups, 0.01, 1.0);
        let before = run.weights();
        run.optimizer
            .step(&mut run.model, &run.workspace.gradients, 1e-3)
            .expect("a step");
        for ((name, before), (_, after)) in before.iter().zip(run.weights()) {
            assert_eq!(
                *before != after,
                !name.starts_with("bert.e") || name.starts_with(lowest),
                "{name}"
            );
        }
        run.model = Run::new("bert", 0.1, &recorded).model;
    }
}

/// Dropout is on, so that both precisions must draw the same masks. bf16 rounds away at most 2^-9
/// of an operand; a wrong product would differ by as much as the gradient itself.
#[test]
fn a_gradient_in_bf16_is_that_in_f32_but_for_its_rounding() {
    let recorded = recorded();
    for name in recorded["models"].as_object().expect("models").keys() {
        let mut run = Run::new(name, 0.1, &recorded);
        let rows: Vec<usize> = (0..run.ids.len()).collect();
        let loss = run.gradient(&rows, 64, 3);
        let wanted = run.workspace.gradients.to_dense();
        run.model.set_precision(Precision::Bf16);
        let rounded = run.gradient(&rows, 64, 3);
        assert!(
            rounded != loss && (rounded - loss).abs() < 0.01 * loss,
            "{name}: {rounded}, in f32 {loss}"
        );
        let found = run.workspace.gradients.to_dense();
        let norm =
            |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let total = norm(&mut wanted.iter().copied());
        for tensor in run.model.layout().tensors() {
            let (found, wanted) = (&found[tensor.range.clone()], &wanted[tensor.range.clone()]);
            let off = norm(&mut found.iter().zip(wanted).map(|(a, b)| a - b));
            let whole = norm(&mut wanted.iter().copied());
            // Where a gradient is the small difference of large terms, as for a bias of attention,
            // rounding is large in proportion.
            assert!(
                off <= 0.05 * whole + 0.01 * total,
                "{name}: {} is off by {off:e} of {whole:e}",
                tensor.spec.name
            );
        }
    }
}
