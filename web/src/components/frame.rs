//! The frame around the views: name, navigation and introduction.

use leptos::ev::MouseEvent;
use leptos::prelude::*;

use crate::address::Address;
use crate::focus::focus;
use crate::view::View;
use crate::words::shell as words;

/// A link for keyboard users that skips the navigation.
#[component]
pub fn SkipLink() -> impl IntoView {
    let skip = move |event: MouseEvent| {
        // The address does not change.
        event.prevent_default();
        focus("content");
    };
    view! { <a class="skip" href="#content" on:click=skip>{words::SKIP}</a> }
}

/// The top of the page: its name and its views.
#[component]
pub fn Masthead() -> impl IntoView {
    let address = expect_context::<Address>();
    let links = View::ALL
        .map(|view| {
            let go = move |event: MouseEvent| {
                // With a modifier key, let the browser open the link in a new tab or window.
                if event.ctrl_key() || event.meta_key() || event.shift_key() || event.alt_key() || event.button() != 0 {
                    return;
                }
                event.prevent_default();
                address.go(view);
            };
            let current = move || (address.view.get() == view).then_some("page");
            view! { <a class="views__link" href=move || address.href(view) aria-current=current data-tab=view.name() on:click=go>{words::view(view)}</a> }
        })
        .collect_view();
    view! {
        <header class="masthead">
            <p class="masthead__name">
                <svg viewBox="0 0 24 24" aria-hidden="true"><use href="#sight"/></svg>
                {words::NAME}
            </p>
            <nav class="views" aria-label=words::VIEWS>{links}</nav>
        </header>
    }
}

/// What the page does, in one sentence, and that nothing leaves the browser.
#[component]
pub fn Intro() -> impl IntoView {
    view! {
        <div class="intro">
            <h1>{words::TITLE}</h1>
            <p class="intro__lead">{words::LEAD}<strong>{words::PRIVACY}</strong></p>
        </div>
    }
}
