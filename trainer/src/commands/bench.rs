//! `starsight bench`

use anyhow::{Result, ensure};
use arrow::array::Array;
use indicatif::HumanCount;
use serde_json::json;

use super::hub;
use crate::cli::Bench;
use crate::cli::source::{data_files, names};
use crate::data::Tables;
use crate::rate::bench::{self, Figure, Layout, Order, Size};
use crate::rate::device::Place;
use crate::rate::rating;
use crate::system::progress::Progress;
use starsight_model::candle;

/// The notebook's lag: half a second for a batch of 32, 20 ms for a single review.
const NOTEBOOKS_LAG: [(usize, u64); 2] = [(32, 500), (1, 20)];

/// ChatGPT's figures as the notebook quotes them: samples a second, and dollars for its test set.
const CHATGPT: (f64, f64) = (34.896, 0.5574);

pub(super) fn run(args: &Bench) -> Result<()> {
    let place = args.hardware.open(true)?;
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
        "{}: no reviews: the file holds no rows",
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
    let lag = |size: Size| {
        let notebooks = || {
            NOTEBOOKS_LAG
                .iter()
                .find(|(reviews, _)| size == Size::Reviews(*reviews))
                .map(|(_, lag)| *lag)
        };
        args.lag_ms.or_else(notebooks)
    };
    let ways = bench::ways(&args.batch_sizes, rater.engine().token_budget());
    let mut progress = Progress::new(
        "measuring",
        "reviews",
        texts.len() * ways.len() * (args.repeats + 1),
    );
    let table = bench::measure(&rater, &texts, &ways, args.repeats, &place, lag, || {
        progress.advance(texts.len(), "");
    })?;
    progress.finish();
    let (samples_per_second, dollars) = CHATGPT;
    if args.json {
        let quoted = json!([{ "what": "ChatGPT, as the notebook quotes it", "measured": false, "samples_per_second": samples_per_second, "dollars": dollars }]);
        out!(
            "{}",
            json!({ "model": args.model.to_string(), "data": names(&args.data), "measured": table, "quoted": quoted })
        );
        return Ok(());
    }
    out!(
        "{}: {} reviews of {:.1} tokens, the longest of {}; {} repeats after a warm-up",
        names(&args.data),
        HumanCount(table.samples as u64),
        table.tokens as f64 / table.samples as f64,
        table.longest,
        table.repeats
    );
    let (peak, numbers) = (table.peak_gflops, place.numbers());
    out!(
        "the peak of {}: {peak:.0} * 10^9 operations/s (the engine's own product in {numbers}, nothing else)\n",
        place.name()
    );
    out!(
        "batch         layout  order          reviews/s   slowest to fastest   tokens/s  padding   peak   with lag"
    );
    for figure in &table.figures {
        out!("{}", line(figure));
    }
    out!(
        "ChatGPT (quoted, not measured)    {samples_per_second:>12.1}                        ${dollars} for the notebook's test set"
    );
    out!(
        "\nreviews/s: the median of the repeats, tokenising included; padding: tokens computed for each token of the reviews;"
    );
    out!(
        "peak: share of that peak which the products of the linear layers reach, padding included;"
    );
    out!(
        "with lag: reviews/s if every batch waited that long for a network; the wait is added to the clock, not slept"
    );
    Ok(())
}

fn line(figure: &Figure) -> String {
    let Figure {
        way,
        samples_per_second,
        spread: [slowest, fastest],
        tokens_per_second,
        padding,
        peak_share,
        lag,
    } = figure;
    let batch = match way.batch {
        Size::Reviews(1) => "1 review".into(),
        Size::Reviews(n) => format!("{n} reviews"),
        Size::Tokens(n) => format!("{n} tokens"),
    };
    let layout = if way.layout == Layout::Packed {
        "packed"
    } else {
        "padded"
    };
    let order = if way.order == Order::AsTheyCome {
        "as they come"
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
