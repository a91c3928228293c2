//! From text to rating.

use crate::batch::PackedBatch;
use crate::bundle::{MANIFEST, Probe};
use crate::config::Sizes;
use crate::engine::Engine;
use crate::rating::RatingSettings;
use crate::tokenizer::Tokenizer;
use crate::{Error, LABELS, Rating};

/// The kind of weights, which decides which logits of a probe the engine is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WeightKind {
    /// Floating-point weights.
    #[cfg(feature = "native")]
    Float,
    /// The integer weights that the browser uses.
    Int8,
}

/// A tokeniser and an engine, which together rate reviews, natively and in the browser.
///
/// ```
/// use starsight_model::{Rater, bundle::Manifest, int8::Int8Kernel};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bundle = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/starter");
/// let read = |name: &str| std::fs::read(format!("{bundle}/{name}"));
/// let mut rater = Rater::int8(
///     &read("config.json")?,
///     &read("tokenizer.json")?,
///     read("web/weights.safetensors")?,
///     Int8Kernel::best(),
/// )?;
/// rater.set_settings(Manifest::from_json(&read("starsight.json")?)?.settings());
///
/// let token_ids = rater.encode("I love it, great app!")?;
/// let rating = rater.rate(&[&token_ids])?[0];
/// assert_eq!(rating.stars, 5);
/// # Ok(())
/// # }
/// ```
pub struct Rater {
    tokenizer: Tokenizer,
    sizes: Sizes,
    engine: Box<dyn Engine + Send + Sync>,
    weights: WeightKind,
    settings: RatingSettings,
}

impl Rater {
    /// A rater for a model of these sizes. `engine` is checked against the probes' logits for
    /// `weights`.
    pub(crate) fn new(
        sizes: Sizes,
        tokenizer_json: &[u8],
        weights: WeightKind,
        engine: Box<dyn Engine + Send + Sync>,
    ) -> Result<Rater, Error> {
        let tokenizer = Tokenizer::from_json(tokenizer_json, None, sizes.max_positions)?;
        Ok(Rater {
            tokenizer,
            engine,
            sizes,
            weights,
            settings: RatingSettings::default(),
        })
    }

    /// The token ids of `text`, special tokens included, truncated to the model's maximum.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        self.tokenizer.encode(text)
    }

    /// Logits of each review, (reviews, 5), computed as one packed batch.
    ///
    /// # Errors
    /// As [`PackedBatch::new`] and [`Engine::logits`].
    pub fn logits(&self, token_ids: &[&[u32]]) -> Result<Vec<[f32; LABELS]>, Error> {
        self.engine.logits(&PackedBatch::new(token_ids)?)
    }

    /// The rating of each review, computed as one packed batch.
    ///
    /// # Errors
    /// As [`Rater::logits`].
    pub fn rate(&self, token_ids: &[&[u32]]) -> Result<Vec<Rating>, Error> {
        Ok(self
            .logits(token_ids)?
            .iter()
            .map(|logits| Rating::from_logits(logits, self.settings))
            .collect())
    }

    /// Sets how logits are turned into ratings, as given in the bundle's manifest.
    pub fn set_settings(&mut self, settings: RatingSettings) {
        self.settings = settings;
    }

    /// Compares the logits computed here for `probes` with the trainer's logits for the same kind
    /// of weights.
    ///
    /// # Errors
    /// [`Error::Probe`] for the first probe with a logit that differs by more than `tolerance`;
    /// [`Error::Bundle`] when there are no probes, or one lacks logits for this kind of weights.
    pub fn check_probes(&self, probes: &[Probe], tolerance: f32) -> Result<(), Error> {
        if probes.is_empty() {
            return Err(Error::Bundle(format!(
                "{MANIFEST}: has no probes, so the model cannot be checked against its trainer"
            )));
        }
        for probe in probes {
            let wanted = match self.weights {
                #[cfg(feature = "native")]
                WeightKind::Float => probe.logits,
                WeightKind::Int8 => probe.int8_logits.ok_or_else(|| {
                    Error::Bundle(format!(
                        "{MANIFEST}: the probe {:?} has no int8 logits",
                        probe.text
                    ))
                })?,
            };
            let token_ids = self.encode(&probe.text)?;
            let found = self.logits(&[&token_ids])?[0];
            // Written so that a NaN fails.
            if !found
                .iter()
                .zip(&wanted)
                .all(|(a, b)| (a - b).abs() <= tolerance)
            {
                return Err(Error::Probe {
                    text: probe.text.clone(),
                    wanted,
                    found,
                });
            }
        }
        Ok(())
    }

    /// The model's sizes.
    pub fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// The engine that computes the logits.
    pub fn engine(&self) -> &dyn Engine {
        self.engine.as_ref()
    }

    /// How logits are turned into ratings.
    pub fn settings(&self) -> RatingSettings {
        self.settings
    }

    /// The tokeniser.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }
}
