//! Architectures that only candle-transformers computes: DeBERTa-v2 and v3, ModernBERT and
//! XLM-RoBERTa with a head for sequence classification. They can rate, be evaluated beside our own
//! models, and serve as teachers for small models. They cannot be trained here.
//!
//! candle computes padded batches, so a packed batch is padded to its longest review. BERT and
//! DistilBERT use our own candle graph, [`Classifier`](crate::model::Classifier).

use std::collections::HashMap;

use candle_core::{DType, Device, IndexOp, Module, Tensor};
use candle_nn::{LayerNorm, Linear, VarBuilder};
use candle_transformers::models::{debertav2, modernbert, xlm_roberta};
use serde_json::{Map, Value, json};

use crate::batch::PackedBatch;
use crate::config::{LARGEST, MOST_LAYERS, Sizes};
use crate::engine::Engine;
use crate::{Error, LABELS};

/// Hugging Face's `model_type` of each architecture.
pub const MODEL_TYPES: [&str; 3] = ["deberta-v2", "modernbert", "xlm-roberta"];

/// The largest supported number of positions. candle computes angles and distances for all of them
/// when it loads a model.
const MOST_POSITIONS: usize = 1_000_000;

/// Settings that candle-transformers ignores, each with the only value that it computes.
const KNOWN_SETTINGS: [(&str, &str, Setting); 7] = [
    ("modernbert", "attention_bias", Setting::Flag(false)),
    ("modernbert", "mlp_bias", Setting::Flag(false)),
    ("modernbert", "norm_bias", Setting::Flag(false)),
    ("modernbert", "classifier_bias", Setting::Flag(false)),
    ("modernbert", "hidden_activation", Setting::Text("gelu")),
    ("modernbert", "classifier_activation", Setting::Text("gelu")),
    (
        "xlm-roberta",
        "position_embedding_type",
        Setting::Text("absolute"),
    ),
];

/// The value of a setting.
enum Setting {
    Flag(bool),
    Text(&'static str),
}

/// Whether candle-transformers computes this `model_type`.
pub fn computes(model_type: &str) -> bool {
    MODEL_TYPES.contains(&model_type)
}

/// A classifier of one of [`MODEL_TYPES`].
pub struct Candle {
    model: Model,
    sizes: Sizes,
    pad: u32,
}

enum Model {
    DebertaV2(Box<debertav2::DebertaV2SeqClassificationModel>),
    ModernBert(ModernBert),
    XlmRoberta(xlm_roberta::XLMRobertaForSequenceClassification),
}

/// candle's encoder with our own head, because candle's head returns probabilities instead of
/// logits.
struct ModernBert {
    encoder: modernbert::ModernBert,
    takes_mean: bool,
    dense: Linear,
    norm: LayerNorm,
    classifier: Linear,
}

impl Candle {
    /// Builds a classifier from `config.json` and the tensors of its checkpoint, under Hugging
    /// Face's names, in any floating-point type.
    ///
    /// # Errors
    /// [`Error::Config`] for an unsupported `model_type`, a setting that candle does not support,
    /// or a number of labels other than five; [`Error::Weights`] for a tensor that is missing or
    /// has the wrong shape.
    pub fn new(config_json: &[u8], tensors: HashMap<String, Tensor>) -> Result<Candle, Error> {
        let config = Config::from_json(config_json)?;
        let parameters = tensors.values().map(Tensor::elem_count).sum();
        let tensors = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let sizes = config.sizes(parameters)?;
        let missing = |e: candle_core::Error| Error::Weights(e.to_string());
        let model = match config.model_type.as_str() {
            "deberta-v2" => {
                let model = debertav2::DebertaV2SeqClassificationModel::load(
                    tensors.pp("deberta"),
                    &config.parsed()?,
                    None,
                );
                Model::DebertaV2(Box::new(model.map_err(missing)?))
            }
            "modernbert" => Model::ModernBert(ModernBert::load(&config, &tensors)?),
            _ => {
                let model = xlm_roberta::XLMRobertaForSequenceClassification::new(
                    LABELS,
                    &config.parsed()?,
                    tensors,
                );
                Model::XlmRoberta(model.map_err(missing)?)
            }
        };
        Ok(Candle {
            model,
            sizes,
            pad: config.pad(),
        })
    }

