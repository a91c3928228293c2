//! The fuzz targets, with a panic hook for those whose dependencies may panic.

mod targets;

pub use targets::*;

use std::sync::{Mutex, PoisonError};

/// Lets panics of dependencies unwind. Our code catches those of the crates parquet and tokenizers
/// and returns errors instead, but libFuzzer's panic hook aborts the process before that. A panic
/// that is not caught still aborts it.
pub fn unwind() {
    static LAST: Mutex<String> = Mutex::new(String::new());
    std::panic::set_hook(Box::new(|panic| {
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        let file = panic.location().map_or("", |location| location.file());
        if file.contains("/registry/") {
            *last = panic.to_string();
        } else {
            eprintln!("{panic}\nThe last panic of a dependency: {last}");
        }
    }));
}
