//! Texts of the model view.

use crate::figures::{megabytes, percent, whole};
use crate::starsight::{Info, Kept};

pub const TITLE: &str = "The model";
pub const NAME: &str = "Name";
pub const ARCHITECTURE: &str = "Architecture";
pub const PARAMETERS: &str = "Parameters";
pub const SIZE: &str = "Download size";
pub const READS: &str = "Reads";
pub const SOURCE: &str = "Source";
pub const COMMIT: &str = "Commit";
pub const HASH: &str = "SHA-256 of the weights";
pub const BASE: &str = "Base model";
pub const DATA: &str = "Training data";
pub const CODE: &str = "Trained with";
pub const TEMPERATURE: &str = "Calibration temperature";
pub const DECODING: &str = "Stars are chosen by";
pub const NOT_LOADED: &str = "Details appear here once the model is loaded.";
pub const UPDATE: &str = "Look for a newer version";

pub const QUALITY: &str = "How good it is";
pub const NO_METRICS: &str = "No metrics were published for this model.";
pub const METRIC: &str = "Metric";
pub const VALUE: &str = "Value";
pub const INTERVAL: &str = "95% interval";
pub const METRICS: &str = "Metrics on the test reviews";

pub const CONFUSION: &str = "True stars and stars given by the model";
pub const CONFUSION_CORNER: &str = "True";
pub const CONFUSION_NOTE: &str = "Rows: true stars. Columns: stars given by the model. Each cell counts reviews; darker cells hold a larger share of their row.";

pub const CALIBRATION: &str = "Calibration";
pub const CALIBRATION_DRAWING: &str = "Share of correct ratings by the model's confidence";
pub const CALIBRATION_NOTE: &str = "Reviews are grouped by the model's confidence. On the line, confidence equals accuracy; below it, the model is overconfident. Larger dots stand for more reviews.";
pub const NO_CALIBRATION: &str =
    "No calibration curve was published for this model, only the expected calibration error above.";
pub const SURE: &str = "confidence";
pub const RIGHT: &str = "accuracy";

pub const ANOTHER: &str = "Another model";
pub const WHICH: &str =
    "On the Hugging Face Hub (owner/name, or owner/name@revision), or a folder beside this page";
pub const WHICH_PLACEHOLDER: &str = "owner/name";
pub const LOAD: &str = "Load it";
pub const OWN: &str = "Back to this site's own model";
pub const DROP: &str =
    "Or drop a model folder written by starsight train here, or all of its files";
pub const CHOOSE_FOLDER: &str = "Choose a folder";
pub const CHOOSE_FILES: &str = "Choose files";
pub const STAYS_HERE: &str =
    "Files stay on this device. They are checked against their manifest, like any other model.";
pub const NO_NAME: &str = "Type a name or a folder first.";

pub const KEPT: &str = "Cached in this browser";
pub const NOTHING_KEPT: &str = "No cached models. Downloaded models are cached and load offline.";
pub const DELETE: &str = "Delete";
pub const DELETE_ALL: &str = "Delete the whole cache";
pub const DELETED: &str = "Deleted.";

/// A description of the model's decoding rule, unless it is the default.
pub fn decoding(name: &str) -> Option<&'static str> {
    match name {
        "median" => Some("the median of the distribution"),
        "expected" => Some("the mean of the distribution, rounded"),
        "balanced" => Some(
            "a balanced rule: almost as accurate as the most likely number, with smaller errors",
        ),
        _ => None,
    }
}

/// The display name and formatted value of a metric, given the trainer's name for it; `None` if it
/// is not shown.
pub fn metric(name: &str, value: f64) -> Option<(&'static str, String)> {
    let (called, is_share) = match name {
        "accuracy" => ("Accuracy (exact stars)", true),
        "off_by_one" => ("At most one star off", true),
        "binary_great" => ("4 or 5 stars against 1 to 3", true),
        "binary_five" => ("5 stars against the rest", true),
        "mae" => ("Mean absolute error, in stars", false),
        "qwk" => ("Quadratic weighted kappa", false),
        "macro_f1" => ("F1, averaged over the five classes", false),
        "ece" => ("Expected calibration error", false),
        "loss" => ("Loss (cross-entropy)", false),
        _ => return None,
    };
    Some((called, shown(value, is_share)))
}

