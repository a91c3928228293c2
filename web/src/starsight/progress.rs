//! The progress of a model's download.

use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// The progress of a download, as `starsight.js` reports it.
    pub type LoadProgress;
    /// `wait`, `download` or `prepare`.
    #[wasm_bindgen(method, getter)]
    pub fn phase(this: &LoadProgress) -> String;
    /// Bytes received so far.
    #[wasm_bindgen(method, getter)]
    pub fn loaded(this: &LoadProgress) -> f64;
    /// Total bytes.
    #[wasm_bindgen(method, getter)]
    pub fn total(this: &LoadProgress) -> f64;
    /// Estimated seconds until the download is complete, if known.
    #[wasm_bindgen(method, getter, js_name = secondsLeft)]
    pub fn seconds_left(this: &LoadProgress) -> Option<f64>;
}

/// The progress of the download.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct DownloadProgress {
    /// Bytes received so far.
    pub loaded: f64,
    /// Total bytes; 0 while unknown.
    pub total: f64,
    /// Estimated seconds left, if known.
    pub seconds_left: Option<f64>,
    /// The download is complete; the model is being built and checked.
    pub preparing: bool,
    /// Another tab is downloading the same model.
    pub waiting: bool,
}

impl DownloadProgress {
    /// Share of the bytes received, if the total is known.
    pub fn share(&self) -> Option<f64> {
        (self.total > 0.0).then(|| (self.loaded / self.total).min(1.0))
    }

    /// Recent download rate in bytes/s, from the estimated time left.
    pub fn speed(&self) -> Option<f64> {
        self.seconds_left
            .filter(|left| *left > 0.0)
            .map(|left| (self.total - self.loaded) / left)
    }

    /// Converts the module's progress object.
    pub fn of(progress: &LoadProgress) -> DownloadProgress {
        let phase = progress.phase();
        DownloadProgress {
            loaded: progress.loaded(),
            total: progress.total(),
            seconds_left: progress.seconds_left(),
            preparing: phase == "prepare",
            waiting: phase == "wait",
        }
    }
}