    /// The model's sizes.
    pub fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// From ids and mask, (reviews, longest) each, to logits, (reviews, 5).
    fn forward(&self, ids: &Tensor, mask: &Tensor) -> candle_core::Result<Tensor> {
        match &self.model {
            Model::DebertaV2(model) => model.forward(ids, None, Some(mask.clone())),
            Model::ModernBert(model) => model.forward(ids, mask),
            Model::XlmRoberta(model) => model.forward(ids, mask, &ids.zeros_like()?),
        }
    }
}

impl Engine for Candle {
    fn logits(&self, batch: &PackedBatch) -> Result<Vec<[f32; LABELS]>, Error> {
        self.sizes.check(batch)?;
        let lengths: Vec<usize> = batch.lengths().collect();
        let Some(longest) = lengths.iter().max().copied() else {
            return Ok(Vec::new());
        };
        let mut ids = vec![self.pad; lengths.len() * longest];
        let mut mask = vec![0u32; lengths.len() * longest];
        let mut rest = &batch.token_ids[..];
        for (row, length) in lengths.iter().enumerate() {
            let (review, after) = rest.split_at(*length);
            ids[row * longest..][..*length].copy_from_slice(review);
            mask[row * longest..][..*length].fill(1);
            rest = after;
        }
        let compute = || {
            let shape = (lengths.len(), longest);
            let [ids, mask] =
                [ids, mask].map(|values| Tensor::from_vec(values, shape, &Device::Cpu));
            self.forward(&ids?, &mask?)?.to_vec2::<f32>()
        };
        let rows = compute()?;
        Ok(rows
            .into_iter()
            .map(|row| std::array::from_fn(|label| row[label]))
            .collect())
    }
}

impl ModernBert {
    fn load(config: &Config, tensors: &VarBuilder<'_>) -> Result<ModernBert, Error> {
        let missing = |e: candle_core::Error| Error::Weights(e.to_string());
        let width = config.size("hidden_size", LARGEST)?;
        let eps = config.number("layer_norm_eps", 1e-5);
        let encoder = modernbert::ModernBert::load(tensors.clone(), &config.parsed()?);
        let dense = candle_nn::linear_no_bias(width, width, tensors.pp("head.dense"));
        let norm = candle_nn::layer_norm_no_bias(width, eps, tensors.pp("head.norm"));
        let classifier = candle_nn::linear(width, LABELS, tensors.pp("classifier"));
        Ok(ModernBert {
            encoder: encoder.map_err(missing)?,
            takes_mean: config.fields["classifier_pooling"] == "mean",
            dense: dense.map_err(missing)?,
            norm: norm.map_err(missing)?,
            classifier: classifier.map_err(missing)?,
        })
    }

