//! The current rating speed.

use leptos::prelude::*;

use crate::figures::{speed, whole};
use crate::meter::Meter;
use crate::views::speed::curve::Curve;
use crate::views::speed::quoted;
use crate::words::NO_VALUE;
use crate::words::speed as words;

/// Two figures, a curve, and the total rated so far. It is not a live region: screen readers would
/// announce figures four times a second.
#[component]
pub fn Live() -> impl IntoView {
    let meter = expect_context::<Meter>();
    let last = move || {
        meter
            .points
            .with(|points| points.last().copied())
            .filter(|point| point.samples > 0.0)
    };
    let figure = move |of: fn(&crate::meter::Point) -> String| {
        last().map_or_else(|| NO_VALUE.to_string(), |point| of(&point))
    };
    let so_far = move || match meter.total.get() {
        0.0 => words::RESTS.to_string(),
        total => words::so_far(total, total / quoted::CHATGPT, quoted::chatgpt_cost(total)),
    };
    view! {
        <section class="card live" aria-labelledby="live-title">
            <h2 id="live-title">{words::LIVE}</h2>
            <dl class="live__figures">
                <div>
                    <dt>{words::REVIEWS_A_SECOND}</dt>
                    <dd class="score__value" id="live-samples">{move || figure(|point| speed(point.samples))}</dd>
                </div>
                <div>
                    <dt>{words::TOKENS_A_SECOND}</dt>
                    <dd class="score__value" id="live-tokens">{move || figure(|point| whole(point.tokens))}</dd>
                </div>
            </dl>
            <Curve points=meter.points/>
            <p class="caption" id="so-far">{so_far}</p>
        </section>
    }
}
