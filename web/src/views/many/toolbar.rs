//! Controls for which rows of the table are shown, and in what order.

use std::time::Duration;

use leptos::prelude::*;
use starsight_table::protocol::Arrangement;

use crate::components::announcer::Announcer;
use crate::views::many::sheet::Sheet;
use crate::views::many::shown::Shown;
use crate::words::many as words;

/// The pause in typing after which the search starts.
const PAUSE: Duration = Duration::from_millis(200);

/// The search box, the filter by stars and the order.
#[component]
pub fn Toolbar(sheet: Sheet, shown: Shown) -> impl IntoView {
    let announcer = expect_context::<Announcer>();
    let arrangement = shown.arrangement;
    let mut search = debounce(PAUSE, move |query: String| {
        shown.change(|arrangement| arrangement.query = query);
    });
    let has_labels = Memo::new(move |_| sheet.choice.get().label.is_some());
    let orders = move || {
        let orders = words::ORDERS
            .iter()
            .enumerate()
            .filter(|(_, order)| has_labels.get() || !order.2);
        orders
            .map(|(i, (words, (key, descending), _))| {
                let chosen = move || {
                    arrangement.with(|arrangement| {
                        (arrangement.key, arrangement.descending) == (*key, *descending)
                    })
                };
                view! { <option value=i.to_string() prop:selected=chosen>{*words}</option> }
            })
            .collect_view()
    };
    let order = move |event: leptos::ev::Event| {
        if let Some((_, (key, descending), _)) = event_target_value(&event)
            .parse()
            .ok()
            .and_then(|i: usize| words::ORDERS.get(i))
        {
            shown.change(|arrangement| {
                (arrangement.key, arrangement.descending) = (*key, *descending);
            });
        }
    };
    let count = move || shown.window.with(|window| window.total);
    let rows = Memo::new(move |_| sheet.opened().map_or(0, |opened| opened.described.rows));
    // Screen readers announce the result of a search, but not changes from new ratings.
    Effect::new(move |before: Option<Arrangement>| {
        let now = arrangement.get();
        if before.as_ref().is_some_and(|before| *before != now) {
            set_timeout(
                move || announcer.say(words::found(count(), rows.get_untracked())),
                PAUSE,
            );
        }
        now
    });
    view! {
        <div class="toolbar" role="group" aria-label=words::ARRANGE>
            <input
                type="search"
                id="search"
                data-testid="search"
                dir="auto"
                placeholder=words::SEARCH
                aria-label=words::SEARCH
                prop:value=move || arrangement.with(|arrangement| arrangement.query.clone())
                on:input=move |event| search(event_target_value(&event))
            />
            <select id="order" data-testid="order" aria-label=words::ORDER on:change=order>{orders}</select>
            <div class="toolbar__stars" role="group" aria-label=words::FILTER>
                {(0..=5).rev().map(|stars| view! { <StarFilter stars shown/> }).collect_view()}
            </div>
            <p class="toolbar__count" id="found" data-testid="found">{move || words::found(count(), rows.get())}</p>
        </div>
    }
}

/// A button that filters the rows with `stars` stars; 0 is for rows without a rating.
#[component]
fn StarFilter(stars: u8, shown: Shown) -> impl IntoView {
    let pressed = move || {
        shown
            .arrangement
            .with(|arrangement| arrangement.stars.contains(&stars))
    };
    let press = move |_| {
        shown.change(|arrangement| {
            match arrangement.stars.iter().position(|other| *other == stars) {
                Some(place) => drop(arrangement.stars.remove(place)),
                None => arrangement.stars.push(stars),
            }
        });
    };
    let label = if stars == 0 {
        words::UNRATED.to_string()
    } else {
        crate::words::stars(stars)
    };
    view! {
        <button class="chip chip--star" type="button" data-stars=stars aria-pressed=move || pressed().to_string() aria-label=label on:click=press>
            {if stars == 0 {
                words::UNRATED.into_any()
            } else {
                view! { {stars} <svg viewBox="0 0 24 24" aria-hidden="true"><use href="#star"/></svg> }.into_any()
            }}
        </button>
    }
}
