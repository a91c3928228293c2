//! Runs every fuzz target over its committed inputs, without a fuzzer. `cargo xtask fuzz` looks for
//! more inputs.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../fuzz/targets.rs"]
mod targets;

/// The most inputs of a target, and the most bytes of an input: they are committed, and run in every
/// test.
const MOST_INPUTS: usize = 40;
const MOST_BYTES: usize = 8192;

/// The files in a folder of `fuzz/`, sorted.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz")
        .join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    files.sort();
    files
}

fn run(name: &str, target: fn(&[u8])) {
    let inputs = files(&format!("corpus/{name}"));
    assert!((1..=MOST_INPUTS).contains(&inputs.len()), "{name}");
    for input in inputs {
        // Shown when the target fails.
        println!("{}", input.display());
        let bytes = fs::read(&input).expect("an input is read");
        assert!(bytes.len() <= MOST_BYTES, "{} bytes", bytes.len());
        target(&bytes);
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        $(#[test]
        fn $name() {
            run(stringify!($name), targets::$name);
        })*
    };
}

targets!(config csv hub jsonl manifest parquet safetensors tokenizer);

#[test]
fn every_fuzzer_is_tested() {
    let fuzzers: Vec<PathBuf> = files("fuzz_targets");
    let names = fuzzers.iter().filter_map(|file| file.file_stem()?.to_str());
    assert!(names.eq(NAMES.iter().copied()));
}
