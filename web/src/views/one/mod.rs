//! One review, rated as it is typed.

mod draft;
mod marked;
mod pull;
mod share;
mod verdict;

use leptos::prelude::*;

use crate::address;
use crate::components::announcer::Announcer;
use crate::model::Model;
use crate::views::one::draft::Draft;
use crate::views::one::marked::MarkedWords;
use crate::views::one::share::Share;
use crate::views::one::verdict::Verdict;
use crate::words::one as words;

/// The text box, examples, the rating, and the words that influenced it.
#[component]
pub fn RateOne() -> impl IntoView {
    let draft = Draft::new(
        address::review().unwrap_or_default(),
        expect_context::<Model>(),
        expect_context::<Announcer>(),
    );
    window_event_listener(leptos::ev::popstate, move |_| {
        if let Some(review) = address::review() {
            draft.text.set(review);
        }
    });
    // The address contains only the shared review; remove it when the text differs.
    Effect::new(move |_| {
        let text = draft.text.get();
        if address::review().is_some_and(|review| review != text) {
            address::drop_review();
        }
    });
    let examples = words::EXAMPLES
        .map(|example| view! { <button class="chip" type="button" on:click=move |_| draft.text.set(example.into())>{example}</button> })
        .collect_view();
    view! {
        <section class="card one" aria-labelledby="one-title">
            <div class="one__write">
                <h2 id="one-title">{words::TITLE}</h2>
                <textarea
                    id="review"
                    data-testid="review"
                    rows="5"
                    dir="auto"
                    aria-label=words::LABEL
                    placeholder=words::PLACEHOLDER
                    prop:value=move || draft.text.get()
                    on:input=move |event| draft.text.set(event_target_value(&event))
                ></textarea>
                <div class="examples" role="group" aria-labelledby="examples-title">
                    <p id="examples-title" class="examples__title">{words::TRY}</p>
                    {examples}
                </div>
            </div>
            <Verdict draft/>
            <MarkedWords draft/>
            <Share draft/>
        </section>
    }
}
