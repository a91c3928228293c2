//! The benchmark's results by setting, beside the notebook's figures.

use leptos::prelude::*;

use crate::figures::{speed, whole};
use crate::views::speed::bench::{Bench, Way};
use crate::views::speed::quoted;
use crate::words::NO_VALUE;
use crate::words::speed as words;

/// The results table. Every setting has its row from the beginning, so that nothing moves while
/// they are measured.
#[component]
pub fn Table(bench: Bench) -> impl IntoView {
    let rows = bench
        .plan()
        .into_iter()
        .map(|way| view! { <TableRow bench way/> })
        .collect_view();
    view! {
        <div class="scroll" tabindex="0" role="region" aria-label=words::TABLE>
            <table class="figures" id="bench">
                <thead>
                    <tr>
                        <th scope="col">{words::WAY}</th>
                        <th scope="col">{words::HERE}</th>
                        <th scope="col" class="figures__extra">{words::SPREAD}</th>
                        <th scope="col" class="figures__extra">{words::TOKENS_A_SECOND}</th>
                        <th scope="col">{words::NOTEBOOK}</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
}

#[component]
fn TableRow(bench: Bench, way: Way) -> impl IntoView {
    let (batch, lag, workers) = way;
    let row = Memo::new(move |_| bench.row(way));
    let of = move |show: fn(&crate::starsight::Row) -> String| {
        row.with(|row| row.as_ref().map_or_else(|| NO_VALUE.to_string(), show))
    };
    let quoted = quoted::notebook(batch, lag)
        .filter(|_| workers == 1)
        .map_or_else(|| NO_VALUE.to_string(), words::quoted);
    view! {
        <tr data-speed=move || row.with(|row| row.as_ref().map(|row| row.samples_per_second))>
            <th scope="row">{words::way(batch, lag, workers)}</th>
            <td class="figures__main">{move || of(|row| speed(row.samples_per_second))}</td>
            <td class="figures__extra">{move || of(words::spread)}</td>
            <td class="figures__extra">{move || of(|row| whole(row.tokens_per_second))}</td>
            <td>{quoted}</td>
        </tr>
    }
}
