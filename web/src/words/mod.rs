//! All texts of the page, so that a translation is a change to this folder.

pub mod many;
pub mod model;
pub mod one;
pub mod shell;
pub mod speed;

/// Shown when something needs the model before it is ready.
pub const NOT_READY: &str = "The model is not ready yet.";
/// The message for work that another request has replaced.
pub const SUPERSEDED: &str = "Another request has replaced this one.";
/// Shown instead of a figure that is not known yet.
pub const NO_VALUE: &str = "–";

/// `1 star`, `2 stars`.
pub fn stars(count: u8) -> String {
    if count == 1 {
        "1 star".into()
    } else {
        format!("{count} stars")
    }
}

/// `4.2 of 5 stars`.
pub fn of_five(value: f32) -> String {
    format!("{value:.1} of 5 stars")
}
