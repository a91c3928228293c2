//! The run's progress and its buttons.

use leptos::prelude::*;

use crate::components::announcer::Announcer;
use crate::focus::focus;
use crate::model::Model;
use crate::views::many::run::{Phase, Run};
use crate::views::many::sheet::Sheet;
use crate::words::many as words;

/// The run's state in one sentence. Reactive.
pub fn status(sheet: Sheet, run: Run) -> String {
    let (rated, total, pace) = (
        sheet.summary.with(|summary| summary.rated),
        sheet.chosen.get().reviews,
        run.pace.get(),
    );
    match run.phase.get() {
        Phase::Idle => words::WHAT_COMES.into(),
        Phase::Running if rated == 0 => words::starting(total),
        Phase::Running => {
            let left = (pace.samples > 0.0)
                .then(|| (total.saturating_sub(rated)) as f64 / pace.samples_per_second());
            words::running(rated, total, left)
        }
        Phase::Paused => words::paused(rated, total),
        Phase::Done => words::done(rated, pace.guesses, pace.seconds),
        Phase::Failed(error) => words::failed(rated, total, &error.message),
    }
}

const RUN: &str = "run";

/// The buttons of the run, its progress and its speed.
#[component]
pub fn Going(sheet: Sheet, run: Run) -> impl IntoView {
    let model = expect_context::<Model>();
    let announcer = expect_context::<Announcer>();
    let share = move || match sheet.chosen.get().reviews {
        0 => 0.0,
        total => sheet.summary.with(|summary| summary.rated) as f64 / total as f64,
    };
    let speed = move || {
        let pace = run.pace.get();
        if pace.samples > 0.0 {
            words::throughput(pace.samples_per_second(), pace.tokens_per_second())
        } else {
            String::new()
        }
    };
    let failed = move || run.phase.with(|phase| matches!(phase, Phase::Failed(_)));
    let can_start = move || {
        model.is_ready() && !run.is_running() && sheet.is_open() && sheet.chosen.get().reviews > 0
    };
    let start = move |_| {
        if untrack(|| run.is_running()) {
            run.pause();
        } else if untrack(can_start) {
            run.start(move || announcer.say(untrack(|| status(sheet, run))));
        }
    };
    let label = move || match run.phase.get() {
        Phase::Idle => words::RATE,
        Phase::Running => words::PAUSE,
        Phase::Paused | Phase::Failed(_) => words::RESUME,
        Phase::Done => words::RATE_AGAIN,
    };
    // Pasted lines have their own button beside their box until they are rated.
    let has_start = move || sheet.has_file() || run.phase.with(|phase| *phase != Phase::Idle);
    // The pressed button disappears, so the focus moves to another one.
    let cancel = move |_| {
        run.cancel();
        focus(if untrack(has_start) { RUN } else { "rate-many" });
    };
    view! {
        <div class="going" class:going--idle=move || run.phase.with(|phase| *phase == Phase::Idle)>
            <div class="many__buttons" hidden=move || !has_start()>
                <button
                    class="button"
                    class:button--main=move || !run.is_running()
                    id=RUN
                    data-testid="run"
                    type="button"
                    aria-disabled=move || (!run.is_running() && !can_start()).to_string()
                    on:click=start
                >
                    {label}
                </button>
                <button class="button" id="cancel" data-testid="cancel" type="button" hidden=move || !run.is_open() on:click=cancel>
                    {words::CANCEL}
                </button>
            </div>
            <p class="going__words">
                <span id="many-status" data-testid="many-status" class:going__failed=failed>{move || status(sheet, run)}</span>
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
