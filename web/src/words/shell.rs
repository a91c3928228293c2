//! Texts of the page's frame: introduction, navigation and the model's state.

use crate::figures::{megabytes, millions, percent, time_left};
use crate::starsight::{DownloadProgress, Info, ScriptError};
use crate::view::View;

pub const NAME: &str = "Starsight";
pub const TITLE: &str = "How many stars is this review?";
pub const LEAD: &str = "A small language model reads it and rates it from one to five stars, right here in your browser. ";
pub const PRIVACY: &str = "No text leaves this page.";
pub const SKIP: &str = "Skip to the content";
pub const VIEWS: &str = "Views";
pub const FOOTER: &str = "Starsight is free software, and so is this page: save it, host it, or use its module in your own page.";

pub const COPIED: &str = "Copied.";
pub const COPY_BY_HAND: &str = "This browser does not let the page copy. Copy it from here:";

pub const MODEL: &str = "Model";
pub const UNMEASURED: &str = "accuracy not measured";
pub const FETCHING: &str = "Downloading the model";
pub const WAITING_FOR_TAB: &str = "Another tab is downloading it";
pub const PREPARING: &str = "Checking the model";
pub const CONNECTING: &str = "Looking for the model";
pub const CANCEL: &str = "Cancel";
pub const RETRY: &str = "Try again";
pub const LOAD: &str = "Load the model";
pub const READY: &str = "The model is ready.";
pub const NEWER: &str = "There is a newer version of this model.";
pub const LOAD_NEWER: &str = "Load it";
pub const TOKEN: &str = "Access token, if the model is private";
pub const TOKEN_USE: &str = "It is sent only to the Hub and is not stored.";

/// The name of a view in the navigation.
pub const fn view(view: View) -> &'static str {
    match view {
        View::One => "Rate one",
        View::Many => "Rate many",
        View::Speed => "Speed",
        View::Model => "Model",
    }
}

/// The window's title.
pub fn title(at: View) -> String {
    match at {
        View::One => format!("{NAME}: star ratings for reviews, in your browser"),
        at => format!("{}: {NAME}", view(at)),
    }
}

/// Facts about the model: `4.4 million parameters`, `5.1 MB`, `77.3% test accuracy`.
pub fn model_facts(info: &Info) -> [String; 3] {
    let accuracy = info.accuracy().map_or_else(
        || UNMEASURED.to_string(),
        |share| format!("{} test accuracy", percent(share)),
    );
    [
        format!("{} parameters", millions(info.parameters)),
        format!("{} MB", megabytes(info.bytes)),
        accuracy,
    ]
}

/// A notice as a sentence.
pub fn notice(notice: &str) -> String {
    let mut letters = notice.chars();
    let first = letters.next().map(char::to_uppercase).into_iter().flatten();
    format!(
        "{}.",
        first
            .chain(letters)
            .collect::<String>()
            .trim_end_matches('.')
    )
}

/// The download's progress: `12.3 of 91.0 MB · 8.2 MB/s · 9 s left`.
pub fn downloading(at: &DownloadProgress) -> String {
    let mut out = format!("{} of {} MB", megabytes(at.loaded), megabytes(at.total));
    if let (Some(speed), Some(left)) = (at.speed(), at.seconds_left) {
        out += &format!(" · {} MB/s · {} left", megabytes(speed), time_left(left));
    }
    out
}

/// The headline for a failure.
pub fn failure(error: &ScriptError) -> &'static str {
    match error.name.as_str() {
        "AbortError" => "The download was cancelled",
        "DownloadError" => "The model could not be downloaded",
        "BundleError" => "This model cannot be used",
        "EngineError" => "The rating engine is not running",
        _ if error.is_about_token() => "The access token is not valid",
        "TypeError" | "RangeError" => "The page's address has an invalid parameter",
        _ => "The model could not be loaded",
    }
}

/// The advice for a failure.
pub fn advice(error: &ScriptError) -> &'static str {
    match error.name.as_str() {
        "AbortError" => "The page needs a model to rate reviews.",
        "DownloadError" => "Check the connection and the address, then try again.",
        "BundleError" => {
            "It may have been damaged in transit: try again. If that does not help, the model must be published again."
        }
        "EngineError" => {
            "Try again. If that does not help, close other tabs or use a newer browser."
        }
        _ if error.is_about_token() => {
            "Copy the whole token again, without spaces, and paste it below."
        }
        "TypeError" | "RangeError" => {
            "Correct the part of the address after the \"?\", or choose another model in the Model view."
        }
        _ => "Try again, or reload the page.",
    }
}
