//! The page as a whole: what stands around the views, and the one that the address names.

use leptos::prelude::*;

use crate::address::{Address, View};
use crate::components::announcer::{Announcements, Announcer};
use crate::components::frame::{Intro, Masthead, SkipLink};
use crate::components::model_strip::ModelStrip;
use crate::components::stars::StarShapes;
use crate::meter::Meter;
use crate::model::{Model, State};
use crate::views::many::RateMany;
use crate::views::model::ModelView;
use crate::views::one::RateOne;
use crate::views::speed::SpeedView;
use crate::words::shell as words;

/// The page. A view that is not shown keeps what was typed into it and goes on with its work.
#[component]
pub fn App() -> impl IntoView {
    let address = Address::read();
    provide_context(address);
    let meter = Meter::new();
    provide_context(meter);
    let model = Model::load(address.wanted, meter);
    provide_context(model);
    provide_context(Announcer::default());
    let state = move || {
        model.state.with(|state| match state {
            State::Loading => "loading",
            State::Ready(_) => "ready",
            State::Failed(_) => "failed",
        })
    };
    let hidden = move |view| move || address.view.get() != view;
    view! {
        <SkipLink/>
        <StarShapes/>
        <Announcements/>
        <Masthead/>
        <main id="content" tabindex="-1" data-state=state data-view=move || address.view.get().name()>
            <Intro/>
            <ModelStrip/>
            <div class="view" hidden=hidden(View::One)><RateOne/></div>
            <div class="view" hidden=hidden(View::Many)><RateMany/></div>
            <div class="view" hidden=hidden(View::Speed)><SpeedView/></div>
            <div class="view" hidden=hidden(View::Model)><ModelView/></div>
        </main>
        <footer class="footer">{words::FOOTER}</footer>
    }
}
