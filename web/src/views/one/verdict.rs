//! The rating of one review.

use leptos::prelude::*;

use crate::components::bars::{Bar, Bars};
use crate::components::stars::Stars;
use crate::figures::percent;
use crate::model::{Model, ModelState};
use crate::views::one::draft::Draft;
use crate::words::one as words;

/// The rating of the draft, or the reason why there is none. All parts keep their positions.
#[component]
pub fn Verdict(draft: Draft) -> impl IntoView {
    let model = expect_context::<Model>();
    let rating = Memo::new(move |_| {
        draft.answer.with(|answer| {
            answer
                .as_ref()
                .and_then(|answer| answer.as_ref().ok().map(|answer| answer.rating))
        })
    });
    let expected = Signal::derive(move || rating.get().map(|rating| rating.expected));
    let stars = Signal::derive(move || rating.get().map(|rating| rating.stars));
    let verdict = move || match (draft.answer.get(), rating.get()) {
        (_, Some(rating)) => words::verdict(&rating),
        (Some(Err(error)), _) => format!("{}: {}", words::FAILED, error.message),
        _ if draft.is_blank() || model.is_ready() => words::NOTHING_TYPED.into(),
        _ => words::WAITING.into(),
    };
    let bars = Signal::derive(move || match rating.get() {
        Some(rating) => rating.probabilities.map(|p| Bar {
            share: p.into(),
            figure: percent(p.into()),
        }),
        None => Default::default(),
    });
    let caption = move || {
        let Some(Ok(answer)) = draft.answer.get() else {
            return String::new();
        };
        let cut = match model.state.get() {
            ModelState::Ready(info) if answer.tokens >= info.max_tokens => Some(info.max_tokens),
            _ => None,
        };
        words::effort(answer.tokens, answer.seconds, cut)
    };
    view! {
        <div class="one__rating" class:one__rating--none=move || rating.get().is_none() role="group" aria-label=words::RATING>
            <div class="score">
                <span id="stars" data-testid="stars" data-expected=move || expected.get()><Stars value=expected/></span>
                <span class="score__value" aria-hidden="true">{move || expected.get().map(words::expected)}</span>
            </div>
            <p class="verdict" id="verdict" data-testid="verdict" data-stars=move || stars.get()>{verdict}</p>
            <Bars id="probabilities" label=words::PROBABILITIES bars leading=stars/>
            <p class="caption">{caption}</p>
            <p class="guess" id="guess">{move || rating.get().filter(|rating| rating.guess).map(|_| words::GUESS)}</p>
        </div>
    }
}
