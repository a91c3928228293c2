//! The rows of the table with their ratings. However many there are, only those in sight are drawn.

use std::rc::Rc;

use leptos::html;
use leptos::prelude::*;
use leptos::task::spawn_local;
use starsight_table::protocol::{Arrangement, Request, Row, Window};
use web_sys::KeyboardEvent;

use crate::frame::next_frame;
use crate::views::many::detail::RowDetail;
use crate::views::many::download::Download;
use crate::views::many::run::Run;
use crate::views::many::sheet::{Again, Sheet};
use crate::views::many::toolbar::Toolbar;
use crate::words::many as words;

/// Height of a row, in `rem`, which grow with the reader's own size of type: of a table, and of a card on a narrow screen.
const TABLE_ROW: f64 = 3.75;
const CARD_ROW: f64 = 6.5;

/// Pixels of a `rem` where the reader chose no other.
const USUAL_REM: f64 = 16.0;

/// A screen narrower than this shows cards.
const NARROW: &str = "(max-width: 44rem)";

/// Rows drawn above and below those in sight, for whoever scrolls quickly.
const BEYOND: usize = 5;

/// Pixels beyond which a browser cannot scroll: an element's height ends at some 17 million.
const TALLEST: f64 = 15_600_000.0;

/// What the grid shows, and where it stands.
#[derive(Clone, Copy)]
pub struct Shown {
    /// Which rows, in what order.
    pub arrangement: RwSignal<Arrangement>,
    /// The rows in sight.
    pub window: RwSignal<Window>,
    /// The place of the row that is looked at.
    pub active: RwSignal<Option<usize>>,
    is_narrow: RwSignal<bool>,
    /// Pixels of a `rem`.
    rem: RwSignal<f64>,
    scroll: NodeRef<html::Div>,
    sheet: Sheet,
    /// Whether rows are being fetched, and whether they have to be again.
    fetching: StoredValue<Again, LocalStorage>,
}

impl Shown {
    /// The sheet's rows, in the order of the file.
    pub fn new(sheet: Sheet) -> Shown {
        let shown = Shown {
            arrangement: RwSignal::default(),
            window: RwSignal::new(Window { total: 0, from: 0, rows: Vec::new() }),
            active: RwSignal::default(),
            is_narrow: RwSignal::new(false),
            rem: RwSignal::new(USUAL_REM),
            scroll: NodeRef::new(),
            sheet,
            fetching: StoredValue::new_local(Rc::default()),
        };
        Effect::new(move |_| {
            sheet.changes.track();
            shown.fetch();
        });
        // Another table is shown from its beginning.
        Effect::new(move |_| {
            // Before the first one there is nothing to scroll, and asking where would have the page laid out.
            if sheet.tables.get() == 0 {
                return;
            }
            shown.active.set(None);
            shown.arrangement.set(Arrangement::default());
            shown.scroll_to(0);
        });
        shown
    }

    /// Shows other rows, or in another order.
    pub fn change(self, change: impl FnOnce(&mut Arrangement)) {
        let mut arrangement = self.arrangement.get_untracked();
        change(&mut arrangement);
        spawn_local(self.arrange(arrangement));
    }

    async fn arrange(self, arrangement: Arrangement) {
        self.active.set(None);
        self.arrangement.set(arrangement.clone());
        // Without a table there is nothing to arrange.
        if self.sheet.desk().ask::<usize>(Request::Arrange(arrangement)).await.is_ok() {
            self.scroll_to(0);
            self.fetch();
        }
    }

    /// Pixels of a row. Reactive.
    fn row_height(self) -> f64 {
        self.rem.get() * if self.is_narrow.get() { CARD_ROW } else { TABLE_ROW }
    }

    /// The most rows that can be scrolled to. Reactive.
    fn most(self) -> usize {
        (TALLEST / self.row_height()) as usize
    }

    /// Has the rows in sight fetched with the next frame: where they are is known then, without the browser having to lay out the page before it does so anyway.
    pub fn fetch(self) {
        let fetching = self.fetching.get_value();
        fetching.1.set(true);
        if !fetching.0.replace(true) {
            spawn_local(self.fetch_all());
        }
    }

    /// Those that are asked for last are shown last.
    async fn fetch_all(self) {
        let fetching = self.fetching.get_value();
        while fetching.1.get() {
            next_frame().await;
            fetching.1.set(false);
            let Some(scroll) = self.scroll.get_untracked() else { break };
            let height = untrack(|| self.row_height());
            let first = (f64::from(scroll.scroll_top()) / height) as usize;
            let count = (f64::from(scroll.client_height()) / height).ceil() as usize;
            let request = Request::Rows { from: first.saturating_sub(BEYOND), count: count + 2 * BEYOND };
            // Without a table there are no rows.
            let Ok(window) = self.sheet.desk().ask::<Window>(request).await else { break };
            self.window.set(window);
        }
        fetching.0.set(false);
    }

