//! The views of the page.

/// A view of the page; one view is shown at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Rates one review as it is typed.
    One,
    /// Rates many reviews.
    Many,
    /// Shows the speed.
    Speed,
    /// Shows the model.
    Model,
}

impl View {
    /// All views in the order of the navigation. The first is the default.
    pub const ALL: [View; 4] = [View::One, View::Many, View::Speed, View::Model];

    /// The view's name in the address, and in the `id` of its heading.
    pub const fn name(self) -> &'static str {
        match self {
            View::One => "one",
            View::Many => "many",
            View::Speed => "speed",
            View::Model => "model",
        }
    }
}
