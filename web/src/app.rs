//! The page as a whole.

use leptos::prelude::*;

use crate::components::announcer::{Announcements, Announcer};
use crate::components::masthead::Masthead;
use crate::components::model_panel::ModelPanel;
use crate::components::rate_many::RateMany;
use crate::components::rate_one::RateOne;
use crate::components::stars::StarShapes;
use crate::model::{Model, State};
use crate::words;

/// The page.
#[component]
pub fn App() -> impl IntoView {
    let model = Model::load();
    provide_context(model);
    provide_context(Announcer::default());
    let state = move || {
        model.state.with(|state| match state {
            State::Loading => "loading",
            State::Ready(_) => "ready",
            State::Failed(_) => "failed",
        })
    };
    view! {
        <StarShapes/>
        <Announcements/>
        <Masthead/>
        <main data-state=state>
            <ModelPanel/>
            <RateOne/>
            <RateMany/>
        </main>
        <footer class="footer">{words::FOOTER}</footer>
    }
}
