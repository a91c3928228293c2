//! One review, rated as it is typed.

use std::time::Duration;

use leptos::leptos_dom::helpers::TimeoutHandle;
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::components::announcer::Announcer;
use crate::components::bars::{Bar, Bars};
use crate::components::stars::Stars;
use crate::figures::percent;
use crate::model::{Model, State};
use crate::starsight::{Rating, Trouble};
use crate::words::one as words;

/// A pause in typing after which the text is worth rating.
const PAUSE: Duration = Duration::from_millis(80);

/// A text's rating, and what it took.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    rating: Rating,
    tokens: f64,
    seconds: f64,
}

/// What is typed and what is known of it.
#[derive(Clone, Copy)]
struct Draft {
    text: RwSignal<String>,
    answer: RwSignal<Option<Result<Answer, Trouble>>>,
    asking: StoredValue<bool>,
    due: StoredValue<Option<TimeoutHandle>>,
}

impl Draft {
    fn new() -> Draft {
        Draft { text: RwSignal::default(), answer: RwSignal::new(None), asking: StoredValue::new(false), due: StoredValue::new(None) }
    }

    fn is_blank(&self) -> bool {
        self.text.with(|text| text.trim().is_empty())
    }

    /// Has the text rated after a pause.
    fn rate_soon(self, model: Model, announcer: Announcer) {
        let due = set_timeout_with_handle(move || self.rate(model, announcer), PAUSE).ok();
        if let Some(early) = self.due.try_update_value(|handle| std::mem::replace(handle, due)).flatten() {
            early.clear();
        }
    }

    /// Has the text rated, and again until it is the one that was rated. One text is on its way at a time, so an older answer cannot overtake a newer one.
    fn rate(self, model: Model, announcer: Announcer) {
        if self.asking.get_value() {
            return;
        }
        self.asking.set_value(true);
        spawn_local(async move {
            loop {
                let text = self.text.get_untracked();
                if text.trim().is_empty() {
                    self.answer.set(None);
                    break;
                }
                if !untrack(|| model.is_ready()) {
                    break;
                }
                let answer = model.rate_one(&text).await.map(|(rating, speed)| Answer { rating, tokens: speed.tokens(), seconds: speed.seconds() });
                match &answer {
                    Ok(answer) => announcer.say(words::verdict(&answer.rating)),
                    Err(trouble) => model.note(trouble),
                }
                let failed = answer.is_err();
                if !self.text.with_untracked(|text| text.trim().is_empty()) {
                    self.answer.set(Some(answer));
                }
                if failed || self.text.with_untracked(|now| *now == text) {
                    break;
                }
            }
            self.asking.set_value(false);
        });
    }
}

/// The box to type in, examples, and the rating.
#[component]
pub fn RateOne() -> impl IntoView {
    let model = expect_context::<Model>();
    let announcer = expect_context::<Announcer>();
    let draft = Draft::new();
    Effect::new(move |_| {
        draft.text.track();
        if model.is_ready() {
            draft.rate_soon(model, announcer);
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
        </section>
    }
}

/// The rating of the draft, or why there is none. All of its parts keep their places.
#[component]
fn Verdict(draft: Draft) -> impl IntoView {
    let model = expect_context::<Model>();
    let rating = Memo::new(move |_| draft.answer.with(|answer| answer.as_ref().and_then(|answer| answer.as_ref().ok().map(|answer| answer.rating))));
    let expected = Signal::derive(move || rating.get().map(|rating| rating.expected));
    let verdict = move || match (draft.answer.get(), rating.get()) {
        (_, Some(rating)) => words::verdict(&rating),
        (Some(Err(trouble)), _) => format!("{}: {}", words::FAILED, trouble.message),
        _ if draft.is_blank() || model.is_ready() => words::NOTHING_TYPED.into(),
        _ => words::WAITING.into(),
    };
    let bars = Signal::derive(move || match rating.get() {
        Some(rating) => rating.probabilities.map(|p| Bar { share: p.into(), figure: percent(p.into()) }),
        None => Default::default(),
    });
    let caption = move || {
        let Some(Ok(answer)) = draft.answer.get() else { return String::new() };
        let mut caption = words::effort(answer.tokens, answer.seconds);
        if let State::Ready(info) = model.state.get()
            && answer.tokens >= info.max_tokens
        {
            caption += "; ";
            caption += &words::cut_off(info.max_tokens);
        }
        caption
    };
    view! {
        <div class="one__rating" class:one__rating--none=move || rating.get().is_none() role="group" aria-label=words::RATING>
            <div class="score">
                <span id="stars" data-testid="stars" data-expected=move || expected.get()><Stars value=expected/></span>
                <span class="score__value" aria-hidden="true">{move || expected.get().map(words::expected)}</span>
            </div>
            <p class="verdict" id="verdict" data-testid="verdict" data-stars=move || rating.get().map(|rating| rating.stars)>{verdict}</p>
            <Bars id="probabilities" label=words::PROBABILITIES bars leading=Signal::derive(move || rating.get().map(|rating| rating.stars))/>
            <p class="caption">{caption}</p>
        </div>
    }
}
