//! Where the keyboard is. What goes away while it is there would leave it nowhere.

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

/// The same once the page has been drawn anew: the element may not be there, or be seen, before.
pub fn focus_soon(id: &'static str) {
    request_animation_frame(move || focus(id));
}
