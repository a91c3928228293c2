//! Rates many reviews natively.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use starsight_model::batch::{Distinct, PackedBatch, plan};
use starsight_model::bundle::{self, Manifest};
use starsight_model::candle;
use starsight_model::int8::Int8Kernel;
use starsight_model::{Engine, LABELS, Rater};

use crate::model::{base, verify};
use crate::rate::device::{Numbers, Place, Precision};
use crate::system::progress::Progress;
use crate::system::{files, interrupt};

/// Largest difference between a probe's logits and the trainer's: enough for another order of
/// summation, too little for another model.
const PROBE_TOLERANCE: f32 = 1e-3;
/// The same for bf16, with its 8-bit significands; the logits of another model differ by more.
const PROBE_TOLERANCE_BF16: f32 = 0.25;

/// The int8 engine is bit-identical everywhere; this only allows for the probes' conversion to
/// JSON.
const PROBE_TOLERANCE_INT8: f32 = 1e-6;

/// Loads the fine-tuned model in `dir` for computation on `place`. A bundle is checked against its
/// manifest: sizes, hashes and probes. A folder without a manifest, as transformers writes it, is
/// not checked.
///
/// # Errors
/// When a file is missing or damaged, or a probe's logits differ from the trainer's.
pub fn load(dir: &Path, place: &Place) -> Result<(Rater, Option<Manifest>)> {
    let manifest = dir
        .join(bundle::MANIFEST)
        .is_file()
        .then(|| verify::bundle(dir))
        .transpose()?;
    let in_dir = || format!("in {}", dir.display());
    let read = |name: &str, advice: &str| {
        let path = dir.join(name);
        ensure!(path.is_file(), "{} has no {name}{advice}", dir.display());
        files::read(&path)
    };
    let (config, tokenizer) = (read(bundle::CONFIG, "")?, read(bundle::TOKENIZER, "")?);
    if let Some(model_type) = of_candle(&config) {
        ensure!(
            place.numbers() != Numbers::Int8,
            "{}: --int8 does not support {model_type}; omit --int8",
            dir.display()
        );
        say!("{model_type} is computed by candle, on the processor in f32");
        let rater = Rater::candle(&config, &tokenizer, tensors(dir)?).with_context(in_dir)?;
        return Ok((rater, None));
    }
    let float = || -> Result<_> {
        let weights = base::read_weights(dir)?;
        Rater::with_engine(&config, &tokenizer, weights, |config, weights| {
            place.engine(config, weights)
        })
        .with_context(in_dir)
    };
    let (mut rater, tolerance) = match place.numbers() {
        Numbers::Float(Precision::F32) => (float()?, PROBE_TOLERANCE),
        Numbers::Float(Precision::Bf16) => (float()?, PROBE_TOLERANCE_BF16),
        Numbers::Int8 => {
            let weights = read(
                bundle::INT8_WEIGHTS,
                ": `starsight quantize` adds it to a bundle of an earlier version",
            )?;
            (
                Rater::int8(&config, &tokenizer, weights, Int8Kernel::best())
                    .with_context(in_dir)?,
                PROBE_TOLERANCE_INT8,
            )
        }
    };
    if let Some(manifest) = &manifest {
        rater.set_settings(manifest.settings());
        rater
            .check_probes(&manifest.probes, tolerance)
            .with_context(in_dir)?;
    }
    Ok((rater, manifest))
}

/// The `model_type` in `config`, if candle-transformers computes it and our own engines do not.
pub fn of_candle(config: &[u8]) -> Option<&'static str> {
    let config: serde_json::Value = serde_json::from_slice(config).ok()?;
    candle::MODEL_TYPES
        .into_iter()
        .find(|known| config["model_type"] == *known)
}

