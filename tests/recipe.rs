//! The flags of the recipe: the effect of each on a small run.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{bad, csv, folder_with, good, json, starsight, text, words};
use serde_json::Value;
use starsight::data::Tables;
use tempfile::TempDir;

/// A folder with reviews.csv (320 rows, 204 of them for training) and base/, of two layers.
fn based() -> TempDir {
    let dir = folder_with("reviews.csv", csv(320));
    let init = words(
        "init --data reviews.csv --out base --layers 2 --hidden 32 --vocab-size 200 --max-length 32",
    );
    good(dir.path(), &init);
    dir
}

/// Trains in steps of 16 reviews, 13 an epoch, into the folder `out`, and returns the standard
/// error.
fn train(at: &Path, out: &str, flags: &[&str]) -> String {
    let base = [
        "train",
        "--model",
        "base",
        "--data",
        "reviews.csv",
        "--batch",
        "16",
        "--accum",
        "1",
        "--out",
        out,
    ];
    let output = starsight(at, &[&base[..], flags].concat());
    assert!(
        output.status.success(),
        "{flags:?}: {}",
        text(&output.stderr)
    );
    text(&output.stderr)
}

fn read(at: &Path, path: &str) -> Vec<u8> {
    std::fs::read(at.join(path)).expect("a file")
}

fn log(at: &Path, out: &str) -> Vec<Value> {
    text(&read(at, &format!("{out}/train_log.jsonl")))
        .lines()
        .map(json)
        .collect()
}

/// The bytes of each tensor of a safetensors file.
fn tensors(at: &Path, path: &str) -> BTreeMap<String, Vec<u8>> {
    let bytes = read(at, path);
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let names = json(&text(&bytes[8..header]));
    let names = names
        .as_object()
        .expect("an object")
        .iter()
        .filter(|(name, _)| *name != "__metadata__");
    let offset = |entry: &Value, i: usize| {
        header + entry["data_offsets"][i].as_u64().expect("an offset") as usize
    };
    names
        .map(|(name, entry)| {
            (
                name.clone(),
                bytes[offset(entry, 0)..offset(entry, 1)].to_vec(),
            )
        })
        .collect()
}

/// A recipe in which hardly anything is as usual.
const FLAGS: &str = "--lr 5e-3 --schedule polynomial --lr-power 2 --lr-end 1e-4 --warmup-steps 3 --max-steps \
         20 --layer-decay 0.8 --label-smoothing 0.1 --class-weights balanced --freeze-embeddings \
         --eval-every 6 --best-by qwk --seed 7 --split-seed 3 --rows 300";

/// Runs its recipe again.
const AGAIN: &str = "train --model base --data reviews.csv --config first/recipe.toml --out again";

#[test]
fn a_recipe_is_kept_and_can_be_run_again() {
    let dir = based();
    let at = dir.path();
    train(at, "first", &words(FLAGS));
    let recipe = text(&read(at, "first/recipe.toml"));
    for line in [
        "# starsight train --model base --data reviews.csv",
        "lr = 0.005\n",
        "class-weights = \"balanced\"",
        "best-by = \"qwk\"",
        "rows = 300",
    ] {
        assert!(recipe.contains(line), "no {line:?} in {recipe}");
    }
    good(at, &words(AGAIN));
    assert!(
        read(at, "first/model.safetensors") == read(at, "again/model.safetensors"),
        "the same weights, bit for bit"
    );
    assert_eq!(
        recipe.lines().skip(1).collect::<Vec<_>>(),
        text(&read(at, "again/recipe.toml"))
            .lines()
            .skip(1)
            .collect::<Vec<_>>()
    );
    let steps: Vec<u64> = log(at, "first")
        .iter()
        .filter(|line| !line["validation"].is_null())
        .filter_map(|line| line["step"].as_u64())
        .collect();
    assert_eq!(steps, [6, 12, 18, 20], "every six steps, and at the end");
    let rates: Vec<f64> = log(at, "first")
        .iter()
        .filter_map(|line| line["learning_rate"].as_f64())
        .collect();
    assert_eq!((rates.len(), rates[0], rates[3]), (20, 0.0, 0.005));
    assert!(
        (rates[19] - (0.0049 / (17.0 * 17.0) + 1e-4)).abs() < 1e-12,
        "{}",
        rates[19]
    );
}

