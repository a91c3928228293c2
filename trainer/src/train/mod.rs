//! Fine-tuning: from a base model and reviews to a bundle.

mod checkpoint;
pub mod criterion;
mod examples;
#[cfg(feature = "cuda")]
pub(crate) mod gpu;
pub mod groups;
mod learn;
mod log;
pub mod loss;
pub mod optimizer;
mod place;
pub(crate) mod processor;
mod recipe;
pub mod repeats;
mod report;
mod run;
pub mod schedule;
pub mod step;
pub mod teacher;
mod tensorboard;
pub(crate) mod trainee;
mod training;
mod watch;

pub use recipe::Recipe;
pub use run::{resumes, train};
pub use training::{SAVE_AFTER, Training};
