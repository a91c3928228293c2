//! How fast this device rates.

use leptos::prelude::*;

use crate::words::speed as words;

/// The live speed, and a benchmark.
#[component]
pub fn SpeedView() -> impl IntoView {
    view! {
        <section class="card" aria-labelledby="speed-title">
            <h2 id="speed-title">{words::TITLE}</h2>
        </section>
    }
}
