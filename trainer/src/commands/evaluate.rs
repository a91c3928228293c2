//! `starsight evaluate`

use std::collections::HashSet;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use clap::ValueEnum;
use indicatif::HumanCount;
use serde_json::{Map, Value, json};
use starsight_model::candle;
use starsight_model::rating::Decoding;
use starsight_model::{LABELS, Rater};

use super::{divided, hub, labels, print_blank, print_metrics};
use crate::cli::source::{data_files, names};
use crate::cli::{Division, Evaluate};
use crate::data::{Dedup, Reviews, SPLIT_SEED, SplitName};
use crate::evaluate::Evaluation;
use crate::evaluate::agreement::Agreement;
use crate::evaluate::breakdown::{Group, Grouping};
use crate::evaluate::calibration::divide_by_temperature;
use crate::rate::device::{EngineChoice, Place, Precision, Workload};
use crate::rate::rating;
use crate::report::{Mistake, Report, WORST};
use crate::system::files;
use crate::system::progress::Progress;

/// Number of groups printed; `--json` has all.
const SHOWN: usize = 30;

pub(super) fn run(args: &Evaluate) -> Result<()> {
    let folder = args.model.model_folder(|| hub(&args.hub))?;
    let (rater, manifest) = rating::load(&folder, &args.hardware.open(Workload::Large)?)?;
    // For a single part, the model's provenance says how its reviews were divided.
    let provenance = manifest
        .filter(|_| args.split != SplitName::All)
        .map(|manifest| manifest.provenance)
        .unwrap_or_default();
    let args = &as_trained(args, &provenance);
    let division = division(args);
    let reviews = read_reviews(args, &division, &provenance)?;
    let groupings = args
        .by
        .iter()
        .map(|by| Grouping::new(&reviews.table, by))
        .collect::<Result<Vec<_>>>()?;
    let seed = args.split_seed.unwrap_or(SPLIT_SEED);
    let rows = reviews.part(args.split, seed)?;
    let texts: Vec<&str> = rows.iter().map(|row| reviews.text(*row)).collect();
    let rated = rate(&rater, &texts)?;
    let ids: Vec<&[u32]> = rated.ids.iter().map(Vec::as_slice).collect();

    let labels: Vec<usize> = rows.iter().map(|row| reviews.label(*row)).collect();
    let decoding = args.decode.unwrap_or(rater.settings().decoding);
    let evaluation = Evaluation::new(&rated.logits, &labels, decoding);
    let train_rows = provenance["recipe"]["train-rows"]
        .as_u64()
        .map(|n| n as usize);
    let unseen = unseen(&reviews, args.split, seed, train_rows, &rater, &ids)?.map(|at| {
        let (logits, labels): (Vec<_>, Vec<_>) =
            at.into_iter().map(|i| (rated.logits[i], labels[i])).unzip();
        Evaluation::new(&logits, &labels, decoding)
    });
    let agreement = compared_engine(args, &rater)
        .map(|engine| {
            agreement(&folder, &ids, &rated.logits, decoding).map(|agreement| (engine, agreement))
        })
        .transpose()?;
    let lengths: Vec<usize> = ids.iter().map(|ids| ids.len()).collect();
    let groups = groupings
        .iter()
        .map(|grouping| {
            (
                grouping.by.as_str(),
                grouping.groups(&rows, &lengths, &evaluation.reviews),
            )
        })
        .collect();
    let results = Results {
        evaluation,
        unseen,
        agreement,
        groups,
        seconds: rated.seconds,
        tokens: lengths.iter().sum(),
    };
    if args.json {
        results.print_json();
    } else {
        results.print(&names(&args.data));
    }
    // Written last, so that a failure to write it does not lose the printed figures.
    if let Some(path) = &args.report {
        let mistake = |i: usize| Mistake {
            text: texts[i],
            logits: rated.logits[i],
            judged: results.evaluation.reviews[i],
        };
        let mistakes = results
            .evaluation
            .worst(WORST)
            .into_iter()
            .map(mistake)
            .collect();
        let report = report(args, seed, &division, &rater, &results, mistakes);
        files::write_bytes(path, report.page().as_bytes())?;
        say!("the report is in {}", path.display());
    }
    Ok(())
}

/// How the reviews are divided. Reviews that are all rated need no split.
fn division(args: &Evaluate) -> Division {
    Division {
        split_by: args
            .split_by
            .clone()
            .filter(|_| args.split != SplitName::All)
            .unwrap_or_default(),
        dedup: args.dedup.clone(),
    }
}

/// Reads the reviews with the columns to group by, and prints what may be unexpected: reviews
/// without text, and a split that differs from that of the model's training.
fn read_reviews(args: &Evaluate, division: &Division, provenance: &Value) -> Result<Reviews> {
    let by: Vec<&str> = args.by.iter().map(String::as_str).collect();
    let labels = divided(labels(&args.labelled), division);
    let reviews = Reviews::read(
        &data_files(&args.data, || hub(&args.hub))?,
        &labels,
        Some(&by),
    )?;
    print_blank(reviews.blank(), reviews.len(), &args.labelled);
    if let Some(trained) = provenance["reviews"]
        .as_u64()
        .filter(|trained| *trained != reviews.len() as u64)
    {
        say!(
            "the model was trained on {trained} reviews, and these are {}: the split differs, so some of these reviews may be training data",
            reviews.len()
        );
    }
    Ok(reviews)
}

