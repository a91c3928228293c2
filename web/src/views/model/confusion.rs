//! The confusion matrix.

use leptos::prelude::*;

use crate::figures::whole;
use crate::words::model as words;

/// The number of reviews for each true (row) and rated (column) number of stars, shaded by their
/// share of the row.
#[component]
pub fn Confusion(counts: [[f64; 5]; 5]) -> impl IntoView {
    let head = (1..=5)
        .map(|stars| view! { <th scope="col">{stars}<span aria-hidden="true">"★"</span></th> })
        .collect_view();
    let rows = counts.into_iter().zip(1..).map(|(row, truth)| {
        let all = row.iter().sum::<f64>().max(1.0);
        let cells = row.into_iter().zip(1..).map(|(count, rated)| {
            let share = format!("{:.4}", count / all);
            view! { <td style=("--share", share) class:confusion__right=truth == rated title=words::cell(count, truth, rated)>{whole(count)}</td> }
        });
        view! { <tr><th scope="row">{truth}<span aria-hidden="true">"★"</span></th>{cells.collect_view()}</tr> }
    });
    view! {
        <figure>
            <h3 id="confusion-title">{words::CONFUSION}</h3>
            <table class="confusion" id="confusion" aria-labelledby="confusion-title">
                <thead><tr><th scope="col">{words::CONFUSION_CORNER}</th>{head}</tr></thead>
                <tbody>{rows.collect_view()}</tbody>
            </table>
            <figcaption class="caption">{words::CONFUSION_NOTE}</figcaption>
        </figure>
    }
}
