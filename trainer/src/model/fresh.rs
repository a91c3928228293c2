//! A new small encoder with its own vocabulary.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use starsight_model::tokenizer::Tokenizer;
use starsight_model::weights::{Weights, word_table};
use starsight_model::{EncoderConfig, bundle};

use crate::model::base::BaseModel;
use crate::model::pieces::{self, Pieces};
use crate::model::{inherit, wordpiece};
use crate::system::files;

/// Shape of a new DistilBERT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Args)]
#[serde(rename_all = "kebab-case")]
pub struct Shape {
    /// Transformer layers
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=48))]
    pub layers: u16,
    /// Width of a token's vector
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(8..=4096))]
    pub hidden: u16,
    /// Attention heads; their number must divide the width
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub heads: u16,
    /// Largest number of pieces in the vocabulary
    #[arg(long, default_value_t = 4000, value_parser = clap::value_parser!(u32).range(100..=200_000))]
    pub vocab_size: u32,
}

/// Default maximum length of a review, in tokens.
pub const MAX_LENGTH: usize = 128;

/// The tokeniser of a new model.
pub struct FreshTokenizer {
    json: String,
    /// The special tokens, under their keys in `tokenizer_config.json`.
    settings: Map<String, Value>,
    padding: &'static str,
}

impl FreshTokenizer {
    /// Learns a cased WordPiece vocabulary from `texts`.
    ///
    /// # Errors
    /// When the texts give no vocabulary.
    pub fn learned<'a>(
        texts: impl Iterator<Item = &'a str> + Clone + Send,
        size: u32,
    ) -> Result<FreshTokenizer> {
        let json = wordpiece::learn(texts, size as usize)?;
        let settings =
            object(json!({ "tokenizer_class": "DistilBertTokenizer", "do_lower_case": false }));
        Ok(FreshTokenizer {
            json,
            settings,
            padding: "[PAD]",
        })
    }

    /// Takes the pieces of the Unigram tokeniser of `parent` that `texts`, with their weights, use
    /// most.
    ///
    /// # Errors
    /// When the parent's tokeniser is not Unigram, `size` is too small, or the user interrupts.
    pub fn of_parent(
        parent: &BaseModel,
        texts: &[(&str, f64)],
        size: u32,
    ) -> Result<FreshTokenizer> {
        let mut pieces = Pieces::read(&parent.tokenizer.to_json()?)?;
        pieces.limit_size(texts, size as usize)?;
        let [unknown, padding, first, last] = pieces::SPECIAL;
        let missing = pieces::SPECIAL
            .into_iter()
            .find(|piece| parent.tokenizer.id(piece).is_none());
        ensure!(
            missing.is_none(),
            "the parent's tokeniser has no piece {}; expected one with XLM-RoBERTa's special pieces",
            missing.unwrap_or_default()
        );
        let settings = object(
            json!({ "tokenizer_class": "PreTrainedTokenizerFast", "unk_token": unknown, "pad_token": padding, "cls_token": first, "sep_token": last,
            "mask_token": "<mask>" }),
        );
        Ok(FreshTokenizer {
            json: pieces.to_json()?,
            settings,
            padding,
        })
    }
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// Writes a new model of `shape` to the folder `out`, as a base model for training, for reviews of
/// up to `max_length` tokens. Its weights are drawn from `seed`; with a `parent`, its embeddings
/// start from the parent's. Returns the number of weights and of pieces.
///
/// # Errors
/// When the number of heads does not divide the width, or the folder already holds a model or
/// cannot be written.
pub fn write(
    tokenizer: FreshTokenizer,
    shape: &Shape,
    max_length: usize,
    seed: u64,
    parent: Option<&BaseModel>,
    out: &Path,
) -> Result<(usize, usize)> {
    let FreshTokenizer {
        json: tokenizer_json,
        mut settings,
        padding,
    } = tokenizer;
    ensure!(
        shape.hidden.is_multiple_of(shape.heads),
        "a width of {} is not divisible by {} attention heads",
        shape.hidden,
        shape.heads
    );
    ensure!(
        !out.join(bundle::CONFIG).exists(),
        "{} already contains a model; choose another folder",
        out.display()
    );
    let tokenizer = Tokenizer::from_json(tokenizer_json.as_bytes(), Some(max_length), max_length)?;
    let config = json!({
        "model_type": "distilbert",
        "vocab_size": tokenizer.vocab_size(),
        "dim": shape.hidden,
        "n_layers": shape.layers,
        "n_heads": shape.heads,
        "hidden_dim": 4 * u32::from(shape.hidden),
        "max_position_embeddings": max_length,
        "activation": "gelu",
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "seq_classif_dropout": 0.2,
        "initializer_range": 0.02,
        "sinusoidal_pos_embds": false,
        "pad_token_id": tokenizer.id(padding),
    });
    let config = EncoderConfig::from_json(config.to_string().as_bytes())?;
    let mut weights = Weights::fresh(&config, seed)?;
    let vocabulary = tokenizer.vocabulary();
    if let Some(parent) = parent {
        let words = inherit::words(parent, &vocabulary, config.hidden_size)?;
        say!(
            "a vocabulary of {} pieces; the embeddings of {} of them start from the parent model",
            words.len(),
            words.iter().flatten().count()
        );
        weights.set_rows(&word_table(config.architecture), &words)?;
    }
    settings.insert("model_max_length".into(), max_length.into());
    let mut vocab = vocabulary.join("\n");
    vocab.push('\n');
    for (name, bytes) in [
        (bundle::WEIGHTS, weights.to_safetensors()?),
        (bundle::TOKENIZER, tokenizer.to_json()?.into_bytes()),
        (
            bundle::TOKENIZER_CONFIG,
            serde_json::to_vec_pretty(&settings)?,
        ),
        (bundle::VOCAB, vocab.into_bytes()),
        // Last, because this file marks the folder as a model.
        (bundle::CONFIG, config.to_json().into_bytes()),
    ] {
        files::write_bytes(&out.join(name), &bytes).context("writing a new model")?;
    }
    Ok((weights.parameters(), tokenizer.vocab_size()))
}
