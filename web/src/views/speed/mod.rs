//! The speed view: the current speed, a benchmark, and a comparison.

mod bench;
mod compared;
mod curve;
mod live;
mod quoted;
mod table;

use leptos::prelude::*;

use crate::components::announcer::Announcer;
use crate::components::copy::CopyButton;
use crate::model::Model;
use crate::views::speed::bench::{Bench, Phase};
use crate::views::speed::compared::Compared;
use crate::views::speed::live::Live;
use crate::views::speed::table::Table;
use crate::words::speed as words;

/// The live speed, the benchmark and the comparison.
#[component]
pub fn SpeedView() -> impl IntoView {
    let bench = Bench::new();
    view! {
        <Live/>
        <Benchmark bench/>
        <Compared bench/>
    }
}

/// The benchmark: its button, its results, and buttons that copy them.
#[component]
fn Benchmark(bench: Bench) -> impl IntoView {
    let model = expect_context::<Model>();
    let announcer = expect_context::<Announcer>();
    let running = move || bench.phase.with(|phase| *phase == Phase::Running);
    let none = move || bench.rows.with(Vec::is_empty);
    let able = move || running() || model.is_ready() && !model.is_busy.get();
    let start = move |_| {
        if untrack(running) {
            bench.cancel();
        } else if untrack(able) {
            bench.start(model, move || {
                announcer.say(untrack(|| status(bench, model)));
            });
        }
    };
    let label = move || match bench.phase.get() {
        Phase::Running => words::CANCEL,
        Phase::Idle => words::START,
        _ => words::AGAIN,
    };
    let idle = Signal::derive(move || running() || none());
    let status = move || match (running(), model.is_ready()) {
        (false, false) => crate::words::NOT_READY.into(),
        (false, true) if model.is_busy.get() => words::BUSY.into(),
        _ => status(bench, model),
    };
    view! {
        <section class="card bench" aria-labelledby="bench-title">
            <div class="bench__head">
                <h2 id="bench-title">{words::BENCH}</h2>
                <p class="bench__lead">{words::BENCH_LEAD}</p>
                <div class="bench__controls">
                    <button class="button button--main" id="measure" type="button" aria-disabled=move || (!able()).to_string() on:click=start>{label}</button>
                    <p class="caption" id="bench-status">{status}</p>
                </div>
            </div>
            <Table bench/>
            <p class="caption">{words::QUOTED}</p>
            <div class="bench__copy">
                <CopyButton id="copy-text" label=words::COPY_TEXT text=move || bench.as_text() disabled=idle/>
                <CopyButton id="copy-json" label=words::COPY_JSON text=move || bench.as_json() disabled=idle/>
            </div>
        </section>
    }
}

/// The state of the benchmark in one sentence.
fn status(bench: Bench, model: Model) -> String {
    match bench.phase.get() {
        Phase::Idle => words::NOT_MEASURED.into(),
        Phase::Running => words::measuring(bench.rows.with(Vec::len), bench.plan().len()),
        Phase::Done => match model.name() {
            Some(now) if now != bench.measured.get() => words::measured_with(&bench.measured.get()),
            _ => words::DONE.into(),
        },
        Phase::Stopped => words::STOPPED.into(),
        Phase::Failed(error) => format!("{}: {}", words::FAILED, error.message),
    }
}
