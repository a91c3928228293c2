//! The typed text and its rating. An answer for an older text never replaces that of a newer one.

use std::time::Duration;

use js_sys::Array;
use leptos::leptos_dom::helpers::TimeoutHandle;
use leptos::prelude::*;
use leptos::task::spawn_local;
use web_sys::AbortController;

use crate::components::announcer::Announcer;
use crate::model::Model;
use crate::starsight::{Rating, ScriptError};
use crate::views::one::pull::{Pulls, Variants};
use crate::words::one as words;

/// The pause in typing after which the text is rated.
const PAUSE: Duration = Duration::from_millis(80);

/// The pause after which the words are weighed. It is longer because that takes many ratings.
const LONG_PAUSE: Duration = Duration::from_millis(350);

/// A text's rating, and what it cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The rating.
    pub rating: Rating,
    /// Tokens of the text.
    pub tokens: f64,
    /// Seconds that the rating took.
    pub seconds: f64,
}

/// The typed text and what is known about it.
#[derive(Clone, Copy)]
pub struct Draft {
    /// The text.
    pub text: RwSignal<String>,
    /// The text's rating, or that of a slightly earlier text.
    pub answer: RwSignal<Option<Result<Answer, ScriptError>>>,
    /// How the words change the rating, once known for exactly this text.
    pub pulls: RwSignal<Option<Result<Pulls, ScriptError>>>,
    asking: StoredValue<bool>,
    due: StoredValue<Option<TimeoutHandle>>,
    weighing: StoredValue<Option<AbortController>, LocalStorage>,
    model: Model,
    announcer: Announcer,
}

impl Draft {
    /// A draft that `model` rates whenever it changes.
    pub fn new(text: String, model: Model, announcer: Announcer) -> Draft {
        let draft = Draft {
            text: RwSignal::new(text),
            answer: RwSignal::new(None),
            pulls: RwSignal::new(None),
            asking: StoredValue::new(false),
            due: StoredValue::new(None),
            weighing: StoredValue::new_local(None),
            model,
            announcer,
        };
        Effect::new(move |_| {
            draft.text.track();
            draft.forget_pulls();
            if model.is_ready() {
                draft.later(PAUSE, move || draft.rate());
            }
        });
        draft
    }

    /// Whether the text is blank. Reactive.
    pub fn is_blank(self) -> bool {
        self.text.with(|text| text.trim().is_empty())
    }

    /// Runs `work` after a pause. It replaces work that is still waiting.
    fn later(self, pause: Duration, work: impl FnOnce() + 'static) {
        let due = set_timeout_with_handle(work, pause).ok();
        if let Some(early) = self
            .due
            .try_update_value(|handle| std::mem::replace(handle, due))
            .flatten()
        {
            early.clear();
        }
    }

    /// Rates the text, and repeats until the current text has been rated. Only one text is in
    /// flight at a time, so an older answer cannot overtake a newer one.
    fn rate(self) {
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
                if !untrack(|| self.model.is_ready()) {
                    break;
                }
                let answer = self
                    .model
                    .rate_one(&text)
                    .await
                    .map(|(rating, speed)| Answer {
                        rating,
                        tokens: speed.tokens(),
                        seconds: speed.seconds(),
                    });
                match &answer {
                    Ok(answer) => self.announcer.say(words::verdict(&answer.rating)),
                    // Another model is being loaded and will rate the text.
                    Err(error) if error.is_cancel() => break,
                    Err(_) => {}
                }
                let tokens = answer.as_ref().ok().map(|answer| answer.tokens);
                if !untrack(|| self.is_blank()) {
                    self.answer.set(Some(answer));
                }
                if self.text.with_untracked(|now| *now == text) {
                    if let Some(tokens) = tokens {
                        self.later(LONG_PAUSE, move || self.weigh(tokens));
                    }
                    break;
                }
                if tokens.is_none() {
                    break;
                }
            }
            self.asking.set_value(false);
        });
    }

    /// Rates the text, which has `tokens` tokens, with each of its words left out.
    fn weigh(self, tokens: f64) {
        let text = self.text.get_untracked();
        let (Some(variants), Ok(controller)) =
            (Variants::of(&text, tokens), AbortController::new())
        else {
            return;
        };
        let signal = controller.signal();
        self.weighing.set_value(Some(controller));
        spawn_local(async move {
            let texts: Array = variants
                .texts()
                .map(|text| wasm_bindgen::JsValue::from(&text))
                .collect();
            let ratings = self.model.rate_variants(&texts, &signal).await;
            let is_over = signal.aborted() || ratings.as_ref().is_err_and(ScriptError::is_cancel);
            if is_over || self.text.with_untracked(|now| *now != text) {
                return;
            }
            self.pulls
                .set(Some(ratings.map(|ratings| variants.pulls(&ratings))));
        });
    }

    fn forget_pulls(self) {
        if let Some(controller) = self.weighing.try_update_value(Option::take).flatten() {
            controller.abort();
        }
        self.pulls.set(None);
    }
}
