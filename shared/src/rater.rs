//! Text to rating, behind one door.

use crate::batch::PackedBatch;
use crate::bundle::{MANIFEST, Probe};
use crate::int8::{Choice, Int8};
use crate::rating::Reading;
use crate::tokenizer::Tokenizer;
use crate::{EncoderConfig, Error, LABELS, Rating};

/// Whatever turns a packed batch into logits. Tokenising, batching, ratings, probes and benchmarks know no more of an engine than this.
pub trait Engine {
    /// Logits of each review of `batch`, (reviews, 5), in its order.
    ///
    /// # Errors
    /// [`Error::Input`] when the batch does not fit the model, [`Error::Compute`] when the computation fails.
    fn logits(&self, batch: &PackedBatch) -> Result<Vec<[f32; LABELS]>, Error>;

    /// Tokens that a batch had best hold: enough to keep what computes at work, few enough for its cache.
    fn token_budget(&self) -> usize {
        2048
    }
}

/// Which of the trainer's logits for a probe an engine is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbers {
    /// Those of the floating-point weights.
    #[cfg(feature = "native")]
    Float,
    /// Those of the integers that the browser computes with.
    Int8,
}

/// A tokeniser and an engine: what rates reviews, natively and in the browser.
pub struct Rater {
    tokenizer: Tokenizer,
    config: EncoderConfig,
    engine: Box<dyn Engine + Send + Sync>,
    numbers: Numbers,
    reading: Reading,
}

impl Rater {
    /// Builds a rater from the files of a bundle: `config.json`, `tokenizer.json` and the bytes of `model.safetensors`, computed in f32.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Tokenizer`], or what [`Weights::from_safetensors`] and the engine say of the weights. A model without a five-star head is an error
    /// here: only training may start a fresh one.
    ///
    /// [`Weights::from_safetensors`]: crate::weights::Weights::from_safetensors
    #[cfg(feature = "native")]
    pub fn from_bytes(config_json: &[u8], tokenizer_json: &[u8], weights: Vec<u8>) -> Result<Rater, Error> {
        Rater::with_engine(config_json, tokenizer_json, weights, |config, weights| Ok(Box::new(crate::fused::Fused::new(config, weights)?)))
    }

    /// The same with an engine of one's own, made of the configuration and the weights.
    ///
    /// # Errors
    /// As [`Rater::from_bytes`].
    #[cfg(feature = "native")]
    pub fn with_engine(
        config_json: &[u8],
        tokenizer_json: &[u8],
        weights: Vec<u8>,
        engine: impl FnOnce(&EncoderConfig, &crate::weights::Weights) -> Result<Box<dyn Engine + Send + Sync>, Error>,
    ) -> Result<Rater, Error> {
        Rater::new(config_json, tokenizer_json, Numbers::Float, |config| {
            let tensors = crate::weights::Weights::from_safetensors(&weights, config)?;
            drop(weights);
            engine(config, &tensors)
        })
    }

    /// Builds a rater from the files of a bundle: `config.json`, `tokenizer.json` and the bytes of `web/weights.safetensors`, computed in integers, which stay where they are, by
    /// `kernel`.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Tokenizer`], or what [`Int8::new`] says of the weights.
    pub fn int8(config_json: &[u8], tokenizer_json: &[u8], weights: Vec<u8>, kernel: impl Into<Choice>) -> Result<Rater, Error> {
        Rater::new(config_json, tokenizer_json, Numbers::Int8, |config| Ok(Box::new(Int8::new(config, weights, kernel)?)))
    }

    fn new(
        config_json: &[u8],
        tokenizer_json: &[u8],
        numbers: Numbers,
        engine: impl FnOnce(&EncoderConfig) -> Result<Box<dyn Engine + Send + Sync>, Error>,
    ) -> Result<Rater, Error> {
        let config = EncoderConfig::from_json(config_json)?;
        let tokenizer = Tokenizer::from_json(tokenizer_json, None, config.max_positions)?;
        Ok(Rater { tokenizer, engine: engine(&config)?, config, numbers, reading: Reading::default() })
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
        Ok(self.logits(token_ids)?.iter().map(|logits| Rating::from_logits(logits, self.reading)).collect())
    }

    /// Sets how logits are read: as the bundle's manifest says.
    pub fn set_reading(&mut self, reading: Reading) {
        self.reading = reading;
    }

    /// Compares the logits computed here for `probes` with those that the trainer computed in the same numbers.
    ///
    /// # Errors
    /// [`Error::Probe`] for the first probe with a logit that differs by more than `tolerance`; [`Error::Bundle`] when there are none, or none in these numbers.
    pub fn check_probes(&self, probes: &[Probe], tolerance: f32) -> Result<(), Error> {
        if probes.is_empty() {
            return Err(Error::Bundle(format!("{MANIFEST}: holds no probes, by which to tell whether the model computes what its trainer computed")));
        }
        for probe in probes {
            let wanted = match self.numbers {
                #[cfg(feature = "native")]
                Numbers::Float => probe.logits,
                Numbers::Int8 => {
                    probe.int8_logits.ok_or_else(|| Error::Bundle(format!("{MANIFEST}: the probe {:?} has no int8 logits", probe.text)))?
                }
            };
            let token_ids = self.encode(&probe.text)?;
            let found = self.logits(&[&token_ids])?[0];
            // Written so that a NaN fails.
            if !found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() <= tolerance) {
                return Err(Error::Probe { text: probe.text.clone(), wanted, found });
            }
        }
        Ok(())
    }

    /// The encoder's configuration.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// What computes the logits.
    pub fn engine(&self) -> &dyn Engine {
        self.engine.as_ref()
    }

    /// How logits are read.
    pub fn reading(&self) -> Reading {
        self.reading
    }

    /// The tokeniser.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Number of weights.
    pub fn parameters(&self) -> usize {
        self.config.parameters()
    }
}
