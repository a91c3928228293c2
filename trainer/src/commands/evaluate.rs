//! `starsight evaluate`

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::json;
use starsight_model::metrics::Scores;

use super::{hub, print_metrics, reviews};
use crate::cli::Evaluate;
use crate::progress::Progress;
use crate::rating;
use crate::source::{data_files, names};
use crate::train::part_of;

pub(super) fn run(args: &Evaluate) -> Result<()> {
    let (rater, _) = rating::load(&args.model.model_folder(|| hub(&args.hub))?)?;
    let reviews = reviews(&data_files(&args.data, || hub(&args.hub))?, &args.labelled)?;
    let mut rows = part_of(&reviews, args.split, args.seed)?;
    if args.labelled.drop_empty {
        rows.retain(|row| !reviews.is_blank(*row));
    }
    ensure!(!rows.is_empty(), "{}: no review with text is left to rate", reviews.table.name());
    let clock = Instant::now();
    let mut progress = Progress::new("evaluating", "reviews", rows.len());
    let texts: Vec<&str> = rows.iter().map(|row| reviews.text(*row)).collect();
    let ids = rater.tokenizer().encode_all(&texts)?;
    let ids: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    let logits = rating::logits(rater.engine(), &ids, &mut progress)?;
    let seconds = clock.elapsed().as_secs_f64();
    progress.finish();
    let mut scores = Scores::default();
    for (row, logits) in rows.iter().zip(&logits) {
        // The probabilities that a reader sees are softened by the bundle's temperature; so are those that are judged.
        scores.add(&logits.map(|x| x / rater.temperature()), reviews.label(*row));
    }
    let metrics = scores.metrics();
    let tokens: usize = ids.iter().map(|ids| ids.len()).sum();
    let rate = rows.len() as f64 / seconds;
    if args.json {
        let tokens_per_second = tokens as f64 / seconds;
        println!("{}", json!({ "metrics": metrics, "seconds": seconds, "samples_per_second": rate, "tokens_per_second": tokens_per_second }));
    } else {
        print_metrics(&names(&args.data), &metrics);
        println!("rated in {seconds:.1} s: {rate:.1} reviews/s");
    }
    Ok(())
}
