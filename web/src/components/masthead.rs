//! The top of the page.

use leptos::prelude::*;

use crate::words;

/// What this is, in a sentence, and that nothing leaves the browser.
#[component]
pub fn Masthead() -> impl IntoView {
    view! {
        <header class="masthead">
            <p class="masthead__name">
                <svg viewBox="0 0 24 24" aria-hidden="true"><use href="#sight"/></svg>
                {words::NAME}
            </p>
            <h1>{words::TITLE}</h1>
            <p class="masthead__lead">{words::LEAD}<strong>{words::PRIVACY}</strong></p>
        </header>
    }
}
