//! What can go wrong in the worker, as JavaScript errors with a name to tell them apart.

use std::fmt::Display;

use js_sys::Reflect;
use wasm_bindgen::JsValue;

/// Something that the user is told. The message is whole: it names the address, the file or the value.
#[derive(Debug)]
pub enum Failure {
    /// A bundle was had but is not what it should be.
    Bundle(String),
    /// The file at this path of a bundle came damaged, and again when it was asked for anew.
    File(String, String),
    /// The engine cannot do it here.
    Engine(String),
}

impl Failure {
    /// The failure to use a bundle for what the model crate says of it.
    pub fn bundle(error: impl Display) -> Failure {
        Failure::Bundle(error.to_string())
    }
}

impl From<Failure> for JsValue {
    fn from(failure: Failure) -> JsValue {
        let (name, message, path) = match failure {
            Failure::Bundle(message) => ("BundleError", message, None),
            Failure::File(path, message) => ("BundleError", message, Some(path)),
            Failure::Engine(message) => ("EngineError", message, None),
        };
        let error = js_sys::Error::new(&message);
        error.set_name(name);
        if let Some(path) = path {
            // A fresh error takes every property.
            let _ = Reflect::set(&error, &"path".into(), &path.into());
        }
        error.into()
    }
}
