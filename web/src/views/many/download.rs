//! Downloads of the table with its ratings.

use leptos::prelude::*;
use leptos::task::spawn_local;
use starsight_table::protocol::Form;
use wasm_bindgen::prelude::*;
use web_sys::{Blob, HtmlAnchorElement, Url};

use crate::components::announcer::Announcer;
use crate::views::many::sheet::Sheet;
use crate::words::many as words;

/// The download buttons. The worker writes the file.
#[component]
pub fn Download(sheet: Sheet) -> impl IntoView {
    let announcer = expect_context::<Announcer>();
    let writing = RwSignal::new(false);
    let failed = RwSignal::new(String::new());
    let write = move |form: Form| {
        move |_: leptos::ev::MouseEvent| {
            if writing.get_untracked() {
                return;
            }
            writing.set(true);
            spawn_local(async move {
                let name = untrack(|| file_name(sheet, form));
                let written = sheet
                    .worker()
                    .write(form)
                    .await
                    .and_then(|file| Ok(offer(&file, &name)?));
                match written {
                    Ok(()) => {
                        failed.set(String::new());
                        announcer.say(words::written(&name));
                    }
                    Err(error) => failed.set(words::not_written(&name, &error.message)),
                }
                writing.set(false);
            });
        }
    };
    let disabled = move || writing.get().to_string();
    view! {
        <div class="many__buttons download" role="group" aria-label=words::DOWNLOAD>
            <button class="button" id="download-csv" data-testid="download-csv" type="button" aria-disabled=disabled on:click=write(Form::Csv)>{words::DOWNLOAD_CSV}</button>
            <button class="button" id="download-jsonl" data-testid="download-jsonl" type="button" aria-disabled=disabled on:click=write(Form::JsonLines)>{words::DOWNLOAD_JSON}</button>
            <p class="many__note many__note--hint" role="alert" hidden=move || failed.with(String::is_empty)>{move || failed.get()}</p>
        </div>
    }
}

/// `reviews.csv` becomes `reviews.rated.jsonl`. Reactive.
fn file_name(sheet: Sheet, form: Form) -> String {
    let ending = match form {
        Form::Csv => "csv",
        Form::JsonLines => "jsonl",
    };
    let name = sheet.opened().and_then(|opened| opened.name.clone());
    let stem = name
        .as_deref()
        .map(|name| name.rsplit_once('.').map_or(name, |(stem, _)| stem));
    stem.map_or_else(
        || format!("ratings.{ending}"),
        |stem| format!("{stem}.rated.{ending}"),
    )
}

/// Makes the browser save a file.
fn offer(file: &Blob, name: &str) -> Result<(), JsValue> {
    let address = Url::create_object_url_with_blob(file)?;
    let link: HtmlAnchorElement = document().create_element("a")?.unchecked_into();
    link.set_href(&address);
    link.set_download(name);
    link.click();
    Url::revoke_object_url(&address)
}
