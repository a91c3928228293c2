//! Throughput, measured.

use js_sys::{Array, JSON};
use wasm_bindgen::prelude::*;
use web_sys::AbortSignal;

use super::field::{field, number};
use super::{Options, Rater, Trouble};

/// Reviews a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batch {
    /// So many.
    Of(u32),
    /// All at once, packed by their lengths.
    Packed,
}

/// The ways of rating that are measured.
#[derive(Debug, Clone, Default)]
pub struct Ways {
    /// Reviews a call.
    pub batches: Vec<Batch>,
    /// Reviews a call, and milliseconds added to each.
    pub lags: Vec<(Batch, u32)>,
    /// How many workers, one number after the other.
    pub workers: Vec<u32>,
}

/// A way of rating, and how fast it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Reviews a call.
    pub batch: Batch,
    /// Milliseconds added to each call.
    pub lag: u32,
    /// How many workers.
    pub workers: u32,
    /// Reviews a second, the median of the runs; the slowest and the fastest run.
    pub samples_per_second: f64,
    /// The slowest run.
    pub slowest: f64,
    /// The fastest run.
    pub fastest: f64,
    /// Tokens a second, of the median run.
    pub tokens_per_second: f64,
    /// Reviews a run.
    pub samples: f64,
    /// How many runs.
    pub repeats: f64,
    /// The same, as the module gave it, in JSON.
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
    /// Measures how fast `texts`, an array of strings, are rated in each of the `ways`; `on_row` gets each as soon as it is known, `on_rated` the numbers of
    /// reviews and tokens rated so far.
    pub async fn bench(
        &self,
        texts: &Array,
        ways: &Ways,
        signal: &AbortSignal,
        mut on_row: impl FnMut(Row) + 'static,
        mut on_rated: impl FnMut(f64, f64) + 'static,
    ) -> Result<(), Trouble> {
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
