//! The rating worker: the model crate's JavaScript interface.
//!
//! It runs only in a Web Worker, controlled by `worker.js`. [`load`] fetches and checks a bundle
//! and returns an [`Engine`]; [`Engine::rate`] starts a [`Job`], which works in short steps so that
//! the worker can handle messages in between.

mod files;
mod job;
mod tuner;
mod worker_error;

use std::rc::Rc;

use js_sys::{Function, JSON};
use serde_json::json;
use starsight_model::bundle::{CONFIG, INT8_WEIGHTS, Manifest, TOKENIZER};
use starsight_model::int8::Int8Kernel;
use starsight_model::{Error, Rater};
use wasm_bindgen::prelude::*;

use crate::files::{Files, Progress};
pub use crate::job::Job;
use crate::tuner::KernelTuner;
use crate::worker_error::WorkerError;

/// The largest accepted difference between a probe's logit and the trainer's. The engine gives the
/// same bits everywhere; the difference comes from writing logits as JSON.
const PROBE_TOLERANCE: f32 = 1e-6;

/// The display name of this build's engine.
const BACKEND: &str = if cfg!(feature = "relaxed-simd") {
    "WebAssembly int8, relaxed SIMD"
} else {
    "WebAssembly int8, SIMD"
};

/// Makes a panic print its location on the console.
#[wasm_bindgen(start)]
pub fn start() {
    console_error_panic_hook::set_once();
}

/// The names of this build's kernels whose sums equal the reference's, separated by commas. Tests
/// use it because they cannot inspect a browser otherwise.
#[wasm_bindgen(js_name = agreeingKernels)]
pub fn agreeing_kernels() -> String {
    let agreeing = Int8Kernel::available()
        .into_iter()
        .filter(|kernel| kernel.agrees());
    agreeing
        .map(Int8Kernel::name)
        .collect::<Vec<_>>()
        .join(", ")
}

/// A loaded and checked bundle.
#[wasm_bindgen]
pub struct Engine {
    rater: Rc<Rater>,
    tuner: Rc<KernelTuner>,
    info: String,
}

/// Loads the bundle at the address `base` with this `manifest`.
///
/// `open` is called with a path and whether the file must be fetched again because it was damaged,
/// and returns a stream of the file's bytes. `progress` is called with (phase, bytes loaded, total
/// bytes); the phases are `download` and `prepare`.
///
/// # Errors
/// The error of a stream; a `BundleError` when the files do not match the manifest or the probes'
/// logits differ; an `EngineError` when there is not enough memory.
#[wasm_bindgen]
pub async fn load(
    base: String,
    manifest: String,
    open: Function,
    progress: Function,
) -> Result<Engine, JsValue> {
    let manifest = Manifest::from_json(manifest.as_bytes())
        .map_err(|e| WorkerError::Bundle(format!("{base}: {e}")))?;
    if manifest.file(INT8_WEIGHTS).is_err() {
        let why = "it was written by an earlier starsight; `starsight quantize` adds the file";
        return Err(WorkerError::Bundle(format!(
            "the model at {base} has no {INT8_WEIGHTS}, which the browser needs: {why}"
        ))
        .into());
    }
    let needed = [CONFIG, TOKENIZER, INT8_WEIGHTS]
        .map(|path| manifest.file(path))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .map_err(WorkerError::bundle)?;
    let total = needed.iter().map(|entry| entry.size).sum();

    let files = Files::new(base, open);
    let mut progress = Progress::new(progress, total);
    progress.say("download");
    let [mut config, mut tokenizer, mut weights] = [Vec::new(), Vec::new(), Vec::new()];
    for (entry, bytes) in needed
        .into_iter()
        .zip([&mut config, &mut tokenizer, &mut weights])
    {
        *bytes = files.read(entry, &mut progress).await?;
    }
    progress.say("prepare");

    let tuner = KernelTuner::new();
    let mut rater =
        Rater::int8(&config, &tokenizer, weights, tuner.choice()).map_err(WorkerError::bundle)?;
    rater.set_settings(manifest.settings());
    rater
        .check_probes(&manifest.probes, PROBE_TOLERANCE)
        .map_err(|e| match e {
            Error::Probe { .. } => WorkerError::Bundle(format!(
                "this browser computes other logits than the trainer did: {e}"
            )),
            _ => WorkerError::bundle(e),
        })?;
    let info = describe(&manifest, &rater, total);
    Ok(Engine {
        rater: Rc::new(rater),
        tuner: Rc::new(tuner),
        info,
    })
}

#[wasm_bindgen]
impl Engine {
    /// Information about the model, as an object.
    ///
    /// # Errors
    /// Never in practice: the object is built from JSON that this crate wrote.
    #[wasm_bindgen(getter)]
    pub fn info(&self) -> Result<JsValue, JsValue> {
        JSON::parse(&self.info)
    }

    /// Starts rating `texts`, an array of strings. If `once`, texts with the same tokens are rated
    /// only once.
    pub fn rate(&self, texts: js_sys::Array, once: bool) -> Job {
        Job::new(Rc::clone(&self.rater), Rc::clone(&self.tuner), texts, once)
    }
}

fn describe(manifest: &Manifest, rater: &Rater, bytes: u64) -> String {
    let sizes = rater.sizes();
    json!({
        "name": manifest.name,
        "modelType": sizes.model_type,
        "parameters": sizes.parameters,
        "layers": sizes.layers,
        "hiddenSize": sizes.hidden_size,
        "maxTokens": rater.tokenizer().max_length(),
        "metrics": manifest.metrics,
        "bytes": bytes,
        "backend": BACKEND,
    })
    .to_string()
}
