//! Components that several views share, and the page's frame.

pub mod announcer;
pub mod bars;
pub mod copy;
pub mod frame;
pub mod model_strip;
pub mod stars;
