//! The rows that the grid shows, and its scroll position.

use std::rc::Rc;

use leptos::html;
use leptos::prelude::*;
use leptos::task::spawn_local;
use starsight_table::protocol::{Arrangement, Request, Window};
use web_sys::KeyboardEvent;

use crate::frame::next_frame;
use crate::views::many::sheet::{Again, Sheet};

/// Height of a row in `rem`, which scales with the reader's font size: of a table row, and of a
/// card on a narrow screen.
const TABLE_ROW: f64 = 3.75;
const CARD_ROW: f64 = 6.5;

/// Pixels of a `rem` with the default font size.
pub const USUAL_REM: f64 = 16.0;

/// Rows drawn above and below the visible ones, for fast scrolling.
const BEYOND: usize = 5;

/// The largest height in pixels that can be scrolled; browsers limit an element's height to about
/// 17 million.
const TALLEST: f64 = 15_600_000.0;

/// The rows that the grid shows, and its scroll position.
#[derive(Clone, Copy)]
pub struct Shown {
    /// Which rows are shown, and in what order.
    pub arrangement: RwSignal<Arrangement>,
    /// The visible rows.
    pub window: RwSignal<Window>,
    /// The place of the selected row.
    pub active: RwSignal<Option<usize>>,
    /// Whether rows are drawn as cards.
    pub is_narrow: RwSignal<bool>,
    /// Pixels of a `rem`.
    pub rem: RwSignal<f64>,
    /// The element that scrolls.
    pub scroll: NodeRef<html::Div>,
    sheet: Sheet,
    /// Whether rows are being fetched, and whether they must be fetched again.
    fetching: StoredValue<Again, LocalStorage>,
}

impl Shown {
    /// Shows the sheet's rows, in the order of the file.
    pub fn new(sheet: Sheet) -> Shown {
        let shown = Shown {
            arrangement: RwSignal::default(),
            window: RwSignal::new(Window {
                total: 0,
                from: 0,
                rows: Vec::new(),
            }),
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
        // Another table is shown from its first row.
        Effect::new(move |_| {
            // Without a table there is nothing to scroll, and reading the position would force a
            // layout of the page.
            if sheet.tables.get() == 0 {
                return;
            }
            shown.active.set(None);
            shown.arrangement.set(Arrangement::default());
            shown.scroll_to(0);
        });
        shown
    }

    /// Changes which rows are shown, or their order.
    pub fn change(self, change: impl FnOnce(&mut Arrangement)) {
        let mut arrangement = self.arrangement.get_untracked();
        change(&mut arrangement);
        spawn_local(self.arrange(arrangement));
    }

    async fn arrange(self, arrangement: Arrangement) {
        self.active.set(None);
        self.arrangement.set(arrangement.clone());
        // Without a table there is nothing to arrange.
        if self
            .sheet
            .worker()
            .ask::<usize>(Request::Arrange(arrangement))
            .await
            .is_ok()
        {
            self.scroll_to(0);
            self.fetch();
        }
    }

    /// Height of a row in pixels. Reactive.
    pub fn row_height(self) -> f64 {
        self.rem.get()
            * if self.is_narrow.get() {
                CARD_ROW
            } else {
                TABLE_ROW
            }
    }

    /// The largest number of rows that can be scrolled to. Reactive.
    pub fn most(self) -> usize {
        (TALLEST / self.row_height()) as usize
    }

    /// Fetches the visible rows in the next animation frame. The scroll position is known then
    /// without an extra layout of the page.
    pub fn fetch(self) {
        let fetching = self.fetching.get_value();
        fetching.1.set(true);
        if !fetching.0.replace(true) {
            spawn_local(self.fetch_all());
        }
    }

    /// Repeats until the latest request has been shown.
    async fn fetch_all(self) {
        let fetching = self.fetching.get_value();
        while fetching.1.get() {
            next_frame().await;
            fetching.1.set(false);
            let Some(scroll) = self.scroll.get_untracked() else {
                break;
            };
            let height = untrack(|| self.row_height());
            let first = (f64::from(scroll.scroll_top()) / height) as usize;
            let count = (f64::from(scroll.client_height()) / height).ceil() as usize;
            let request = Request::Rows {
                from: first.saturating_sub(BEYOND),
                count: count + 2 * BEYOND,
            };
            // Without a table there are no rows.
            let Ok(window) = self.sheet.worker().ask::<Window>(request).await else {
                break;
            };
            self.window.set(window);
        }
        fetching.0.set(false);
    }

    /// Selects a row of the file. If it is filtered out, the filters are removed first.
    pub fn jump(self, row: usize) {
        spawn_local(async move {
            let place = async || {
                self.sheet
                    .worker()
                    .ask::<Option<usize>>(Request::Place(row))
                    .await
                    .ok()
                    .flatten()
            };
            let mut found = place().await;
            if found.is_none() {
                let arrangement = self.arrangement.get_untracked();
                self.arrange(Arrangement {
                    stars: Vec::new(),
                    query: String::new(),
                    ..arrangement
                })
                .await;
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

    /// Selects the row at `place` and scrolls it into view.
    pub fn look_at(self, place: usize) {
        let (Some(scroll), height) = (self.scroll.get_untracked(), untrack(|| self.row_height()))
        else {
            return;
        };
        self.active.set(Some(place));
        let (top, bottom) = (place as f64 * height, (place + 1) as f64 * height);
        // The table's header covers the height of one row of the scrolled content.
        let (from, seen) = (
            f64::from(scroll.scroll_top()),
            f64::from(scroll.client_height()) - height,
        );
        if top < from {
            scroll.set_scroll_top(top as i32);
        } else if bottom > from + seen {
            scroll.set_scroll_top((bottom - seen) as i32);
        }
        self.fetch();
    }

    /// Handles the navigation keys of a table.
    pub fn press(self, event: &KeyboardEvent) {
        let total = self
            .window
            .with_untracked(|window| window.total)
            .min(untrack(|| self.most()));
        let Some(last) = total.checked_sub(1) else {
            return;
        };
        let (now, page) = (
            self.active.get_untracked(),
            self.window
                .with_untracked(|window| window.rows.len().saturating_sub(2 * BEYOND))
                .max(1),
        );
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
