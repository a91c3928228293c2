//! The views of the page; one is shown at a time.

pub mod many;
pub mod model;
pub mod one;
pub mod speed;
