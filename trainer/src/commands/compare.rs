//! `starsight compare`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use starsight_model::rating::Decoding;

use super::{divided, hub, labels, train};
use crate::cli::config::Configured;
use crate::cli::source::{Source, data_files, titles};
use crate::cli::{Compare, Settings, Train, TrainingRun};
use crate::data::{Reviews, SplitName};
use crate::evaluate::calibration::divide_by_temperature;
use crate::evaluate::{Evaluation, Measure};
use crate::rate::device::Workload;
use crate::rate::rating;
use crate::system::progress::Progress;

/// Seed of a recipe's first run.
const FIRST_SEED: u64 = 42;

/// The evaluations of all runs of a recipe, on one data set and with one decoding.
struct Line {
    recipe: String,
    data: String,
    decoding: Decoding,
    runs: Vec<Evaluation>,
}

pub(super) fn run(args: &Compare) -> Result<()> {
    let names: Vec<String> = args
        .recipes
        .iter()
        .map(|path| name(path))
        .collect::<Result<_>>()?;
    let apart: BTreeSet<&String> = names.iter().collect();
    ensure!(
        apart.len() == names.len(),
        "two recipes have the same name ({}); a run's folder is named after its recipe",
        names.join(", ")
    );
    // Read all recipes before training the first, so that a mistake in the last one is found at
    // once.
    let settings = |path: &PathBuf, seed: u64| {
        let mut line = vec![
            "--config".into(),
            path.clone().into_os_string(),
            "--seed".into(),
            seed.to_string().into(),
        ];
        line.extend(
            args.rows
                .into_iter()
                .flat_map(|rows| ["--rows".into(), rows.to_string().into()]),
        );
        Ok::<_, anyhow::Error>((seed, Configured::<Settings>::parse(line)?))
    };
    let seeds = FIRST_SEED..FIRST_SEED + args.seeds;
    let plan: Vec<Vec<_>> = args
        .recipes
        .iter()
        .map(|path| seeds.clone().map(|seed| settings(path, seed)).collect())
        .collect::<Result<_>>()?;

    let mut lines = Vec::new();
    for (recipe, runs) in names.into_iter().zip(plan) {
        let mut found: Vec<Vec<Evaluation>> = Vec::new();
        for (seed, settings) in runs {
            say!("==> {recipe}, seed {seed}");
            let evaluations =
                train_and_evaluate(args, settings, args.out.join(format!("{recipe}-{seed}")))?;
            found.resize_with(evaluations.len(), Vec::new);
            found
                .iter_mut()
                .zip(evaluations)
                .for_each(|(runs, evaluation)| runs.push(evaluation));
        }
        let data = std::iter::once(titles(&args.data)).chain(args.also.iter().map(Source::title));
        let each = data.flat_map(|data| Decoding::ALL.map(|decoding| (data.clone(), decoding)));
        lines.extend(each.zip(found).map(|((data, decoding), runs)| Line {
            recipe: recipe.clone(),
            data,
            decoding,
            runs,
        }));
    }
    if args.json {
        let line = |Line {
                        recipe,
                        data,
                        decoding,
                        runs,
                    }: &Line| json!({ "recipe": recipe, "data": data, "decoding": decoding, "runs": runs });
        out!(
            "{}",
            json!({ "seeds": args.seeds, "compared": lines.iter().map(line).collect::<Vec<_>>() })
        );
    } else {
        print(&lines);
    }
    Ok(())
}

fn name(recipe: &Path) -> Result<String> {
    let name = recipe
        .file_stem()
        .with_context(|| format!("{}: not a recipe; expected a TOML file", recipe.display()))?;
    Ok(name.to_string_lossy().into_owned())
}

/// Trains one run unless it is trained already, and evaluates it on the test split and on each of
/// the other data sets, with every decoding.
fn train_and_evaluate(
    args: &Compare,
    settings: Configured<Settings>,
    out: PathBuf,
) -> Result<Vec<Evaluation>> {
    let Settings {
        labelled,
        division,
        recipe,
    } = settings.0.clone();
    let run = TrainingRun {
        data: args.data.clone(),
        unlabelled: Vec::new(),
        out: out.clone(),
        resume: true,
        overwrite: false,
        json: false,
        settings,
        hardware: args.hardware,
        hub: args.hub.clone(),
    };
    train::run_training(Train {
        model: args.model.clone(),
        teacher: Vec::new(),
        run,
    })?;
    let (rater, _) = rating::load(&out, &args.hardware.open(Workload::Large)?)?;
    let own = (
        args.data.as_slice(),
        divided(labels(&labelled), &division),
        SplitName::Test,
    );
    let others = args.also.iter().map(|source| {
        (
            std::slice::from_ref(source),
            crate::data::Labels {
                rows: None,
                ..labels(&labelled)
            },
            SplitName::All,
        )
    });
    let mut found = Vec::new();
    for (data, labels, part) in std::iter::once(own).chain(others) {
        let reviews = Reviews::read(&data_files(data, || hub(&args.hub))?, &labels, Some(&[]))?;
        let rows = reviews.part(part, recipe.split_seed)?;
        let texts: Vec<&str> = rows.iter().map(|row| reviews.text(*row)).collect();
        let ids = rater.tokenizer().encode_all(&texts)?;
        let ids: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
        let mut progress = Progress::new("evaluating", "reviews", rows.len());
        let mut logits = rating::logits(rater.engine(), &ids, &mut progress)?;
        progress.finish();
        logits.iter_mut().for_each(|logits| {
            *logits = divide_by_temperature(logits, rater.settings().temperature);
        });
        let labels: Vec<usize> = rows.iter().map(|row| reviews.label(*row)).collect();
        found.extend(Decoding::ALL.map(|decoding| Evaluation::new(&logits, &labels, decoding)));
    }
    Ok(found)
}

/// Prints a table for each data set: a line for each recipe and decoding, with the means over the
/// runs and their spread.
fn print(lines: &[Line]) {
    let sets: Vec<&str> =
        lines
            .iter()
            .map(|line| line.data.as_str())
            .fold(Vec::new(), |mut sets, data| {
                if !sets.contains(&data) {
                    sets.push(data);
                }
                sets
            });
    for data in sets {
        let of_set: Vec<&Line> = lines.iter().filter(|line| line.data == data).collect();
        let Some((samples, measures)) = of_set
            .first()
            .and_then(|line| line.runs.first())
            .map(|run| (run.metrics.samples, run.measures()))
        else {
            continue;
        };
        out!("\n{data}: {samples} reviews; mean over the runs, ± half of their range\n");
        let heads: Vec<&str> = measures.iter().map(|measure| measure.name).collect();
        out!("| recipe | stars | {} |", heads.join(" | "));
        out!("|---|---|{}", "---|".repeat(heads.len()));
        for Line {
            recipe,
            decoding,
            runs,
            ..
        } in of_set
        {
            let cells: Vec<String> = measures.iter().map(|measure| cell(measure, runs)).collect();
            out!("| {recipe} | {decoding} | {} |", cells.join(" | "));
        }
    }
}

fn cell(measure: &Measure, runs: &[Evaluation]) -> String {
    let values: Vec<f64> = runs.iter().map(|run| (measure.of)(&run.metrics)).collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let (low, high) = values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
            (low.min(*x), high.max(*x))
        });
    format!(
        "{} ± {}",
        measure.show(mean),
        measure.show((high - low) / 2.0)
    )
}
