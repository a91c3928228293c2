//! The views: one of them is shown at a time.

pub mod many;
pub mod model;
pub mod one;
pub mod speed;
