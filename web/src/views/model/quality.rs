//! The model's metrics on its test reviews.

use leptos::prelude::*;

use crate::starsight::Metrics;
use crate::views::model::calibration::Calibration;
use crate::views::model::confusion::Confusion;
use crate::words::NO_VALUE;
use crate::words::model as words;

/// The metrics with their confidence intervals, the confusion matrix and the calibration curve.
#[component]
pub fn Quality(metrics: Option<Metrics>) -> impl IntoView {
    let body = match metrics {
        None => view! { <p class="caption">{words::NO_METRICS}</p> }.into_any(),
        Some(metrics) => view! { <Measured metrics/> }.into_any(),
    };
    view! {
        <section class="card quality" aria-labelledby="quality-title">
            <h2 id="quality-title">{words::QUALITY}</h2>
            {body}
        </section>
    }
}

#[component]
fn Measured(metrics: Metrics) -> impl IntoView {
    let row = |wanted: &str| {
        let (name, value, interval) = metrics.values.iter().find(|(name, ..)| name == wanted)?;
        let (called, shown) = words::metric(name, *value)?;
        let interval = interval.map_or_else(
            || NO_VALUE.to_string(),
            |bounds| words::interval(name, bounds),
        );
        Some(
            view! { <tr><th scope="row">{called}</th><td class="figures__main">{shown}</td><td>{interval}</td></tr> },
        )
    };
    let rows = words::METRIC_ORDER
        .into_iter()
        .filter_map(row)
        .collect_view();
    view! {
        <div>
            <div class="scroll" tabindex="0" role="region" aria-label=words::METRICS>
                <table class="figures" id="metrics">
                    <thead>
                        <tr><th scope="col">{words::METRIC}</th><th scope="col">{words::VALUE}</th><th scope="col">{words::INTERVAL}</th></tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
            <p class="caption">{words::measured_on(metrics.samples)}</p>
        </div>
        <div class="quality__charts">
            {metrics.confusion.map(|counts| view! { <Confusion counts/> })}
            <Calibration bins=metrics.calibration/>
        </div>
    }
}
