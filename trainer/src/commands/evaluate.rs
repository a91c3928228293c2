//! `starsight evaluate`

use std::collections::HashSet;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use clap::ValueEnum;
use indicatif::HumanCount;
use serde_json::{Map, Value, json};
use starsight_model::candle;
use starsight_model::rating::{Decoding, Reading};
use starsight_model::{LABELS, Rater};

use super::{divided, hub, labels, print_metrics, tell_blank};
use crate::cli::source::{data_files, names};
use crate::cli::{Division, Evaluate};
use crate::data::{Dedup, Reviews, SPLIT_SEED, SplitName};
use crate::evaluate::Evaluation;
use crate::evaluate::agreement::Agreement;
use crate::evaluate::breakdown::{Group, Grouping};
use crate::evaluate::calibration::cooled;
use crate::rate::device::{EngineChoice, Place, Precision};
use crate::rate::rating;
use crate::report::{Mistake, Report, WORST};
use crate::system::files;
use crate::system::progress::Progress;

/// Number of groups printed; `--json` has all.
const SHOWN: usize = 30;

pub(super) fn run(args: &Evaluate) -> Result<()> {
    let folder = args.model.model_folder(|| hub(&args.hub))?;
    let (rater, manifest) = rating::load(&folder, &args.hardware.open(true)?)?;
    let Reading {
        temperature,
        decoding,
        ..
    } = rater.reading();
    let decoding = args.decode.unwrap_or(decoding);
    let by: Vec<&str> = args.by.iter().map(String::as_str).collect();
    // For a single part, the model's provenance says how its reviews were divided.
    let provenance = manifest
        .filter(|_| args.split != SplitName::All)
        .map(|manifest| manifest.provenance)
        .unwrap_or_default();
    let args = &as_trained(args, &provenance);
    let division = Division {
        split_by: args
            .split_by
            .clone()
            .filter(|_| args.split != SplitName::All)
            .unwrap_or_default(),
        dedup: args.dedup.clone(),
    };
    let labels = divided(labels(&args.labelled), &division);
    let reviews = Reviews::read(
        &data_files(&args.data, || hub(&args.hub))?,
        &labels,
        Some(&by),
    )?;
    tell_blank(reviews.blank(), reviews.len(), &args.labelled);
    if let Some(trained) = provenance["reviews"]
        .as_u64()
        .filter(|trained| *trained != reviews.len() as u64)
    {
        say!(
            "the model was trained on {trained} reviews, and these are {}: they are divided otherwise, and it may have learned from some that are rated here",
            reviews.len()
        );
    }
    let train_rows = provenance["recipe"]["train-rows"]
        .as_u64()
        .map(|n| n as usize);
    let groupings = args
        .by
        .iter()
        .map(|by| Grouping::new(&reviews.table, by))
        .collect::<Result<Vec<_>>>()?;
    let seed = args.split_seed.unwrap_or(SPLIT_SEED);
    let rows = reviews.part(args.split, seed)?;
    let clock = Instant::now();
    let mut progress = Progress::new("evaluating", "reviews", rows.len());
    let texts: Vec<&str> = rows.iter().map(|row| reviews.text(*row)).collect();
    let ids = rater.tokenizer().encode_all(&texts)?;
    let ids: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    let mut logits = rating::logits(rater.engine(), &ids, &mut progress)?;
    let seconds = clock.elapsed().as_secs_f64();
    progress.finish();
    // Evaluate the probabilities that users see: the logits divided by the bundle's temperature.
    logits
        .iter_mut()
        .for_each(|logits| *logits = cooled(logits, temperature));
    let labels: Vec<usize> = rows.iter().map(|row| reviews.label(*row)).collect();
    let evaluation = Evaluation::new(&logits, &labels, decoding);
    let unseen = unseen(&reviews, args.split, seed, train_rows, &rater, &ids)?.map(|at| {
        let (logits, labels): (Vec<_>, Vec<_>) =
            at.into_iter().map(|i| (logits[i], labels[i])).unzip();
        Evaluation::new(&logits, &labels, decoding)
    });
    // Only models that our own kernels compute have another engine to compare with.
    let by_candle = args.hardware.engine == EngineChoice::Candle
        && !candle::computes(&rater.sizes().model_type);
    let agreement = (args.hardware.int8 || by_candle)
        .then(|| agreement(&folder, &ids, &logits, decoding))
        .transpose()?;
    let lengths: Vec<usize> = ids.iter().map(|ids| ids.len()).collect();
    let groups: Vec<(&str, Vec<Group>)> = groupings
        .iter()
        .map(|grouping| {
            (
                grouping.by.as_str(),
                grouping.groups(&rows, &lengths, &evaluation.reviews),
            )
        })
        .collect();
    let rate = rows.len() as f64 / seconds;
    if args.json {
        let tokens_per_second = lengths.iter().sum::<usize>() as f64 / seconds;
        let groups: Map<_, _> = groups
            .into_iter()
            .map(|(by, groups)| (by.to_string(), json!(groups)))
            .collect();
        let mut out = json!({ "metrics": evaluation, "groups": groups, "seconds": seconds, "samples_per_second": rate, "tokens_per_second": tokens_per_second });
        if let Some(unseen) = unseen {
            out["unseen"] = json!(unseen);
        }
        if let Some(agreement) = agreement {
            out["agreement"] = json!(agreement);
        }
        out!("{out}");
    } else {
        print_metrics(&names(&args.data), &evaluation);
        unseen.iter().for_each(|unseen| {
            print_metrics(
                "of these, texts that do not stand in the training split",
                unseen,
            );
        });
        groups
            .iter()
            .for_each(|(by, groups)| print_groups(by, groups));
        if let Some(Agreement {
            same_star,
            mean_difference,
            largest_difference,
            ..
        }) = agreement
        {
            let share = 100.0 * same_star;
            out!(
                "\nagreement with {}: the same star for {share:.2}% of the reviews; probabilities differ by {mean_difference:.5} on average, by {largest_difference:.3} at most",
                if by_candle {
                    "our own engine in f32"
                } else {
                    "f32"
                }
            );
        }
        out!("\nrated in {seconds:.1} s: {rate:.1} reviews/s");
    }
    // Written last, so that a failure to write it does not lose the printed figures.
    if let Some(path) = &args.report {
        let mistake = |i: usize| Mistake {
            text: texts[i],
            logits: logits[i],
            judged: evaluation.reviews[i],
        };
        let mistakes = evaluation.worst(WORST).into_iter().map(mistake).collect();
        files::write_bytes(
            path,
            report(args, seed, &division, &rater, &evaluation, mistakes, rate)
                .page()
                .as_bytes(),
        )?;
        say!("the report is in {}", path.display());
    }
    Ok(())
}

