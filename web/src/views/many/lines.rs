//! Reviews as they are pasted: one a line.

use js_sys::{Array, JsString, Reflect};
use wasm_bindgen::prelude::*;
use web_sys::HtmlTextAreaElement;

/// The reviews in a text box, and how many empty lines were left out.
#[derive(Debug, Clone)]
pub struct Lines {
    /// JavaScript strings, without the white space around them. They stay strings of JavaScript: the page only hands them on, and there may be 100,000.
    pub reviews: Array,
    /// Lines with nothing on them.
    pub empty: u32,
}

/// Reads the lines of `area`.
pub fn read(area: &HtmlTextAreaElement) -> Lines {
    let reviews = Array::new();
    let mut empty = 0;
    let value = Reflect::get(area, &"value".into()).unwrap_or_default();
    let value: &JsString = value.unchecked_ref();
    if value.length() > 0 {
        // A line break at the very end closes the last line; it does not open an empty one.
        let value = if value.ends_with("\n", value.length() as i32) { value.slice(0, value.length() - 1) } else { value.clone() };
        for line in value.split("\n").iter() {
            let line = line.unchecked_ref::<JsString>().trim();
            if line.length() == 0 {
                empty += 1;
            } else {
                reviews.push(&line);
            }
        }
    }
    Lines { reviews, empty }
}
