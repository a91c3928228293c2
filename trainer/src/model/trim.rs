//! Removes from a model the pieces that certain texts do not use, with their rows of the embedding
//! table.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Map, Value};
use starsight_model::bundle;

use crate::model::base::read_weights;
use crate::model::pieces::Pieces;
use crate::system::files;

/// Size of a vocabulary before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trimmed {
    /// Pieces before.
    pub before: usize,
    /// Pieces after.
    pub after: usize,
}

/// Writes the model in the folder `model` to the folder `out`, with only the pieces that occur in
/// `texts` at least `least` times (a single character: once). Texts whose pieces all stay are
/// tokenised and computed as before.
///
/// # Errors
/// When the model has no Unigram tokeniser, a file is broken, or `out` already holds a model.
pub fn write(model: &Path, texts: &[(&str, f64)], least: usize, out: &Path) -> Result<Trimmed> {
    ensure!(
        !out.join(bundle::CONFIG).exists(),
        "{} already contains a model; choose another folder",
        out.display()
    );
    let in_model = || format!("in {}", model.display());
    let config = model.join(bundle::CONFIG);
    let mut config: Map<String, Value> = serde_json::from_slice(&files::read(&config)?)
        .with_context(|| format!("{}: not a JSON object", config.display()))?;
    let json = String::from_utf8(files::read(&model.join(bundle::TOKENIZER))?)
        .with_context(|| format!("the tokeniser {} is not UTF-8", in_model()))?;
    let mut pieces = Pieces::read(&json).with_context(in_model)?;
    let before = pieces.size();
    let rows = config["vocab_size"].as_u64().unwrap_or(0) as usize;
    ensure!(
        rows >= before,
        "the tokeniser {} has {before} pieces, but the model only {rows}",
        in_model()
    );
    pieces.keep_used(texts, least).with_context(in_model)?;
    let kept: Vec<usize> = pieces.origins().flatten().map(|id| id as usize).collect();

    let weights = trim_weights(&read_weights(model)?, rows, &kept).with_context(in_model)?;
    trim_config(&mut config, &kept);
    for name in [bundle::TOKENIZER_CONFIG, bundle::CARD] {
        let path = model.join(name);
        if path.is_file() {
            files::write_bytes(&out.join(name), &files::read(&path)?)?;
        }
    }
    files::write_bytes(&out.join(bundle::TOKENIZER), pieces.to_json()?.as_bytes())?;
    files::write_bytes(&out.join(bundle::WEIGHTS), &weights)?;
    // Last, because this file marks the folder as a model.
    files::write_bytes(
        &out.join(bundle::CONFIG),
        &serde_json::to_vec_pretty(&config)?,
    )?;
    Ok(Trimmed {
        before,
        after: kept.len(),
    })
}

/// The safetensors file `bytes`, in which every tensor with `rows` rows has only the rows `kept`:
/// the embedding table, and tensors of a masked-language-model head that have a row per piece.
fn trim_weights(bytes: &[u8], rows: usize, kept: &[usize]) -> Result<Vec<u8>> {
    let weights = SafeTensors::deserialize(bytes)?;
    let cut: Vec<(String, Option<Vec<u8>>)> = weights
        .iter()
        .map(|(name, tensor)| {
            (
                name.to_owned(),
                (tensor.shape().first() == Some(&rows)).then(|| rows_of(&tensor, kept)),
            )
        })
        .collect();
    let mut tensors = Vec::with_capacity(cut.len());
    for (name, data) in &cut {
        let tensor = weights.tensor(name)?;
        tensors.push(match data {
            Some(data) => (
                name,
                TensorView::new(
                    tensor.dtype(),
                    [&[kept.len()], &tensor.shape()[1..]].concat(),
                    data,
                )?,
            ),
            None => (name, tensor),
        });
    }
    ensure!(
        cut.iter().any(|(_, data)| data.is_some()),
        "no tensor has a row for each of the {rows} pieces"
    );
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    Ok(safetensors::serialize(tensors, Some(metadata))?)
}

/// Adapts `config.json` to the pieces that are left.
fn trim_config(config: &mut Map<String, Value>, kept: &[usize]) {
    config.insert("vocab_size".into(), kept.len().into());
    if let Some(pad) = config.get("pad_token_id").and_then(Value::as_u64) {
        config.insert(
            "pad_token_id".into(),
            kept.iter().position(|id| *id as u64 == pad).into(),
        );
    }
}

/// The bytes of the rows `kept` of a tensor.
fn rows_of(tensor: &TensorView<'_>, kept: &[usize]) -> Vec<u8> {
    let data = tensor.data();
    let row = data.len() / tensor.shape()[0].max(1);
    kept.iter()
        .flat_map(|id| &data[id * row..(id + 1) * row])
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use starsight_model::Engine;
    use starsight_model::batch::PackedBatch;
    use starsight_model::fused::Fused;

    use super::*;
    use crate::model::base::BaseModel;
    use crate::model::fresh::{self, FreshTokenizer, Shape};
    use crate::model::pieces::tests::unigram;

    #[test]
    fn a_trimmed_model_computes_the_same() {
        let dir = tempfile::tempdir().expect("a folder");
        let [whole, trimmed] = ["whole", "trimmed"].map(|name| dir.path().join(name));
        let shape = Shape {
            layers: 1,
            hidden: 16,
            heads: 2,
            vocab_size: 120,
        };
        let words = FreshTokenizer::learned(
            ["abcdefghijklmnopqrstuvwxyz good bad app"]
                .repeat(3)
                .into_iter(),
            shape.vocab_size,
        )
        .expect("a tokeniser");
        fresh::write(words, &shape, 16, 5, None, &whole).expect("a model");
        std::fs::write(whole.join(bundle::TOKENIZER), unigram()).expect("written");
        let texts = ["good app", "good bad app", "bad 日"];
        let found = write(&whole, &texts.map(|text| (text, 1.0)), 1, &trimmed).expect("a model");
        assert_eq!((found.before, found.after), (21, 10));
        let logits = |folder: &Path| {
            let model = BaseModel::read(folder, None, 5).expect("a model");
            let engine = Fused::new(&model.config, &model.weights).expect("an engine");
            texts.map(|text| {
                engine
                    .logits(
                        &PackedBatch::new(&[&model.tokenizer.encode(text).expect("ids")])
                            .expect("a batch"),
                    )
                    .expect("logits")[0]
            })
        };
        assert_eq!(logits(&whole), logits(&trimmed));
        assert!(
            write(&whole, &[("good", 1.0)], 1, &trimmed).is_err(),
            "a model lies there"
        );
    }
}
