//! A small encoder from scratch, with a vocabulary of its own.

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

/// The shape of a fresh DistilBERT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Args)]
#[serde(rename_all = "kebab-case")]
pub struct Shape {
    /// Transformer layers
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=48))]
    pub layers: u16,
    /// Width of a token's vector
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(8..=4096))]
    pub hidden: u16,
    /// Attention heads; they divide the width
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub heads: u16,
    /// Pieces in the vocabulary at most
    #[arg(long, default_value_t = 4000, value_parser = clap::value_parser!(u32).range(100..=200_000))]
    pub vocab_size: u32,
}

/// The longest review in tokens, unless told otherwise.
pub const MAX_LENGTH: usize = 128;

/// The tokeniser of a fresh model.
pub struct FreshTokenizer {
    json: String,
    /// The special pieces, as `tokenizer_config.json` names them.
    settings: Map<String, Value>,
    padding: &'static str,
}

impl FreshTokenizer {
    /// A cased WordPiece vocabulary learned from `texts`.
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

    /// The pieces of the Unigram tokeniser of `parent` that `texts` use most, by their weights.
    ///
    /// # Errors
    /// When its tokeniser is another, `size` is too small, or someone interrupts.
    pub fn of_parent(
        parent: &BaseModel,
        texts: &[(&str, f64)],
        size: u32,
    ) -> Result<FreshTokenizer> {
        let mut pieces = Pieces::read(&parent.tokenizer.to_json()?)?;
        pieces.shrink(texts, size as usize)?;
        let [unknown, padding, first, last] = pieces::SPECIAL;
        let missing = pieces::SPECIAL
            .into_iter()
            .find(|piece| parent.tokenizer.id(piece).is_none());
        ensure!(
            missing.is_none(),
            "the parent's tokeniser has no piece {}; wanted one with XLM-RoBERTa's special pieces",
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

/// Writes a fresh model of `shape` to the folder `out`, for reviews of up to `max_length` tokens, its weights drawn from `seed`: what `train` then starts from. What its pieces mean it has
/// from the model `parent`, if there is one. Returns its size in weights and pieces.
///
/// # Errors
/// When the heads do not divide the width, the folder holds a model already, or cannot be written.
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
        "{} holds a model already; choose another folder",
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
        // Last: by it a folder is known to hold a model.
        (bundle::CONFIG, config.to_json().into_bytes()),
    ] {
        files::write_bytes(&out.join(name), &bytes).context("writing a fresh model")?;
    }
    Ok((weights.parameters(), tokenizer.vocab_size()))
}
