//! The most negative and the most positive reviews.

use leptos::prelude::*;
use starsight_table::protocol::Row;

use crate::views::many::sheet::Sheet;
use crate::views::many::shown::Shown;
use crate::words::many as words;

/// Two short lists, side by side.
#[component]
pub fn Extremes(sheet: Sheet, shown: Shown) -> impl IntoView {
    let lowest = Memo::new(move |_| sheet.summary.with(|summary| summary.lowest.clone()));
    let highest = Memo::new(move |_| sheet.summary.with(|summary| summary.highest.clone()));
    view! {
        <div class="extremes">
            <Extreme id="lowest" title=words::LOWEST rows=lowest shown/>
            <Extreme id="highest" title=words::HIGHEST rows=highest shown/>
        </div>
    }
}

#[component]
fn Extreme(
    id: &'static str,
    title: &'static str,
    rows: Memo<Vec<Row>>,
    shown: Shown,
) -> impl IntoView {
    let title_id = format!("{id}-title");
    let rows = move || {
        let one = |row: Row| {
            let expected = row.rating.map(|rating| words::expected(rating.expected));
            view! {
                <li>
                    <button class="extreme" type="button" on:click=move |_| shown.jump(row.row)>
                        <span class="extreme__figure">{expected}</span>
                        <span class="extreme__text" dir="auto">{row.text}</span>
                    </button>
                </li>
            }
        };
        rows.get().into_iter().map(one).collect_view()
    };
    view! {
        <div>
            <h3 id=title_id.clone()>{title}</h3>
            <ol class="extremes__list" role="list" id=id data-testid=id aria-labelledby=title_id>{rows}</ol>
        </div>
    }
}
