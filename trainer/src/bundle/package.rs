//! The bundle: the result of training, ready to be published.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use starsight_model::bundle::{self, FORMAT, FileEntry, MANIFEST, Manifest, Probe};
use starsight_model::int8::{self, Int8, Int8Kernel};
use starsight_model::rating::RatingSettings;
use starsight_model::weights::Weights;
use starsight_model::{EncoderConfig, Engine, LABELS, batch::PackedBatch, load};

use crate::bundle::card;
use crate::evaluate::Outcome;
use crate::evaluate::limits;
use crate::model::base::BaseModel;
use crate::rate::device::{Place, Precision};
use crate::rate::rating;
use crate::system::files;

/// Texts whose logits are stored in the manifest, so that a program that loads the bundle can check
/// that it computes the same: plain, empty, in capitals, accented, with emoji, in another script,
/// with line breaks, and long.
const PROBES: [&str; 8] = [
    "",
    "Great app, I use it every day!",
    "Crashes every time I open it. Uninstalled.",
    "It is okay, but the last update made it slow…",
    "LOVE IT!!! 😍👍🎉",
    "Très bonne appli, naïve café",
    "很好用的应用\nвсё работает",
    LONG,
];

const LONG: &str = "I have been using this for three years and recommended it to all of my friends. Then came version 4.2: the widget is gone, notifications arrive hours \
    late, and the battery is empty by noon. I wrote to support twice and got the same canned answer. I would pay for the old version, really. Two stars because the maps \
    are still the best there are, and because I hope that someone reads this and fixes it before I have to look for something else.";

/// The parts of a bundle.
pub struct Package<'a> {
    /// Configuration, tokeniser and its settings.
    pub base: &'a BaseModel,
    /// The trained weights.
    pub weights: &'a Weights,
    /// The same weights in int8: `web/weights.safetensors`.
    pub integers: Vec<u8>,
    /// Metrics of the weights.
    pub outcome: &'a Outcome,
    /// Shares of one to five stars among the training reviews.
    pub prior: [f32; LABELS],
    /// Where the weights come from.
    pub provenance: Value,
    /// The model's name, for readers.
    pub name: String,
}

impl Package<'_> {
    /// Writes the bundle to the folder `out`, the manifest last: a folder without a manifest is not
    /// a bundle.
    ///
    /// # Errors
    /// When a probe cannot be computed or the disk is full.
    pub fn write(self, out: &Path, engine: &dyn Engine) -> Result<()> {
        let int8_engine = Int8::new(&self.base.config, self.integers.clone(), Int8Kernel::best())?;
        let probe = |text: &str| {
            let ids = self.base.tokenizer.encode(text)?;
            let batch = PackedBatch::new(&[&ids])?;
            Ok(Probe {
                text: text.into(),
                logits: engine.logits(&batch)?[0],
                int8_logits: Some(int8_engine.logits(&batch)?[0]),
            })
        };
        let probes = PROBES.into_iter().map(probe).collect::<Result<_>>()?;
        let temperature = if self.outcome.temperature_apart {
            self.outcome.temperature
        } else {
            1.0
        };
        let settings = RatingSettings {
            temperature,
            decoding: self.outcome.decoding,
            prior: Some(self.prior),
        };
        let limits = limits::measure(&self.base.tokenizer, engine, settings)?;
        let mut vocab = self.base.tokenizer.vocabulary().join("\n");
        vocab.push('\n');
        let contents: [(&str, Vec<u8>); 7] = [
            (bundle::CONFIG, self.base.config.to_json().into_bytes()),
            (bundle::WEIGHTS, self.weights.to_safetensors()?),
            (bundle::INT8_WEIGHTS, self.integers),
            (
                bundle::TOKENIZER,
                self.base.tokenizer.to_json()?.into_bytes(),
            ),
            (
                bundle::TOKENIZER_CONFIG,
                serde_json::to_vec_pretty(&self.base.tokenizer_config)?,
            ),
            (bundle::VOCAB, vocab.into_bytes()),
            (
                bundle::CARD,
                card::write(
                    &self.name,
                    self.outcome,
                    &self.provenance,
                    &limits,
                    self.base.license.as_deref(),
                )
                .into_bytes(),
            ),
        ];
        // Remove the manifest of an earlier run first: it describes files that are about to be
        // replaced.
        let manifest_path = out.join(MANIFEST);
        if manifest_path.exists() {
            std::fs::remove_file(&manifest_path)?;
        }
        let mut entries = Vec::new();
        for (name, bytes) in &contents {
            files::write_bytes(&out.join(name), bytes)?;
            entries.push(FileEntry::of(name, bytes));
        }
        let manifest = Manifest {
            format: FORMAT,
            name: self.name.clone(),
            files: entries,
            probes,
            metrics: Some(serde_json::to_value(&self.outcome.test)?),
            temperature,
            decoding: self.outcome.decoding,
            prior: Some(self.prior),
            provenance: self.provenance.clone(),
        };
        files::write_bytes(&manifest_path, &serde_json::to_vec_pretty(&manifest)?)
    }
}

/// Quantises the weights of the bundle in `dir`, and writes the int8 weights and the int8 logits of
/// the probes into it, as [`Package::write`] does for a new bundle.
///
/// # Errors
/// When the bundle is damaged, or cannot be written to.
pub fn quantize(dir: &Path) -> Result<FileEntry> {
    let (rater, manifest) = rating::load(dir, &Place::Processor(Precision::F32))?;
    let mut manifest = manifest
        .with_context(|| format!("{} is not a bundle: it has no {MANIFEST}", dir.display()))?;
    let config = EncoderConfig::from_json(&files::read(&dir.join(bundle::CONFIG))?)?;
    let weights = load::weights(&files::read(&dir.join(bundle::WEIGHTS))?, &config)?;
    let integers = int8::quantize(&config, &weights)?;
    let entry = FileEntry::of(bundle::INT8_WEIGHTS, &integers);
    files::write_bytes(&dir.join(bundle::INT8_WEIGHTS), &integers)?;
    let engine = Int8::new(&config, integers, Int8Kernel::best())?;
    for probe in &mut manifest.probes {
        let ids = rater.encode(&probe.text)?;
        probe.int8_logits = Some(engine.logits(&PackedBatch::new(&[&ids])?)?[0]);
    }
    match manifest
        .files
        .iter_mut()
        .find(|file| file.path == entry.path)
    {
        Some(file) => *file = entry.clone(),
        None => manifest.files.push(entry.clone()),
    }
    files::write_bytes(&dir.join(MANIFEST), &serde_json::to_vec_pretty(&manifest)?)?;
    Ok(entry)
}

/// A model's name from the folder that it is written to.
pub fn name_of(out: &Path) -> String {
    let path = std::path::absolute(out).unwrap_or_else(|_| out.into());
    path.file_name().map_or_else(
        || "starsight".into(),
        |name| name.to_string_lossy().into_owned(),
    )
}
