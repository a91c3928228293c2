//! Rating in bulk, natively.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use starsight_model::batch::{PackedBatch, plan};
use starsight_model::bundle::{self, Manifest};
use starsight_model::int8::Kernel;
use starsight_model::{Engine, LABELS, Precision, Rater};

use crate::progress::Progress;
use crate::{files, verify};

/// Tokens in a packed batch: enough to keep the cores at work, few enough for the cache.
pub const TOKEN_BUDGET: usize = 2048;

/// How far the logits of a probe may lie from those that the trainer computed: room for another order of summation, not for another model.
const PROBE_TOLERANCE: f32 = 1e-3;

/// The int8 engine gives the same bits everywhere; what is left is the way of the probes through JSON.
const INT8_PROBE_TOLERANCE: f32 = 1e-6;

/// Loads the fine-tuned model in `dir`, to be computed in f32 or in int8. A bundle is held to its manifest: sizes, hashes, and what its probes give; a folder without
/// manifest, such as transformers writes, is taken as it is.
///
/// # Errors
/// When a file is missing, damaged, or does not give what its trainer computed.
pub fn load(dir: &Path, precision: Precision) -> Result<(Rater, Option<Manifest>)> {
    let manifest = dir.join(bundle::MANIFEST).is_file().then(|| verify::bundle(dir)).transpose()?;
    let in_dir = || format!("in {}", dir.display());
    let read = |name: &str, advice: &str| {
        let path = dir.join(name);
        ensure!(path.is_file(), "{} holds no {name}{advice}", dir.display());
        files::read(&path)
    };
    let (config, tokenizer) = (read(bundle::CONFIG, "")?, read(bundle::TOKENIZER, "")?);
    let (built, tolerance) = match precision {
        Precision::F32 => (Rater::from_bytes(&config, &tokenizer, read(bundle::WEIGHTS, "")?), PROBE_TOLERANCE),
        Precision::Int8 => {
            let weights = read(bundle::INT8_WEIGHTS, ": `starsight quantize` makes it for a bundle of an earlier version")?;
            (Rater::int8(&config, &tokenizer, weights, Kernel::best()), INT8_PROBE_TOLERANCE)
        }
    };
    let mut rater = built.with_context(in_dir)?;
    if let Some(manifest) = &manifest {
        rater.set_temperature(manifest.temperature);
        rater.check_probes(&manifest.probes, tolerance).with_context(in_dir)?;
    }
    Ok((rater, manifest))
}

/// The logits of each review, in the order given, computed in packed batches of reviews of like length.
///
/// # Errors
/// As [`Engine::logits`].
pub fn logits(engine: &dyn Engine, token_ids: &[&[u32]], progress: &mut Progress) -> Result<Vec<[f32; LABELS]>> {
    let lengths: Vec<usize> = token_ids.iter().map(|ids| ids.len()).collect();
    let mut out = vec![[0.0; LABELS]; token_ids.len()];
    for group in plan(&lengths, TOKEN_BUDGET) {
        let reviews: Vec<&[u32]> = group.iter().map(|i| token_ids[*i]).collect();
        let rows = engine.logits(&PackedBatch::new(&reviews)?)?;
        for (i, row) in group.iter().zip(rows) {
            out[*i] = row;
        }
        progress.advance(group.len(), "");
    }
    Ok(out)
}
