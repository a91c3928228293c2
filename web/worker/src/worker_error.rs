//! Errors of the worker, as JavaScript errors whose names identify their kind.

use std::fmt::Display;

use js_sys::Reflect;
use wasm_bindgen::JsValue;

/// An error that is shown to the user. Its message is complete: it names the address, the file or
/// the value.
#[derive(Debug)]
pub enum WorkerError {
    /// A bundle was loaded but is invalid.
    Bundle(String),
    /// The file at this path of a bundle was damaged, also after a second download.
    File(String, String),
    /// The engine failed, or this browser cannot run it.
    Engine(String),
}

impl WorkerError {
    /// A bundle failure with the model crate's message.
    pub fn bundle(error: impl Display) -> WorkerError {
        WorkerError::Bundle(error.to_string())
    }
}

impl From<WorkerError> for JsValue {
    fn from(error: WorkerError) -> JsValue {
        let (name, message, path) = match error {
            WorkerError::Bundle(message) => ("BundleError", message, None),
            WorkerError::File(path, message) => ("BundleError", message, Some(path)),
            WorkerError::Engine(message) => ("EngineError", message, None),
        };
        let error = js_sys::Error::new(&message);
        error.set_name(name);
        if let Some(path) = path {
            // Setting a property of a new error cannot fail.
            let _ = Reflect::set(&error, &"path".into(), &path.into());
        }
        error.into()
    }
}
