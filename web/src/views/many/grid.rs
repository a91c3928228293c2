//! The rows of the table with their ratings. Only the visible rows are drawn, however many there
//! are.

use leptos::prelude::*;
use starsight_table::protocol::Row;

use crate::views::many::detail::RowDetail;
use crate::views::many::download::Download;
use crate::views::many::run::Run;
use crate::views::many::sheet::Sheet;
use crate::views::many::shown::{Shown, USUAL_REM};
use crate::views::many::toolbar::Toolbar;
use crate::words::many as words;

/// Screens narrower than this show cards instead of a table.
const NARROW: &str = "(max-width: 44rem)";

/// The table, its toolbar, the details of the selected row, and the download.
#[component]
pub fn Grid(sheet: Sheet, run: Run, shown: Shown) -> impl IntoView {
    let narrow = window().match_media(NARROW).ok().flatten();
    if let Some(narrow) = narrow {
        let measure = move || {
            let (is_narrow, rem) = (narrow.matches(), rem());
            shown
                .is_narrow
                .maybe_update(|now| std::mem::replace(now, is_narrow) != is_narrow);
            shown
                .rem
                .maybe_update(|now| std::mem::replace(now, rem) != rem);
        };
        measure();
        window_event_listener(leptos::ev::resize, move |_| {
            measure();
            shown.fetch();
        });
    }
    let total = Memo::new(move |_| shown.window.with(|window| window.total));
    let places = move || {
        shown.window.with(|window| {
            window
                .rows
                .iter()
                .cloned()
                .enumerate()
                .map(|(i, row)| (window.from + i, row))
                .collect::<Vec<_>>()
        })
    };
    // The key includes the text, because the same row number in another table or column is another
    // row.
    let key = |(place, row): &(usize, Row)| {
        (
            *place,
            row.row,
            row.text.clone(),
            row.label,
            row.rating
                .map(|rating| (rating.stars, rating.expected.to_bits())),
        )
    };
    let has_labels = Memo::new(move |_| sheet.choice.get().label.is_some());
    let active = move || {
        shown.active.get().filter(|place| {
            shown
                .window
                .with(|window| (window.from..window.from + window.rows.len()).contains(place))
        })
    };
    let columns = move || if has_labels.get() { "6" } else { "5" };
    view! {
        <div class="results__head">
            <h3 id="results-title">{words::RESULTS}</h3>
            <Download sheet/>
        </div>
        <Toolbar sheet shown/>
        <div
            class="grid"
            class:grid--labels=move || has_labels.get()
            id="grid"
            data-testid="grid"
            role="grid"
            tabindex="0"
            aria-labelledby="results-title"
            aria-rowcount=move || (total.get() + 1).to_string()
            aria-colcount=columns
            aria-busy=move || run.is_running().to_string()
            aria-activedescendant=move || active().map(|place| format!("row-{place}"))
            node_ref=shown.scroll
            on:scroll=move |_| shown.fetch()
            on:keydown=move |event| shown.press(&event)
        >
            <div class="grid__head" role="row" aria-rowindex="1">
                <span role="columnheader">{words::COLUMN_NUMBER}</span>
                <span role="columnheader">{words::COLUMN_REVIEW}</span>
                <span role="columnheader">{words::COLUMN_STARS}</span>
                <span role="columnheader">{words::COLUMN_EXPECTED}</span>
                <span role="columnheader">{words::COLUMN_SURE}</span>
                {move || has_labels.get().then(|| view! { <span role="columnheader">{words::COLUMN_TRUE}</span> })}
            </div>
            <div class="grid__body" role="rowgroup" style=("height", move || format!("{}px", total.get().min(shown.most()) as f64 * shown.row_height()))>
                <For each=places key=key let:placed>
                    <GridRow place=placed.0 row=placed.1 shown has_labels/>
                </For>
            </div>
        </div>
        <p class="grid__none" hidden=move || total.get() != 0>{words::NO_ROWS}</p>
        <p class="caption" hidden=move || total.get() <= shown.most()>{move || words::not_shown(shown.most())}</p>
        <RowDetail sheet shown/>
    }
}

/// The current size of a `rem` in pixels.
fn rem() -> f64 {
    let style = document()
        .document_element()
        .and_then(|root| window().get_computed_style(&root).ok().flatten());
    style
        .and_then(|style| {
            style
                .get_property_value("font-size")
                .ok()?
                .trim_end_matches("px")
                .parse()
                .ok()
        })
        .unwrap_or(USUAL_REM)
}

/// Stars for a row. They are a single element, because hundreds of rows scroll by.
#[component]
fn Pips(stars: u8) -> impl IntoView {
    view! { <span class="pips" role="img" aria-label=words::of_five(stars) style=("--stars", stars.to_string())></span> }
}

/// A row and its rating, or an empty space for it.
#[component]
fn GridRow(place: usize, row: Row, shown: Shown, has_labels: Memo<bool>) -> impl IntoView {
    let rating = row.rating;
    let is_active = move || shown.active.get() == Some(place);
    let label = row.label;
    view! {
        <div
            class="grid__row"
            class:grid__row--active=is_active
            role="row"
            id=format!("row-{place}")
            aria-rowindex=place + 2
            aria-selected=move || is_active().to_string()
            data-row=row.row
            data-stars=rating.map(|rating| rating.stars)
            style=("transform", move || format!("translateY({}px)", place as f64 * shown.row_height()))
            style=("height", move || format!("{}px", shown.row_height()))
            on:click=move |_| shown.look_at(place)
        >
            <span role="gridcell" class="grid__number">{words::number(row.row)}</span>
            <span role="gridcell" class="grid__review" dir="auto">{row.text}</span>
            <span role="gridcell" class="grid__stars">{rating.map(|rating| view! { <Pips stars=rating.stars/> })}</span>
            <span role="gridcell" class="grid__figure">{rating.map(|rating| words::expected(rating.expected))}</span>
            <span role="gridcell" class="grid__figure" data-label=words::COLUMN_SURE>{rating.map(|rating| words::sure(&rating))}</span>
            {move || has_labels.get().then(|| view! { <span role="gridcell" class="grid__figure" data-label=words::COLUMN_TRUE>{label.map(|label| label.to_string())}</span> })}
        </div>
    }
}
