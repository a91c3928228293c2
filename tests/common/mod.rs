//! Helpers for the tests of the program: running it, and a small model trained with it.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// Runs the program in `dir`.
pub fn starsight(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_starsight"))
        .args(args)
        .current_dir(dir)
        .env_remove("HF_ENDPOINT")
        .env("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

/// The arguments in a line of a command.
pub fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs the program, which must succeed, and returns its standard output.
pub fn good(dir: &Path, args: &[&str]) -> String {
    let output = starsight(dir, args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Runs the program, which must fail with `code`, and returns its standard error, which must
/// contain each of `says`.
pub fn bad(dir: &Path, args: &[&str], code: i32, says: &[&str]) -> String {
    let output = starsight(dir, args);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
    for part in says {
        assert!(error.contains(part), "{args:?}: no {part:?} in: {error}");
    }
    assert!(!error.contains("panicked"), "{error}");
    error
}

pub fn json(output: &str) -> Value {
    serde_json::from_str(output).unwrap_or_else(|e| panic!("{e}: {output}"))
}

const TEXTS: [&str; 5] = [
    "terrible, crashes all day",
    "bad and slow",
    "it is okay",
    "good but needs work 👍",
    "great app, love it 😍",
];

/// A CSV of `rows` reviews whose words determine their stars.
pub fn csv(rows: usize) -> String {
    let mut out = String::from("package_name,review,date,star\n");
    for i in 0..rows {
        let star = [5, 1, 5, 4, 2, 5, 3, 1][i % 8];
        out += &format!(
            "org.example,\"{} {}\",2024-01-{:02},{star}\n",
            TEXTS[star - 1],
            "really ".repeat(i % 3),
            i % 28 + 1
        );
    }
    out
}

pub fn folder_with(name: &str, content: impl AsRef<[u8]>) -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join(name), content).expect("written");
    dir
}

/// The arguments with which `trained` trains its model.
#[rustfmt::skip]
pub const TRAIN: [&str; 22] = [
    "train", "--model", "base", "--data", "reviews.csv", "--out", "model", "--lr", "5e-3", "--epochs", "8", "--batch", "16", "--accum", "1", "--max-length",
    "24", "--dropout", "0", "--warmup", "0.1", "--json",
];

/// A folder with reviews.csv (320 rows), base/ and the model/ trained from it.
pub fn trained() -> TempDir {
    let dir = folder_with("reviews.csv", csv(320));
    let init = words(
        "init --data reviews.csv --out base --layers 1 --hidden 32 --vocab-size 200 --max-length 32",
    );
    assert!(good(dir.path(), &init).contains("a new model of"));
    let outcome = json(&good(dir.path(), &TRAIN));
    assert!(
        outcome["test"]["accuracy"].as_f64().expect("a number") > 0.8,
        "learnable reviews are learned: {outcome}"
    );
    dir
}

/// Sets the prior of the bundle `model` in `dir` to its probabilities for `review`, so that the
/// rating of that review becomes a guess.
pub fn unknown(dir: &Path, model: &str, review: &str) {
    let rated = json(&good(
        dir,
        &["rate", "--model", model, "--int8", "--json", review],
    ));
    let path = dir.join(model).join("starsight.json");
    let mut manifest = json(&std::fs::read_to_string(&path).expect("a manifest"));
    manifest["prior"] = rated["ratings"][0]["probabilities"].clone();
    std::fs::write(&path, manifest.to_string()).expect("written");
}
