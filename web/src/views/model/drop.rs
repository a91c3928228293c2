//! A model from files of this device.

use js_sys::Array;
use leptos::ev::{DragEvent, Event};
use leptos::html;
use leptos::prelude::*;
use leptos::task::spawn_local;
use web_sys::HtmlInputElement;

use crate::model::Model;
use crate::starsight;
use crate::words::model as words;

/// A place to drop a bundle on, and two buttons for who does not drag.
#[component]
pub fn DropZone() -> impl IntoView {
    let model = expect_context::<Model>();
    let over = RwSignal::new(false);
    let (folder, files) = (NodeRef::<html::Input>::new(), NodeRef::<html::Input>::new());
    let drop = move |event: DragEvent| {
        event.prevent_default();
        over.set(false);
        let Some(transfer) = event.data_transfer() else { return };
        let found = starsight::files_of(&transfer);
        spawn_local(async move {
            match found.await {
                Ok(files) => model.start_from(files),
                Err(trouble) => model.fail(trouble),
            }
        });
    };
    let hover = move |event: DragEvent| {
        event.prevent_default();
        over.set(true);
    };
    let chosen = move |event: Event| {
        let input: HtmlInputElement = event_target(&event);
        let files = input.files().map(|files| Array::from(&files)).unwrap_or_default();
        if files.length() > 0 {
            model.start_from(files);
        }
        // The same files may be chosen again.
        input.set_value("");
    };
    // The macro knows no such attribute.
    Effect::new(move |_| {
        if let Some(folder) = folder.get() {
            folder.set_webkitdirectory(true);
        }
    });
    let open = |input: NodeRef<html::Input>| {
        move |_| {
            if let Some(input) = input.get_untracked() {
                input.click()
            }
        }
    };
    view! {
        <div class="drop" class:drop--over=move || over.get() id="drop" on:dragover=hover on:dragleave=move |_| over.set(false) on:drop=drop>
            <p>{words::DROP}</p>
            <div class="drop__buttons">
                <button class="button" type="button" id="choose-folder" on:click=open(folder)>{words::CHOOSE_FOLDER}</button>
                <button class="button" type="button" id="choose-files" on:click=open(files)>{words::CHOOSE_FILES}</button>
            </div>
            <input hidden type="file" id="folder" aria-label=words::CHOOSE_FOLDER multiple node_ref=folder on:change=chosen/>
            <input hidden type="file" id="files" aria-label=words::CHOOSE_FILES multiple node_ref=files on:change=chosen/>
            <p class="caption">{words::STAYS_HERE}</p>
        </div>
    }
}
