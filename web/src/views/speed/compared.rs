//! This device compared with others, and what the same reviews would cost there.

use leptos::prelude::*;

use crate::figures::{dollars, duration, speed};
use crate::views::speed::bench::Bench;
use crate::views::speed::quoted;
use crate::words::NO_VALUE;
use crate::words::speed as words;

/// The number of reviews in the comparison.
const MANY: f64 = 100_000.0;

/// Bars of the speeds, and time and cost of 100,000 reviews.
#[component]
pub fn Compared(bench: Bench) -> impl IntoView {
    let best = Memo::new(move |_| bench.best());
    let most = move || best.get().unwrap_or_default().max(quoted::NOTEBOOK_BEST);
    let row = move |id: &'static str,
                    name: &'static str,
                    of: Signal<Option<f64>>,
                    show: fn(f64) -> String,
                    cost: String| {
        let share = move || format!("{:.4}", of.get().unwrap_or_default() / most());
        let shown = move || of.get().map_or_else(|| NO_VALUE.to_string(), show);
        let time = move || {
            of.get()
                .map_or_else(|| NO_VALUE.to_string(), |speed| duration(MANY / speed))
        };
        view! {
            <tr id=id>
                <th scope="row">
                    {name}
                    <span class="bar__track" aria-hidden="true"><span class="bar__fill" style=("--share", share)></span></span>
                </th>
                <td class="figures__main">{shown}</td>
                <td>{time}</td>
                <td>{cost}</td>
            </tr>
        }
    };
    view! {
        <section class="card compared" aria-labelledby="compared-title">
            <h2 id="compared-title">{words::COMPARED}</h2>
            <div class="scroll" tabindex="0" role="region" aria-label=words::COMPARED_TABLE>
                <table class="figures figures--bars" id="compared">
                    <thead>
                        <tr>
                            <th scope="col">{words::FOR_100_000}</th>
                            <th scope="col">{words::REVIEWS_A_SECOND}</th>
                            <th scope="col">{words::TIME}</th>
                            <th scope="col">{words::COST}</th>
                        </tr>
                    </thead>
                    <tbody>
                        {row("compared-here", words::THIS_DEVICE, best.into(), speed, words::NOTHING.into())}
                        {row("compared-notebook", words::NOTEBOOK_BEST, Signal::stored(Some(quoted::NOTEBOOK_BEST)), words::quoted, words::NOT_QUOTED.into())}
                        {row("compared-chatgpt", words::CHATGPT, Signal::stored(Some(quoted::CHATGPT)), words::quoted, dollars(quoted::chatgpt_cost(MANY)))}
                    </tbody>
                </table>
            </div>
            <p class="caption">{words::CHATGPT_QUOTED}</p>
        </section>
    }
}
