//! Throughput benchmarks.

use js_sys::{Array, JSON};
use wasm_bindgen::prelude::*;
use web_sys::AbortSignal;

use super::field::{field, number};
use super::{Options, Rater, ScriptError};

/// Number of reviews per call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batch {
    /// A fixed number.
    Of(u32),
    /// All at once, packed by their lengths.
    Packed,
}

/// The settings whose throughput is measured.
#[derive(Debug, Clone, Default)]
pub struct Ways {
    /// Numbers of reviews per call.
    pub batches: Vec<Batch>,
    /// Numbers of reviews per call, with milliseconds of added latency for each.
    pub lags: Vec<(Batch, u32)>,
    /// Numbers of workers, measured one after the other.
    pub workers: Vec<u32>,
}

/// A benchmark setting and its result.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Number of reviews per call.
    pub batch: Batch,
    /// Milliseconds of latency added to each call.
    pub lag: u32,
    /// Number of workers.
    pub workers: u32,
    /// Reviews per second of the median run.
    pub samples_per_second: f64,
    /// Reviews per second of the slowest run.
    pub slowest: f64,
    /// Reviews per second of the fastest run.
    pub fastest: f64,
    /// Tokens per second of the median run.
    pub tokens_per_second: f64,
    /// Reviews per run.
    pub samples: f64,
    /// Number of runs.
    pub repeats: f64,
    /// The module's result object as JSON.
    pub json: String,
}

impl Row {
    fn of(row: &JsValue) -> Row {
        let of = |name| number(row, name).unwrap_or_default();
        Row {
            batch: field(row, "batch")
                .as_f64()
                .map_or(Batch::Packed, |count| Batch::Of(count as u32)),
            lag: of("lag") as u32,
            workers: of("workers") as u32,
            samples_per_second: of("samplesPerSecond"),
            slowest: of("slowest"),
            fastest: of("fastest"),
            tokens_per_second: of("tokensPerSecond"),
            samples: of("samples"),
            repeats: of("repeats"),
            json: JSON::stringify(row).map(String::from).unwrap_or_default(),
        }
    }
}

impl Rater {
    /// Measures how fast `texts`, an array of strings, are rated in each of the `ways`. `on_row` is
    /// called with each result as soon as it is known, `on_rated` with the numbers of reviews and
    /// tokens rated so far.
    pub async fn bench(
        &self,
        texts: &Array,
        ways: &Ways,
        signal: &AbortSignal,
        mut on_row: impl FnMut(Row) + 'static,
        mut on_rated: impl FnMut(f64, f64) + 'static,
    ) -> Result<(), ScriptError> {
        let on_progress = Closure::<dyn FnMut(JsValue)>::new(move |at: JsValue| {
            on_rated(
                number(&at, "rated").unwrap_or_default(),
                number(&at, "tokens").unwrap_or_default(),
            );
        });
        let on_row = Closure::<dyn FnMut(JsValue)>::new(move |row: JsValue| on_row(Row::of(&row)));
        let batch = |batch: Batch| match batch {
            Batch::Of(count) => JsValue::from(count),
            Batch::Packed => "all".into(),
        };
        let lag = |&(count, lag): &(Batch, u32)| {
            let mut one = Options::default();
            one.set("batch", &batch(count));
            one.set("lag", &lag.into());
            one.0
        };
        let mut options = Options::default();
        options.set(
            "batches",
            &ways.batches.iter().copied().map(batch).collect::<Array>(),
        );
        options.set("lags", &ways.lags.iter().map(lag).collect::<Array>());
        options.set(
            "workers",
            &ways
                .workers
                .iter()
                .copied()
                .map(JsValue::from)
                .collect::<Array>(),
        );
        options.set("onProgress", on_progress.as_ref());
        options.set("onRow", on_row.as_ref());
        options.set("signal", signal);
        self.js_bench(texts, &options.0).await?;
        Ok(())
    }
}
