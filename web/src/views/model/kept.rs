//! The models cached in this browser: their names and sizes, with buttons to delete them.

use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::components::announcer::Announcer;
use crate::figures::megabytes;
use crate::focus::focus;
use crate::model::Model;
use crate::starsight::{self, Kept};
use crate::words::model as words;

const TITLE: &str = "kept-title";

/// A list with a delete button for each model, and one for all.
#[component]
pub fn KeptModels() -> impl IntoView {
    let model = expect_context::<Model>();
    let announcer = expect_context::<Announcer>();
    let kept = RwSignal::new(Kept::default());
    let look =
        move || spawn_local(async move { kept.set(starsight::kept().await.unwrap_or_default()) });
    // A model that was just loaded has just been cached.
    Effect::new(move |_| {
        model.state.track();
        look();
    });
    let failed = RwSignal::new(String::new());
    let forget = move |name: Option<String>| {
        // The button disappears with the model, so the focus moves.
        focus(TITLE);
        spawn_local(async move {
            match starsight::forget(name.as_deref()).await {
                Ok(()) => {
                    failed.set(String::new());
                    announcer.say(words::DELETED);
                }
                Err(error) => failed.set(words::not_deleted(&error.message)),
            }
            look();
        });
    };
    let rows = move || {
        let models = kept.get().models.into_iter().map(|entry| {
            let name = entry.model.clone();
            view! {
                <li class="kept__model">
                    <span class="kept__name" dir="auto">{words::source(&entry.model)}</span>
                    <span class="kept__size">{megabytes(entry.bytes)}" MB"</span>
                    <button class="button" type="button" aria-label=words::delete(&entry.model) on:click=move |_| forget(Some(name.clone()))>{words::DELETE}</button>
                </li>
            }
        });
        models.collect_view()
    };
    let unfinished = move || {
        let bytes = kept.with(|kept| kept.unfinished);
        (bytes > 0.0).then(|| view! { <p class="caption">{words::unfinished(bytes)}</p> })
    };
    let any = move || kept.with(|kept| !kept.models.is_empty() || kept.unfinished > 0.0);
    view! {
        <section class="card" aria-labelledby=TITLE>
            <h2 id=TITLE tabindex="-1">{words::KEPT}</h2>
            <p class="caption caption--bad" role="alert" hidden=move || failed.with(String::is_empty)>{move || failed.get()}</p>
            <Show when=any fallback=|| view! { <p class="caption">{words::NOTHING_KEPT}</p> }>
                <div class="kept" id="kept">
                    <p class="caption">{move || kept.with(words::kept)}</p>
                    <ul role="list">{rows}</ul>
                    {unfinished}
                    <button class="button" id="forget-all" type="button" on:click=move |_| forget(None)>{words::DELETE_ALL}</button>
                </div>
            </Show>
        </section>
    }
}
