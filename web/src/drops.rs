//! Files dropped anywhere on the page are given to the visible view. By default a browser would
//! open them instead of the page, and all work would be lost.

use leptos::ev;
use leptos::prelude::*;
use web_sys::{DataTransfer, DragEvent};

use crate::address::Address;
use crate::view::View;

/// Prevents the browser from opening files that are dropped where nothing accepts them.
pub fn keep_the_page() {
    let keep = |event: &DragEvent| {
        if files_of(event).is_some() {
            event.prevent_default();
        }
    };
    window_event_listener(ev::dragover, move |event| keep(&event));
    window_event_listener(ev::drop, move |event| keep(&event));
}

/// Calls `take` with the files that are dropped while `view` is visible. `is_over` is true while
/// files are dragged over the page.
pub fn take_drops(view: View, is_over: RwSignal<bool>, take: impl Fn(DataTransfer) + 'static) {
    let address = expect_context::<Address>();
    let in_sight = move || address.view.get_untracked() == view;
    let hang = move |now: bool| is_over.maybe_update(|over| std::mem::replace(over, now) != now);
    window_event_listener(ev::dragover, move |event| {
        hang(in_sight() && files_of(&event).is_some());
    });
    // Without a related target, the pointer has left the window.
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

/// The dragged files, if there are any. Dragged text is left to the browser.
fn files_of(event: &DragEvent) -> Option<DataTransfer> {
    event
        .data_transfer()
        .filter(|transfer| transfer.types().includes(&"Files".into(), 0))
}
