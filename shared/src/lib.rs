//! Starsight's model: what turns the text of a review into a rating of one to five stars.
//!
//! One crate for both sides. The trainer fine-tunes through it, the native program and the browser rate through it, so what the trainer learned is, to the last rule of
//! tokenising and rounding, what the page computes. It knows no files, no network and no threads that WebAssembly lacks.
//!
//! A text goes through [`tokenizer`] (token ids), [`batch`] (many reviews end to end, no padding), an [`Engine`] (encoder and head: logits) and [`rating`] (stars, expected
//! value, probabilities). [`Rater`] is all of that behind one door. In the browser the engine is [`int8`]; training and native rating in f32 want the feature `native`.
//! Without the feature `engine` there are [`rating`] and [`metrics`] alone.

#[cfg(feature = "engine")]
#[macro_use]
mod kernels;

#[cfg(feature = "engine")]
pub mod batch;
#[cfg(feature = "engine")]
pub mod bundle;
#[cfg(feature = "candle")]
pub mod candle;
#[cfg(feature = "engine")]
pub mod config;
#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(feature = "engine")]
mod engine;
#[cfg(feature = "engine")]
mod error;
#[cfg(feature = "native")]
pub mod fused;
#[cfg(feature = "engine")]
pub mod int8;
#[cfg(feature = "engine")]
pub mod load;
pub mod metrics;
#[cfg(feature = "native")]
pub mod model;
#[cfg(feature = "native")]
pub mod ops;
#[cfg(feature = "engine")]
mod parallel;
#[cfg(feature = "engine")]
mod rater;
pub mod rating;
#[cfg(feature = "engine")]
pub mod rng;
#[cfg(feature = "engine")]
pub mod tokenizer;
#[cfg(feature = "native")]
pub mod weights;

#[cfg(feature = "engine")]
pub use config::EncoderConfig;
#[cfg(feature = "engine")]
pub use engine::Engine;
#[cfg(feature = "engine")]
pub use error::Error;
#[cfg(feature = "engine")]
pub use rater::Rater;
pub use rating::Rating;

/// How many classes a model tells apart: one to five stars, as labels 0 to 4.
pub const LABELS: usize = 5;
