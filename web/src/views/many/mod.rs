//! Rates many reviews at once: pasted, or in a file.

mod accuracy;
mod columns;
mod detail;
mod download;
mod extremes;
mod going;
mod grid;
mod preview;
mod run;
mod sheet;
mod shown;
mod source;
mod summary;
mod table_worker;
mod toolbar;

use leptos::prelude::*;

use crate::model::Model;
use crate::views::many::accuracy::Accuracy;
use crate::views::many::columns::Columns;
use crate::views::many::extremes::Extremes;
use crate::views::many::going::Going;
use crate::views::many::grid::Grid;
use crate::views::many::preview::Preview;
use crate::views::many::run::Run;
use crate::views::many::sheet::Sheet;
use crate::views::many::shown::Shown;
use crate::views::many::source::Sources;
use crate::views::many::summary::Overview;
use crate::words::many as words;

/// The view for many reviews: the source, the run's progress, and the results.
#[component]
pub fn RateMany() -> impl IntoView {
    let sheet = Sheet::new();
    let run = Run::new(sheet, expect_context::<Model>());
    let shown = Shown::new(sheet);
    let any = Memo::new(move |_| sheet.summary.with(|summary| summary.rated > 0) || run.is_open());
    view! {
        <section class="card many" aria-labelledby="many-title">
            <div class="many__source">
                <h2 id="many-title">{words::TITLE}</h2>
                <Sources sheet run/>
                <Columns sheet run/>
                <Going sheet run/>
            </div>
            <Overview sheet/>
            <Preview sheet run/>
            <div class="results" id="results" data-testid="results" hidden=move || !any.get()>
                <Accuracy sheet/>
                <Extremes sheet shown/>
                <Grid sheet run shown/>
            </div>
        </section>
    }
}
