//! Starsight's page: rates one review as it is typed, or many at once, in the reader's own browser.
//!
//! The page draws and listens. Ratings come from `starsight.js`, which has them computed by workers.

mod address;
mod app;
mod components;
mod csv;
mod figures;
mod frame;
mod lines;
mod model;
mod run;
mod starsight;
mod words;

use leptos::prelude::*;
use wasm_bindgen::JsCast;

fn main() {
    console_error_panic_hook::set_once();
    let Some(place) = document().get_element_by_id("page") else { return };
    // What stood there while this program was on its way.
    place.set_inner_html("");
    mount_to(place.unchecked_into(), app::App).forget();
}
