//! The model: what it is, how good, and which others there are.

mod kept;

use leptos::prelude::*;

use crate::views::model::kept::KeptModels;
use crate::words::model as words;

/// The model's card.
#[component]
pub fn ModelView() -> impl IntoView {
    view! {
        <section class="card" aria-labelledby="model-title">
            <h2 id="model-title">{words::TITLE}</h2>
            <KeptModels/>
        </section>
    }
}
