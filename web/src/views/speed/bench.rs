//! The benchmark, run by `starsight.js` with the settings that the notebook measured.

use js_sys::{Array, Date, JSON, Reflect};
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsValue;
use web_sys::AbortController;

use crate::model::Model;
use crate::starsight::{Batch, Row, ScriptError, Ways};
use crate::words::speed as words;

/// Synthetic reviews: a part of samples/reviews.csv, with the lengths of real reviews (median 7
/// tokens, mean 15, 5% above 57).
const SAMPLES: &str = include_str!("samples.txt");

/// Reviews per run for calls of few reviews, and for calls with added latency.
const FEW: usize = 128;
const FEWEST: usize = 64;

/// Approximate seconds of a run that rates all reviews at once, and the largest number of reviews
/// in it.
const LONG: f64 = 1.5;
const MOST: usize = 4096;

/// The largest number of workers that is tried; each needs the model's memory. On a phone it is
/// one, as `starsight.js` chooses there too.
const MOST_WORKERS: u32 = 8;

/// The state of the benchmark.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// Not started.
    Idle,
    /// In progress.
    Running,
    /// Every setting has been measured.
    Done,
    /// The reader stopped it.
    Stopped,
    /// It stopped with an error.
    Failed(ScriptError),
}

/// A setting: reviews per call, milliseconds of latency, workers.
pub type Way = (Batch, u32, u32);

/// The benchmark and its results.
#[derive(Clone, Copy)]
pub struct Bench {
    /// The benchmark's state.
    pub phase: RwSignal<Phase>,
    /// The results so far.
    pub rows: RwSignal<Vec<Row>>,
    /// The name of the measured model; the page may have loaded another one since.
    pub measured: RwSignal<String>,
    stop: StoredValue<Option<AbortController>, LocalStorage>,
    cores: u32,
}

impl Bench {
    /// A benchmark that has not started.
    pub fn new() -> Bench {
        let cores = window().navigator().hardware_concurrency().max(1.0) as u32;
        Bench {
            phase: RwSignal::new(Phase::Idle),
            rows: RwSignal::default(),
            measured: RwSignal::default(),
            stop: StoredValue::new_local(None),
            cores,
        }
    }

    /// All settings, in the order in which they are measured.
    pub fn plan(self) -> Vec<Way> {
        let [few, packed, lagged] = self.stages();
        let ways = |ways: &Ways| -> Vec<Way> {
            let calls = ways
                .batches
                .iter()
                .map(|&batch| (batch, 0))
                .chain(ways.lags.iter().copied());
            calls
                .flat_map(|(batch, lag)| {
                    ways.workers
                        .iter()
                        .map(move |&workers| (batch, lag, workers))
                })
                .collect()
        };
        [few, packed, lagged].iter().flat_map(ways).collect()
    }

    /// The result for a setting.
    pub fn row(self, way: Way) -> Option<Row> {
        self.rows.with(|rows| {
            rows.iter()
                .find(|row| (row.batch, row.lag, row.workers) == way)
                .cloned()
        })
    }

    /// The fastest result, in reviews per second.
    pub fn best(self) -> Option<f64> {
        self.rows.with(|rows| {
            rows.iter()
                .map(|row| row.samples_per_second)
                .reduce(f64::max)
        })
    }

    /// The three stages: few reviews per call; all at once with increasing numbers of workers; with
    /// added network latency.
    fn stages(self) -> [Ways; 3] {
        let most = if is_phone() {
            1
        } else {
            self.cores.min(MOST_WORKERS)
        };
        let mut workers: Vec<u32> = (0..u32::BITS)
            .map(|power| 1 << power)
            .take_while(|&count| count < most)
            .collect();
        workers.push(most);
        [
            Ways {
                batches: vec![Batch::Of(1), Batch::Of(32), Batch::Of(64)],
                lags: vec![],
                workers: vec![1],
            },
            Ways {
                batches: vec![Batch::Packed],
                lags: vec![],
                workers,
            },
            Ways {
                batches: vec![],
                lags: vec![(Batch::Of(1), 20), (Batch::Of(32), 500)],
                workers: vec![1],
            },
        ]
    }

