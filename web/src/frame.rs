//! Drawing no more often than the screen does, and waiting.

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

/// Waits a while.
pub async fn pause(duration: Duration) {
    let pause = Promise::new(&mut |resolve, _| {
        set_timeout(
            move || {
                let _ = resolve.call0(&wasm_bindgen::JsValue::NULL);
            },
            duration,
        );
    });
    let _ = JsFuture::from(pause).await;
}