    fn forward(&self, ids: &Tensor, mask: &Tensor) -> candle_core::Result<Tensor> {
        let states = self.encoder.forward(ids, mask)?; // (reviews, longest, width)
        let pooled = if self.takes_mean {
            let mask = mask.to_dtype(DType::F32)?;
            let sums = states.broadcast_mul(&mask.unsqueeze(2)?)?.sum(1)?;
            sums.broadcast_div(&mask.sum_keepdim(1)?)?
        } else {
            states.i((.., 0, ..))?.contiguous()?
        };
        self.classifier.forward(
            &self
                .norm
                .forward(&self.dense.forward(&pooled)?.gelu_erf()?)?,
        )
    }
}

impl Setting {
    fn json(&self) -> Value {
        match self {
            Setting::Flag(flag) => json!(flag),
            Setting::Text(text) => json!(text),
        }
    }
}

/// The period at which layers have global attention, according to `layer_types`; `None` if that
/// field is absent.
fn global_period(fields: &Map<String, Value>) -> Result<Option<usize>, Error> {
    let Some(types) = fields.get("layer_types").and_then(Value::as_array) else {
        return Ok(None);
    };
    let is_global: Vec<bool> = types.iter().map(|kind| kind == "full_attention").collect();
    let second = is_global.iter().skip(1).position(|global| *global);
    let period = second.map_or(is_global.len().max(1), |place| place + 1);
    let is_regular = |(layer, global): (usize, &bool)| *global == layer.is_multiple_of(period);
    if is_global.iter().enumerate().all(is_regular) {
        return Ok(Some(period));
    }
    let why = "layer_types has no regular period; candle supports global attention in every n-th layer only";
    Err(Error::Config(why.into()))
}

/// A `config.json`. Settings that newer versions of transformers write under other names are copied
/// to the names that candle reads.
struct Config {
    model_type: String,
    fields: Map<String, Value>,
}

impl Config {
    fn from_json(json: &[u8]) -> Result<Config, Error> {
        let mut fields: Map<String, Value> = serde_json::from_slice(json)
            .map_err(|e| Error::Config(format!("not a JSON object: {e}")))?;
        let model_type = fields
            .get("model_type")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        if !computes(&model_type) {
            return Err(Error::Config(format!(
                "model_type is {model_type:?}; candle supports {}",
                MODEL_TYPES.join(", ")
            )));
        }
        let labels = fields
            .get("id2label")
            .and_then(Value::as_object)
            .map(Map::len);
        if labels != Some(LABELS) {
            let found = labels.map_or("no labels".into(), |n| format!("{n} labels"));
            return Err(Error::Config(format!(
                "id2label names {found}; wanted {LABELS}, for one to five stars"
            )));
        }
        for (kind, name, known) in KNOWN_SETTINGS {
            if kind == model_type
                && let Some(value) = fields.get(name)
                && !value.is_null()
                && *value != known.json()
            {
                return Err(Error::Config(format!(
                    "{name} is {value}; candle supports {}",
                    known.json()
                )));
            }
        }
        if model_type == "modernbert" {
            // transformers 5 stores the two rotary base frequencies and the LayerNorm epsilon under
            // other names than transformers 4.
            for (old, kind, default) in [
                ("global_rope_theta", "full_attention", 160_000.0),
                ("local_rope_theta", "sliding_attention", 10_000.0),
            ] {
                let new = fields
                    .get("rope_parameters")
                    .and_then(|all| all[kind]["rope_theta"].as_f64());
                fields.entry(old).or_insert(json!(new.unwrap_or(default)));
            }
            if let Some(period) = global_period(&fields)? {
                fields
                    .entry("global_attn_every_n_layers")
                    .or_insert(json!(period));
            }
            let eps = fields
                .get("norm_eps")
                .and_then(Value::as_f64)
                .unwrap_or(1e-5);
            fields.entry("layer_norm_eps").or_insert(json!(eps));
            fields.entry("classifier_pooling").or_insert(json!("cls"));
        }
        if model_type == "xlm-roberta" {
            fields
                .entry("position_embedding_type")
                .or_insert(json!("absolute"));
        }
        Ok(Config { model_type, fields })
    }

    /// Deserialises the settings into candle's configuration.
    fn parsed<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_value(Value::Object(self.fields.clone()))
            .map_err(|e| Error::Config(format!("of a {}: {e}", self.model_type)))
    }

    fn size(&self, name: &str, most: usize) -> Result<usize, Error> {
        let value = self
            .fields
            .get(name)
            .ok_or_else(|| Error::Config(format!("no {name}; wanted a whole number above 0")))?;
        let size = value
            .as_u64()
            .and_then(|size| usize::try_from(size).ok())
            .filter(|size| (1..=most).contains(size));
        size.ok_or_else(|| {
            Error::Config(format!(
                "{name} is {value}; wanted a whole number from 1 to {most}"
            ))
        })
    }

    fn number(&self, name: &str, default: f64) -> f64 {
        self.fields
            .get(name)
            .and_then(Value::as_f64)
            .unwrap_or(default)
    }

    fn pad(&self) -> u32 {
        self.fields
            .get("pad_token_id")
            .and_then(Value::as_u64)
            .unwrap_or_default() as u32
    }

    fn sizes(&self, parameters: usize) -> Result<Sizes, Error> {
        let positions = self.size("max_position_embeddings", MOST_POSITIONS)?;
        let hidden_size = self.size("hidden_size", LARGEST)?;
        let heads = self.size("num_attention_heads", LARGEST)?;
        if !hidden_size.is_multiple_of(heads) {
            return Err(Error::Config(format!(
                "a hidden size of {hidden_size} is not divisible by {heads} attention heads"
            )));
        }
        if self.model_type == "modernbert" {
            self.size("global_attn_every_n_layers", LARGEST)?;
        }
        Ok(Sizes {
            model_type: self.model_type.clone(),
            vocab_size: self.size("vocab_size", LARGEST)?,
            hidden_size,
            layers: self.size("num_hidden_layers", MOST_LAYERS)?,
            intermediate_size: self.size("intermediate_size", LARGEST)?,
            // XLM-RoBERTa's positions start at the padding token's id + 1.
            max_positions: if self.model_type == "xlm-roberta" {
                positions.saturating_sub(self.pad() as usize + 1)
            } else {
                positions
            },
            parameters,
        })
    }
}
