//! A run on a GPU equals the run on the processor except for rounding: the loop, the log and the
//! checkpoints do not depend on the device. The GPU is emulated, and computes nothing before its
//! results are waited for.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use common::{csv, folder_with, good, json, text, words};
use serde_json::Value;
use starsight::cli::{Cli, Command};
use starsight::data::{Corpus, Labels};
use starsight::model::base::BaseModel;
use starsight::rate::device::{Place, Precision};
use starsight::train::{Training, train};
use starsight_model::cuda::emulated::Emulated;
use starsight_model::weights::Weights;

#[rustfmt::skip]
const FLAGS: [&str; 20] = [
    "starsight", "train", "--model", "base", "--data", "reviews.csv", "--lr", "3e-3", "--max-steps", "8", "--batch", "16", "--accum", "2", "--eval-every", "4", "--save-every",
    "2", "--label-smoothing", "0.1",
];

fn gpu(precision: Precision) -> Place {
    Place::Gpu {
        device: Arc::new(Emulated::new(usize::MAX)),
        precision,
    }
}

/// Trains in `at` into the folder `out`. This is the program's own path from flags to a run, with
/// the device chosen here.
fn run(at: &Path, out: &str, place: Place, resume: bool) {
    run_saving(at, out, place, resume, Duration::MAX);
}

/// The same, with an additional checkpoint whenever `save_after` has passed.
fn run_saving(at: &Path, out: &str, place: Place, resume: bool, save_after: Duration) {
    let cli =
        Cli::parse_from(
            FLAGS
                .into_iter()
                .chain(["--out", out, "--class-weights", "1,2,1,1,1"]),
        );
    let Command::Train(args) = cli.command else {
        panic!("another command")
    };
    let recipe = args.run.settings.0.recipe;
    let labels = Labels::usual();
    let reviews = Corpus::read(vec![at.join("reviews.csv")], labels).expect("reviews");
    train(Training {
        base: BaseModel::read(&at.join("base"), None, recipe.seed).expect("a model"),
        base_name: "base".into(),
        student: None,
        teachers: Vec::new(),
        reviews: &reviews,
        unlabelled: None,
        data_name: "reviews.csv".into(),
        recipe,
        recipe_toml: String::new(),
        place,
        out: at.join(out),
        save_after,
        resume,
        overwrite: false,
    })
    .expect("a run");
}

fn log(at: &Path, out: &str) -> Vec<Value> {
    text(&std::fs::read(at.join(out).join("train_log.jsonl")).expect("a log"))
        .lines()
        .map(json)
        .collect()
}

fn weights(at: &Path, out: &str) -> Vec<(String, Vec<f32>)> {
    let config = starsight_model::EncoderConfig::from_json(
        &std::fs::read(at.join("base/config.json")).expect("a file"),
    )
    .expect("a config");
    let weights = Weights::from_safetensors(
        &std::fs::read(at.join(out).join("model.safetensors")).expect("a file"),
        &config,
    )
    .expect("weights");
    let values = |(name, tensor): (&str, &candle_core::Tensor)| {
        (
            name.to_string(),
            tensor.flatten_all().and_then(|t| t.to_vec1()).expect("f32"),
        )
    };
    weights.iter().map(values).collect()
}

/// Compares the logs and the weights of two runs.
fn assert_alike(at: &Path, found: &str, wanted: &str, bound: f64) {
    let (found_log, wanted_log) = (log(at, found), log(at, wanted));
    assert_eq!(found_log.len(), wanted_log.len());
    for (found, wanted) in found_log.iter().zip(&wanted_log) {
        assert_eq!(found["step"], wanted["step"]);
        let pairs = [
            (&found["loss"], &wanted["loss"]),
            (&found["grad_norm"], &wanted["grad_norm"]),
            (&found["validation"]["loss"], &wanted["validation"]["loss"]),
        ];
        for (found, wanted) in pairs {
            let (Some(a), Some(b)) = (found.as_f64(), wanted.as_f64()) else {
                continue;
            };
            assert!(
                (a - b).abs() <= bound * b,
                "step {}: {a}, wanted {b}",
                wanted_log[0]["step"]
            );
        }
    }
    let (mut distance, mut length) = (0.0, 0.0);
    for ((name, found), (other, wanted)) in weights(at, found).iter().zip(&weights(at, wanted)) {
        assert_eq!(name, other);
        // Softmax ignores a bias of the keys: its gradient is only rounding error, which AdamW
        // scales up.
        if name.ends_with("k_lin.bias") {
            continue;
        }
        distance += found
            .iter()
            .zip(wanted)
            .map(|(a, b)| f64::from(a - b).powi(2))
            .sum::<f64>();
        length += wanted.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    }
    assert!(
        distance.sqrt() <= bound * length.sqrt(),
        "weights {:.3e} from what is {:.3e} long",
        distance.sqrt(),
        length.sqrt()
    );
}

/// A folder with reviews.csv, base/ and whole/, a run on the processor.
fn whole() -> (tempfile::TempDir, PathBuf) {
    let dir = folder_with("reviews.csv", csv(200));
    let init = words(
        "init --data reviews.csv --out base --layers 2 --hidden 32 --vocab-size 200 --max-length 32",
    );
    good(dir.path(), &init);
    let at = dir.path().to_path_buf();
    run(&at, "whole", Place::Processor(Precision::F32), false);
    (dir, at)
}