/// The arguments, with missing ones filled in from the provenance of the model's training.
fn as_trained(args: &Evaluate, provenance: &Value) -> Evaluate {
    let mut args = args.clone();
    args.split_by = args
        .split_by
        .or_else(|| serde_json::from_value(provenance["split_by"].clone()).ok());
    args.split_seed = args
        .split_seed
        .or_else(|| provenance["split_seed"].as_u64());
    args.labelled.rows = args
        .labelled
        .rows
        .or_else(|| provenance["rows"].as_u64()?.try_into().ok());
    args.labelled.drop_empty |= provenance["drop_empty"] == true;
    // Earlier versions recorded only whether copies were left out.
    let columns = || match &provenance["dedup"] {
        Value::Bool(true) => Some(Dedup(Vec::new())),
        of => serde_json::from_value(of.clone()).ok(),
    };
    args.dedup = args.dedup.or_else(columns);
    args
}

/// Indices into the part `name` of the reviews whose text does not occur in the training split;
/// `ids` are the token ids of the part. As in training, texts with the same token ids are equal,
/// and only the first `train_rows` count. `None` if this holds for all or none of them, or if
/// `name` is train or all.
fn unseen(
    reviews: &Reviews,
    name: SplitName,
    seed: u64,
    train_rows: Option<usize>,
    rater: &Rater,
    ids: &[&[u32]],
) -> Result<Option<Vec<usize>>> {
    if matches!(name, SplitName::Train | SplitName::All) {
        return Ok(None);
    }
    let mut train = reviews.part(SplitName::Train, seed)?;
    train.truncate(train_rows.unwrap_or(usize::MAX));
    let texts: Vec<&str> = train.iter().map(|row| reviews.text(*row)).collect();
    let learned: HashSet<Vec<u32>> = rater.tokenizer().encode_all(&texts)?.into_iter().collect();
    let unseen: Vec<usize> = (0..ids.len())
        .filter(|i| !learned.contains(ids[*i]))
        .collect();
    Ok((!unseen.is_empty() && unseen.len() < ids.len()).then_some(unseen))
}

