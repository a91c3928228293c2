//! `config.json` of the BERT family, as Hugging Face writes it.

use serde_json::{Map, Value, json};

use crate::batch::PackedBatch;
use crate::{Error, LABELS};

/// The largest supported size in a `config.json`. These limits are far above any encoder, and low
/// enough that a broken file does not exhaust the memory.
pub(crate) const LARGEST: usize = 10_000_000;
/// The largest supported number of layers.
pub(crate) const MOST_LAYERS: usize = 1000;
/// The largest supported number of weights.
const MOST_WEIGHTS: u128 = 1_000_000_000_000;

/// The two architectures that our own engines compute. They differ in tensor names, the segment
/// embedding, one dropout and the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// `DistilBertForSequenceClassification` (Sanh et al. 2019).
    DistilBert,
    /// `BertForSequenceClassification` (Devlin et al. 2019).
    Bert,
}

/// The activation between the two feed-forward layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x Φ(x) with the exact Φ, computed with erf: Hugging Face's `gelu` (Hendrycks and Gimpel
    /// 2016).
    Gelu,
    /// max(x, 0).
    Relu,
}

/// Configuration of an encoder and its head. All fields of `config.json` are kept, so that a
/// bundle's file is the base model's with our labels.
#[derive(Debug, Clone)]
pub struct EncoderConfig {
    /// The architecture.
    pub architecture: Architecture,
    /// Rows of the word embedding.
    pub vocab_size: usize,
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Attention heads; they divide `hidden_size`.
    pub heads: usize,
    /// Width between the two feed-forward layers.
    pub intermediate_size: usize,
    /// Longest review in tokens, special ones included.
    pub max_positions: usize,
    /// Rows of the segment embedding; 0 for DistilBERT, which has none.
    pub type_vocab_size: usize,
    /// The feed-forward activation.
    pub activation: Activation,
    /// Added to the variance in every LayerNorm.
    pub layer_norm_eps: f32,
    /// Dropout on embeddings and on each sublayer's output before the residual, in training.
    pub hidden_dropout: f32,
    /// Dropout on attention weights, in training.
    pub attention_dropout: f32,
    /// Dropout before the last linear layer of the head, in training.
    pub classifier_dropout: f32,
    /// Standard deviation of newly initialised weights.
    pub initializer_range: f32,
    source: Map<String, Value>,
}

/// The sizes of a model, independent of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes {
    /// Hugging Face's name of the architecture, such as `distilbert`.
    pub model_type: String,
    /// Rows of the word embedding.
    pub vocab_size: usize,
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Width between the two feed-forward layers.
    pub intermediate_size: usize,
    /// The longest review that fits, in tokens.
    pub max_positions: usize,
    /// Number of weights of the encoder and its head.
    pub parameters: usize,
}

#[cfg(feature = "candle")]
impl Sizes {
    /// Checks that a batch fits the model.
    pub(crate) fn check(&self, batch: &PackedBatch) -> Result<(), Error> {
        check(batch, self.vocab_size, self.max_positions)
    }
}

/// Checks that all token ids are below `vocab_size` and no review is longer than `max_positions`.
fn check(batch: &PackedBatch, vocab_size: usize, max_positions: usize) -> Result<(), Error> {
    if let Some(id) = batch
        .token_ids
        .iter()
        .find(|id| **id as usize >= vocab_size)
    {
        return Err(Error::Input(format!(
            "token id {id} is beyond the vocabulary of {vocab_size} pieces: tokenizer.json and config.json belong to different models"
        )));
    }
    match batch.lengths().find(|n| *n > max_positions) {
        Some(n) => Err(Error::Input(format!(
            "a review of {n} tokens is longer than the model's {max_positions} positions"
        ))),
        None => Ok(()),
    }
}

impl EncoderConfig {
    /// Checks that a batch fits the model.
    pub(crate) fn check(&self, batch: &PackedBatch) -> Result<(), Error> {
        check(batch, self.vocab_size, self.max_positions)
    }

