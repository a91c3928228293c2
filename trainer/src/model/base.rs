//! A base model: a folder in Hugging Face's layout, with or without a head.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use starsight_model::fused::Fused;
use starsight_model::tokenizer::Tokenizer;
use starsight_model::weights::Weights;
use starsight_model::{EncoderConfig, bundle, load};

use crate::model::wordpiece;
use crate::system::files;

/// Configuration, tokeniser and weights, ready for training.
pub struct BaseModel {
    /// The encoder's configuration.
    pub config: EncoderConfig,
    /// The tokeniser, with the truncation that training uses.
    pub tokenizer: Tokenizer,
    /// `tokenizer_config.json` of the bundle.
    pub tokenizer_config: Map<String, Value>,
    /// Encoder and head.
    pub weights: Weights,
    /// Tensors of the head that the folder lacks, and that were initialised at random.
    pub fresh: Vec<String>,
    /// The licence stated on its model card, if there is one.
    pub license: Option<String>,
}

impl BaseModel {
    /// Reads the model in `dir`. A missing head is initialised from `seed`. Texts are cut to
    /// `max_length` tokens, by default the model's own maximum.
    ///
    /// # Errors
    /// When a file is missing or broken, or a tensor of the encoder is missing or has the wrong
    /// shape.
    pub fn read(dir: &Path, max_length: Option<usize>, seed: u64) -> Result<BaseModel> {
        let in_dir = || format!("in {}", dir.display());
        let config = read_config(dir)?;
        let mut settings = read_settings(dir)?;
        // As in transformers: tokenizer_config.json sets the maximum length, whatever truncation
        // tokenizer.json has.
        let own = settings
            .get("model_max_length")
            .and_then(Value::as_f64)
            .filter(|n| *n >= 3.0 && *n < 1e9)
            .map(|n| n as usize);
        if let Some(wanted) = max_length {
            ensure!(
                wanted <= config.max_positions,
                "--max-length {wanted} is more than the model's {} positions",
                config.max_positions
            );
        }
        let json = read_tokenizer(dir, &settings)?;
        let length = Some(max_length.or(own).unwrap_or(config.max_positions));
        let tokenizer =
            Tokenizer::from_json(&json, length, config.max_positions).with_context(in_dir)?;
        ensure!(
            tokenizer.vocab_size() <= config.vocab_size,
            "{}: the tokeniser has {} pieces, but the model only {}",
            dir.display(),
            tokenizer.vocab_size(),
            config.vocab_size
        );
        settings.insert("model_max_length".into(), json!(tokenizer.max_length()));
        complete_settings(&mut settings, &config, &json);

        let mut weights = load::weights(&read_weights(dir)?, &config).with_context(in_dir)?;
        let fresh = weights.fill_head(&config, seed)?;
        // Reports other missing tensors before any work starts.
        Fused::new(&config, &weights).with_context(in_dir)?;
        // An unreadable card counts as no card.
        let license = std::fs::read_to_string(dir.join(bundle::CARD))
            .ok()
            .and_then(|card| license(&card));
        Ok(BaseModel {
            config,
            tokenizer,
            tokenizer_config: settings,
            weights,
            fresh,
            license,
        })
    }
}

/// Reads `config.json`, which marks a folder as a model.
fn read_config(dir: &Path) -> Result<EncoderConfig> {
    let path = dir.join(bundle::CONFIG);
    ensure!(
        path.is_file(),
        "{} contains no model: {} is missing",
        dir.display(),
        bundle::CONFIG
    );
    EncoderConfig::from_json(&files::read(&path)?).with_context(|| format!("in {}", dir.display()))
}

/// Reads `tokenizer_config.json`; empty if there is none.
fn read_settings(dir: &Path) -> Result<Map<String, Value>> {
    let path = dir.join(bundle::TOKENIZER_CONFIG);
    if !path.is_file() {
        return Ok(Map::new());
    }
    serde_json::from_slice(&files::read(&path)?)
        .with_context(|| format!("{}: not a JSON object", path.display()))
}