#[test]
fn a_run_is_the_same_on_either_device_and_goes_on_from_one_to_the_other() {
    let (_dir, at) = whole();
    run(&at, "gpu", gpu(Precision::F32), false);
    assert_alike(&at, "gpu", "whole", 2e-3);
    run(&at, "again", gpu(Precision::F32), false);
    assert!(weights(&at, "gpu") == weights(&at, "again"), "to the bit");
    run(&at, "bf16", gpu(Precision::Bf16), false);
    assert_alike(&at, "bf16", "whole", 0.2);
    let metrics = |out: &str| {
        json(&text(
            &std::fs::read(at.join(out).join("metrics.json")).expect("metrics"),
        ))
    };
    assert_eq!(metrics("bf16")["device"], "an emulated device");
    assert_eq!(
        (
            &metrics("bf16")["precision"],
            &metrics("whole")["precision"]
        ),
        (&"bf16".into(), &"f32".into())
    );

    // Interrupted after the sixth step on one device, continued on the other.
    for (from, out, place) in [
        ("whole", "to-gpu", gpu(Precision::F32)),
        ("gpu", "to-processor", Place::Processor(Precision::F32)),
    ] {
        for step in [4, 6] {
            let folder = format!("checkpoints/step-{step:08}");
            let (from, to) = (at.join(from).join(&folder), at.join(out).join(&folder));
            // The newest two checkpoints and the best are kept; step 6 is one of them.
            if !from.is_dir() {
                continue;
            }
            std::fs::create_dir_all(&to).expect("a folder");
            for file in std::fs::read_dir(from).expect("a checkpoint") {
                let file = file.expect("a file");
                std::fs::copy(file.path(), to.join(file.file_name())).expect("copied");
            }
        }
        assert!(at.join(out).join("checkpoints/step-00000006").is_dir());
        std::fs::copy(
            at.join(from).join("train_log.jsonl"),
            at.join(out).join("train_log.jsonl"),
        )
        .expect("copied");
        run(&at, out, place, true);
        assert_alike(&at, out, "whole", 2e-3);
    }
}

#[test]
fn a_run_is_saved_by_the_clock_too_which_changes_nothing() {
    let (_dir, at) = whole();
    run_saving(
        &at,
        "saved",
        Place::Processor(Precision::F32),
        false,
        Duration::ZERO,
    );
    // The two newest checkpoints are kept: by steps alone the sixth and the eighth. With an
    // interval of zero every step is saved, so the seventh is there too.
    let seventh = |out: &str| {
        at.join(out)
            .join("checkpoints/step-00000007/state.json")
            .is_file()
    };
    assert!(seventh("saved") && !seventh("whole"));
    assert!(weights(&at, "saved") == weights(&at, "whole"), "to the bit");
    let losses = |out| {
        log(&at, out)
            .iter()
            .map(|line| format!("{} {} {}", line["step"], line["loss"], line["validation"]))
            .collect::<Vec<_>>()
    };
    assert_eq!(losses("saved"), losses("whole"));
}

/// A run on a GPU with little memory. The next test reads its standard error, so it needs its own
/// process.
#[test]
#[ignore = "the next test runs it"]
fn on_a_small_gpu() {
    if let Some(at) = std::env::var_os("STARSIGHT_TEST_AT") {
        run(
            Path::new(&at),
            "small",
            Place::Gpu {
                device: Arc::new(Emulated::new(8 << 20)),
                precision: Precision::F32,
            },
            false,
        );
    }
}

#[test]
fn a_batch_that_a_gpu_cannot_hold_is_halved_and_told_of_once() {
    let (_dir, at) = whole();
    let mut test = std::process::Command::new(std::env::current_exe().expect("this program"));
    let output = test
        .args(["--ignored", "--exact", "on_a_small_gpu"])
        .env("STARSIGHT_TEST_AT", &at)
        .output()
        .expect("started");
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(
        said.matches("GPU memory is too small for --token-budget 32768")
            .count(),
        1,
        "{said}"
    );
    assert_alike(&at, "small", "whole", 2e-3);
}

#[test]
fn what_a_gpu_does_not_compute_is_refused_before_data_are_read() {
    let dir = folder_with("reviews.csv", csv(8));
    let train = words("train --model nothing --data nothing.csv --out model --device cuda");
    for [flag, value] in [
        ["--ordinal-log-loss", "0.5"],
        ["--int8", "0.2"],
        ["--teacher", "nobody"],
    ] {
        let says = [
            "--device cuda: ",
            flag,
            "runs only on the processor; use --device cpu",
        ];
        let error = common::bad(dir.path(), &[&train[..], &[flag, value]].concat(), 1, &says);
        assert!(!error.contains("nothing"), "{error}");
    }
    let distill = words("distill --teacher nobody --data nothing.csv --out student --device cuda");
    common::bad(
        dir.path(),
        &distill,
        1,
        &["--device cuda: --teacher runs only on the processor"],
    );
}

#[test]
fn a_gpu_that_is_not_there_is_told_of() {
    let dir = folder_with("reviews.csv", csv(200));
    let rate = words("rate --model nothing --device cuda Great");
    let error = common::bad(dir.path(), &rate, 1, &[]);
    // On a machine with a GPU the error is the missing model.
    assert!(
        error.contains("use --device cpu for the processor") || error.contains("nothing"),
        "{error}"
    );
    common::bad(
        dir.path(),
        &words("rate --model nothing --device tpu Great"),
        2,
        &["tpu"],
    );
}
