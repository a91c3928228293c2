//! Texts of the speed view.

use crate::figures::{dollars, duration, speed, whole};
use crate::starsight::{Batch, Row};

pub const LIVE: &str = "Right now";
pub const RESTS: &str =
    "You have not rated any reviews yet. Reviews rated in any view are counted here.";
pub const REVIEWS_A_SECOND: &str = "reviews/s";
pub const TOKENS_A_SECOND: &str = "tokens/s";
pub const CURVE: &str = "Reviews per second over the last 30 seconds";

pub const BENCH: &str = "Benchmark";
pub const BENCH_LEAD: &str = "Rates made-up reviews of realistic lengths, with the settings of the notebook that Starsight replaces. Each setting gets a warm-up and three runs; the median counts. Close other programs first. It takes about a minute.";
pub const START: &str = "Measure this device";
pub const AGAIN: &str = "Measure again";
pub const CANCEL: &str = "Cancel";
pub const COPY_TEXT: &str = "Copy as text";
pub const COPY_JSON: &str = "Copy as JSON";
pub const TABLE: &str = "Reviews rated per second, by setting";
pub const WAY: &str = "Setting";
pub const HERE: &str = "Here, reviews/s";
pub const SPREAD: &str = "Slowest to fastest";
pub const NOTEBOOK: &str = "Notebook (quoted)";
pub const FAILED: &str = "The benchmark stopped";
pub const STOPPED: &str = "Cancelled. Finished measurements are kept.";
pub const DONE: &str = "Measured.";
pub const BUSY: &str = "Reviews are being rated under Rate many. Wait for them or pause them first: running both at once would be slow and distort the figures.";
pub const NOT_MEASURED: &str = "Not measured yet.";
pub const QUOTED: &str = "Quoted figures are the notebook's own, from its GPU; its timer stopped before the GPU had finished. They were not measured here.";

pub const COMPARED: &str = "Comparison";
pub const THIS_DEVICE: &str = "This device, fastest setting";
pub const NOTEBOOK_BEST: &str = "The notebook's GPU (quoted)";
pub const CHATGPT: &str = "ChatGPT (quoted)";
pub const COMPARED_TABLE: &str = "Speed, time and cost of 100,000 reviews";
pub const FOR_100_000: &str = "100,000 reviews";
pub const TIME: &str = "Time";
pub const COST: &str = "Cost";
pub const NOTHING: &str = "nothing";
pub const NOT_QUOTED: &str = "not quoted";
pub const CHATGPT_QUOTED: &str =
    "ChatGPT's 34.9 reviews/s and $0.56 for 57,613 reviews are quoted from the notebook.";

/// A benchmark setting: `32 per call, with 500 ms of lag`.
pub fn way(batch: Batch, lag: u32, workers: u32) -> String {
    let mut out = match batch {
        Batch::Of(1) => "One per call".to_string(),
        Batch::Of(count) => format!("{count} per call"),
        Batch::Packed => "All at once, packed".to_string(),
    };
    if lag > 0 {
        out += &format!(", with {lag} ms of lag");
    }
    if workers > 1 {
        out += &format!(", {workers} workers");
    }
    out
}

/// The range from the slowest to the fastest run.
pub fn spread(row: &Row) -> String {
    format!("{} to {}", speed(row.slowest), speed(row.fastest))
}

/// A quoted figure, with the decimals that were printed.
pub fn quoted(figure: f64) -> String {
    if figure.fract() == 0.0 {
        whole(figure)
    } else {
        format!("{figure:.1}")
    }
}

/// Shown while the benchmark runs.
pub fn measuring(done: usize, of: usize) -> String {
    format!("Measuring, {done} of {of} settings done…")
}

/// Shown when another model has been loaded since the benchmark.
pub fn measured_with(model: &str) -> String {
    format!("Measured with {model}, before another model was loaded.")
}

/// The number of reviews rated since the page was opened, and what ChatGPT would have needed for
/// them.
pub fn so_far(reviews: f64, seconds: f64, cost: f64) -> String {
    let there = format!(
        "ChatGPT would have taken {} and cost {} for that.",
        duration(seconds),
        dollars(cost)
    );
    let count = if reviews == 1.0 {
        "1 review".to_string()
    } else {
        format!("{} reviews", whole(reviews))
    };
    format!("Rated since you opened the page: {count}. {there}")
}

/// One line of the text report.
pub fn line(row: &Row) -> String {
    let way = way(row.batch, row.lag, row.workers);
    let (runs, reviews) = (whole(row.repeats), whole(row.samples));
    format!(
        "{way}: {} reviews/s ({}), {} tokens/s, {runs} runs of {reviews} reviews",
        speed(row.samples_per_second),
        spread(row),
        whole(row.tokens_per_second)
    )
}

/// The heading of the text report.
pub fn heading(model: &str, cores: f64, agent: &str) -> String {
    format!(
        "Starsight, {model}, in the browser; {cores} cores; medians of three runs after a warm-up\n{agent}"
    )
}
