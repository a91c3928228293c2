//! Ratings as a CSV file.

use js_sys::Array;
use leptos::prelude::document;
use wasm_bindgen::prelude::*;
use web_sys::{Blob, BlobPropertyBag, HtmlAnchorElement, Url};

use crate::starsight::Rating;

/// The first line.
pub const HEADER: &str = "review,stars,expected,p1,p2,p3,p4,p5\r\n";

/// Adds the line of a rated review to `out` (RFC 4180). The review is always quoted, so that a line break, a comma or a quote in it stays inside its field.
pub fn push_line(out: &mut String, review: &str, rating: &Rating) {
    out.push('"');
    out.push_str(&review.replace('"', "\"\""));
    out.push_str(&format!("\",{},{:.4}", rating.stars, rating.expected));
    for p in rating.probabilities {
        out.push_str(&format!(",{p:.6}"));
    }
    out.push_str("\r\n");
}

/// Has the browser save `parts`, an array of strings, as a file.
pub fn offer(parts: &Array, file_name: &str) -> Result<(), JsValue> {
    let options = BlobPropertyBag::new();
    options.set_type("text/csv;charset=utf-8");
    let address = Url::create_object_url_with_blob(&Blob::new_with_str_sequence_and_options(parts, &options)?)?;
    let link: HtmlAnchorElement = document().create_element("a")?.unchecked_into();
    link.set_href(&address);
    link.set_download(file_name);
    link.click();
    Url::revoke_object_url(&address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_stays_in_its_field() {
        let mut out = String::new();
        let rating = Rating { stars: 5, expected: 4.5, probabilities: [0.0, 0.0, 0.0, 0.5, 0.5] };
        push_line(&mut out, "He said \"wow\", twice\n😍", &rating);
        assert_eq!(out, "\"He said \"\"wow\"\", twice\n😍\",5,4.5000,0.000000,0.000000,0.000000,0.500000,0.500000\r\n");
    }
}
