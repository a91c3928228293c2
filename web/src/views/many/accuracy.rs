//! The accuracy of the ratings, if a column has true stars.

use leptos::prelude::*;
use starsight_table::protocol::Metrics;

use crate::views::many::sheet::Sheet;
use crate::words::many as words;

/// The metrics and the confusion matrix, updated as ratings arrive.
#[component]
pub fn Accuracy(sheet: Sheet) -> impl IntoView {
    let metrics = Memo::new(move |_| {
        sheet
            .summary
            .with(|summary| summary.metrics.clone())
            .filter(|metrics| metrics.samples > 0)
    });
    // Shown as soon as a column is chosen, not with the first figures, so that content below does
    // not move while it is read.
    let any = Memo::new(move |_| sheet.choice.get().label.is_some());
    let samples =
        move || metrics.with(|metrics| metrics.as_ref().map_or(0, |metrics| metrics.samples));
    let facts = move || {
        let fact = |(id, name, figure): (&'static str, &'static str, String)| view! { <div class="measure"><dt>{name}</dt><dd data-testid=id>{figure}</dd></div> };
        metrics
            .with(|metrics| words::measures(metrics.as_ref()))
            .into_iter()
            .map(fact)
            .collect_view()
    };
    move || {
        any.get().then(|| {
            view! {
                <section class="accuracy" aria-labelledby="accuracy-title" data-testid="accuracy">
                    <div class="accuracy__figures">
                        <h3 id="accuracy-title">{words::ACCURACY_TITLE}</h3>
                        <p class="many__note">{move || words::compared(samples())}</p>
                        <dl class="measures">{facts}</dl>
                    </div>
                    <Confusion metrics/>
                </section>
            }
        })
    }
}

/// The confusion matrix: true stars in rows, rated stars in columns.
#[component]
fn Confusion(metrics: Memo<Option<Metrics>>) -> impl IntoView {
    let row = move |truth: usize| {
        let cells = (0..5)
            .map(|rated| {
                let count = Memo::new(move |_| {
                    metrics.with(|metrics| {
                        metrics.as_ref().map_or((0, 0.0), |metrics| {
                            let row = metrics.confusion[truth];
                            (row[rated], row[rated] as f64 / row.iter().sum::<u64>().max(1) as f64)
                        })
                    })
                });
                let share = move || format!("{:.3}", count.get().1);
                view! { <td class:matrix__right={truth == rated} style=("--share", share)>{move || words::count(count.get().0)}</td> }
            })
            .collect_view();
        view! { <tr><th scope="row">{words::star(truth + 1)}</th>{cells}</tr> }
    };
    let head = (1..=5)
        .map(|stars| view! { <th scope="col">{words::star(stars)}</th> })
        .collect_view();
    view! {
        <table class="matrix" data-testid="confusion">
            <caption>{words::CONFUSION}</caption>
            <thead><tr><td class="matrix__corner">{words::CONFUSION_AXES}</td>{head}</tr></thead>
            <tbody>{(0..5).map(row).collect_view()}</tbody>
        </table>
    }
}
