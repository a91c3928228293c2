//! Drawing no more often than the screen does, and working no longer than a frame allows.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use js_sys::Promise;
use leptos::prelude::{request_animation_frame, set_timeout};
use wasm_bindgen_futures::JsFuture;

/// Work that many events ask for but that is worth doing once a frame.
#[derive(Clone)]
pub struct OnceAFrame {
    due: Rc<Cell<bool>>,
    work: Rc<dyn Fn()>,
}

impl OnceAFrame {
    /// Nothing is done until it is asked for.
    pub fn new(work: impl Fn() + 'static) -> OnceAFrame {
        OnceAFrame { due: Rc::default(), work: Rc::new(work) }
    }

    /// Has the work done in the next frame.
    pub fn ask(&self) {
        if !self.due.replace(true) {
            let Self { due, work } = self.clone();
            request_animation_frame(move || {
                due.set(false);
                work();
            });
        }
    }
}

/// Lets the browser draw and hear the reader before long work goes on.
pub async fn breathe() {
    let pause = Promise::new(&mut |resolve, _| {
        set_timeout(
            move || {
                let _ = resolve.call0(&wasm_bindgen::JsValue::NULL);
            },
            Duration::ZERO,
        );
    });
    let _ = JsFuture::from(pause).await;
}
