//! `starsight bench`

use anyhow::{Result, ensure};
use arrow::array::Array;
use indicatif::HumanCount;
use serde_json::json;

use super::hub;
use crate::cli::Bench;
use crate::cli::source::{data_files, names};
use crate::data::Tables;
use crate::rate::bench::{self, BenchReport, BenchResult, Layout, Order, Size};
use crate::rate::device::{Place, Workload};
use crate::rate::rating;
use crate::system::progress::Progress;
use starsight_model::candle;

/// The notebook's lag: half a second for a batch of 32, 20 ms for a single review.
const NOTEBOOKS_LAG: [(usize, u64); 2] = [(32, 500), (1, 20)];

/// ChatGPT's figures as the notebook quotes them: samples a second, and dollars for its test set.
const CHATGPT: (f64, f64) = (34.896, 0.5574);

pub(super) fn run(args: &Bench) -> Result<()> {
    let place = args.hardware.open(Workload::Large)?;
    let (rater, _) = rating::load(&args.model.model_folder(|| hub(&args.hub))?, &place)?;
    let place = if candle::computes(&rater.sizes().model_type) {
        Place::Candle
    } else {
        place
    };
    let table = Tables::open(
        &data_files(&args.data, || hub(&args.hub))?,
        Some(&[&args.text_column]),
        Some(args.rows),
    )?
    .join()?;
    ensure!(
        !table.is_empty(),
        "{}: no reviews: the file has no rows",
        table.name()
    );
    let column = table.texts(&args.text_column)?;
    let texts: Vec<&str> = (0..column.len())
        .map(|i| {
            if column.is_null(i) {
                ""
            } else {
                column.value(i)
            }
        })
        .collect();
    let configs = bench::configs(&args.batch_sizes, rater.engine().token_budget());
    let mut progress = Progress::new(
        "measuring",
        "reviews",
        texts.len() * configs.len() * (args.repeats + 1),
    );
    let report = bench::measure(
        &rater,
        &texts,
        &configs,
        args.repeats,
        &place,
        |size| args.lag_ms.or_else(|| notebooks_lag(size)),
        || progress.advance(texts.len(), ""),
    )?;
    progress.finish();
    if args.json {
        print_json(args, &report);
    } else {
        print(&names(&args.data), &place, &report);
    }
    Ok(())
}

/// The notebook's lag for a batch of this size, in milliseconds.
fn notebooks_lag(size: Size) -> Option<u64> {
    NOTEBOOKS_LAG
        .iter()
        .find(|(reviews, _)| size == Size::Reviews(*reviews))
        .map(|(_, lag)| *lag)
}

fn print_json(args: &Bench, report: &BenchReport) {
    let (samples_per_second, dollars) = CHATGPT;
    let quoted = json!([{ "what": "ChatGPT, as the notebook quotes it", "measured": false, "samples_per_second": samples_per_second, "dollars": dollars }]);
    out!(
        "{}",
        json!({ "model": args.model.to_string(), "data": names(&args.data), "measured": report, "quoted": quoted })
    );
}

/// Prints the report as a table, under the name of the data, and explains its columns.
fn print(data: &str, place: &Place, report: &BenchReport) {
    out!(
        "{data}: {} reviews, {:.1} tokens on average, {} at most; {} repeats after a warm-up",
        HumanCount(report.samples as u64),
        report.tokens as f64 / report.samples as f64,
        report.longest,
        report.repeats
    );
    let (peak, numbers) = (report.peak_gflops, place.numbers());
    out!(
        "peak of {}: {peak:.0} * 10^9 operations/s (matrix products alone, in {numbers})\n",
        place.name()
    );
    out!(
        "batch         layout  order          reviews/s   slowest to fastest   tokens/s  padding   peak   with lag"
    );
    for result in &report.figures {
        out!("{}", line(result));
    }
    let (samples_per_second, dollars) = CHATGPT;
    out!(
        "ChatGPT (quoted, not measured)    {samples_per_second:>12.1}                        ${dollars} for the notebook's test set"
    );
    out!(
        "\nreviews/s: median of the repeats, tokenisation included; padding: computed tokens per token of the reviews;"
    );
    out!("peak: share of the peak above that the linear layers reach, padding included;");
    out!(
        "with lag: reviews/s with this network delay per batch; the delay is added to the measured time"
    );
}

fn line(result: &BenchResult) -> String {
    let BenchResult {
        config,
        samples_per_second,
        spread: [slowest, fastest],
        tokens_per_second,
        padding,
        peak_share,
        lag,
    } = result;
    let batch = match config.batch {
        Size::Reviews(1) => "1 review".into(),
        Size::Reviews(n) => format!("{n} reviews"),
        Size::Tokens(n) => format!("{n} tokens"),
    };
    let layout = if config.layout == Layout::Packed {
        "packed"
    } else {
        "padded"
    };
    let order = if config.order == Order::AsTheyCome {
        "file order"
    } else {
        "by length"
    };
    let lag = lag
        .map(|lag| format!("{:.1} at {} ms", lag.samples_per_second, lag.milliseconds))
        .unwrap_or_default();
    format!(
        "{batch:<13} {layout}  {order:<12}  {samples_per_second:>11.1}  {:>19}  {:>9}  {padding:>7.2}  {:>4.0}%   {lag}",
        format!("{slowest:.1} to {fastest:.1}"),
        HumanCount(tokens_per_second.round() as u64).to_string(),
        100.0 * peak_share
    )
}
