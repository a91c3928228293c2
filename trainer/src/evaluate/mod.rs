//! Evaluation of ratings: metrics with confidence intervals, calibration, breakdowns, agreement
//! between engines, and limits.

pub mod agreement;
pub mod bootstrap;
pub mod breakdown;
pub mod calibration;
mod evaluation;
pub mod history;
pub mod limits;
mod outcome;

pub use evaluation::{Evaluation, Measure};
pub use outcome::Outcome;