#[test]
fn a_bundle_records_how_its_reviews_were_divided() {
    let dir = based();
    let at = dir.path();
    train(at, "first", &words(FLAGS));
    // The bundle records how the reviews were divided. The dates in the test split show which split
    // was used.
    let dates = |flags: &[&str]| {
        let evaluate =
            words("evaluate --model first --data reviews.csv --split test --by date --json");
        let output = starsight(at, &[&evaluate[..], flags].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let found = json(&text(&output.stdout));
        (
            found["groups"]["date"].clone(),
            found["metrics"]["samples"].clone(),
            text(&output.stderr).contains("the model was trained on 300 reviews, and these are 3"),
        )
    };
    let own = dates(&[]);
    assert_eq!(
        (&own.1, own.2),
        (&60.into(), false),
        "a fifth of the rows that it was trained on"
    );
    assert!(
        own == dates(&["--split-seed", "3", "--rows", "300"])
            && own != dates(&["--split-seed", "42"])
    );
    assert!(dates(&["--rows", "310"]).2);
    // It also records whether copies were left out.
    let path = at.join("first/starsight.json");
    let mut manifest = json(&text(&read(at, "first/starsight.json")));
    assert_eq!(
        (
            &manifest["provenance"]["dedup"],
            &manifest["provenance"]["drop_empty"]
        ),
        (&serde_json::Value::Null, &false.into())
    );
    manifest["provenance"]["dedup"] = true.into();
    std::fs::write(&path, manifest.to_string()).expect("written");
    assert!(dates(&[]).1.as_u64() < Some(60));
}

#[test]
fn a_flag_is_added_to_a_recipe_and_a_mistake_in_it_is_named() {
    let dir = based();
    let at = dir.path();
    train(at, "first", &words(FLAGS));
    let again = words(AGAIN);
    // One further flag makes a different run.
    let mut other = again.clone();
    other[8] = "other";
    good(at, &[&other[..], &["--max-steps", "4"]].concat());
    assert_eq!(log(at, "other").len(), 4 + 1);
    // A mistake in the file is reported with its place before anything is written.
    std::fs::write(at.join("bad.toml"), "epochs = 2\nlearning-rate = 1e-3\n").expect("written");
    other[6..9].copy_from_slice(&["bad.toml", "--out", "none"]);
    bad(
        at,
        &other,
        2,
        &["bad.toml: unknown key `learning-rate`; known keys:"],
    );
    std::fs::write(at.join("bad.toml"), "lr = \"fast\"\n").expect("written");
    bad(
        at,
        &other,
        2,
        &[
            "bad.toml: `lr`: invalid value 'fast'",
            "expected a number above 0",
        ],
    );
    bad(
        at,
        &[&again[..8], &["none", "--config", "missing.toml"]].concat(),
        2,
        &["--config"],
    );
    assert!(!at.join("none").exists());
}

#[test]
fn what_is_frozen_stays_and_the_rest_moves() {
    let dir = based();
    let at = dir.path();
    let before = tensors(at, "base/model.safetensors");
    let frozen = |out: &str, flags: &[&str]| -> Vec<String> {
        let said = train(at, out, flags);
        assert!(!said.contains("have zero gradients"), "{said}");
        let after = tensors(at, &format!("{out}/model.safetensors"));
        assert_eq!(before.len(), after.len());
        before
            .iter()
            .filter(|(name, bytes)| after[*name] == **bytes)
            .map(|(name, _)| name.clone())
            .collect()
    };
    assert!(frozen("all", &["--lr", "5e-3"]).is_empty());
    let embeddings = frozen("embeddings", &["--lr", "5e-3", "--freeze-embeddings"]);
    assert!(
        embeddings.len() == 4 && embeddings.iter().all(|name| name.contains(".embeddings.")),
        "{embeddings:?}"
    );
    let lower = frozen("lower", &["--lr", "5e-3", "--freeze-layers", "1"]);
    assert!(
        lower.len() == 4 + 16
            && lower
                .iter()
                .all(|name| name.contains(".embeddings.") || name.contains(".layer.0.")),
        "{lower:?}"
    );
    // Frozen tensors do not count in the gradient's norm either.
    let norm = |out: &str| log(at, out)[0]["grad_norm"].as_f64().expect("a number");
    assert!(norm("lower") < norm("embeddings") && norm("embeddings") < norm("all"));
    // A checkpoint holds the frozen tensors too.
    let output = starsight(
        at,
        &words("train --model base --data reviews.csv --out none --freeze-layers 3"),
    );
    assert!(
        text(&output.stderr).contains("--freeze-layers 3 is more than the model's 2 layers"),
        "{}",
        text(&output.stderr)
    );
    assert!(!at.join("none").exists());
}

#[test]
fn a_run_stops_when_nothing_gets_better() {
    let dir = based();
    let at = dir.path();
    // At a learning rate this small the accuracy of a new head does not change.
    let said = train(
        at,
        "stale",
        &[
            "--lr",
            "1e-12",
            "--eval-every",
            "2",
            "--patience",
            "3",
            "--best-by",
            "accuracy",
            "--epochs",
            "9",
        ],
    );
    assert!(
        said.contains("stopped after step 8 of 117: 3 evaluations without a better accuracy"),
        "{said}"
    );
    let metrics = json(&text(&read(at, "stale/metrics.json")));
    assert_eq!(
        (metrics["best_step"].as_u64(), metrics["steps"].as_u64()),
        (Some(2), Some(8))
    );
    assert!(
        said.contains("kept step 2 (epoch 0.15): best accuracy"),
        "{said}"
    );
    // A stopped run stays stopped: resuming adds nothing.
    let resume =
        words("--lr 1e-12 --eval-every 2 --patience 3 --best-by accuracy --epochs 9 --resume");
    assert!(train(at, "stale", &resume).contains("resuming after step 8"));
    assert_eq!(log(at, "stale").len(), 8 + 4);
}

#[test]
fn an_explosion_names_its_step_and_reviews() {
    let dir = based();
    let at = dir.path();
    let line =
        words("train --model base --data reviews.csv --out out --batch 4 --accum 1 --save-every 1");
    // Weights this large make every number infinite or NaN after the first step.
    let said = bad(
        at,
        &[&line[..], &["--lr", "1e30", "--warmup", "0"]].concat(),
        1,
        &["error: step ", " of 51, on reviews.csv, lines ", "exploded"],
    );
    let lines = said
        .lines()
        .find_map(|line| line.split_once("lines ")?.1.split_once(':'))
        .expect("the lines")
        .0;
    assert_eq!(
        lines
            .split(", ")
            .filter(|line| line
                .parse::<usize>()
                .is_ok_and(|line| (2..=321).contains(&line)))
            .count(),
        4,
        "{said}"
    );
    assert!(
        at.join("out/checkpoints")
            .read_dir()
            .expect("a folder")
            .next()
            .is_some(),
        "what was saved stays"
    );
}

#[test]
fn flags_that_make_no_sense_are_wrong_usage() {
    let dir = based();
    for (flag, value, says) in [
        (
            "--schedule",
            "square",
            "[possible values: linear, cosine, constant, polynomial]",
        ),
        (
            "--best-by",
            "luck",
            "[possible values: loss, accuracy, off-by-one,",
        ),
        (
            "--class-weights",
            "1,2,3",
            "expected `balanced`, or five comma-separated numbers above 0",
        ),
        (
            "--label-smoothing",
            "1",
            "expected a rate from 0 to below 1",
        ),
        ("--layer-decay", "0", "expected a number above 0, up to 1"),
        ("--warmup", "2", "expected a number from 0 to 1"),
        ("--patience", "0", "expected a whole number above 0"),
        ("--eval-every", "x", "expected a whole number above 0"),
    ] {
        bad(
            dir.path(),
            &[
                "train",
                "--model",
                "base",
                "--data",
                "reviews.csv",
                "--out",
                "out",
                flag,
                value,
            ],
            2,
            &[flag, value, says],
        );
    }
    let line = words("train --model base --data reviews.csv --out out");
    bad(
        dir.path(),
        &[&line[..], &["--warmup-steps", "99"]].concat(),
        1,
        &["--warmup-steps 99 is more than the run's 2 steps"],
    );
    assert!(!dir.path().join("out").exists());
}

#[test]
fn a_fresh_student_learns_what_its_teacher_thinks() {
    let dir = common::trained();
    let at = dir.path();
    let flags = words(
        "distill --teacher model --data reviews.csv --out student --layers 1 --hidden 16 --heads \
         2 --vocab-size 150 --max-length 32 --epochs 12 --lr 1e-2 --batch 16 --accum 1 \
         --teacher-share 1 --json",
    );
    let outcome = json(&good(at, &flags));
    // The stars were not used.
    assert!(
        outcome["test"]["accuracy"].as_f64().expect("a number") > 0.7,
        "{outcome}"
    );
    let manifest = json(&text(&read(at, "student/starsight.json")));
    assert_eq!(manifest["provenance"]["teacher"], "model");
    let card = text(&read(at, "student/README.md"));
    assert!(
        card.contains("it learned from the logits of `model`") && card.contains("Gee et al. 2022"),
        "{card}"
    );
    assert!(
        !text(&read(at, "model/README.md")).contains("Gee et al."),
        "what had no teacher has no words of one"
    );
    assert!(
        text(&read(at, "student/recipe.toml"))
            .starts_with("# starsight distill --teacher model --layers 1 --hidden 16 --heads 2 --vocab-size 150 --data reviews.csv")
    );

    // The teacher's logits are cached, because computing them is slow.
    let again = starsight(at, &[&flags[..], &["--resume"]].concat());
    assert!(
        again.status.success() && text(&again.stderr).contains("reviews from"),
        "{}",
        text(&again.stderr)
    );
    assert_eq!(
        json(&text(&again.stdout))["test"]["loss"],
        outcome["test"]["loss"]
    );

    // Another temperature is another run; and without a teacher its share is refused.
    bad(
        at,
        &[&flags[..], &["--resume", "--teacher-temperature", "3"]].concat(),
        1,
        &["a run that differs; --resume needs the same recipe"],
    );
    let alone = words("train --model base --data reviews.csv --out x --teacher-share 0.5");
    bad(
        at,
        &alone,
        2,
        &["required arguments were not provided", "--teacher <"],
    );
    std::fs::write(at.join("taught.toml"), "teacher-share = 0.5\n").expect("written");
    let alone = [&alone[..7], &["--config", "taught.toml"]].concat();
    bad(at, &alone, 1, &["--teacher-share needs --teacher"]);
}

#[test]
fn recipes_are_compared_over_seeds() {
    let dir = based();
    let at = dir.path();
    std::fs::write(
        at.join("plain.toml"),
        "max-steps = 2\nbatch = 16\naccum = 1\n",
    )
    .expect("written");
    std::fs::write(
        at.join("soft.toml"),
        "max-steps = 2\nbatch = 16\naccum = 1\nsoft-targets = 1.5\n",
    )
    .expect("written");
    std::fs::write(at.join("broken.toml"), "soft-target = 1.5\n").expect("written");
    std::fs::write(at.join("other.csv"), csv(40)).expect("written");
    let flags = words("--model base --data reviews.csv --also other.csv --seeds 2 --out runs");
    let compare = |recipes: &[&str]| starsight(at, &[&["compare"], recipes, &flags].concat());

    // A mistake in a recipe is reported before anything is trained.
    let broken = compare(&["plain.toml", "broken.toml"]);
    assert_eq!(broken.status.code(), Some(1));
    assert!(
        text(&broken.stderr).contains("broken.toml: unknown key `soft-target`"),
        "{}",
        text(&broken.stderr)
    );
    assert!(!at.join("runs").exists());
    bad(
        at,
        &[&["compare", "plain.toml", "./plain.toml"][..], &flags].concat(),
        1,
        &["two recipes have the same name"],
    );

    let found = json(&good(
        at,
        &[
            &["compare", "plain.toml", "soft.toml", "--json"][..],
            &flags,
        ]
        .concat(),
    ));
    let lines = found["compared"].as_array().expect("lines");
    assert_eq!(
        lines.len(),
        2 * 2 * 4,
        "recipes, sets of reviews, ways to tell stars"
    );
    for line in lines {
        let runs = line["runs"].as_array().expect("runs");
        assert_eq!(runs.len(), 2);
        assert_ne!(runs[0]["loss"], runs[1]["loss"], "the seeds differ");
        assert_eq!(
            runs[0]["samples"],
            if line["data"] == "other.csv" { 40 } else { 64 }
        );
    }
    // The bundle's own figures use the likeliest stars.
    let of = |run: &str| {
        json(&text(&read(at, &format!("runs/{run}/metrics.json"))))["test"]["accuracy"].clone()
    };
    let first = lines
        .iter()
        .find(|line| line["recipe"] == "soft" && line["decoding"] == "likeliest")
        .expect("a line");
    assert_eq!(
        [&first["runs"][0]["accuracy"], &first["runs"][1]["accuracy"]],
        [&of("soft-42"), &of("soft-43")]
    );

    // Finished runs are not trained again.
    let again = compare(&["plain.toml", "soft.toml"]);
    let said = text(&again.stderr);
    assert!(
        again.status.success() && said.matches("resuming after step 2").count() == 4,
        "{said}"
    );
    let table = text(&again.stdout);
    assert!(
        table.contains("| soft | median |") && table.contains("other.csv: 40 reviews"),
        "{table}"
    );
}

#[test]
fn stars_are_told_as_the_bundle_or_the_command_says() {
    let dir = common::trained();
    let at = dir.path();
    let stars = |flags: &[&str]| {
        let said = json(&good(
            at,
            &[
                &["rate", "--model", "model", "--json"],
                flags,
                &["great app", "crashes", "it is okay but slow"],
            ]
            .concat(),
        ));
        said["ratings"].as_array().expect("ratings").clone()
    };
    for rating in stars(&["--decode", "expected"]) {
        assert_eq!(
            rating["stars"].as_f64(),
            rating["expected"].as_f64().map(f64::round)
        );
    }
    // The manifest's decoding is used when no flag is given.
    let path = at.join("model/starsight.json");
    let mut manifest = json(&text(&read(at, "model/starsight.json")));
    assert_eq!(manifest["decoding"], "likeliest");
    manifest["decoding"] = "median".into();
    std::fs::write(&path, manifest.to_string()).expect("written");
    assert_eq!(stars(&[]), stars(&["--decode", "median"]));
    bad(
        at,
        &words("rate --model model --decode mode x"),
        2,
        &["wanted likeliest, median, expected or balanced"],
    );

    let judged = |decode: &str| {
        json(&good(
            at,
            &[
                "evaluate",
                "--model",
                "model",
                "--data",
                "reviews.csv",
                "--decode",
                decode,
                "--json",
            ],
        ))["metrics"]
            .clone()
    };
    let (likeliest, median) = (judged("likeliest"), judged("median"));
    assert!(
        median["mae"].as_f64() <= likeliest["mae"].as_f64(),
        "{median} {likeliest}"
    );
    assert_eq!(median["ece"], likeliest["ece"]);
}

#[test]
fn a_run_that_ends_in_int8_keeps_what_the_integers_stand_for() {
    let dir = based();
    let at = dir.path();
    let flags = words("--lr 5e-3 --epochs 4 --eval-every 13 --int8 0.3 --max-length 24");
    train(at, "own", &flags);
    good(at, &words("publish --model own --out light --integers"));
    assert!(!at.join("light/model.safetensors").exists());
    let manifest = json(&text(&read(at, "light/starsight.json")));
    assert!(
        manifest["files"]
            .as_array()
            .expect("files")
            .iter()
            .all(|file| file["path"] != "model.safetensors")
    );
    // So nothing is lost without the floating-point weights: probes may differ by 1e-3, and here
    // they do not differ at all.
    let rate = |model: &str| {
        good(
            at,
            &[
                "rate",
                "--model",
                model,
                "--json",
                "great app, love it",
                "crashes",
                "",
            ],
        )
    };
    assert_eq!(rate("own"), rate("light"));
    let evaluated = |flags: &[&str]| {
        json(&good(
            at,
            &[
                &[
                    "evaluate",
                    "--model",
                    "light",
                    "--data",
                    "reviews.csv",
                    "--split",
                    "test",
                    "--json",
                ],
                flags,
            ]
            .concat(),
        ))
    };
    assert_eq!(
        evaluated(&[])["metrics"]["loss"],
        json(&text(&read(at, "own/metrics.json")))["test"]["loss"]
    );
    assert!(evaluated(&["--int8"])["agreement"]["same_star"].as_f64() > Some(0.95));
    // Training can continue from the int8 weights too.
    good(
        at,
        &words(
            "train --model light --data reviews.csv --batch 16 --accum 1 --max-steps 2 --out on",
        ),
    );

    // The last steps see other weights than without int8; the steps before are the same. A run that
    // was interrupted there ends with the same weights.
    train(at, "plain", &flags[..6]);
    let loss = |out: &str, step: usize| {
        log(at, out)
            .iter()
            .find(|line| line["step"] == step && line.get("loss").is_some())
            .expect("a step")["loss"]
            .clone()
    };
    assert_eq!(loss("own", 36), loss("plain", 36));
    assert_ne!(loss("own", 37), loss("plain", 37));
    let kept = read(at, "own/model.safetensors");
    std::fs::remove_dir_all(at.join("own/checkpoints/step-00000052")).expect("removed");
    train(at, "own", &[&flags[..], &["--resume"]].concat());
    assert_eq!(read(at, "own/model.safetensors"), kept);
}

#[test]
fn fewer_reviews_of_the_training_split_are_learned() {
    let dir = based();
    let at = dir.path();
    let said = train(at, "few", &["--train-rows", "20", "--epochs", "2"]);
    assert!(
        said.contains("320 reviews: 20 to train, 52 to validate, 64 to test"),
        "{said}"
    );
    assert_eq!(json(&text(&read(at, "few/metrics.json")))["steps"], 4);
}

/// A visitor tries the starter on a word or two. These 121 short reviews in sixteen languages were
/// invented for this test; four in five must be rated low, middle or high as intended. The aim is
/// nine in ten: the starter of this version gets 101 right, its teacher 109.
#[test]
fn the_starter_knows_good_from_bad_in_short_reviews() {
    let dir = folder_with("short.csv", include_str!("fixtures/short_reviews.csv"));
    let at = dir.path();
    good(
        at,
        &words("rate --model starter --int8 --data short.csv --out rated.csv"),
    );
    let table = Tables::open(&[at.join("rated.csv")], None, None)
        .and_then(Tables::join)
        .expect("a table");
    let [languages, ratings, reviews, expected] = ["language", "rating", "review", "expected"]
        .map(|column| table.shown(column).expect("a column"));
    let mut wrong = Vec::new();
    for i in 0..table.len() {
        let stars: f64 = expected[i].parse().expect("a number");
        let right = match ratings[i].as_str() {
            "low" => stars <= 2.5,
            "middle" => (2.0..=4.0).contains(&stars),
            "high" => stars >= 3.5,
            other => panic!("{other} is no rating"),
        };
        if !right {
            wrong.push(format!(
                "{} {:?}, meant {}: {stars:.2}",
                languages[i], reviews[i], ratings[i]
            ));
        }
    }
    assert_eq!(table.len(), 121);
    assert!(
        wrong.len() * 5 <= table.len(),
        "{} of {} are rated wrong:\n{}",
        wrong.len(),
        table.len(),
        wrong.join("\n")
    );
}

#[test]
fn the_starter_rates_and_is_gone_on_from() {
    let dir = folder_with("reviews.csv", csv(320));
    let at = dir.path();
    let said = json(&good(
        at,
        &[
            "rate",
            "--model",
            "starter",
            "--json",
            "Love it, best app ever!",
            "Terrible. Crashes every time, uninstalled.",
        ],
    ));
    let stars: Vec<Option<u64>> = said["ratings"]
        .as_array()
        .expect("ratings")
        .iter()
        .map(|rating| rating["stars"].as_u64())
        .collect();
    assert_eq!(stars, [Some(5), Some(1)]);

    let started = words("train --model starter --data reviews.csv --max-length 32");
    let output = starsight(
        at,
        &[&started[..], &["--out", "own", "--epochs", "8"]].concat(),
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let recipe = text(&read(at, "own/recipe.toml"));
    // The starter's own recipe supplies the defaults, and a file given by the user replaces it.
    for line in [
        "# starsight train --model starter",
        "epochs = 8\n",
        "patience = 2\n",
        "accum = 1\n",
        "batch = 32\n",
    ] {
        assert!(recipe.contains(line), "no {line:?} in {recipe}");
    }
    assert_eq!(
        json(&text(&read(at, "own/starsight.json")))["provenance"]["base_model"],
        "starter"
    );
    assert!(json(&text(&read(at, "own/metrics.json")))["test"]["accuracy"].as_f64() > Some(0.9));
    std::fs::write(at.join("mine.toml"), "max-steps = 1\n").expect("written");
    good(
        at,
        &[&started[..], &["--out", "other", "--config", "mine.toml"]].concat(),
    );
    let recipe = text(&read(at, "other/recipe.toml"));
    assert!(
        recipe.contains("max-steps = 1\n")
            && recipe.contains("batch = 64\n")
            && !recipe.contains("patience"),
        "{recipe}"
    );
}

/// Distils a small student from six reviews.
const DISTIL: &str = "distill --teacher model --data reviews.csv --train-rows 6 --out student --layers 1 \
         --hidden 16 --heads 2 --vocab-size 150 --max-length 32 --epochs 8 --lr 1e-2 --batch 16 \
         --accum 1 --json";

/// A trained model, and `found.csv`: the same reviews without stars, and some without text, which
/// are not used.
fn with_unlabelled() -> TempDir {
    let dir = common::trained();
    let texts: String = csv(320)
        .lines()
        .skip(1)
        .map(|line| format!("\"{}\"\n", line.split('"').nth(1).expect("a text")))
        .collect();
    std::fs::write(
        dir.path().join("found.csv"),
        format!("review\n{texts}\"\"\n\" \"\n"),
    )
    .expect("written");
    dir
}

#[test]
fn what_a_teacher_thinks_of_reviews_without_stars_is_learned_too() {
    let dir = with_unlabelled();
    let at = dir.path();
    let flags = words(DISTIL);
    let output = starsight(at, &[&flags[..], &["--unlabelled", "found.csv"]].concat());
    let said = text(&output.stderr);
    assert!(
        output.status.success()
            && said.contains(
                "6 to train, 52 to validate, 64 to test; and 320 unlabelled ones to train"
            ),
        "{said}"
    );
    let outcome = json(&text(&output.stdout));
    assert!(
        outcome["test"]["accuracy"].as_f64() > Some(0.7),
        "six reviews alone teach less: {outcome}"
    );
    assert_eq!(
        json(&text(&read(at, "student/starsight.json")))["provenance"]["unlabelled"],
        320
    );
    assert!(text(&read(at, "student/recipe.toml")).contains("--unlabelled found.csv"));
    bad(
        at,
        &words("train --model base --data reviews.csv --unlabelled found.csv --out x"),
        2,
        &["required arguments were not provided", "--teacher <"],
    );
    bad(
        at,
        &[
            &flags[..],
            &["--overwrite", "--unlabelled", "reviews.parquet"],
        ]
        .concat(),
        1,
        &["reviews.parquet: no such file"],
    );

    // With a share of 0 the teacher labels only these.
    let alone = &[
        &flags[..],
        &[
            "--overwrite",
            "--unlabelled",
            "found.csv",
            "--teacher-share",
            "0",
        ],
    ]
    .concat();
    assert!(json(&good(at, alone))["test"]["accuracy"].as_f64() > Some(0.7));
    let kept = read(at, "student/checkpoints/teacher.logits").len();
    assert_eq!(
        kept,
        8 + 32 + 320 * 5 * 4,
        "a key, and five numbers for each of 320 texts"
    );
    assert!(
        text(&read(at, "student/README.md"))
            .contains("It also learned from the predictions of `model` on 320 unlabelled texts")
    );
    bad(
        at,
        &[&flags[..], &["--overwrite", "--teacher-share", "0"]].concat(),
        1,
        &[
            "--teacher-share 0 uses the teacher only for unlabelled reviews: add some with --unlabelled",
        ],
    );
}

#[test]
fn the_same_teacher_given_twice_teaches_what_it_does_alone() {
    let dir = with_unlabelled();
    let at = dir.path();
    let flags = words(DISTIL);
    let one = &[
        &flags[..],
        &["--unlabelled", "found.csv", "--teacher-share", "0"],
    ]
    .concat();
    good(at, one);
    let two = &[
        &flags[..],
        &[
            "--overwrite",
            "--unlabelled",
            "found.csv",
            "--teacher-temperature",
            "1",
            "--teacher",
            "model",
        ],
    ]
    .concat();
    assert!(json(&good(at, two))["test"]["accuracy"].as_f64() > Some(0.7));
    assert_eq!(
        json(&text(&read(at, "student/starsight.json")))["provenance"]["teacher"],
        "model, model"
    );
    assert_eq!(
        read(at, "student/checkpoints/teacher-2.logits"),
        read(at, "student/checkpoints/teacher.logits")
    );
}

#[test]
fn repeated_reviews_are_learned_as_texts_with_counts() {
    // 20 texts, each sixteen times, most of them with five stars.
    let row = |i: usize| {
        format!(
            "\"text number {} of all\",{},{}\n",
            i % 20,
            if i.is_multiple_of(3) { 1 } else { 5 },
            1 + i % 2
        )
    };
    let dir = folder_with(
        "reviews.csv",
        format!(
            "review,star,times\n{}",
            (0..320).map(row).collect::<String>()
        ),
    );
    let at = dir.path();
    good(
        at,
        &words(
            "init --data reviews.csv --out base --layers 1 --hidden 16 --heads 2 --vocab-size 100 --max-length 32",
        ),
    );
    let said = train(
        at,
        "counted",
        &["--repeats", "counted", "--split-by", "text"],
    );
    let texts = said
        .split(" training reviews grouped into ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .and_then(|n| n.parse::<usize>().ok());
    assert!(
        texts.is_some_and(|texts| (10..=16).contains(&texts)),
        "{said}"
    );
    assert!(
        text(&read(at, "counted/README.md"))
            .contains("learned together, with the counts of their stars")
    );
    assert!(
        json(&text(&read(at, "counted/metrics.json")))
            .get("unseen")
            .is_none(),
        "no text stands in two parts"
    );
    // Divided by stars, every text occurs in the training split.
    train(at, "each", &["--weight-column", "times"]);
    assert!(
        json(&text(&read(at, "each/metrics.json")))
            .get("unseen")
            .is_none()
    );
    std::fs::write(
        at.join("bad.csv"),
        "review,star,times\nfine,5,1\nfine,4,-2\n",
    )
    .expect("written");
    let flags = words("train --model base --data bad.csv --out x --weight-column times");
    bad(
        at,
        &flags,
        1,
        &["bad.csv, line 3: `times` is \"-2\"; expected a number above 0"],
    );
}
