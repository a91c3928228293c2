//! Starsight's page: rates one review as it is typed, or many at once, in the reader's own browser.
//!
//! The page draws and listens. Ratings come from `starsight.js`, which has them computed by workers.

mod address;
mod app;
mod components;
mod drops;
mod figures;
mod focus;
mod frame;
mod meter;
mod model;
mod starsight;
mod view;
mod views;
mod words;

use leptos::prelude::*;
use wasm_bindgen::JsCast;

fn main() {
    console_error_panic_hook::set_once();
    let Some(place) = document().get_element_by_id("page") else {
        return;
    };
    // What stood there while this program was on its way.
    place.set_inner_html("");
    mount_to(place.unchecked_into(), app::App).forget();
    keep_for_offline();
}

/// Has the browser keep the page for when there is no network. Where it cannot (a private window, no HTTPS), or the site has no `sw.js`, the page works all the same.
fn keep_for_offline() {
    let navigator = window().navigator();
    // Without HTTPS there is no such thing, though web-sys promises one.
    if js_sys::Reflect::has(&navigator, &"serviceWorker".into()).unwrap_or(false) {
        let registered =
            wasm_bindgen_futures::JsFuture::from(navigator.service_worker().register("./sw.js"));
        leptos::task::spawn_local(async move { drop(registered.await) });
    }
}
