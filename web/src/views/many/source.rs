//! Where the reviews come from: pasted lines or a file.

use leptos::html;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsCast;
use web_sys::{FileList, HtmlInputElement};

use crate::components::announcer::Announcer;
use crate::drops::take_drops;
use crate::focus::focus_soon;
use crate::model::Model;
use crate::view::View;
use crate::views::many::going;
use crate::views::many::run::Run;
use crate::views::many::sheet::{Sheet, Source};
use crate::words::{self, many};

/// Extensions of supported files.
const KINDS: &str = ".csv,.tsv,.tab,.jsonl,.ndjson,.parquet,.txt";

/// Pasted text up to this length in bytes is counted while it changes.
const COUNTED: usize = 200_000;

/// A box for pasted lines and a file chooser; after a file is chosen, what it is.
#[component]
pub fn Sources(sheet: Sheet, run: Run) -> impl IntoView {
    let announcer = expect_context::<Announcer>();
    let hint = RwSignal::new(String::new());
    let is_over = RwSignal::new(false);
    let take = move |files: Option<FileList>| {
        let Some(files) = files else { return };
        if untrack(|| run.is_running()) {
            return hint.set(many::BUSY.into());
        }
        match (files.length(), files.get(0)) {
            (1, Some(file)) => {
                hint.set(String::new());
                run.cancel();
                sheet.open_file(&file);
            }
            (0, _) => {}
            _ => hint.set(many::ONE_FILE.into()),
        }
    };
    take_drops(View::Many, is_over, move |transfer| take(transfer.files()));
    let chosen = move |event: leptos::ev::Event| {
        let Some(input) = event
            .target()
            .and_then(|target| target.dyn_into::<HtmlInputElement>().ok())
        else {
            return;
        };
        take(input.files());
        // Allow the same file to be chosen again.
        input.set_value("");
    };
    Effect::new(move |_| {
        let said = sheet.source.with(|source| match source {
            Source::Open(opened) => opened
                .name
                .as_ref()
                .map(|name| many::opened(name, &opened.described)),
            Source::Refused(name, error) => Some(many::refused(name, &error.message)),
            _ => None,
        });
        if let Some(said) = said {
            announcer.say(said);
        }
    });
    view! {
        <div class="source" class:source--over=move || is_over.get()>
            <div class="source__paste" hidden=move || sheet.has_file()><Paste sheet run hint/></div>
            <OpenFile sheet run/>
            <div class="source__file">
                <input class="unseen" id="file" data-testid="file" type="file" accept=KINDS aria-describedby="file-kinds" on:change=chosen/>
                <label class="button" for="file">{move || if sheet.has_file() { many::CHOOSE_ANOTHER } else { many::CHOOSE }}</label>
                <span class="many__note" id="file-kinds">{many::KINDS}</span>
            </div>
            <p class="many__note many__note--hint" id="many-hint" role="alert" hidden=move || hint.with(String::is_empty)>{move || hint.get()}</p>
        </div>
    }
}

/// The box for pasted lines, with the button that rates them.
#[component]
fn Paste(sheet: Sheet, run: Run, hint: RwSignal<String>) -> impl IntoView {
    let model = expect_context::<Model>();
    let announcer = expect_context::<Announcer>();
    let area = NodeRef::<html::Textarea>::new();
    let counted = RwSignal::new(None);
    let typed = move |_| {
        hint.set(String::new());
        let text = area
            .get_untracked()
            .map(|area| area.value())
            .unwrap_or_default();
        counted.set(
            (text.len() <= COUNTED)
                .then(|| text.lines().filter(|line| !line.trim().is_empty()).count()),
        );
    };
    let rate = move |_| {
        let Some(area) = area.get_untracked() else {
            return;
        };
        if untrack(|| run.is_running()) {
            return;
        }
        if !untrack(|| model.is_ready()) {
            return hint.set(words::NOT_READY.into());
        }
        let text = area.value();
        if text.trim().is_empty() {
            hint.set(many::NOTHING_PASTED.into());
            let _ = area.focus();
            return;
        }
        hint.set(String::new());
        run.cancel();
        spawn_local(async move {
            match sheet.open_lines(&text).await {
                Ok(()) => run.start(move || announcer.say(untrack(|| going::status(sheet, run)))),
                // The button was pressed twice: the second press rates.
                Err(error) if error.is_cancel() => {}
                Err(error) => hint.set(error.message),
            }
        });
    };
    view! {
        <textarea
            id="many"
            data-testid="many"
            rows="7"
            dir="auto"
            spellcheck="false"
            aria-label=many::LABEL
            aria-describedby="many-note"
            placeholder=many::PLACEHOLDER
            node_ref=area
            on:input=typed
        ></textarea>
        <div class="many__controls">
            <p class="many__note" id="many-note">{move || counted.get().map(many::lines)}</p>
            <button
                class="button button--main"
                id="rate-many"
                data-testid="rate-many"
                type="button"
                aria-disabled=move || (!model.is_ready() || run.is_running()).to_string()
                on:click=rate
            >
                {many::RATE}
            </button>
        </div>
    }
}

/// The file: its name, its description, and the progress of reading it.
#[component]
fn OpenFile(sheet: Sheet, run: Run) -> impl IntoView {
    let name = move || {
        sheet.source.with(|source| match source {
            Source::Reading(name, _) | Source::Refused(name, _) => Some(name.clone()),
            Source::Open(opened) => opened.name.clone(),
            Source::Nothing => None,
        })
    };
    let about = move || {
        sheet.source.with(|source| match source {
            Source::Open(opened) => many::about(&opened.described, opened.bytes),
            Source::Refused(_, error) => error.message.clone(),
            Source::Reading(_, share) => many::reading(*share),
            Source::Nothing => String::new(),
        })
    };
    let reading = move || {
        sheet.source.with(|source| {
            if let Source::Reading(_, share) = source {
                Some(*share)
            } else {
                None
            }
        })
    };
    let refused = move || {
        sheet
            .source
            .with(|source| matches!(source, Source::Refused(..)))
    };
    let close = move |_| {
        run.cancel();
        sheet.close();
        focus_soon("many");
    };
    view! {
        <div class="file" class:file--refused=refused hidden=move || name().is_none() data-testid="open-file">
            <p class="file__name" dir="auto">{name}</p>
            <p class="file__about" id="file-about" data-testid="file-about">{about}</p>
            <button class="link file__close" type="button" on:click=close>{many::PASTE_INSTEAD}</button>
            <div class="progress" hidden=move || reading().is_none() style=("--share", move || format!("{:.3}", reading().unwrap_or_default()))>
                <span class="progress__fill"></span>
            </div>
        </div>
    }
}
