//! The model view: facts about the model, its quality, cached models, and loading another one.

mod another;
mod calibration;
mod card;
mod confusion;
mod drop;
mod kept;
mod quality;

use leptos::prelude::*;

use crate::model::{Model, ModelState};
use crate::views::model::another::Another;
use crate::views::model::card::Card;
use crate::views::model::kept::KeptModels;
use crate::views::model::quality::Quality;
use crate::words::model as words;

/// Information about the loaded model, and controls for loading others.
#[component]
pub fn ModelView() -> impl IntoView {
    let model = expect_context::<Model>();
    let known = move || match model.state.get() {
        ModelState::Ready(info) => {
            let metrics = info.metrics.clone();
            view! { <Card info/><Quality metrics/> }.into_any()
        }
        _ => view! {
            <section class="card" aria-labelledby="model-title">
                <h2 id="model-title">{words::TITLE}</h2>
                <p class="caption">{words::NOT_LOADED}</p>
            </section>
        }
        .into_any(),
    };
    let coming = move || model.state.with(|state| *state == ModelState::Loading);
    view! {
        <div class="known" class:known--coming=coming>{known}</div>
        <Another/>
        <KeptModels/>
    }
}
