//! The model crate, checked against results of transformers and scikit-learn; tests/record/ made
//! the fixtures.

#[path = "common/difference.rs"]
mod difference;

use candle_core::{DType, Device, Tensor};
use difference::Difference;
use serde::Deserialize;
use starsight_model::batch::PackedBatch;
use starsight_model::candle::{self, Candle};
use starsight_model::metrics::{Metrics, Scores};
use starsight_model::model::Classifier;
use starsight_model::tokenizer::Tokenizer;
use starsight_model::weights::Weights;
use starsight_model::{EncoderConfig, Engine, Error, Rater};

fn fixture(path: &str) -> Vec<u8> {
    let path = format!("{}/../tests/fixtures/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn rater(name: &str) -> Rater {
    let [config, tokenizer, weights] = ["config.json", "tokenizer.json", "model.safetensors"]
        .map(|file| fixture(&format!("{name}/{file}")));
    Rater::from_bytes(&config, &tokenizer, weights).expect("the fixture is a model")
}

#[derive(Deserialize)]
struct Recorded<T> {
    cases: Vec<T>,
}

#[derive(Deserialize)]
struct Logits {
    text: String,
    token_ids: Vec<u32>,
    logits: [f32; 5],
}

fn recorded(name: &str) -> Vec<Logits> {
    serde_json::from_slice::<Recorded<Logits>>(&fixture(&format!("{name}/logits.json")))
        .expect("recorded logits")
        .cases
}

#[test]
fn logits_are_those_of_transformers() {
    for name in ["distilbert", "bert"] {
        let rater = rater(name);
        let mut difference = Difference::of(format!("{name} from transformers"));
        for case in recorded(name) {
            let ids = rater.encode(&case.text).expect("token ids");
            assert_eq!(ids, case.token_ids, "{name}: {:?}", case.text);
            let logits = rater.logits(&[&ids]).expect("logits");
            difference.values(&logits[0], &case.logits, 1e-4, &case.text);
        }
    }
}

#[test]
fn every_review_of_a_packed_batch_equals_its_single_call() {
    for name in ["distilbert", "bert"] {
        let rater = rater(name);
        let ids: Vec<Vec<u32>> = recorded(name)
            .into_iter()
            .map(|case| case.token_ids)
            .collect();
        let packed = rater
            .logits(&ids.iter().map(Vec::as_slice).collect::<Vec<_>>())
            .expect("logits");
        let mut difference = Difference::of(format!("{name} packed from single"));
        for (ids, row) in ids.iter().zip(&packed) {
            let single = rater.logits(&[ids]).expect("logits");
            difference.values(row, &single[0], 1e-5, &format!("{ids:?}"));
        }
        assert!(rater.logits(&[]).expect("no logits").is_empty());
    }
}

/// Each text alone and all in one batch, which candle pads.
#[test]
fn what_candle_computes_is_what_transformers_does() {
    for name in candle::MODEL_TYPES {
        let [config, tokenizer] =
            ["config.json", "tokenizer.json"].map(|file| fixture(&format!("{name}/{file}")));
        let tensors = candle_core::safetensors::load_buffer(
            &fixture(&format!("{name}/model.safetensors")),
            &Device::Cpu,
        )
        .expect("tensors");
        let rater =
            Rater::candle(&config, &tokenizer, tensors.clone()).expect("the fixture is a model");
        let cases = recorded(name);
        let mut difference = Difference::of(format!("{name} from transformers"));
        for case in &cases {
            let ids = rater.encode(&case.text).expect("token ids");
            assert_eq!(ids, case.token_ids, "{name}: {:?}", case.text);
            let logits = rater.logits(&[&ids]).expect("logits");
            difference.values(&logits[0], &case.logits, 1e-4, &case.text);
        }
        let packed = rater
            .logits(
                &cases
                    .iter()
                    .map(|case| &case.token_ids[..])
                    .collect::<Vec<_>>(),
            )
            .expect("logits");
        for (case, row) in cases.iter().zip(&packed) {
            let place = format!("in a batch: {:?}", case.text);
            difference.values(row, &case.logits, 1e-4, &place);
        }
        let broken = |config: String| {
            Candle::new(config.as_bytes(), tensors.clone())
                .err()
                .expect("an error")
                .to_string()
        };
        let config = String::from_utf8(config).expect("text");
        assert!(broken(config.replace(name, "gpt2")).contains("candle supports deberta-v2"));
        assert!(broken(config.replace("\"hidden_size\"", "\"width\"")).contains("hidden_size"));
        assert!(
            broken(config.replace(
                "\"4\": \"5 stars\"",
                "\"4\": \"5 stars\", \"5\": \"6 stars\""
            ))
            .contains("names 6 labels; wanted 5")
        );
        assert!(
            rater
                .logits(&[&vec![2; rater.sizes().max_positions + 1]])
                .expect_err("too long")
                .to_string()
                .contains("longer than the model's")
        );
    }
}

#[test]
fn an_old_bare_checkpoint_is_understood() {
    #[derive(Deserialize)]
    struct Hidden {
        text: String,
        token_ids: Vec<u32>,
        pooled: Vec<f32>,
    }
    let config = EncoderConfig::from_json(&fixture("bert-legacy/config.json")).expect("a config");
    let mut weights = Weights::from_safetensors(&fixture("bert-legacy/model.safetensors"), &config)
        .expect("weights");
    let missing = Classifier::new(&config, &weights)
        .err()
        .expect("a bare encoder has no head");
    assert!(
        matches!(&missing, Error::MissingTensor { name, wanted } if name == "classifier.weight" && *wanted == [5, config.hidden_size]),
        "{missing}"
    );
    let fresh = weights.fill_head(&config, 1).expect("a head");
    assert_eq!(
        fresh,
        ["classifier.weight", "classifier.bias"],
        "the pooler is there"
    );
    // A classifier that passes the first five pooled values through, so that the test can read
    // them.
    let eye = Tensor::eye(config.hidden_size, DType::F32, &Device::Cpu)
        .and_then(|t| t.narrow(0, 0, 5)?.contiguous())
        .expect("a matrix");
    weights.insert("classifier.weight".into(), eye);
    let classifier = Classifier::new(&config, &weights).expect("a classifier");
    let tokenizer = Tokenizer::from_json(
        &fixture("bert-legacy/tokenizer.json"),
        None,
        config.max_positions,
    )
    .expect("a tokeniser");
    let mut difference = Difference::of("a bare BERT from transformers");
    for case in serde_json::from_slice::<Recorded<Hidden>>(&fixture("bert-legacy/hidden.json"))
        .expect("recorded states")
        .cases
    {
        let ids = tokenizer.encode(&case.text).expect("token ids");
        assert_eq!(ids, case.token_ids);
        let logits = classifier
            .logits(&PackedBatch::new(&[&ids]).expect("a batch"))
            .expect("logits");
        difference.values(&logits[0], &case.pooled[..5], 1e-4, &case.text);
    }
}

#[test]
fn the_encoder_agrees_with_candle_transformers_on_bert() {
    // An independent implementation. Its BERT uses the same GELU; its DistilBERT uses another one.
    use candle_nn::VarBuilder;
    use candle_transformers::models::bert::{BertModel, Config};
    let json = fixture("bert/config.json");
    let theirs: Config = serde_json::from_slice(&json).expect("a config");
    let builder = VarBuilder::from_buffered_safetensors(
        fixture("bert/model.safetensors"),
        DType::F32,
        &Device::Cpu,
    )
    .expect("weights");
    let model = BertModel::load(builder.pp("bert"), &theirs).expect("a model");
    let config = EncoderConfig::from_json(&json).expect("a config");
    let weights =
        Weights::from_safetensors(&fixture("bert/model.safetensors"), &config).expect("weights");
    let h = config.hidden_size;
    let linear = |name: &str, outputs: usize| {
        let get = |part: &str, shape: &[usize]| {
            weights
                .get(&format!("{name}.{part}"), shape)
                .expect("a tensor")
        };
        candle_nn::Linear::new(get("weight", &[outputs, h]), Some(get("bias", &[outputs])))
    };
    let classifier = Classifier::new(&config, &weights).expect("a classifier");
    let mut difference = Difference::of("BERT from candle-transformers");
    for case in recorded("bert") {
        use candle_nn::Module;
        let ids = Tensor::new(case.token_ids.as_slice(), &Device::Cpu)
            .and_then(|t| t.unsqueeze(0))
            .expect("ids");
        let types = ids.zeros_like().expect("types");
        let states = model.forward(&ids, &types, None).expect("states");
        let first = states
            .narrow(1, 0, 1)
            .and_then(|t| t.squeeze(1))
            .expect("the first state");
        let pooled = linear("bert.pooler.dense", h)
            .forward(&first)
            .and_then(|t| t.tanh())
            .expect("pooled");
        let logits = linear("classifier", 5)
            .forward(&pooled)
            .and_then(|t| t.squeeze(0)?.to_vec1::<f32>())
            .expect("logits");
        let ours = classifier
            .logits(&PackedBatch::new(&[&case.token_ids]).expect("a batch"))
            .expect("logits");
        difference.values(&ours[0], &logits, 1e-4, &case.text);
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let rater = rater("distilbert");
    let limit = rater.sizes().max_positions;
    assert_eq!(
        rater
            .encode(&"good ".repeat(100_000))
            .expect("token ids")
            .len(),
        limit,
        "a long review is cut"
    );
    let beyond = rater.sizes().vocab_size as u32;
    assert!(
        rater
            .logits(&[&[beyond]])
            .expect_err("an error")
            .to_string()
            .contains("beyond the vocabulary")
    );
    assert!(
        rater
            .logits(&[&vec![2; limit + 1]])
            .expect_err("an error")
            .to_string()
            .contains("longer than the model's")
    );
    assert!(rater.logits(&[&[]]).is_err());
}

#[test]
fn a_probe_that_differs_is_told() {
    use starsight_model::bundle::Probe;
    let rater = rater("distilbert");
    let mut probes: Vec<Probe> = recorded("distilbert")
        .into_iter()
        .map(|c| Probe {
            text: c.text,
            logits: c.logits,
            int8_logits: None,
        })
        .collect();
    rater.check_probes(&probes, 1e-4).expect("the same");
    probes[3].logits[2] += 0.01;
    assert!(matches!(
        rater.check_probes(&probes, 1e-3),
        Err(Error::Probe { .. })
    ));
    probes[3].logits[2] = f32::NAN;
    assert!(rater.check_probes(&probes, 1e-3).is_err());
    assert!(
        rater
            .check_probes(&[], 1e-3)
            .expect_err("none")
            .to_string()
            .contains("no probes")
    );
}

#[test]
fn metrics_are_those_of_scikit_learn() {
    #[derive(Deserialize)]
    struct Sets {
        sets: Vec<Set>,
    }
    #[derive(Deserialize)]
    struct Set {
        name: String,
        metrics: serde_json::Value,
        rows: Vec<Row>,
    }
    #[derive(Deserialize)]
    struct Row {
        label: usize,
        probabilities: [f32; 5],
    }
    for set in serde_json::from_slice::<Sets>(&fixture("metrics.json"))
        .expect("recorded metrics")
        .sets
    {
        let mut scores = Scores::default();
        for row in &set.rows {
            scores.add(&row.probabilities.map(f32::ln), row.label);
        }
        let found: Metrics = scores.metrics();
        assert_eq!(found.samples, set.rows.len());
        let found = serde_json::to_value(&found).expect("JSON");
        for (name, wanted) in set.metrics.as_object().expect("an object") {
            match wanted.as_f64() {
                Some(wanted) => {
                    let value = found[name]
                        .as_f64()
                        .unwrap_or_else(|| panic!("no metric {name}"));
                    assert!(
                        (value - wanted).abs() < 1e-5,
                        "{}: {name} is {value}, recorded {wanted}",
                        set.name
                    );
                }
                None => assert_eq!(&found[name], wanted, "{}: {name}", set.name),
            }
        }
    }
    let nothing = Scores::default().metrics();
    assert_eq!(
        (nothing.samples, nothing.loss, nothing.macro_f1),
        (0, 0.0, 0.0)
    );
}