    /// Looks at a row of the file, if it is among those that are shown; at all of them if it is not.
    pub fn jump(self, row: usize) {
        spawn_local(async move {
            let place = async || self.sheet.desk().ask::<Option<usize>>(Request::Place(row)).await.ok().flatten();
            let mut found = place().await;
            if found.is_none() {
                let arrangement = self.arrangement.get_untracked();
                self.arrange(Arrangement { stars: Vec::new(), query: String::new(), ..arrangement }).await;
                found = place().await;
            }
            if let (Some(place), Some(scroll)) = (found, self.scroll.get_untracked()) {
                self.active.set(Some(place));
                self.scroll_to(place.saturating_sub(1));
                let _ = scroll.focus();
                self.fetch();
            }
        });
    }

    fn scroll_to(self, place: usize) {
        if let Some(scroll) = self.scroll.get_untracked() {
            scroll.set_scroll_top((place as f64 * untrack(|| self.row_height())) as i32);
        }
    }

    /// Moves on to the row at `place`, and into sight.
    fn look_at(self, place: usize) {
        let (Some(scroll), height) = (self.scroll.get_untracked(), untrack(|| self.row_height())) else { return };
        self.active.set(Some(place));
        let (top, bottom) = (place as f64 * height, (place + 1) as f64 * height);
        // The head of the table covers the first row's worth of what is scrolled.
        let (from, seen) = (f64::from(scroll.scroll_top()), f64::from(scroll.client_height()) - height);
        if top < from {
            scroll.set_scroll_top(top as i32);
        } else if bottom > from + seen {
            scroll.set_scroll_top((bottom - seen) as i32);
        }
        self.fetch();
    }

    fn press(self, event: &KeyboardEvent) {
        let total = self.window.with_untracked(|window| window.total).min(untrack(|| self.most()));
        let Some(last) = total.checked_sub(1) else { return };
        let (now, page) = (self.active.get_untracked(), self.window.with_untracked(|window| window.rows.len().saturating_sub(2 * BEYOND)).max(1));
        let place = match event.key().as_str() {
            "ArrowDown" => now.map_or(0, |now| now + 1),
            "ArrowUp" => now.unwrap_or(0).saturating_sub(1),
            "PageDown" => now.unwrap_or(0) + page,
            "PageUp" => now.unwrap_or(0).saturating_sub(page),
            "Home" => 0,
            "End" => last,
            _ => return,
        };
        event.prevent_default();
        self.look_at(place.min(last));
    }
}

/// The table, what arranges it, the row that is looked at, and the download.
#[component]
pub fn Grid(sheet: Sheet, run: Run, shown: Shown) -> impl IntoView {
    let narrow = window().match_media(NARROW).ok().flatten();
    if let Some(narrow) = narrow {
        let measure = move || {
            let (is_narrow, rem) = (narrow.matches(), rem());
            shown.is_narrow.maybe_update(|now| std::mem::replace(now, is_narrow) != is_narrow);
            shown.rem.maybe_update(|now| std::mem::replace(now, rem) != rem);
        };
        measure();
        window_event_listener(leptos::ev::resize, move |_| {
            measure();
            shown.fetch();
        });
    }
    let total = Memo::new(move |_| shown.window.with(|window| window.total));
    let places =
        move || shown.window.with(|window| window.rows.iter().cloned().enumerate().map(|(i, row)| (window.from + i, row)).collect::<Vec<_>>());
    // The text too: the same row of another table, or of another column, is another row.
    let key = |(place, row): &(usize, Row)| {
        (*place, row.row, row.text.clone(), row.label, row.rating.map(|rating| (rating.stars, rating.expected.to_bits())))
    };
    let has_labels = Memo::new(move |_| sheet.choice.get().label.is_some());
    let active =
        move || shown.active.get().filter(|place| shown.window.with(|window| (window.from..window.from + window.rows.len()).contains(place)));
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

/// Pixels of a `rem` as it is now.
fn rem() -> f64 {
    let style = document().document_element().and_then(|root| window().get_computed_style(&root).ok().flatten());
    style.and_then(|style| style.get_property_value("font-size").ok()?.trim_end_matches("px").parse().ok()).unwrap_or(USUAL_REM)
}

/// Stars for a row: one element, where hundreds go by.
#[component]
fn Pips(stars: u8) -> impl IntoView {
    view! { <span class="pips" role="img" aria-label=words::of_five(stars) style=("--stars", stars.to_string())></span> }
}

/// A row and its rating, or the room for it.
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
