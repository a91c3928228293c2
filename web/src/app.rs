//! The whole page: the frame, and the view that the address names.

use leptos::html;
use leptos::mount::mount_to;
use leptos::prelude::*;
use wasm_bindgen::JsCast;

use crate::address::Address;
use crate::components::announcer::{Announcements, Announcer};
use crate::components::frame::{Intro, Masthead, SkipLink};
use crate::components::model_strip::ModelStrip;
use crate::components::stars::StarShapes;
use crate::drops;
use crate::meter::Meter;
use crate::model::{Model, ModelState};
use crate::view::View;
use crate::views::many::RateMany;
use crate::views::model::ModelView;
use crate::views::one::RateOne;
use crate::views::speed::SpeedView;
use crate::words::shell as words;

/// The page. A hidden view keeps its inputs and continues its work.
#[component]
pub fn App() -> impl IntoView {
    let address = Address::read();
    provide_context(address);
    let meter = Meter::new();
    provide_context(meter);
    let model = Model::load(address.request, meter);
    provide_context(model);
    provide_context(Announcer::default());
    drops::keep_the_page();
    let state = move || {
        model.state.with(|state| match state {
            ModelState::Loading => "loading",
            ModelState::Ready(_) => "ready",
            ModelState::Failed(_) => "failed",
        })
    };
    view! {
        <SkipLink/>
        <StarShapes/>
        <Announcements/>
        <Masthead/>
        <main id="content" tabindex="-1" data-state=state data-view=move || address.view.get().name()>
            <Intro/>
            <ModelStrip/>
            <Place of=View::One make=RateOne/>
            <Place of=View::Many make=RateMany/>
            <Place of=View::Speed make=SpeedView/>
            <Place of=View::Model make=ModelView/>
        </main>
        <footer class="footer">{words::FOOTER}</footer>
    }
}

/// The container of a view. The view is created when it is first shown, so that the page opens
/// without the work for other views. Later it is only hidden when another view is shown.
#[component]
fn Place<V: IntoView + 'static>(of: View, make: fn() -> V) -> impl IntoView {
    let address = expect_context::<Address>();
    let place = NodeRef::<html::Div>::new();
    let owner = Owner::current();
    Effect::new(move |made: Option<bool>| {
        let is_shown = address.view.get() == of;
        match (made, place.get(), &owner) {
            // The view is mounted separately instead of rendered in place. A view that never
            // replaces another needs no code for that, which would be a tenth of the page's code.
            (None | Some(false), Some(place), Some(owner)) if is_shown => {
                owner.with(|| mount_to(place.unchecked_into(), make).forget());
                true
            }
            (made, ..) => made.unwrap_or(false),
        }
    });
    view! { <div class="view" hidden=move || address.view.get() != of node_ref=place></div> }
}
