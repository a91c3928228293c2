//! Starsight's page: it rates one review as it is typed, or many at once, in the reader's own
//! browser.
//!
//! The page draws and handles events. Ratings come from `starsight.js`, whose workers compute them.

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
    // Remove the placeholder that was shown while the program loaded.
    place.set_inner_html("");
    mount_to(place.unchecked_into(), app::App).forget();
    keep_for_offline();
}

/// Registers the service worker, which keeps the page for offline use. The page also works if the
/// browser cannot do it (a private window, no HTTPS), or the site has no `sw.js`.
fn keep_for_offline() {
    let navigator = window().navigator();
    // Without HTTPS there are no service workers, although web-sys assumes them.
    if js_sys::Reflect::has(&navigator, &"serviceWorker".into()).unwrap_or(false) {
        let registered =
            wasm_bindgen_futures::JsFuture::from(navigator.service_worker().register("./sw.js"));
        leptos::task::spawn_local(async move { drop(registered.await) });
    }
}
