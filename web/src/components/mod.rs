//! What several views are made of, and what stands around them.

pub mod announcer;
pub mod bars;
pub mod copy;
pub mod frame;
pub mod model_strip;
pub mod stars;
