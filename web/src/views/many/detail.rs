//! The details of a row: its whole review, its rating, and the other cells of the file.

use leptos::prelude::*;
use leptos::task::spawn_local;
use starsight_table::protocol::{Detail, Request};

use crate::components::bars::{Bar, Bars};
use crate::views::many::sheet::Sheet;
use crate::views::many::shown::Shown;
use crate::words::many as words;

/// The details of the selected row.
#[component]
pub fn RowDetail(sheet: Sheet, shown: Shown) -> impl IntoView {
    let detail = RwSignal::new(None::<Detail>);
    // The row's number and text, because the same place may show another row when the order or the
    // column changes.
    let row = Memo::new(move |_| {
        let place = shown.active.get()?;
        shown.window.with(|window| {
            window
                .rows
                .get(place.checked_sub(window.from)?)
                .map(|row| (row.row, row.rating.is_some(), row.text.clone()))
        })
    });
    Effect::new(move |_| match row.get() {
        Some((row, ..)) => spawn_local(async move {
            if let Ok(found) = sheet
                .worker()
                .ask::<Option<Detail>>(Request::Detail(row))
                .await
            {
                detail.set(found);
            }
        }),
        None if shown.active.get().is_none() => detail.set(None),
        // The selected row is scrolled out of view; keep its details.
        None => {}
    });
    let bars = Signal::derive(move || {
        let rating = detail.with(|detail| detail.as_ref().and_then(|detail| detail.row.rating));
        rating.map_or_else(Default::default, |rating| {
            rating.probabilities.map(|p| Bar {
                share: p.into(),
                figure: words::probability(p),
            })
        })
    });
    let leading = Signal::derive(move || {
        detail.with(|detail| detail.as_ref()?.row.rating.map(|rating| rating.stars))
    });
    let any = Memo::new(move |_| detail.with(Option::is_some));
    let cells = move || {
        let detail = detail.get()?;
        // A file with one column has no other cells.
        let cells = detail
            .cells
            .into_iter()
            .filter(|(_, cell)| !cell.is_empty())
            .collect::<Vec<_>>();
        let cells = if cells.len() > 1 { cells } else { Vec::new() };
        Some(cells.into_iter().map(|(name, cell)| view! { <div><dt dir="auto">{name}</dt><dd dir="auto">{cell}</dd></div> }).collect_view())
    };
    let title =
        move || detail.with(|detail| detail.as_ref().map(|detail| words::row(detail.row.row)));
    let text = move || detail.with(|detail| detail.as_ref().map(|detail| detail.row.text.clone()));
    view! {
        <div class="detail" id="detail" data-testid="detail" role="group" aria-label=words::DETAIL>
            <p class="many__note" hidden=move || any.get()>{words::DETAIL_HINT}</p>
            <div class="detail__row" hidden=move || !any.get()>
                <div>
                    <h4>{title}</h4>
                    <p class="detail__text" dir="auto">{text}</p>
                </div>
                <Bars id="row-probabilities" label=crate::words::one::PROBABILITIES bars leading/>
                <dl class="detail__cells">{cells}</dl>
            </div>
        </div>
    }
}
