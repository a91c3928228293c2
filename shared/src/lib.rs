//! Starsight's model: it turns the text of a review into a rating of one to five stars.
//!
//! Trainer and browser share this crate: the trainer fine-tunes with it, and the native program and
//! the browser rate with it. So all of them tokenise and round in the same way. It uses no files,
//! no network and no threads that WebAssembly lacks.
//!
//! A text passes through [`tokenizer`] (token ids), [`batch`] (many reviews end to end, no
//! padding), an [`Engine`] (encoder and head: logits) and [`rating`] (stars, expected value,
//! probabilities). [`Rater`] combines these steps. In the browser the engine is [`int8`]; training
//! and native rating in f32 need the feature `native`. Without the feature `engine` only [`rating`]
//! and [`metrics`] exist.

#[cfg(feature = "engine")]
#[macro_use]
mod kernels;

#[cfg(feature = "engine")]
pub mod batch;
#[cfg(feature = "bench")]
pub mod bench;
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

/// The number of classes: one to five stars, as labels 0 to 4.
pub const LABELS: usize = 5;
