//! What the ratings of many reviews amount to.

use leptos::prelude::*;

use crate::components::bars::{Bar, Bars};
use crate::components::stars::Stars;
use crate::views::many::run::Run;
use crate::words::many as words;

/// The mean number of stars and their distribution.
#[component]
pub fn Summary(run: Run) -> impl IntoView {
    let rated = move || run.counts.get().iter().sum::<u32>();
    let mean = Signal::derive(move || {
        let rated = rated();
        let sum: u32 = run.counts.get().iter().zip(1..).map(|(count, stars)| count * stars).sum();
        (rated > 0).then(|| (f64::from(sum) / f64::from(rated)) as f32)
    });
    let bars = Signal::derive(move || {
        let rated = rated();
        if rated == 0 {
            return Default::default();
        }
        run.counts.get().map(|count| Bar { share: f64::from(count) / f64::from(rated), figure: words::count_and_share(count, rated) })
    });
    view! {
        <div class="summary" class:summary--none=move || rated() == 0 role="group" aria-label=words::SUMMARY>
            <div class="score">
                <Stars value=mean/>
                <span class="score__value" id="mean" data-testid="mean">{move || mean.get().map(words::mean)}</span>
            </div>
            <p class="verdict">{words::AVERAGE}</p>
            <Bars id="distribution" label=words::DISTRIBUTION bars leading=Signal::derive(|| None)/>
        </div>
    }
}
