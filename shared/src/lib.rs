//! Starsight's model: what turns the text of a review into a rating of one to five stars.
//!
//! One crate for both sides. The trainer fine-tunes through it, the native program and the browser rate through it, so what the trainer learned is, to the last rule of
//! tokenising and rounding, what the page computes. It knows no files, no network and no threads that WebAssembly lacks.
//!
//! A text goes through [`tokenizer`] (token ids), [`batch`] (many reviews end to end, no padding), an [`Engine`] (encoder and head: logits) and [`rating`] (stars, expected
//! value, probabilities). [`Rater`] is all of that behind one door. In the browser the engine is [`int8`]; training and native rating in f32 want the feature `native`.

#[macro_use]
mod kernels;

pub mod batch;
pub mod bundle;
pub mod config;
#[cfg(feature = "cuda")]
pub mod cuda;
mod error;
#[cfg(feature = "native")]
pub mod fused;
pub mod int8;
pub mod metrics;
#[cfg(feature = "native")]
pub mod model;
#[cfg(feature = "native")]
pub mod ops;
mod parallel;
mod rater;
pub mod rating;
pub mod rng;
pub mod tokenizer;
#[cfg(feature = "native")]
pub mod weights;

pub use config::EncoderConfig;
pub use error::Error;
pub use rater::{Engine, Rater};
pub use rating::Rating;

/// How many classes a model tells apart: one to five stars, as labels 0 to 4.
pub const LABELS: usize = 5;
