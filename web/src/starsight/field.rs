//! Fields of plain JavaScript objects.

use js_sys::{Array, Reflect};
use wasm_bindgen::prelude::*;

/// The field `name`; undefined if it is missing.
pub fn field(of: &JsValue, name: &str) -> JsValue {
    Reflect::get(of, &name.into()).unwrap_or_default()
}

/// The field `name` as a number.
pub fn number(of: &JsValue, name: &str) -> Option<f64> {
    field(of, name).as_f64()
}

/// The field `name` as a string.
pub fn text(of: &JsValue, name: &str) -> Option<String> {
    field(of, name).as_string()
}

/// The items of the array `name`; none if it is not an array.
pub fn list(of: &JsValue, name: &str) -> impl Iterator<Item = JsValue> {
    let field = field(of, name);
    let items = if Array::is_array(&field) {
        Array::from(&field)
    } else {
        Array::new()
    };
    items.to_vec().into_iter()
}
