//! The recipe's flags, as a user gives them: what each does to a small run.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{bad, csv, folder_with, good, json, starsight, text};
use serde_json::Value;
use tempfile::TempDir;

/// A folder with reviews.csv (320 rows, 204 of them to train) and base/, of two layers.
fn based() -> TempDir {
    let dir = folder_with("reviews.csv", csv(320));
    let init = ["init", "--data", "reviews.csv", "--out", "base", "--layers", "2", "--hidden", "32", "--vocab-size", "200", "--max-length", "32"];
    good(dir.path(), &init);
    dir
}

/// Trains in steps of 16 reviews, 13 an epoch, to the folder `out`; what the program said on standard error.
fn train(at: &Path, out: &str, flags: &[&str]) -> String {
    let base = ["train", "--model", "base", "--data", "reviews.csv", "--batch", "16", "--accum", "1", "--out", out];
    let output = starsight(at, &[&base[..], flags].concat());
    assert!(output.status.success(), "{flags:?}: {}", text(&output.stderr));
    text(&output.stderr)
}

fn read(at: &Path, path: &str) -> Vec<u8> {
    std::fs::read(at.join(path)).expect("a file")
}

fn log(at: &Path, out: &str) -> Vec<Value> {
    text(&read(at, &format!("{out}/train_log.jsonl"))).lines().map(json).collect()
}

/// The bytes of each tensor of a safetensors file.
fn tensors(at: &Path, path: &str) -> BTreeMap<String, Vec<u8>> {
    let bytes = read(at, path);
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let names = json(&text(&bytes[8..header]));
    let names = names.as_object().expect("an object").iter().filter(|(name, _)| *name != "__metadata__");
    let offset = |entry: &Value, i: usize| header + entry["data_offsets"][i].as_u64().expect("an offset") as usize;
    names.map(|(name, entry)| (name.clone(), bytes[offset(entry, 0)..offset(entry, 1)].to_vec())).collect()
}

#[test]
fn a_recipe_is_kept_and_can_be_run_again() {
    let dir = based();
    let at = dir.path();
    #[rustfmt::skip]
    let flags = [
        "--lr", "5e-3", "--schedule", "polynomial", "--lr-power", "2", "--lr-end", "1e-4", "--warmup-steps", "3", "--max-steps", "20", "--layer-decay", "0.8", "--label-smoothing", "0.1",
        "--class-weights", "balanced", "--freeze-embeddings", "--eval-every", "6", "--best-by", "qwk", "--seed", "7", "--split-seed", "3", "--rows", "300",
    ];
    train(at, "first", &flags);
    let recipe = text(&read(at, "first/recipe.toml"));
    for line in
        ["# starsight train --model base --data reviews.csv", "lr = 0.005\n", "class-weights = \"balanced\"", "best-by = \"qwk\"", "rows = 300"]
    {
        assert!(recipe.contains(line), "no {line:?} in {recipe}");
    }
    let again = ["train", "--model", "base", "--data", "reviews.csv", "--config", "first/recipe.toml", "--out", "again"];
    good(at, &again);
    assert!(read(at, "first/model.safetensors") == read(at, "again/model.safetensors"), "the same weights, bit for bit");
    assert_eq!(recipe.lines().skip(1).collect::<Vec<_>>(), text(&read(at, "again/recipe.toml")).lines().skip(1).collect::<Vec<_>>());
    let steps: Vec<u64> = log(at, "first").iter().filter(|line| !line["validation"].is_null()).filter_map(|line| line["step"].as_u64()).collect();
    assert_eq!(steps, [6, 12, 18, 20], "every six steps, and at the end");
    let rates: Vec<f64> = log(at, "first").iter().filter_map(|line| line["learning_rate"].as_f64()).collect();
    assert_eq!((rates.len(), rates[0], rates[3]), (20, 0.0, 0.005));
    assert!((rates[19] - (0.0049 / (17.0 * 17.0) + 1e-4)).abs() < 1e-12, "{}", rates[19]);

    // Its bundle says how the reviews were divided: which dates the test split has tells.
    let dates = |flags: &[&str]| {
        let evaluate = ["evaluate", "--model", "first", "--data", "reviews.csv", "--rows", "300", "--split", "test", "--by", "date", "--json"];
        json(&good(at, &[&evaluate[..], flags].concat()))["groups"]["date"].clone()
    };
    assert!(dates(&[]) == dates(&["--split-seed", "3"]) && dates(&[]) != dates(&["--split-seed", "42"]));

    // One flag besides makes another run of it.
    let mut other = again.to_vec();
    other[8] = "other";
    good(at, &[&other[..], &["--max-steps", "4"]].concat());
    assert_eq!(log(at, "other").len(), 4 + 1);
    // And what the file says wrong is told with its place, before anything is written.
    std::fs::write(at.join("bad.toml"), "epochs = 2\nlearning-rate = 1e-3\n").expect("written");
    other[6..9].copy_from_slice(&["bad.toml", "--out", "none"]);
    bad(at, &other, 2, &["bad.toml: unknown key `learning-rate`; known are"]);
    std::fs::write(at.join("bad.toml"), "lr = \"fast\"\n").expect("written");
    bad(at, &other, 2, &["bad.toml: `lr`: invalid value 'fast'", "wanted a number above 0"]);
    bad(at, &[&again[..8], &["none", "--config", "missing.toml"]].concat(), 2, &["--config"]);
    assert!(!at.join("none").exists());
}

