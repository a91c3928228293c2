//! The views of the page.

/// A part of the page that is shown by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Rates one review as it is typed.
    One,
    /// Rates many.
    Many,
    /// Tells how fast.
    Speed,
    /// Tells what rates.
    Model,
}

impl View {
    /// In the order of the navigation; the first is shown unless the address asks for another.
    pub const ALL: [View; 4] = [View::One, View::Many, View::Speed, View::Model];

    /// Its name in the address, and in the `id` of its heading.
    pub const fn name(self) -> &'static str {
        match self {
            View::One => "one",
            View::Many => "many",
            View::Speed => "speed",
            View::Model => "model",
        }
    }
}
