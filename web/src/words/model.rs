//! The model's card, and what the browser keeps.

use crate::figures::megabytes;
use crate::starsight::Kept;

pub const TITLE: &str = "The model";
pub const DELETE: &str = "Delete";
pub const DELETE_ALL: &str = "Delete everything that is kept";
pub const DELETED: &str = "Deleted.";

/// How much this browser keeps: `Kept in this browser: 2 models, 48.4 MB`.
pub fn kept(kept: &Kept) -> String {
    let bytes = kept.models.iter().map(|model| model.bytes).sum::<f64>() + kept.unfinished;
    let models = if kept.models.len() == 1 { "1 model".to_string() } else { format!("{} models", kept.models.len()) };
    format!("Kept in this browser: {models}, {} MB", megabytes(bytes))
}

/// Where a kept model came from, short: the Hub's name for it, or the folder's address.
pub fn source(model: &str) -> String {
    let short = model.split_once("://").map_or(model, |(_, rest)| rest);
    short.replacen("/tree/", " @ ", 1).trim_end_matches('/').to_string()
}

/// What a button that deletes a model does.
pub fn delete(model: &str) -> String {
    format!("Delete {}", source(model))
}

/// What downloads that were cut off take.
pub fn unfinished(bytes: f64) -> String {
    format!("And {} MB of downloads that were cut off; loading the model goes on with them.", megabytes(bytes))
}
