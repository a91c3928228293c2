//! The choice of a file's columns, and the problems of its rows.

use leptos::prelude::*;
use leptos::task::spawn_local;
use starsight_table::protocol::ColumnChoice;

use crate::views::many::run::Run;
use crate::views::many::sheet::Sheet;
use crate::words::many as words;

/// The choice of columns, and notes on problems in the file.
#[component]
pub fn Columns(sheet: Sheet, run: Run) -> impl IntoView {
    let file = Memo::new(move |_| sheet.opened().filter(|opened| opened.name.is_some()));
    let failed = RwSignal::new(String::new());
    let choose = move |choice: ColumnChoice| {
        if choice.text != sheet.choice.get_untracked().text {
            run.cancel();
        }
        spawn_local(async move {
            match sheet.choose(choice).await {
                Ok(()) => failed.set(String::new()),
                Err(error) => failed.set(error.message),
            }
        });
    };
    move || {
        let opened = file.get()?;
        let described = &opened.described;
        let names = words::columns(&described.columns);
        let options = |chosen: fn(ColumnChoice) -> Option<usize>| {
            let option = |(i, name): (usize, &String)| {
                view! { <option value=i.to_string() prop:selected=move || chosen(sheet.choice.get()) == Some(i)>{name.clone()}</option> }
            };
            names.iter().enumerate().map(option).collect_view()
        };
        let none = |words: &'static str, chosen: fn(ColumnChoice) -> Option<usize>| {
            view! { <option value="" prop:selected=move || chosen(sheet.choice.get()).is_none()>{words}</option> }
        };
        let picked = |event: &leptos::ev::Event| event_target_value(event).parse::<usize>().ok();
        let header = described.header.map(|header| {
            view! {
                <label class="check">
                    <input type="checkbox" id="header" data-testid="header" prop:checked=header on:change=move |event| {
                        run.cancel();
                        sheet.open_again(event_target_checked(&event));
                    }/>
                    {words::HEADER}
                </label>
            }
        });
        let problems = described
            .problems
            .iter()
            .map(|problem| view! { <li>{words::problem(problem)}</li> })
            .collect_view();
        let encoding =
            words::encoding_note(described.encoding).map(|note| view! { <li>{note}</li> });
        let has_notes = !described.problems.is_empty() || encoding.is_some();
        Some(view! {
            <fieldset class="columns" disabled=move || run.is_running()>
                <legend class="unseen">{words::COLUMNS}</legend>
                <div class="columns__one">
                    <label for="text-column">{words::TEXT_COLUMN}</label>
                    <select id="text-column" data-testid="text-column" on:change=move |event| choose(ColumnChoice { text: picked(&event), ..sheet.choice.get_untracked() })>
                        {none(words::CHOOSE_COLUMN, |choice| choice.text)}
                        {options(|choice| choice.text)}
                    </select>
                </div>
                <div class="columns__one">
                    <label for="label-column">{words::LABEL_COLUMN}</label>
                    <select id="label-column" data-testid="label-column" on:change=move |event| choose(ColumnChoice { label: picked(&event), ..sheet.choice.get_untracked() })>
                        {none(words::NO_COLUMN, |choice| choice.label)}
                        {options(|choice| choice.label)}
                    </select>
                </div>
                {header}
            </fieldset>
            <ul class="problems" id="problems" data-testid="problems" hidden=!has_notes>{encoding}{problems}</ul>
            <p class="many__note many__note--hint" role="alert" hidden=move || failed.with(String::is_empty)>{move || failed.get()}</p>
            <p class="many__note" id="counted" data-testid="counted">{move || words::chosen(sheet.choice.get(), sheet.chosen.get())}</p>
        })
    }
}