/// Compares `logits` with those that our own engine gives in f32 for the model in `folder`.
fn agreement(
    folder: &Path,
    ids: &[&[u32]],
    logits: &[[f32; LABELS]],
    decoding: Decoding,
) -> Result<Agreement> {
    let (rater, _) = rating::load(folder, &Place::Processor(Precision::F32))?;
    let mut progress = Progress::new("in f32", "reviews", ids.len());
    let mut reference = rating::logits(rater.engine(), ids, &mut progress)?;
    progress.finish();
    reference
        .iter_mut()
        .for_each(|logits| *logits = cooled(logits, rater.reading().temperature));
    Ok(Agreement::new(logits, &reference, decoding))
}

/// The report of an evaluation: the report of a training run without the training.
fn report<'a>(
    args: &Evaluate,
    seed: u64,
    division: &Division,
    rater: &Rater,
    evaluation: &'a Evaluation,
    mistakes: Vec<Mistake<'a>>,
    rate: f64,
) -> Report<'a> {
    let part = args
        .split
        .to_possible_value()
        .map(|value| value.get_name().to_string())
        .unwrap_or_default();
    let sizes = rater.sizes();
    let facts = json!({
        "model": args.model.to_string(),
        "architecture": sizes.model_type,
        "layers": sizes.layers,
        "width": sizes.hidden_size,
        "weights": sizes.parameters,
        "temperature": rater.reading().temperature,
        "decoding": args.decode.unwrap_or(rater.reading().decoding),
        "data": names(&args.data),
        "part_of_the_data": part,
        "seed_of_the_split": seed,
        "split_by": division.split_by,
        "reviews_without_text": if args.labelled.drop_empty { "left out" } else { "kept" },
        "copies": if args.dedup.is_some() { "left out" } else { "kept" },
    });
    Report {
        title: args.model.to_string(),
        lead: format!(
            "Held against the stars of {} reviews of {}.",
            HumanCount(evaluation.metrics.samples as u64),
            names(&args.data)
        ),
        speed: rate,
        speed_of: "rated, from text to stars",
        evaluation,
        mistakes,
        learning: None,
        facts: vec![("Provenance", facts.as_object().cloned().unwrap_or_default())],
    }
}

fn print_groups(by: &str, groups: &[Group]) {
    let shown = &groups[..groups.len().min(SHOWN)];
    // Wide enough for the names, with a limit, because a name may be a whole review.
    let width = shown
        .iter()
        .map(|g| g.group.chars().count())
        .max()
        .unwrap_or(0)
        .clamp(by.len(), 48);
    out!("\n{by:<width$}   reviews   accuracy   at most 1 off   mean abs. error      QWK      ECE");
    for Group {
        group,
        samples,
        accuracy,
        off_by_one,
        mae,
        qwk,
        ece,
    } in shown
    {
        let name: String = group.chars().take(width).collect();
        let samples = HumanCount(*samples as u64).to_string();
        out!(
            "{name:<width$}{samples:>10}{:>10.2}%{:>15.2}%{mae:>18.4}{qwk:>9.3}{ece:>9.3}",
            100.0 * accuracy,
            100.0 * off_by_one
        );
    }
    if groups.len() > SHOWN {
        out!(
            "and {} smaller groups; --json lists all",
            groups.len() - SHOWN
        );
    }
}
