//! The first rows of a file.

use leptos::prelude::*;

use crate::views::many::run::{Phase, Run};
use crate::views::many::sheet::Sheet;
use crate::words::many as words;

/// A table of the first rows, shown until something is rated.
#[component]
pub fn Preview(sheet: Sheet, run: Run) -> impl IntoView {
    let file = move || sheet.opened().filter(|opened| opened.name.is_some());
    let is_seen = Memo::new(move |_| {
        run.phase.get() == Phase::Idle
            && sheet.summary.with(|summary| summary.rated == 0)
            && file().is_some()
    });
    move || {
        let opened = is_seen.get().then(file).flatten()?;
        let role = move |column: usize| {
            let choice = sheet.choice.get();
            [(choice.text, "text"), (choice.label, "label")]
                .into_iter()
                .find(|(chosen, _)| *chosen == Some(column))
                .map(|(_, role)| role)
        };
        let names = words::columns(&opened.described.columns)
            .into_iter()
            .enumerate();
        let head = names.map(|(i, name)| view! { <th scope="col" data-role=move || role(i) dir="auto">{name}</th> }).collect_view();
        let rows = opened.described.preview.iter();
        let rows = rows
            .map(|cells| {
                let cells = cells.iter().enumerate();
                let cells =
                    cells.map(|(i, cell)| view! { <td data-role=move || role(i) dir="auto"><span class="preview__cell">{cell.clone()}</span></td> });
                view! { <tr>{cells.collect_view()}</tr> }
            })
            .collect_view();
        Some(view! {
            <div class="preview">
                <h3 id="preview-title">{words::PREVIEW}</h3>
                <div class="preview__scroll" tabindex="0" role="region" aria-labelledby="preview-title">
                    <table class="preview__table" data-testid="preview"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>
                </div>
            </div>
        })
    }
}
