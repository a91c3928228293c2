//! Builds raters and weights from the files of a bundle. This is the only module that knows every
//! engine.

#[cfg(feature = "candle")]
use std::collections::HashMap;

#[cfg(feature = "candle")]
use candle_core::Tensor;

#[cfg(feature = "candle")]
use crate::candle::Candle;
use crate::int8::{Int8, KernelChoice};
use crate::rater::{Rater, WeightKind};
use crate::{EncoderConfig, Error};
#[cfg(feature = "native")]
use crate::{Engine, fused::Fused, int8, weights::Weights};

/// Reads the weights from the bytes of a `model.safetensors`, or dequantises those of a bundle's
/// `web/weights.safetensors`.
///
/// # Errors
/// As [`Weights::from_safetensors`]; [`Error::Int8`] for integers that do not match `config`.
#[cfg(feature = "native")]
pub fn weights(bytes: &[u8], config: &EncoderConfig) -> Result<Weights, Error> {
    match int8::holds_integers(bytes) {
        true => int8::restore(config, bytes.to_vec()),
        false => Weights::from_safetensors(bytes, config),
    }
}

impl Rater {
    /// Builds a rater in f32 from the files of a bundle: `config.json`, `tokenizer.json` and the
    /// bytes of `model.safetensors`.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Tokenizer`], or the errors of [`weights`] and the engine. A
    /// model without a five-star head is an error here: only training may start with a fresh head.
    #[cfg(feature = "native")]
    pub fn from_bytes(
        config_json: &[u8],
        tokenizer_json: &[u8],
        weights: Vec<u8>,
    ) -> Result<Rater, Error> {
        Rater::with_engine(config_json, tokenizer_json, weights, |config, weights| {
            Ok(Box::new(Fused::new(config, weights)?))
        })
    }

    /// Like [`Rater::from_bytes`], with the engine that `engine` builds from the configuration and
    /// the weights.
    ///
    /// # Errors
    /// As [`Rater::from_bytes`].
    #[cfg(feature = "native")]
    pub fn with_engine(
        config_json: &[u8],
        tokenizer_json: &[u8],
        weights: Vec<u8>,
        engine: impl FnOnce(&EncoderConfig, &Weights) -> Result<Box<dyn Engine + Send + Sync>, Error>,
    ) -> Result<Rater, Error> {
        let config = EncoderConfig::from_json(config_json)?;
        let tensors = self::weights(&weights, &config)?;
        drop(weights);
        Rater::new(
            config.sizes(),
            tokenizer_json,
            WeightKind::Float,
            engine(&config, &tensors)?,
        )
    }

    /// Builds a rater for an architecture that candle-transformers computes, from `config.json`,
    /// `tokenizer.json` and the tensors of its checkpoint.
    ///
    /// # Errors
    /// [`Error::Tokenizer`], or the errors of [`Candle::new`].
    #[cfg(feature = "candle")]
    pub fn candle(
        config_json: &[u8],
        tokenizer_json: &[u8],
        tensors: HashMap<String, Tensor>,
    ) -> Result<Rater, Error> {
        let engine = Candle::new(config_json, tensors)?;
        Rater::new(
            engine.sizes().clone(),
            tokenizer_json,
            WeightKind::Float,
            Box::new(engine),
        )
    }

    /// Builds an int8 rater from the files of a bundle: `config.json`, `tokenizer.json` and the
    /// bytes of `web/weights.safetensors`, which it uses in place. `kernel` computes the products.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Tokenizer`], or the errors of [`Int8::new`].
    pub fn int8(
        config_json: &[u8],
        tokenizer_json: &[u8],
        weights: Vec<u8>,
        kernel: impl Into<KernelChoice>,
    ) -> Result<Rater, Error> {
        let config = EncoderConfig::from_json(config_json)?;
        let engine = Int8::new(&config, weights, kernel)?;
        Rater::new(
            config.sizes(),
            tokenizer_json,
            WeightKind::Int8,
            Box::new(engine),
        )
    }
}
