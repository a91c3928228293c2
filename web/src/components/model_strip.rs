//! The model's state, shown in every view: loading, ready or failed.

use leptos::prelude::*;

use crate::components::announcer::Announcer;
use crate::focus::focus;
use crate::model::{Model, ModelState};
use crate::starsight::{Info, ScriptError};
use crate::words::shell as words;

/// The strip's `id`. It receives the focus when a focused button disappears.
pub const STRIP: &str = "strip";

/// One strip of the same size for all three states, so that nothing below it moves.
#[component]
pub fn ModelStrip() -> impl IntoView {
    let model = expect_context::<Model>();
    let announcer = expect_context::<Announcer>();
    Effect::new(move |_| {
        if model.is_ready() {
            announcer.say(words::READY);
        }
    });
    let body = move || match model.state.get() {
        ModelState::Loading => view! { <Loading/> }.into_any(),
        ModelState::Ready(info) => view! { <Facts info/> }.into_any(),
        ModelState::Failed(error) => view! { <Failed error/> }.into_any(),
    };
    let notice = move || {
        model.notice.get().map(|notice| view! { <p class="strip__notice" id="load-notice">{words::notice(&notice)}</p> })
    };
    view! {
        <section class="strip" id=STRIP tabindex="-1" aria-label=words::MODEL>
            {body}
            <div role="status">{notice}</div>
        </section>
    }
}

/// The progress of the download.
#[component]
fn Loading() -> impl IntoView {
    let model = expect_context::<Model>();
    let at = model.progress;
    let title = move || match at.get() {
        at if at.waiting => words::WAITING_FOR_TAB,
        at if at.preparing => words::PREPARING,
        at if at.total > 0.0 => words::FETCHING,
        _ => words::CONNECTING,
    };
    let detail = move || {
        at.with(|at| {
            if at.total > 0.0 {
                words::downloading(at)
            } else {
                String::new()
            }
        })
    };
    let percent = move || {
        at.get()
            .share()
            .map(|share| format!("{:.0}", share * 100.0))
    };
    let reach = move || at.get().share().map(|share| format!("{share:.4}"));
    view! {
        <div class="strip__loading">
            <p class="strip__title" id="load-title">{title}</p>
            <p class="strip__detail">{detail}</p>
            <div
                class="progress"
                class:progress--unknown=move || at.get().share().is_none()
                id="load-progress"
                data-testid="load-progress"
                role="progressbar"
                aria-labelledby="load-title"
                aria-valuemin="0"
                aria-valuemax="100"
                aria-valuenow=percent
                aria-valuetext=detail
                style=("--share", reach)
            >
                <span class="progress__fill"></span>
            </div>
            <button class="button" id="load-cancel" type="button" on:click=move |_| { focus(STRIP); model.cancel(); }>{words::CANCEL}</button>
        </div>
    }
}

/// Facts about the loaded model.
#[component]
fn Facts(info: Info) -> impl IntoView {
    let model = expect_context::<Model>();
    let facts = words::model_facts(&info)
        .map(|fact| view! { <li>{fact}</li> })
        .collect_view();
    view! {
        <div class="strip__ready">
            <p class="strip__title" id="model-name" data-testid="model-name" dir="auto">{info.name}</p>
            <ul class="strip__facts" role="list">{facts}</ul>
            <Show when=move || model.is_outdated.get()>
                <p class="strip__newer">
                    {words::NEWER}" "
                    <button class="link" id="load-newer" type="button" on:click=move |_| { focus(STRIP); model.update(); }>{words::LOAD_NEWER}</button>
                </p>
            </Show>
        </div>
    }
}

/// What happened and what to do.
#[component]
fn Failed(error: ScriptError) -> impl IntoView {
    let model = expect_context::<Model>();
    let cancelled = error.is_cancel();
    view! {
        <div class="strip__failed" class:strip__failed--cancelled=cancelled>
            <div role="alert">
                <p class="strip__title">{words::failure(&error)}</p>
                {(!cancelled).then(|| view! { <p class="strip__reason" id="load-error">{error.message.clone()}</p> })}
                <p class="strip__detail">{words::advice(&error)}</p>
            </div>
            <button class="button" id="load-retry" type="button" on:click=move |_| { focus(STRIP); model.start(); }>{if cancelled { words::LOAD } else { words::RETRY }}</button>
            {model.wants_token(&error).then(|| view! { <TokenField/> })}
        </div>
    }
}

/// The input for the access token of a private model.
#[component]
fn TokenField() -> impl IntoView {
    let model = expect_context::<Model>();
    let token = RwSignal::new(String::new());
    view! {
        <form
            class="strip__token"
            on:submit=move |event| {
                event.prevent_default();
                focus(STRIP);
                model.start_with(token.get_untracked().trim());
            }
        >
            <label for="token">{words::TOKEN}</label>
            <input
                id="token"
                type="password"
                autocomplete="off"
                spellcheck="false"
                aria-describedby="token-use"
                on:input=move |event| token.set(event_target_value(&event))
            />
            <button class="button" type="submit">{words::LOAD}</button>
            <p class="strip__detail" id="token-use">{words::TOKEN_USE}</p>
        </form>
    }
}