    /// Starts the benchmark again. `finished` is called at the end, whatever the outcome.
    pub fn start(self, model: Model, finished: impl FnOnce() + 'static) {
        let Ok(controller) = AbortController::new() else {
            return;
        };
        let signal = controller.signal();
        self.stop.set_value(Some(controller));
        self.rows.set(Vec::new());
        self.measured
            .set(untrack(|| model.name()).unwrap_or_default());
        self.phase.set(Phase::Running);
        spawn_local(async move {
            let measured = async {
                let [few, packed, lagged] = self.stages();
                for (ways, count) in [(few, Some(FEW)), (packed, None), (lagged, Some(FEWEST))] {
                    let texts = samples(count.unwrap_or_else(|| self.many()));
                    model
                        .bench(&texts, &ways, &signal, move |row| {
                            self.rows.update(|rows| rows.push(row));
                        })
                        .await?;
                }
                Ok::<(), ScriptError>(())
            };
            let phase = match measured.await {
                Ok(()) => Phase::Done,
                Err(error) if error.is_cancel() => Phase::Stopped,
                Err(error) => Phase::Failed(error),
            };
            self.phase.set(phase);
            finished();
        });
    }

    /// Cancels the benchmark. Results so far are kept.
    pub fn cancel(self) {
        if let Some(controller) = self.stop.get_value() {
            controller.abort();
        }
    }

    /// The number of reviews for a run that rates all at once, estimated from the results so far.
    fn many(self) -> usize {
        let best = self.rows.with_untracked(|rows| {
            rows.iter()
                .map(|row| row.samples_per_second)
                .fold(0.0, f64::max)
        });
        ((best * LONG) as usize).clamp(FEW, MOST)
    }

    /// The result as text.
    pub fn as_text(self) -> String {
        let (name, agent) = (self.measured.get_untracked(), agent());
        let lines = self
            .rows
            .with_untracked(|rows| rows.iter().map(words::line).collect::<Vec<_>>().join("\n"));
        format!(
            "{}\n{lines}\n{} {}\n",
            words::heading(&name, self.cores.into(), &agent),
            words::QUOTED,
            words::CHATGPT_QUOTED
        )
    }

    /// The result as JSON.
    pub fn as_json(self) -> String {
        let (name, agent) = (self.measured.get_untracked(), agent());
        let rows = self.rows.with_untracked(|rows| {
            rows.iter()
                .map(|row| format!("    {}", row.json))
                .collect::<Vec<_>>()
                .join(",\n")
        });
        let date = String::from(Date::new_0().to_iso_string());
        format!(
            "{{\n  \"model\": {},\n  \"date\": {},\n  \"userAgent\": {},\n  \"cores\": {},\n  \"rows\": [\n{rows}\n  ]\n}}\n",
            quoted(&name),
            quoted(&date),
            quoted(&agent),
            self.cores
        )
    }
}

/// The browser's user agent string.
fn agent() -> String {
    window().navigator().user_agent().unwrap_or_default()
}

/// Whether this is a phone, decided as in `starsight.js`.
fn is_phone() -> bool {
    let said = Reflect::get(&window().navigator(), &"userAgentData".into())
        .and_then(|data| Reflect::get(&data, &"mobile".into()));
    // An iPad identifies itself as a Mac, but no Mac has a touch screen.
    let is_tablet = || agent().contains("Macintosh") && window().navigator().max_touch_points() > 1;
    let named = || {
        ["Mobi", "Android", "iPhone", "iPad"]
            .iter()
            .any(|sign| agent().contains(sign))
            || is_tablet()
    };
    said.ok()
        .and_then(|mobile| mobile.as_bool())
        .unwrap_or_else(named)
}

/// A string as JSON.
fn quoted(text: &str) -> String {
    JSON::stringify(&JsValue::from(text))
        .map(String::from)
        .unwrap_or_default()
}

/// `count` reviews: the samples, repeated.
fn samples(count: usize) -> Array {
    SAMPLES
        .lines()
        .cycle()
        .take(count)
        .map(JsValue::from)
        .collect()
}
