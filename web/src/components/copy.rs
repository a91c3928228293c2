//! A button that copies a text.

use leptos::html;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen_futures::JsFuture;

use crate::words::shell as words;

/// The result of the last press.
#[derive(Debug, Clone, PartialEq)]
enum Copied {
    NotYet,
    Done,
    /// The browser does not allow it; the text is shown to be copied by hand.
    ByHand(String),
}

/// Copies the result of `text` when pressed, and reports it. If the browser forbids it, the text is
/// shown and selected.
#[component]
pub fn CopyButton(
    id: &'static str,
    label: &'static str,
    text: impl Fn() -> String + Copy + 'static,
    #[prop(into)] disabled: Signal<bool>,
) -> impl IntoView {
    let copied = RwSignal::new(Copied::NotYet);
    let area = NodeRef::<html::Textarea>::new();
    // The text may have changed, so the last result no longer applies.
    Effect::new(move |_| {
        disabled.track();
        copied.set(Copied::NotYet);
    });
    let copy = move |_| {
        if disabled.get_untracked() {
            return;
        }
        let text = text();
        spawn_local(async move {
            let done = write(&text).await;
            copied.set(if done {
                Copied::Done
            } else {
                Copied::ByHand(text)
            });
        });
    };
    Effect::new(move |_| {
        if let Some(area) = area.get() {
            area.select();
        }
    });
    let by_hand = move || match copied.get() {
        Copied::ByHand(text) => Some(
            view! { <textarea class="copy__text" rows="3" readonly aria-label=label node_ref=area prop:value=text></textarea> },
        ),
        _ => None,
    };
    let said = move || match copied.get() {
        Copied::NotYet => "",
        Copied::Done => words::COPIED,
        Copied::ByHand(_) => words::COPY_BY_HAND,
    };
    view! {
        <div class="copy">
            <button class="button" id=id type="button" aria-disabled=move || disabled.get().to_string() on:click=copy>{label}</button>
            <span class="copy__said" role="status">{said}</span>
            {by_hand}
        </div>
    }
}

/// Writes `text` to the clipboard; returns whether it succeeded. Pages without HTTPS have no
/// clipboard, although web-sys assumes one.
async fn write(text: &str) -> bool {
    let navigator = window().navigator();
    let has = js_sys::Reflect::get(&navigator, &"clipboard".into())
        .is_ok_and(|clipboard| clipboard.is_object());
    has && JsFuture::from(navigator.clipboard().write_text(text))
        .await
        .is_ok()
}
