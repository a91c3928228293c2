//! How far a model's download is.

use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// How far a download is.
    pub type LoadProgress;
    /// `wait`, `download` or `prepare`.
    #[wasm_bindgen(method, getter)]
    pub fn phase(this: &LoadProgress) -> String;
    /// Bytes so far.
    #[wasm_bindgen(method, getter)]
    pub fn loaded(this: &LoadProgress) -> f64;
    /// Bytes in all.
    #[wasm_bindgen(method, getter)]
    pub fn total(this: &LoadProgress) -> f64;
    /// Seconds until all have arrived, once that can be said.
    #[wasm_bindgen(method, getter, js_name = secondsLeft)]
    pub fn seconds_left(this: &LoadProgress) -> Option<f64>;
}

/// How far the download is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Arriving {
    /// Bytes so far.
    pub loaded: f64,
    /// Bytes in all; 0 as long as that is unknown.
    pub total: f64,
    /// Seconds still to go, once that can be said.
    pub seconds_left: Option<f64>,
    /// All is there; the model is being built and checked.
    pub preparing: bool,
    /// Another tab is fetching it.
    pub waiting: bool,
}

impl Arriving {
    /// Share of the bytes that have arrived, once their number is known.
    pub fn share(&self) -> Option<f64> {
        (self.total > 0.0).then(|| (self.loaded / self.total).min(1.0))
    }

    /// Recent download rate in bytes/s, from the estimated time left.
    pub fn speed(&self) -> Option<f64> {
        self.seconds_left
            .filter(|left| *left > 0.0)
            .map(|left| (self.total - self.loaded) / left)
    }

    /// As the module tells it.
    pub fn of(progress: &LoadProgress) -> Arriving {
        let phase = progress.phase();
        Arriving {
            loaded: progress.loaded(),
            total: progress.total(),
            seconds_left: progress.seconds_left(),
            preparing: phase == "prepare",
            waiting: phase == "wait",
        }
    }
}