/// The tensors of the checkpoint in `dir`: `model.safetensors`, or PyTorch's `pytorch_model.bin`.
fn tensors(dir: &Path) -> Result<HashMap<String, Tensor>> {
    let [safe, pickled] = [bundle::WEIGHTS, base::PICKLED].map(|name| dir.join(name));
    let broken = |path: &Path| format!("reading {}", path.display());
    if safe.is_file() {
        return candle_core::safetensors::load(&safe, &candle_core::Device::Cpu)
            .with_context(|| broken(&safe));
    }
    ensure!(
        pickled.is_file(),
        "{} has neither {} nor {}",
        dir.display(),
        bundle::WEIGHTS,
        base::PICKLED
    );
    Ok(candle_core::pickle::read_all(&pickled)
        .with_context(|| broken(&pickled))?
        .into_iter()
        .collect())
}

/// The logits of each review, in the given order. Reviews of similar length are computed in packed
/// batches; reviews with the same tokens, which are common in app reviews, are computed once.
///
/// # Errors
/// As [`Engine::logits`]; [`Interrupted`](crate::system::interrupt::Interrupted) when the user
/// interrupts.
pub fn logits(
    engine: &dyn Engine,
    token_ids: &[&[u32]],
    progress: &mut Progress,
) -> Result<Vec<[f32; LABELS]>> {
    let Distinct { firsts, like } = Distinct::of(token_ids);
    let mut times = vec![0; firsts.len()];
    like.iter().for_each(|first| times[*first] += 1);
    let lengths: Vec<usize> = firsts.iter().map(|i| token_ids[*i].len()).collect();
    let (mut done, all) = (0, lengths.iter().sum::<usize>());
    let mut out = vec![[0.0; LABELS]; firsts.len()];
    for group in plan(&lengths, engine.token_budget()) {
        let reviews: Vec<&[u32]> = group
            .iter()
            .map(|first| token_ids[firsts[*first]])
            .collect();
        let rows = engine.logits(&PackedBatch::new(&reviews)?)?;
        for (first, row) in group.iter().zip(rows) {
            out[*first] = row;
        }
        // The longest reviews come first, so the remaining time is estimated from tokens.
        done += reviews.iter().map(|ids| ids.len()).sum::<usize>();
        progress.share(done as f64 / all as f64);
        progress.advance(group.iter().map(|first| times[*first]).sum(), "");
        interrupt::check()?;
    }
    Ok(like.iter().map(|first| out[*first]).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// An engine whose logits depend only on the tokens, and that records the reviews it gets.
    #[derive(Default)]
    struct Listener(Mutex<Vec<Vec<u32>>>);

    impl Engine for Listener {
        fn logits(
            &self,
            batch: &PackedBatch,
        ) -> Result<Vec<[f32; LABELS]>, starsight_model::Error> {
            let reviews = batch
                .cu_seqlens
                .windows(2)
                .map(|ends| batch.token_ids[ends[0] as usize..ends[1] as usize].to_vec());
            let mut heard = self.0.lock().expect("no panic");
            let logits = reviews.map(|review| {
                let logits = std::array::from_fn(|i| {
                    (review[0] * 10 + review.len() as u32 + i as u32) as f32
                });
                heard.push(review);
                logits
            });
            Ok(logits.collect())
        }

        fn token_budget(&self) -> usize {
            5
        }
    }

    #[test]
    fn each_review_gets_its_logits_and_those_with_the_same_tokens_are_computed_once() {
        let reviews: [&[u32]; 6] = [&[7, 1], &[3], &[7, 1], &[5, 5, 5], &[3], &[7, 1, 2]];
        let engine = Listener::default();
        let found = logits(
            &engine,
            &reviews,
            &mut Progress::new("rating", "reviews", reviews.len()),
        )
        .expect("logits");
        assert_eq!(
            found.iter().map(|logits| logits[0]).collect::<Vec<_>>(),
            [72.0, 31.0, 72.0, 53.0, 31.0, 73.0]
        );
        let mut heard = engine.0.into_inner().expect("no panic");
        heard.sort();
        assert_eq!(heard, [vec![3], vec![5, 5, 5], vec![7, 1], vec![7, 1, 2]]);
    }
}
