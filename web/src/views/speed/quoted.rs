//! Figures of other systems. They are quoted, not measured.

use crate::starsight::Batch;

/// The notebook's throughput in reviews per second, as it printed it, by reviews per call and
/// milliseconds of latency.
const NOTEBOOK: [(Batch, u32, f64); 5] = [
    (Batch::Of(1), 0, 196.0),
    (Batch::Of(32), 0, 397.0),
    (Batch::Of(64), 0, 309.0),
    (Batch::Of(1), 20, 41.0),
    (Batch::Of(32), 500, 54.8),
];

/// The highest of them.
pub const NOTEBOOK_BEST: f64 = 397.0;

/// ChatGPT's throughput according to the notebook, in reviews per second.
pub const CHATGPT: f64 = 34.896;

/// ChatGPT's cost in dollars for the notebook's test reviews, and their number.
const CHATGPT_COST: f64 = 0.5574;
const CHATGPT_REVIEWS: f64 = 57_613.0;

/// The notebook's throughput for a setting.
pub fn notebook(batch: Batch, lag: u32) -> Option<f64> {
    NOTEBOOK
        .iter()
        .find(|(known, delay, _)| (*known, *delay) == (batch, lag))
        .map(|(.., speed)| *speed)
}

/// ChatGPT's cost in dollars for `reviews` reviews.
pub fn chatgpt_cost(reviews: f64) -> f64 {
    reviews * CHATGPT_COST / CHATGPT_REVIEWS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_that_were_printed() {
        assert_eq!(notebook(Batch::Of(64), 0), Some(309.0));
        assert_eq!(notebook(Batch::Of(64), 20), None);
        assert_eq!(notebook(Batch::Packed, 0), None);
        assert_eq!(format!("{:.2}", chatgpt_cost(57_613.0)), "0.56");
        assert_eq!(format!("{:.2}", chatgpt_cost(100_000.0)), "0.97");
    }
}
