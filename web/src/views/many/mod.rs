//! Many reviews at once.

mod csv;
mod lines;
mod results;
mod run;
mod summary;

use std::time::Duration;

use leptos::html;
use leptos::prelude::*;

use crate::components::announcer::Announcer;
use crate::model::Model;
use crate::views::many::results::Results;
use crate::views::many::run::{Phase, Run};
use crate::views::many::summary::Summary;
use crate::words::many as words;

/// A pause in typing after which the lines are counted again.
const PAUSE: Duration = Duration::from_millis(150);

/// The box to paste in, the controls, and what comes of it.
#[component]
pub fn RateMany() -> impl IntoView {
    let model = expect_context::<Model>();
    let announcer = expect_context::<Announcer>();
    let run = Run::new();
    let area = NodeRef::<html::Textarea>::new();
    let counted = RwSignal::new((0, 0));
    // Why a press on the button did nothing.
    let hint = RwSignal::new("");

    let mut count = debounce(PAUSE, move |()| {
        if let Some(area) = area.get_untracked() {
            let lines = lines::read(&area);
            counted.set((lines.reviews.length(), lines.empty));
        }
    });
    let typed = move |_| {
        hint.set("");
        count(());
    };
    let can_rate = move || model.is_ready() && !run.is_running();
    let rate = move |_| {
        let Some(area) = area.get_untracked() else { return };
        if untrack(|| run.is_running()) {
            return;
        }
        if !untrack(|| model.is_ready()) {
            hint.set(crate::words::NOT_READY);
            return;
        }
        let lines = lines::read(&area);
        counted.set((lines.reviews.length(), lines.empty));
        if lines.reviews.length() == 0 {
            hint.set(words::NOTHING_PASTED);
            let _ = area.focus();
            return;
        }
        hint.set("");
        run.start(model, lines.reviews, move || announcer.say(untrack(|| status(run))));
    };
    let note = move || match hint.get() {
        "" => {
            let (reviews, empty) = counted.get();
            words::counted(reviews, empty)
        }
        hint => hint.into(),
    };

    view! {
        <section class="card many" aria-labelledby="many-title">
            <div class="many__write">
                <h2 id="many-title">{words::TITLE}</h2>
                <textarea
                    id="many"
                    data-testid="many"
                    rows="9"
                    dir="auto"
                    spellcheck="false"
                    aria-label=words::LABEL
                    aria-describedby="many-note"
                    placeholder=words::PLACEHOLDER
                    node_ref=area
                    on:input=typed
                ></textarea>
                <div class="many__controls">
                    <p class="many__note" id="many-note" class:many__note--hint=move || !hint.get().is_empty()>{note}</p>
                    <div class="many__buttons">
                        <button class="button" id="stop-many" data-testid="stop-many" type="button" aria-disabled=move || (!run.is_running()).to_string() on:click=move |_| run.stop()>
                            {words::STOP}
                        </button>
                        <button class="button button--main" id="rate-many" data-testid="rate-many" type="button" aria-disabled=move || (!can_rate()).to_string() on:click=rate>
                            {words::RATE}
                        </button>
                    </div>
                </div>
                <Going run/>
            </div>
            <Summary run/>
            <Results run/>
        </section>
    }
}

/// Where the run stands, in a sentence.
fn status(run: Run) -> String {
    let (total, figures) = (run.total.get() as f64, run.figures.get());
    match run.phase.get() {
        Phase::Idle => words::WHAT_COMES.into(),
        Phase::Running if figures.rated == 0.0 => words::reading(figures.tokenised, total),
        Phase::Running => words::rated_of(figures.rated, total),
        Phase::Done => words::rated_all(total, figures.seconds),
        Phase::Stopped => words::stopped(figures.rated, total),
        Phase::Failed(trouble) => format!("{}: {}", words::FAILED, trouble.message),
    }
}

/// How far and how fast it goes.
#[component]
fn Going(run: Run) -> impl IntoView {
    let share = move || match run.total.get() {
        0 => 0.0,
        total => run.figures.get().rated / total as f64,
    };
    let speed = move || {
        let figures = run.figures.get();
        if figures.rated > 0.0 { words::throughput(figures.samples_per_second, figures.tokens_per_second) } else { String::new() }
    };
    let failed = move || run.phase.with(|phase| matches!(phase, Phase::Failed(_)));
    view! {
        <div class="going" class:going--idle=move || run.phase.with(|phase| *phase == Phase::Idle)>
            <p class="going__words">
                <span id="many-status" data-testid="many-status" class:going__failed=failed>{move || status(run)}</span>
                <span id="throughput" data-testid="throughput">{speed}</span>
            </p>
            <div
                class="progress"
                role="progressbar"
                aria-labelledby="many-status"
                aria-valuemin="0"
                aria-valuemax="100"
                aria-valuenow=move || format!("{:.0}", share() * 100.0)
                style=("--share", move || format!("{:.4}", share()))
            >
                <span class="progress__fill"></span>
            </div>
        </div>
    }
}
