//! Files that are dropped anywhere on the page: the view in sight takes them. Left to itself, a browser would leave the page for them, and all work on it.

use leptos::ev;
use leptos::prelude::*;
use web_sys::{DataTransfer, DragEvent};

use crate::address::Address;
use crate::view::View;

/// Keeps the browser from opening what is dropped where nothing takes it.
pub fn keep_the_page() {
    let keep = |event: &DragEvent| {
        if files_of(event).is_some() {
            event.prevent_default();
        }
    };
    window_event_listener(ev::dragover, move |event| keep(&event));
    window_event_listener(ev::drop, move |event| keep(&event));
}

/// Gives `take` the files that are dropped while `view` is in sight; `is_over` tells whether some hang over the page.
pub fn take_drops(view: View, is_over: RwSignal<bool>, take: impl Fn(DataTransfer) + 'static) {
    let address = expect_context::<Address>();
    let in_sight = move || address.view.get_untracked() == view;
    let hang = move |now: bool| is_over.maybe_update(|over| std::mem::replace(over, now) != now);
    window_event_listener(ev::dragover, move |event| {
        hang(in_sight() && files_of(&event).is_some())
    });
    // Towards nothing: out of the window.
    window_event_listener(ev::dragleave, move |event| {
        if event.related_target().is_none() {
            hang(false);
        }
    });
    window_event_listener(ev::drop, move |event| {
        hang(false);
        if let Some(files) = files_of(&event).filter(|_| in_sight()) {
            take(files);
        }
    });
}

/// What is dragged, if that is files: text may be dragged into a box as ever.
fn files_of(event: &DragEvent) -> Option<DataTransfer> {
    event
        .data_transfer()
        .filter(|transfer| transfer.types().includes(&"Files".into(), 0))
}
