//! Loading a model from local files.

use js_sys::Array;
use leptos::ev::Event;
use leptos::html;
use leptos::prelude::*;
use leptos::task::spawn_local;
use web_sys::HtmlInputElement;

use crate::drops::take_drops;
use crate::model::Model;
use crate::starsight;
use crate::view::View;
use crate::words::model as words;

/// A drop zone for a bundle (it can be dropped anywhere on the page), and two buttons for choosing
/// its files.
#[component]
pub fn DropZone() -> impl IntoView {
    let model = expect_context::<Model>();
    let over = RwSignal::new(false);
    let (folder, files) = (NodeRef::<html::Input>::new(), NodeRef::<html::Input>::new());
    take_drops(View::Model, over, move |transfer| {
        let found = starsight::files_of(&transfer);
        spawn_local(async move {
            match found.await {
                // An empty folder is ignored.
                Ok(files) if files.length() == 0 => {}
                Ok(files) => model.start_from(files),
                Err(error) => model.fail(error),
            }
        });
    });
    let chosen = move |event: Event| {
        let input: HtmlInputElement = event_target(&event);
        let files = input
            .files()
            .map(|files| Array::from(&files))
            .unwrap_or_default();
        if files.length() > 0 {
            model.start_from(files);
        }
        // Allow the same files to be chosen again.
        input.set_value("");
    };
    // The view macro does not support this attribute.
    Effect::new(move |_| {
        if let Some(folder) = folder.get() {
            folder.set_webkitdirectory(true);
        }
    });
    let open = |input: NodeRef<html::Input>| {
        move |_| {
            if let Some(input) = input.get_untracked() {
                input.click();
            }
        }
    };
    view! {
        <div class="drop" class:drop--over=move || over.get() id="drop">
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
