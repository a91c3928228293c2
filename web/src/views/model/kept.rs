//! The models that this browser keeps: what they are, how large, and a way to be rid of them.

use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::components::announcer::Announcer;
use crate::figures::megabytes;
use crate::model::Model;
use crate::starsight::{self, Kept};
use crate::words::model as words;

/// Shut until asked for; not there as long as nothing is kept.
#[component]
pub fn KeptModels() -> impl IntoView {
    let model = expect_context::<Model>();
    let announcer = expect_context::<Announcer>();
    let kept = RwSignal::new(Kept::default());
    let look = move || spawn_local(async move { kept.set(starsight::kept().await.unwrap_or_default()) });
    // What has just been loaded has just been kept.
    Effect::new(move |_| {
        model.state.track();
        look();
    });
    let forget = move |name: Option<String>| {
        spawn_local(async move {
            let said = match starsight::forget(name.as_deref()).await {
                Ok(()) => words::DELETED.to_string(),
                Err(trouble) => trouble.message,
            };
            announcer.say(said);
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
        (bytes > 0.0).then(|| view! { <p class="kept__rest">{words::unfinished(bytes)}</p> })
    };
    view! {
        <Show when=move || kept.with(|kept| !kept.models.is_empty() || kept.unfinished > 0.0)>
            <details class="kept" id="kept">
                <summary>{move || kept.with(words::kept)}</summary>
                <ul>{rows}</ul>
                {unfinished}
                <button class="button" id="forget-all" type="button" on:click=move |_| forget(None)>{words::DELETE_ALL}</button>
            </details>
        </Show>
    }
}