    /// The model's sizes.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            model_type: self.model_type().into(),
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            layers: self.layers,
            intermediate_size: self.intermediate_size,
            max_positions: self.max_positions,
            parameters: self.parameters(),
        }
    }

    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error::Config`] for broken JSON, an unsupported `model_type`, a missing or impossible
    /// size, or an unsupported activation or kind of position embedding.
    pub fn from_json(json: &[u8]) -> Result<EncoderConfig, Error> {
        let source: Map<String, Value> = serde_json::from_slice(json)
            .map_err(|e| Error::Config(format!("not a JSON object: {e}")))?;
        let fields = Fields(&source);
        let architecture = architecture(&fields)?;
        let distil = architecture == Architecture::DistilBert;
        // Hugging Face names the same settings differently in the two architectures. The defaults
        // are those of transformers' configuration classes.
        let name =
            |distilbert: &'static str, bert: &'static str| if distil { distilbert } else { bert };
        let activation = activation(&fields, name("activation", "hidden_act"))?;
        if let Some(kind) = fields.text("position_embedding_type")?
            && kind != "absolute"
        {
            return Err(Error::Config(format!(
                "position_embedding_type is \"{kind}\"; supported is \"absolute\""
            )));
        }
        let hidden_dropout = fields.rate(name("dropout", "hidden_dropout_prob"), 0.1)?;
        let config = EncoderConfig {
            architecture,
            vocab_size: fields.size("vocab_size")?,
            hidden_size: fields.size(name("dim", "hidden_size"))?,
            layers: fields.size(name("n_layers", "num_hidden_layers"))?,
            heads: fields.size(name("n_heads", "num_attention_heads"))?,
            intermediate_size: fields.size(name("hidden_dim", "intermediate_size"))?,
            max_positions: fields.size("max_position_embeddings")?,
            type_vocab_size: if distil {
                0
            } else {
                fields.size("type_vocab_size")?
            },
            activation,
            layer_norm_eps: if distil {
                1e-12
            } else {
                fields.number("layer_norm_eps", 1e-12)?
            },
            hidden_dropout,
            attention_dropout: fields.rate(
                name("attention_dropout", "attention_probs_dropout_prob"),
                0.1,
            )?,
            classifier_dropout: if distil {
                fields.rate("seq_classif_dropout", 0.2)?
            } else {
                fields.rate("classifier_dropout", hidden_dropout)?
            },
            initializer_range: fields.number("initializer_range", 0.02)?,
            source,
        };
        config.check_sizes(name("n_layers", "num_hidden_layers"))?;
        Ok(config)
    }

    /// Checks the sizes against each other and against limits. `layers_key` is the file's name for
    /// the number of layers.
    fn check_sizes(&self, layers_key: &str) -> Result<(), Error> {
        if !self.hidden_size.is_multiple_of(self.heads) {
            return Err(Error::Config(format!(
                "a hidden size of {} is not divisible by {} attention heads",
                self.hidden_size, self.heads
            )));
        }
        if self.layers > MOST_LAYERS {
            return Err(Error::Config(format!(
                "{} is {}; wanted at most {MOST_LAYERS}",
                layers_key, self.layers
            )));
        }
        if self.weights() > MOST_WEIGHTS {
            return Err(Error::Config(format!(
                "these sizes make a model of {} weights; wanted at most {MOST_WEIGHTS}",
                self.weights()
            )));
        }
        // [CLS] and [SEP] must fit.
        if self.max_positions < 2 {
            return Err(Error::Config(format!(
                "max_position_embeddings is {}; wanted at least 2",
                self.max_positions
            )));
        }
        Ok(())
    }

    /// The `config.json` of a fine-tuned bundle: all fields of the base model's file, with the
    /// labels of a five-star classifier.
    pub fn to_json(&self) -> String {
        let mut out = self.source.clone();
        let class = match self.architecture {
            Architecture::DistilBert => "DistilBertForSequenceClassification",
            Architecture::Bert => "BertForSequenceClassification",
        };
        let star = |label: usize| {
            if label == 0 {
                "1 star".to_string()
            } else {
                format!("{} stars", label + 1)
            }
        };
        let id2label: Map<String, Value> = (0..LABELS)
            .map(|i| (i.to_string(), json!(star(i))))
            .collect();
        let label2id: Map<String, Value> = (0..LABELS).map(|i| (star(i), json!(i))).collect();
        for key in ["_name_or_path", "num_labels", "torch_dtype"] {
            out.remove(key);
        }
        out.insert("architectures".into(), json!([class]));
        out.insert("id2label".into(), Value::Object(id2label));
        out.insert("label2id".into(), Value::Object(label2id));
        out.insert("problem_type".into(), json!("single_label_classification"));
        out.insert("dtype".into(), json!("float32"));
        serde_json::to_string_pretty(&Value::Object(out)).unwrap_or_default() + "\n"
    }

    /// Hugging Face's name of the architecture: `distilbert` or `bert`.
    pub fn model_type(&self) -> &'static str {
        match self.architecture {
            Architecture::DistilBert => "distilbert",
            Architecture::Bert => "bert",
        }
    }

    /// Width of one attention head.
    pub fn head_size(&self) -> usize {
        self.hidden_size / self.heads
    }

    /// Number of weights of the encoder and its head.
    pub fn parameters(&self) -> usize {
        usize::try_from(self.weights()).unwrap_or(usize::MAX)
    }

    /// Number of weights for unchecked sizes, which may exceed 64 bits.
    fn weights(&self) -> u128 {
        let [h, f, rows, layers] = [
            self.hidden_size,
            self.intermediate_size,
            self.vocab_size + self.max_positions + self.type_vocab_size,
            self.layers,
        ]
        .map(|size| size as u128);
        let (norm, linear) = (2 * h, |outputs: u128, inputs: u128| {
            outputs * inputs + outputs
        });
        let embeddings = rows * h + norm;
        let layer = 4 * linear(h, h) + linear(f, h) + linear(h, f) + 2 * norm;
        embeddings + layers * layer + linear(h, h) + linear(LABELS as u128, h)
    }

    /// The same configuration with `rate` for every dropout; 0 turns dropout off.
    pub fn with_dropout(mut self, rate: f32) -> EncoderConfig {
        self.hidden_dropout = rate;
        self.attention_dropout = rate;
        self.classifier_dropout = rate;
        self
    }
}

/// The architecture that `model_type` names.
fn architecture(fields: &Fields<'_>) -> Result<Architecture, Error> {
    match fields.text("model_type")? {
        Some("distilbert") => Ok(Architecture::DistilBert),
        Some("bert") => Ok(Architecture::Bert),
        Some(other) => Err(Error::Config(format!(
            "model_type is \"{other}\"; supported are \"distilbert\" and \"bert\""
        ))),
        None => Err(Error::Config(
            "no model_type; wanted \"distilbert\" or \"bert\"".into(),
        )),
    }
}

/// The activation that the field `key` names; GELU without it.
fn activation(fields: &Fields<'_>, key: &str) -> Result<Activation, Error> {
    match fields.text(key)?.unwrap_or("gelu") {
        "gelu" => Ok(Activation::Gelu),
        "relu" => Ok(Activation::Relu),
        other => Err(Error::Config(format!(
            "{key} is \"{other}\"; supported are \"gelu\" and \"relu\""
        ))),
    }
}

/// Typed access to the fields of `config.json`, with errors that name the field.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|v| !v.is_null())
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, Error> {
        let text = |v: &'a Value| {
            v.as_str()
                .ok_or_else(|| Error::Config(format!("{key} is {v}; wanted a string")))
        };
        self.get(key).map(text).transpose()
    }

    fn size(&self, key: &str) -> Result<usize, Error> {
        let value = self
            .get(key)
            .ok_or_else(|| Error::Config(format!("no {key}; wanted a whole number above 0")))?;
        match value.as_u64().and_then(|n| usize::try_from(n).ok()) {
            Some(n @ 1..=LARGEST) => Ok(n),
            _ => Err(Error::Config(format!(
                "{key} is {value}; wanted a whole number from 1 to {LARGEST}"
            ))),
        }
    }

    fn number(&self, key: &str, default: f32) -> Result<f32, Error> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => match value.as_f64() {
                Some(x) if x >= 0.0 && (x as f32).is_finite() => Ok(x as f32),
                _ => Err(Error::Config(format!(
                    "{key} is {value}; wanted a number of 0 or more, in single precision"
                ))),
            },
        }
    }

    fn rate(&self, key: &str, default: f32) -> Result<f32, Error> {
        let rate = self.number(key, default)?;
        if rate < 1.0 {
            Ok(rate)
        } else {
            Err(Error::Config(format!(
                "{key} is {rate}; wanted a rate from 0 to below 1"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISTILBERT: &str = r#"{"model_type":"distilbert","vocab_size":100,"dim":32,"n_layers":2,"n_heads":4,"hidden_dim":64,"max_position_embeddings":48,
        "activation":"gelu","seq_classif_dropout":0.2,"sinusoidal_pos_embds":false,"num_labels":2,"torch_dtype":"float16"}"#;

    fn error(json: &str) -> String {
        EncoderConfig::from_json(json.as_bytes())
            .expect_err("a bad config")
            .to_string()
    }

    #[test]
    fn reads_and_writes_distilbert() {
        let config = EncoderConfig::from_json(DISTILBERT.as_bytes()).expect("a good config");
        assert_eq!(
            (
                config.hidden_size,
                config.head_size(),
                config.type_vocab_size
            ),
            (32, 8, 0)
        );
        assert_eq!(
            (config.hidden_dropout, config.classifier_dropout),
            (0.1, 0.2)
        );
        let written: Value = serde_json::from_str(&config.to_json()).expect("JSON");
        assert_eq!(
            written["architectures"][0],
            "DistilBertForSequenceClassification"
        );
        assert_eq!(written["id2label"]["4"], "5 stars");
        assert_eq!(written["label2id"]["1 star"], 0);
        assert_eq!(written["sinusoidal_pos_embds"], false);
        assert!(written.get("torch_dtype").is_none() && written.get("num_labels").is_none());
        assert_eq!(
            EncoderConfig::from_json(config.to_json().as_bytes())
                .expect("a good config")
                .layers,
            2
        );
    }

    #[test]
    fn says_what_is_wrong() {
        assert!(error("[]").contains("not a JSON object"));
        assert!(
            error(r#"{"model_type":"roberta"}"#)
                .contains("\"roberta\"; supported are \"distilbert\" and \"bert\"")
        );
        assert!(error("{}").contains("no model_type"));
        assert!(
            error(&DISTILBERT.replace("\"dim\":32", "\"dim\":0"))
                .contains("dim is 0; wanted a whole number")
        );
        assert!(
            error(&DISTILBERT.replace("\"dim\":32", "\"dim\":33"))
                .contains("33 is not divisible by 4")
        );
        assert!(
            error(&DISTILBERT.replace("\"gelu\"", "\"silu\"")).contains("activation is \"silu\"")
        );
        assert!(error(&DISTILBERT.replace("0.2", "1.5")).contains("seq_classif_dropout is 1.5"));
        assert!(
            error(&DISTILBERT.replace("\"n_layers\":2", "\"n_layers\":1001"))
                .contains("n_layers is 1001; wanted at most 1000")
        );
        let large = DISTILBERT
            .replace("\"dim\":32", "\"dim\":10000000")
            .replace("\"hidden_dim\":64", "\"hidden_dim\":10000000");
        assert!(error(&large).contains("wanted at most 1000000000000"));
        assert!(
            error(&DISTILBERT.replace("0.2", "0.2,\"initializer_range\":1e300"))
                .contains("initializer_range is 1e+300; wanted a number of 0 or more")
        );
    }
}