/// Ratings of texts.
struct Rated {
    /// Token ids of each text.
    ids: Vec<Vec<u32>>,
    /// Logits of each text, divided by the bundle's temperature.
    logits: Vec<[f32; LABELS]>,
    /// Seconds from text to logits.
    seconds: f64,
}

/// Rates `texts`. The logits are divided by the bundle's temperature, so that the probabilities
/// that users see are evaluated.
fn rate(rater: &Rater, texts: &[&str]) -> Result<Rated> {
    let clock = Instant::now();
    let mut progress = Progress::new("evaluating", "reviews", texts.len());
    let ids = rater.tokenizer().encode_all(texts)?;
    let slices: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    let mut logits = rating::logits(rater.engine(), &slices, &mut progress)?;
    let seconds = clock.elapsed().as_secs_f64();
    progress.finish();
    let temperature = rater.settings().temperature;
    logits
        .iter_mut()
        .for_each(|logits| *logits = divide_by_temperature(logits, temperature));
    Ok(Rated {
        ids,
        logits,
        seconds,
    })
}

/// The engine to compare the ratings with, for ratings in int8 or by candle. `None` for models that
/// only candle computes: they have no other engine.
fn compared_engine(args: &Evaluate, rater: &Rater) -> Option<&'static str> {
    let by_candle = args.hardware.engine == EngineChoice::Candle
        && !candle::computes(&rater.sizes().model_type);
    if by_candle {
        Some("Starsight's own engine in f32")
    } else {
        args.hardware.int8.then_some("f32")
    }
}

/// The results of an evaluation.
struct Results<'a> {
    evaluation: Evaluation,
    /// Evaluation of the reviews whose text does not occur in the training split.
    unseen: Option<Evaluation>,
    /// Agreement with another engine, and its name.
    agreement: Option<(&'static str, Agreement)>,
    /// Metrics by group, for each grouping.
    groups: Vec<(&'a str, Vec<Group>)>,
    seconds: f64,
    tokens: usize,
}

impl Results<'_> {
    fn reviews_per_second(&self) -> f64 {
        self.evaluation.reviews.len() as f64 / self.seconds
    }

    fn print_json(&self) {
        let groups: Map<_, _> = self
            .groups
            .iter()
            .map(|(by, groups)| ((*by).to_string(), json!(groups)))
            .collect();
        let mut out = json!({
            "metrics": self.evaluation,
            "groups": groups,
            "seconds": self.seconds,
            "samples_per_second": self.reviews_per_second(),
            "tokens_per_second": self.tokens as f64 / self.seconds,
        });
        if let Some(unseen) = &self.unseen {
            out["unseen"] = json!(unseen);
        }
        if let Some((_, agreement)) = &self.agreement {
            out["agreement"] = json!(agreement);
        }
        out!("{out}");
    }

    /// Prints the results as tables, under the name of the data.
    fn print(&self, data: &str) {
        print_metrics(data, &self.evaluation);
        if let Some(unseen) = &self.unseen {
            print_metrics(
                "of these, reviews whose text is not in the training split",
                unseen,
            );
        }
        self.groups
            .iter()
            .for_each(|(by, groups)| print_groups(by, groups));
        if let Some((engine, agreement)) = &self.agreement {
            let Agreement {
                same_star,
                mean_difference,
                largest_difference,
                ..
            } = agreement;
            let share = 100.0 * same_star;
            out!(
                "\nagreement with {engine}: the same star for {share:.2}% of the reviews; probabilities differ by {mean_difference:.5} on average, by {largest_difference:.3} at most"
            );
        }
        let (seconds, rate) = (self.seconds, self.reviews_per_second());
        out!("\nrated in {seconds:.1} s: {rate:.1} reviews/s");
    }
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
        .for_each(|logits| *logits = divide_by_temperature(logits, rater.settings().temperature));
    Ok(Agreement::new(logits, &reference, decoding))
}

/// The report of an evaluation: the report of a training run without the training.
fn report<'a>(
    args: &Evaluate,
    seed: u64,
    division: &Division,
    rater: &Rater,
    results: &'a Results<'_>,
    mistakes: Vec<Mistake<'a>>,
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
        "temperature": rater.settings().temperature,
        "decoding": args.decode.unwrap_or(rater.settings().decoding),
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
            "Evaluated on {} reviews of {}.",
            HumanCount(results.evaluation.metrics.samples as u64),
            names(&args.data)
        ),
        speed: results.reviews_per_second(),
        speed_of: "rated, from text to stars",
        evaluation: &results.evaluation,
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
