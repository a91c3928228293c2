//! The ratings of many reviews, one by one.

use leptos::prelude::*;

use crate::components::stars::Stars;
use crate::figures::{percent, whole};
use crate::views::many::run::{Row, Run};
use crate::words::many as words;

/// The table of the first rows, and the download of all.
#[component]
pub fn Results(run: Run) -> impl IntoView {
    let any = Memo::new(move |_| run.total.get() > 0);
    let downloadable = move || run.figures.get().rated > 0.0 && !run.is_running();
    let more = move || {
        let (shown, total) = (run.rows.with(Vec::len), run.total.get());
        (shown > 0 && total > shown && !run.is_running()).then(|| words::not_shown(shown, total - shown))
    };
    let download = move |_| {
        if untrack(downloadable) {
            run.download(words::FILE_NAME);
        }
    };
    // The roles say what the style sheet's grid would make a browser forget.
    view! {
        <div class="results" id="results" data-testid="results" hidden=move || !any.get()>
            <div class="results__head">
                <h3 id="results-title">{words::RESULTS}</h3>
                <button class="button" id="download" data-testid="download" type="button" aria-disabled=move || (!downloadable()).to_string() on:click=download>
                    {words::DOWNLOAD}
                </button>
            </div>
            <div class="results__scroll" tabindex="0" role="region" aria-labelledby="results-title">
                <table class="table" role="table" aria-labelledby="results-title">
                    <thead role="rowgroup">
                        <tr role="row">
                            <th role="columnheader" scope="col">{words::COLUMN_NUMBER}</th>
                            <th role="columnheader" scope="col">{words::COLUMN_REVIEW}</th>
                            <th role="columnheader" scope="col">{words::COLUMN_STARS}</th>
                            <th role="columnheader" scope="col">{words::COLUMN_EXPECTED}</th>
                            <th role="columnheader" scope="col">{words::COLUMN_SURE}</th>
                        </tr>
                    </thead>
                    <tbody role="rowgroup">
                        <For each=move || run.rows.get() key=|row| row.key let:row>
                            <ResultRow row/>
                        </For>
                    </tbody>
                </table>
            </div>
            <p class="caption" id="more">{more}</p>
        </div>
    }
}

/// A review and its rating, or the room for it.
#[component]
fn ResultRow(row: Row) -> impl IntoView {
    let rating = Memo::new(move |_| row.rating.get());
    let stars = Signal::derive(move || rating.get().map(|rating| f32::from(rating.stars)));
    let expected = move || rating.get().map(|rating| format!("{:.2}", rating.expected));
    let sure = move || rating.get().map(|rating| percent(rating.probabilities[usize::from(rating.stars) - 1].into()));
    view! {
        <tr role="row" data-stars=move || rating.get().map(|rating| rating.stars)>
            <td role="cell" class="table__number">{whole((row.key.1 + 1) as f64)}</td>
            <td role="cell" class="table__review" dir="auto">{row.review}</td>
            <td role="cell" class="table__stars"><Stars value=stars/></td>
            <td role="cell" class="table__figure">{expected}</td>
            <td role="cell" class="table__figure" data-label=words::COLUMN_SURE>{sure}</td>
        </tr>
    }
}