/// The metrics in display order.
pub const METRIC_ORDER: [&str; 9] = [
    "accuracy",
    "off_by_one",
    "binary_great",
    "binary_five",
    "mae",
    "qwk",
    "macro_f1",
    "ece",
    "loss",
];

fn shown(value: f64, is_share: bool) -> String {
    if is_share {
        percent(value)
    } else {
        format!("{value:.3}")
    }
}

/// A metric's confidence interval.
pub fn interval(name: &str, [low, high]: [f64; 2]) -> String {
    let bound = |value| {
        metric(name, value)
            .map(|(_, shown)| shown)
            .unwrap_or_default()
    };
    format!("{} to {}", bound(low), bound(high))
}

/// Shown under the metrics.
pub fn measured_on(samples: f64) -> String {
    format!(
        "On {} test reviews that it had not seen in training.",
        whole(samples)
    )
}

/// `BERT, 6 layers of width 384`.
pub fn architecture(info: &Info) -> String {
    let name = match info.model_type.as_str() {
        "bert" => "BERT",
        "distilbert" => "DistilBERT",
        other => other,
    };
    let layers = if info.layers == 1.0 {
        "1 layer".to_string()
    } else {
        format!("{} layers", info.layers)
    };
    format!("{name}, {layers} of width {}", info.hidden_size)
}

/// `1.1 MB, as 8-bit integers`.
pub fn size(info: &Info) -> String {
    let kept = if info.is_kept {
        "; cached from an earlier visit"
    } else {
        ""
    };
    format!("{} MB, as 8-bit integers{kept}", megabytes(info.bytes))
}

/// `the first 256 tokens of a review`.
pub fn reads(max_tokens: f64) -> String {
    format!("the first {} tokens of a review", whole(max_tokens))
}

/// `1,920 of 5★ rated 4★`, shown as the tooltip of a cell of the confusion matrix.
pub fn cell(count: f64, truth: usize, rated: usize) -> String {
    format!("{} of {truth}★ rated {rated}★", whole(count))
}

/// The text for a dot of the calibration curve.
pub fn bin(samples: f64, confidence: f64, right: f64) -> String {
    format!(
        "{} reviews: {} {SURE}, {} {RIGHT}",
        whole(samples),
        percent(confidence),
        percent(right)
    )
}

/// The size of this browser's cache: `2 models, 48.4 MB`.
pub fn kept(kept: &Kept) -> String {
    let bytes = kept.models.iter().map(|model| model.bytes).sum::<f64>() + kept.unfinished;
    let models = if kept.models.len() == 1 {
        "1 model".to_string()
    } else {
        format!("{} models", kept.models.len())
    };
    format!("{models}, {} MB", megabytes(bytes))
}

/// The short form of a cached model's source: its name on the Hub, or the folder's address.
pub fn source(model: &str) -> String {
    let short = model.split_once("://").map_or(model, |(_, rest)| rest);
    short
        .replacen("/tree/", " @ ", 1)
        .trim_end_matches('/')
        .to_string()
}

/// The label of a button that deletes a model.
pub fn delete(model: &str) -> String {
    format!("Delete {}", source(model))
}

/// Shown when deleting failed.
pub fn not_deleted(why: &str) -> String {
    format!("It could not be deleted: {why}.")
}

/// The size of incomplete downloads.
pub fn unfinished(bytes: f64) -> String {
    format!(
        "Plus {} MB of interrupted downloads, which resume when the model is loaded.",
        megabytes(bytes)
    )
}
