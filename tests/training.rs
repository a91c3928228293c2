//! Training against what PyTorch and transformers computed, step by step: tests/record/steps.py made the fixture.

use candle_core::{Tensor, Var};
use serde_json::Value;
use starsight::train::groups::Group;
use starsight::train::loss::Loss;
use starsight::train::optimizer::AdamW;
use starsight::train::schedule::{Decay, Schedule};
use starsight::train::step::{Step, gradient};
use starsight_model::EncoderConfig;
use starsight_model::model::Classifier;
use starsight_model::tokenizer::Tokenizer;
use starsight_model::weights::{Role, Weights, specs};

fn fixture(path: &str) -> Vec<u8> {
    let path = format!("{}/../tests/fixtures/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

struct Run {
    names: Vec<String>,
    optimizer: AdamW,
    loss: Loss,
    model: Classifier,
    ids: Vec<Vec<u32>>,
    labels: Vec<usize>,
}

impl Run {
    fn new(name: &str, dropout: f32, recorded: &Value) -> Run {
        let config = EncoderConfig::from_json(&fixture(&format!("{name}/config.json"))).expect("a config").with_dropout(dropout);
        let weights = Weights::from_safetensors(&fixture(&format!("{name}/model.safetensors")), &config).expect("weights");
        let (mut trained, mut variables) = (Weights::default(), Vec::new());
        for spec in specs(&config) {
            let variable = Var::from_tensor(&weights.get(&spec.name, &spec.shape).expect("a tensor")).expect("a variable");
            trained.insert(spec.name.clone(), variable.as_tensor().clone());
            variables.push((spec.name, variable.as_tensor().clone(), Group { rate: 1.0, decays: spec.role == Role::Matrix, trained: true }));
        }
        let recipe = &recorded["recipe"];
        let number = |key: &str| recipe[key].as_f64().expect("a number");
        let names = variables.iter().map(|(name, ..)| name.clone()).collect();
        let optimizer = AdamW::new(variables, number("weight_decay"), number("max_grad_norm")).expect("an optimiser");
        let tokenizer = Tokenizer::from_json(&fixture(&format!("{name}/tokenizer.json")), None, config.max_positions).expect("a tokeniser");
        let reviews = recorded["reviews"].as_array().expect("reviews");
        let ids = reviews.iter().map(|r| tokenizer.encode(r["text"].as_str().expect("a text")).expect("ids")).collect();
        let labels = reviews.iter().map(|r| r["label"].as_u64().expect("a label") as usize).collect();
        Run { names, optimizer, loss: Loss::plain(), model: Classifier::new(&config, &trained).expect("a model"), ids, labels }
    }

    fn gradient(&self, rows: &[usize], token_budget: usize, number: usize) -> (f64, Vec<Tensor>) {
        let step = Step {
            rows,
            token_ids: rows.iter().map(|row| self.ids[*row].as_slice()).collect(),
            labels: rows.iter().map(|row| self.labels[*row]).collect(),
        };
        gradient(&self.model, self.optimizer.tensors(), &step, &self.loss, token_budget, 42, number).expect("a gradient")
    }
}

fn recorded() -> Value {
    serde_json::from_slice(&fixture("steps.json")).expect("JSON")
}

fn floats(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("f32").into_iter().map(f64::from).collect()
}

/// Sum, L2 norm, and a sum weighted by position, which a transposed tensor would change: as tests/record/steps.py.
fn summary(tensor: &Tensor) -> [f64; 3] {
    let x = floats(tensor);
    let weighted = x.iter().enumerate().map(|(i, x)| x * (((i * 7919) % 1009) as f64 / 1009.0 - 0.5)).sum();
    [x.iter().sum(), x.iter().map(|x| x * x).sum::<f64>().sqrt(), weighted]
}

fn assert_summary(tensor: &Tensor, wanted: &Value, tolerance: f64, what: &str) {
    let wanted: Vec<f64> = wanted.as_array().expect("three numbers").iter().map(|v| v.as_f64().expect("a number")).collect();
    let root = (tensor.elem_count() as f64).sqrt();
    for (i, (found, wanted_i)) in summary(tensor).iter().zip(&wanted).enumerate() {
        // A sum of n elements can be off by the square root of n where their norm is off by 1.
        let scale = wanted[1] * if i == 1 { 1.0 } else { root };
        assert!((found - wanted_i).abs() <= tolerance * scale, "{what}: {:?}, recorded {wanted:?}", summary(tensor));
    }
}

#[test]
fn six_steps_are_those_of_transformers() {
    let recorded = recorded();
    for (name, model) in recorded["models"].as_object().expect("models") {
        let mut run = Run::new(name, 0.0, &recorded);
        let in_doubt = model["rounding"].as_array().expect("names");
        let recipe = &recorded["recipe"];
        let warmup = recipe["warmup_steps"].as_u64().expect("steps") as usize;
        let schedule =
            Schedule { decay: Decay::Linear, peak: recipe["learning_rate"].as_f64().expect("a rate"), end: 0.0, power: 1.0, warmup, total: 20 };
        for (number, step) in model["steps"].as_array().expect("steps").iter().enumerate() {
            let rows: Vec<usize> = step["reviews"].as_array().expect("rows").iter().map(|r| r.as_u64().expect("a row") as usize).collect();
            let (loss, gradients) = run.gradient(&rows, 40, number);
            if number == 0 {
                for (tensor, gradient) in run.names.iter().zip(&gradients) {
                    if !in_doubt.iter().any(|n| n == tensor) {
                        assert_summary(gradient, &model["first_gradients"][tensor], 1e-4, &format!("{name}: gradient of {tensor}"));
                    }
                }
            }
            let rate = schedule.rate(number);
            let norm = run.optimizer.step(&gradients, rate).expect("a step");
            for (what, found) in [("lr", rate), ("loss", loss), ("grad_norm", norm)] {
                let wanted = step[what].as_f64().expect("a number");
                assert!((found - wanted).abs() <= 1e-4 * (1.0 + wanted), "{name}, step {number}: {what} is {found}, recorded {wanted}");
            }
        }
        let weights = run.optimizer.weights();
        let mut seen = 0;
        for (tensor, value) in weights.iter() {
            if !in_doubt.iter().any(|n| n == tensor) {
                assert_summary(value, &model["parameters"][tensor], 1e-5, &format!("{name}: {tensor} after six steps"));
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
        // Dropout on, reviews of unequal weight: what a review draws and counts must not depend on where it lies either.
        let mut run = Run::new(name, 0.3, &recorded);
        run.loss = Loss::new(0.1, [1.0, 2.0, 2.5, 2.0, 0.5]);
        let rows = [7, 0, 5, 3, 8, 2, 11, 4];
        let (loss, together) = run.gradient(&rows, 10_000, 3);
        let (apart_loss, apart) = run.gradient(&rows, 1, 3);
        assert!((loss - apart_loss).abs() < 1e-6, "{loss} {apart_loss}");
        for ((a, b), tensor) in together.iter().zip(&apart).zip(&run.names) {
            let norm = summary(a)[1];
            for (x, y) in floats(a).iter().zip(floats(b)) {
                assert!((x - y).abs() <= 1e-5 * (1.0 + norm), "{name}, {tensor}: {x} {y}");
            }
        }
        let (other, _) = run.gradient(&rows, 10_000, 4);
        assert!((loss - other).abs() > 1e-6, "another step draws another dropout");
        let mut without = Run::new(name, 0.0, &recorded);
        without.loss = run.loss;
        assert!((loss - without.gradient(&rows, 10_000, 3).0).abs() > 1e-6, "dropout does something");
    }
}

#[test]
fn every_tensor_gets_a_gradient_and_clipping_only_shortens() {
    let recorded = recorded();
    let mut run = Run::new("bert", 0.1, &recorded);
    let (_, gradients) = run.gradient(&[0, 1, 2, 3], 64, 0);
    for (gradient, name) in gradients.iter().zip(&run.names) {
        let [_, norm, _] = summary(gradient);
        assert!(norm.is_finite() && norm > 0.0, "{name}: {norm}");
    }
    assert!(run.optimizer.unmoved(&gradients).expect("names").is_empty());
    let mut silent = gradients.clone();
    silent[3] = silent[3].zeros_like().expect("a tensor");
    assert_eq!(run.optimizer.unmoved(&silent).expect("names"), [&run.names[3]]);
    // The first AdamW step moves every weight by about the learning rate, however long the gradient is.
    let before = floats(&run.optimizer.weights().get("classifier.weight", &[5, 32]).expect("a tensor"));
    let tiny: Vec<Tensor> = gradients.iter().map(|g| (g * 1e-4).expect("a tensor")).collect();
    let norm = run.optimizer.step(&tiny, 1e-3).expect("a step");
    assert!(norm < 1.0, "not clipped: {norm}");
    let after = floats(&run.optimizer.weights().get("classifier.weight", &[5, 32]).expect("a tensor"));
    let moved = before.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!((0.5e-3..1.5e-3).contains(&moved), "{moved}");
    let bad: Vec<Tensor> = gradients.iter().map(|g| (g * f64::NAN).expect("a tensor")).collect();
    assert!(run.optimizer.step(&bad, 1e-3).expect_err("an error").to_string().contains("not finite"));
}