#[test]
fn what_is_frozen_stays_and_the_rest_moves() {
    let dir = based();
    let at = dir.path();
    let before = tensors(at, "base/model.safetensors");
    let frozen = |out: &str, flags: &[&str]| -> Vec<String> {
        let said = train(at, out, flags);
        assert!(!said.contains("no gradient reaches"), "{said}");
        let after = tensors(at, &format!("{out}/model.safetensors"));
        assert_eq!(before.len(), after.len());
        before.iter().filter(|(name, bytes)| after[*name] == **bytes).map(|(name, _)| name.clone()).collect()
    };
    assert!(frozen("all", &["--lr", "5e-3"]).is_empty());
    let embeddings = frozen("embeddings", &["--lr", "5e-3", "--freeze-embeddings"]);
    assert!(embeddings.len() == 4 && embeddings.iter().all(|name| name.contains(".embeddings.")), "{embeddings:?}");
    let lower = frozen("lower", &["--lr", "5e-3", "--freeze-layers", "1"]);
    assert!(lower.len() == 4 + 16 && lower.iter().all(|name| name.contains(".embeddings.") || name.contains(".layer.0.")), "{lower:?}");
    // What does not move has no share in the gradient's norm either.
    let norm = |out: &str| log(at, out)[0]["grad_norm"].as_f64().expect("a number");
    assert!(norm("lower") < norm("embeddings") && norm("embeddings") < norm("all"));
    // A checkpoint holds what is frozen too.
    let output = starsight(at, &["train", "--model", "base", "--data", "reviews.csv", "--out", "none", "--freeze-layers", "3"]);
    assert!(text(&output.stderr).contains("--freeze-layers 3 is more than the model's 2 layers"), "{}", text(&output.stderr));
    assert!(!at.join("none").exists());
}

#[test]
fn a_run_stops_when_nothing_gets_better() {
    let dir = based();
    let at = dir.path();
    // At a rate this small the accuracy of a fresh head stays where it is.
    let said = train(at, "stale", &["--lr", "1e-12", "--eval-every", "2", "--patience", "3", "--best-by", "accuracy", "--epochs", "9"]);
    assert!(said.contains("stopped after step 8 of 117: 3 evaluations without a better accuracy"), "{said}");
    let metrics = json(&text(&read(at, "stale/metrics.json")));
    assert_eq!((metrics["best_step"].as_u64(), metrics["steps"].as_u64()), (Some(2), Some(8)));
    assert!(said.contains("the weights after step 2, epoch 0.15, are kept: accuracy"), "{said}");
    // Stopped is stopped: resuming adds nothing.
    let resume = ["--lr", "1e-12", "--eval-every", "2", "--patience", "3", "--best-by", "accuracy", "--epochs", "9", "--resume"];
    assert!(train(at, "stale", &resume).contains("going on after step 8"));
    assert_eq!(log(at, "stale").len(), 8 + 4);
}

#[test]
fn an_explosion_names_its_step_and_reviews() {
    let dir = based();
    let at = dir.path();
    let line = ["train", "--model", "base", "--data", "reviews.csv", "--out", "out", "--batch", "4", "--accum", "1", "--save-every", "1"];
    // Weights this large leave no finite number after the first step.
    let said = bad(at, &[&line[..], &["--lr", "1e30", "--warmup", "0"]].concat(), 1, &["error: step ", " of 51, on reviews.csv, lines ", "exploded"]);
    let lines = said.lines().find_map(|line| line.split_once("lines ")?.1.split_once(':')).expect("the lines").0;
    assert_eq!(lines.split(", ").filter(|line| line.parse::<usize>().is_ok_and(|line| (2..=321).contains(&line))).count(), 4, "{said}");
    assert!(at.join("out/checkpoints").read_dir().expect("a folder").next().is_some(), "what was saved stays");
}

#[test]
fn flags_that_make_no_sense_are_wrong_usage() {
    let dir = based();
    for (flag, value, says) in [
        ("--schedule", "square", "[possible values: linear, cosine, constant, polynomial]"),
        ("--best-by", "luck", "[possible values: loss, accuracy, off-by-one,"),
        ("--class-weights", "1,2,3", "wanted `balanced`, or five numbers above 0"),
        ("--label-smoothing", "1", "wanted a rate from 0 to below 1"),
        ("--layer-decay", "0", "wanted a number above 0, up to 1"),
        ("--warmup", "2", "wanted a number from 0 to 1"),
        ("--patience", "0", "wanted a whole number above 0"),
        ("--eval-every", "x", "wanted a whole number above 0"),
    ] {
        bad(dir.path(), &["train", "--model", "base", "--data", "reviews.csv", "--out", "out", flag, value], 2, &[flag, value, says]);
    }
    let line = ["train", "--model", "base", "--data", "reviews.csv", "--out", "out"];
    bad(dir.path(), &[&line[..], &["--warmup-steps", "99"]].concat(), 1, &["--warmup-steps 99 is more than the run's 2 steps"]);
    assert!(!dir.path().join("out").exists());
}
