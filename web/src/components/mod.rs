//! What the page is made of.

pub mod announcer;
pub mod bars;
pub mod kept;
pub mod masthead;
pub mod model_panel;
pub mod rate_many;
pub mod rate_one;
pub mod results;
pub mod stars;
pub mod summary;