/// Reads `tokenizer.json`, or builds it from `vocab.txt` as `settings` say.
fn read_tokenizer(dir: &Path, settings: &Map<String, Value>) -> Result<Vec<u8>> {
    let [tokenizer, vocab] = [bundle::TOKENIZER, bundle::VOCAB].map(|name| dir.join(name));
    if tokenizer.is_file() {
        return files::read(&tokenizer);
    }
    ensure!(
        vocab.is_file(),
        "{} has no tokeniser: neither {} nor {}",
        dir.display(),
        bundle::TOKENIZER,
        bundle::VOCAB
    );
    let pieces = String::from_utf8(files::read(&vocab)?)
        .with_context(|| format!("{} is not UTF-8", vocab.display()))?;
    let lowercase = settings
        .get("do_lower_case")
        .and_then(Value::as_bool)
        .unwrap_or(true);
    let json = wordpiece::tokenizer(&pieces, lowercase)
        .with_context(|| format!("in {}", dir.display()))?;
    Ok(json.into_bytes())
}

/// Reads the weights file of the model in `dir`, for [`load::weights`]: the floating-point weights,
/// or the int8 weights of a bundle without them.
///
/// # Errors
/// When there is neither, or the file cannot be read.
pub fn read_weights(dir: &Path) -> Result<Vec<u8>> {
    let path = [bundle::WEIGHTS, bundle::INT8_WEIGHTS]
        .map(|name| dir.join(name))
        .into_iter()
        .find(|path| path.is_file());
    let path = path.with_context(|| {
        format!(
            "{} has no {}; convert other weights to safetensors first",
            dir.display(),
            bundle::WEIGHTS
        )
    })?;
    files::read(&path)
}

/// PyTorch's weights file, which candle's engine can read.
pub const PICKLED: &str = "pytorch_model.bin";

/// The licence in the front matter of a model card.
pub fn license(card: &str) -> Option<String> {
    let (front_matter, _) = card.strip_prefix("---\n")?.split_once("\n---")?;
    let value = front_matter
        .lines()
        .find_map(|line| line.strip_prefix("license:"))?;
    let plain = value.trim().trim_matches(['"', '\'']);
    (!plain.is_empty()).then(|| plain.to_owned())
}

/// Adds settings that transformers needs to rebuild the tokeniser and the folder lacks.
/// transformers 5 rebuilds it from these settings and ignores the normaliser of tokenizer.json, so
/// the two must agree.
fn complete_settings(
    settings: &mut Map<String, Value>,
    config: &EncoderConfig,
    tokenizer_json: &[u8],
) {
    let normalizer = serde_json::from_slice::<Value>(tokenizer_json)
        .map(|t| t["normalizer"].clone())
        .unwrap_or_default();
    if let Some(lowercase) = normalizer["lowercase"].as_bool() {
        settings.insert("do_lower_case".into(), json!(lowercase));
        settings.insert("strip_accents".into(), normalizer["strip_accents"].clone());
        settings.insert(
            "tokenize_chinese_chars".into(),
            normalizer["handle_chinese_chars"].clone(),
        );
    }
    let class = if config.model_type() == "bert" {
        "BertTokenizer"
    } else {
        "DistilBertTokenizer"
    };
    settings.entry("tokenizer_class").or_insert(json!(class));
    for (key, token) in [
        ("unk_token", "[UNK]"),
        ("sep_token", "[SEP]"),
        ("pad_token", "[PAD]"),
        ("cls_token", "[CLS]"),
        ("mask_token", "[MASK]"),
    ] {
        settings.entry(key).or_insert(json!(token));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_is_read_from_the_front_matter_alone() {
        assert_eq!(
            license("---\nlanguage: en\nlicense: 'mit'\n---\n# A model"),
            Some("mit".into())
        );
        for none in [
            "# A model\nlicense: mit",
            "---\nlanguage: en\n---\nlicense: mit",
            "---\nlicense:\n- mit\n---\n",
            "",
        ] {
            assert_eq!(license(none), None, "{none}");
        }
    }
}
