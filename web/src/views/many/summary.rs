//! The summary of the ratings of many reviews.

use leptos::prelude::*;

use crate::components::bars::{Bar, Bars};
use crate::components::stars::Stars;
use crate::views::many::sheet::Sheet;
use crate::words::many as words;

/// The mean number of stars with its confidence interval, and the distribution of stars.
#[component]
pub fn Overview(sheet: Sheet) -> impl IntoView {
    let mean = Memo::new(move |_| sheet.summary.with(|summary| summary.mean));
    let counts = Memo::new(move |_| sheet.summary.with(|summary| summary.counts));
    let stars = Signal::derive(move || mean.get().map(|(mean, _)| mean as f32));
    let bars = Signal::derive(move || {
        let rated: u64 = counts.get().iter().sum();
        if rated == 0 {
            return Default::default();
        }
        counts.get().map(|count| Bar {
            share: count as f64 / rated as f64,
            figure: words::count_and_share(count, rated),
        })
    });
    view! {
        <div class="summary" class:summary--none=move || mean.get().is_none() role="group" aria-label=words::SUMMARY>
            <div class="score">
                <Stars value=stars/>
                <span class="score__value" id="mean" data-testid="mean">{move || mean.get().map(|(mean, _)| words::mean(mean))}</span>
            </div>
            <p class="verdict">{words::AVERAGE} <span class="summary__interval" id="interval" data-testid="interval">{move || mean.get().and_then(words::interval)}</span></p>
            <Bars id="distribution" label=words::DISTRIBUTION bars leading=Signal::derive(|| None)/>
        </div>
    }
}
