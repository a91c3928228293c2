//! Keyboard focus. If a focused element disappears, the focus would be lost.

use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::HtmlElement;

/// Moves the focus to an element, by its `id`.
pub fn focus(id: &str) {
    if let Some(element) = document().get_element_by_id(id) {
        let focused = element.unchecked_into::<HtmlElement>().focus();
        drop(focused);
    }
}

/// Like [`focus`], in the next animation frame, because the element may not exist or be visible
/// before.
pub fn focus_soon(id: &'static str) {
    request_animation_frame(move || focus(id));
}
