//! Waits for the next frame, or for some time.

use std::time::Duration;

use js_sys::Promise;
use leptos::prelude::{request_animation_frame, set_timeout};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;

/// Waits until the browser is about to draw.
pub async fn next_frame() {
    until(request_animation_frame).await;
}

/// Waits for `duration`.
pub async fn pause(duration: Duration) {
    until(|done| set_timeout(done, duration)).await;
}

/// Waits until `begin` calls the callback that it is given.
async fn until(begin: impl FnOnce(Box<dyn FnOnce()>)) {
    let mut begin = Some(begin);
    let called = Promise::new(&mut |resolve, _| {
        if let Some(begin) = begin.take() {
            begin(Box::new(move || {
                // A promise can be resolved with any value.
                drop(resolve.call0(&JsValue::NULL));
            }));
        }
    });
    drop(JsFuture::from(called).await);
}
