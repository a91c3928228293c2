//! The program itself against a Hub.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use crate::common::{csv, folder_with, good, json, text, words};
use crate::loopback_hub::{Fault, Kind, LoopbackHub};
use crate::scene::{REPO, Scene, TOKEN, assert_says, to};

/// Runs the program in `home` with the Hub's environment variables.
fn starsight(home: &Path, hub: &LoopbackHub, token: Option<&str>, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_starsight"));
    for name in [
        "HF_TOKEN",
        "HF_TOKEN_PATH",
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN",
    ] {
        command.env_remove(name);
    }
    if let Some(token) = token {
        command.env("HF_TOKEN", token);
    }
    let output = command
        .args(args)
        .current_dir(home)
        .env("HF_HOME", home.join("hf"))
        .env("HF_ENDPOINT", hub.endpoint())
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    for said in [&output.stdout, &output.stderr] {
        assert!(
            !text(said).contains(TOKEN) && !text(said).contains("panicked"),
            "{}",
            text(said)
        );
    }
    output
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Puts the default model, made of the files in `base`, and the default data set, made of those in
/// `parts`, on the Hub.
fn commit_defaults(hub: &LoopbackHub, home: &Path) {
    let read = |path: &str| fs::read(home.join(path)).unwrap();
    let card: &[u8] = b"---\nlanguage: en\nlicense: apache-2.0\n---\n# DistilBERT\n";
    let base = [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ]
    .map(|name| (name, read(&format!("base/{name}"))));
    let mut files: Vec<(&str, &[u8])> = base
        .iter()
        .map(|(name, content)| (*name, &content[..]))
        .collect();
    files.extend([
        ("README.md", card),
        ("pytorch_model.bin", b"\x80\x02not read"),
        ("tf_model.h5", b"nor this"),
    ]);
    hub.commit(Kind::Model, "distilbert/distilbert-base-cased", &files);
    let data = [
        ("README.md", b"# reviews".to_vec()),
        (
            "data/train-00000-of-00001.parquet",
            read("parts/train.parquet"),
        ),
    ];
    hub.commit(
        Kind::Dataset,
        "sealuzh/app_reviews",
        &data.each_ref().map(|(name, content)| (*name, &content[..])),
    );
}

/// The default model and data set, on the Hub in their usual layout.
#[test]
fn training_fetches_the_defaults() {
    let home = folder_with("reviews.csv", csv(320));
    let init = words(
        "init --data reviews.csv --out base --layers 1 --hidden 32 --vocab-size 200 --max-length 32",
    );
    good(home.path(), &init);
    good(home.path(), &words("split --data reviews.csv --out parts"));
    let hub = LoopbackHub::start(&home.path().join("hub"), 0, TOKEN).unwrap();
    commit_defaults(&hub, home.path());

    // The connection breaks during the download.
    hub.spoil(1, "GET", "/lfs/", Fault::Cut(1000));
    let train =
        words("train --out model --max-steps 3 --batch 16 --accum 1 --max-length 24 --json");
    let outcome = json(&done(&starsight(home.path(), &hub, None, &train)));
    assert_eq!(outcome["steps"], 3);
    let traffic = hub.take_traffic();
    assert_eq!(
        to(&traffic, "GET", "/lfs/").len(),
        3,
        "the weights, the rest of the data, and the data's beginning: {traffic:?}"
    );
    assert!(
        !traffic
            .iter()
            .any(|request| request.path.contains("pytorch_model")
                || request.path.contains("tf_model")),
        "{traffic:?}"
    );
    assert!(
        home.path()
            .join("hf/hub/datasets--sealuzh--app_reviews/refs/main")
            .is_file()
    );
    let card = fs::read_to_string(home.path().join("model/README.md")).unwrap();
    let front = [
        "license: \"apache-2.0\"",
        "base_model: \"distilbert/distilbert-base-cased\"",
        "datasets:\n- \"sealuzh/app_reviews\"",
    ];
    assert_says(&card, &front);

    // The same again, from the cache alone.
    let mut again = Command::new(env!("CARGO_BIN_EXE_starsight"));
    again
        .args(train)
        .arg("--overwrite")
        .current_dir(home.path())
        .env("HF_HOME", home.path().join("hf"))
        .env("HF_HUB_OFFLINE", "1");
    let output = again
        .env("HF_ENDPOINT", hub.endpoint())
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    assert_eq!(json(&done(&output))["test"], outcome["test"]);
    assert_eq!(hub.take_traffic().len(), 0);

    // The bundle without floating-point weights: from the Hub, and from the cache.
    good(
        home.path(),
        &words("publish --model model --integers --out light"),
    );
    let card = fs::read_to_string(home.path().join("light/README.md")).unwrap();
    assert!(
        card.contains("integers of 8 bits") && !card.contains("from transformers"),
        "{card}"
    );
    done(&starsight(
        home.path(),
        &hub,
        Some(TOKEN),
        &["publish", "--model", "light", "--to", REPO],
    ));
    let rate = ["rate", "--model", REPO, "--json", "great app"];
    let online = done(&starsight(home.path(), &hub, None, &rate));
    let mut offline = Command::new(env!("CARGO_BIN_EXE_starsight"));
    offline
        .args(rate)
        .current_dir(home.path())
        .env("HF_HOME", home.path().join("hf"))
        .env("HF_HUB_OFFLINE", "1")
        .stdin(Stdio::null());
    assert_eq!(
        json(&done(&offline.output().expect("the program starts")))["ratings"],
        json(&online)["ratings"]
    );
}

#[test]
fn publishing_says_what_it_does() {
    let scene = Scene::new();
    let (home, hub) = (scene.home(), &scene.loopback);
    let publish = |token: Option<&str>, more: &[&str]| {
        let mut args = vec!["publish", "--model", "bundle", "--to", REPO];
        args.extend(more);
        starsight(home, hub, token, &args)
    };
    let table = done(&publish(None, &["--dry-run", "--private"]));
    assert_says(
        &table,
        &[
            "someone/reviews at http://127.0.0.1",
            "branch main (to be created, private)",
            "vocab.txt",
            "new",
            "in the commit",
            "7 of 7 files",
        ],
    );
    let plan = json(&done(&publish(Some(TOKEN), &["--dry-run", "--json"])));
    assert_eq!(
        (
            &plan["repository_exists"],
            &plan["files"][1]["state"],
            &plan["files"][1]["size"]
        ),
        (&false.into(), &"new".into(), &17.into())
    );
    assert_eq!(hub.commits(Kind::Model, REPO), 0);

    let refused = publish(None, &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert_says(
        &text(&refused.stderr),
        &["401", "--token-file, HF_TOKEN or `hf auth login`"],
    );

    fs::write(home.join("token"), format!("{TOKEN}\n")).unwrap();
    let published = json(&done(&publish(None, &["--token-file", "token", "--json"])));
    assert_eq!(
        (
            &published["files"],
            published["commit"].as_str().map(str::len)
        ),
        (&7.into(), Some(40))
    );
    let again = publish(Some(TOKEN), &[]);
    assert_says(
        &done(&again),
        &[published["commit"].as_str().unwrap(), REPO],
    );
    assert_says(
        &text(&again.stderr),
        &["already up to date; no commit made"],
    );
    assert_says(
        &done(&publish(Some(TOKEN), &["--dry-run"])),
        &["already up to date; nothing to upload", "same"],
    );

    // Files that only the previous version had.
    fs::remove_file(home.join("bundle/model.safetensors")).unwrap();
    scene.write_bundle_with(("web/weights.safetensors", b"integers"));
    assert_says(
        &done(&publish(Some(TOKEN), &["--dry-run"])),
        &[
            "model.safetensors",
            "stale",
            "to be deleted: no longer in the bundle",
            "2 of 7 files",
        ],
    );

    // `hf auth login` stores its token here.
    fs::create_dir_all(home.join("hf")).unwrap();
    fs::write(home.join("hf/token"), TOKEN).unwrap();
    scene.write_bundle(b"better weights");
    assert_says(
        &done(&publish(None, &["--revision", "next"])),
        &["someone/reviews/tree/next (commit "],
    );
    scene.write_bundle(b"the best weights");
    assert_says(
        &done(&publish(None, &["--pull-request"])),
        &["/someone/reviews/discussions/1 (commit "],
    );
    assert_eq!(
        hub.read(Kind::Model, REPO, "model.safetensors").unwrap(),
        b"these are weights"
    );
}

#[test]
fn a_branch_is_named_once_and_rightly() {
    let scene = Scene::new();
    let (home, hub) = (scene.home(), &scene.loopback);
    let both = starsight(
        home,
        hub,
        None,
        &[
            "publish",
            "--model",
            "bundle",
            "--to",
            "someone/reviews@one",
            "--revision",
            "two",
        ],
    );
    assert_eq!(both.status.code(), Some(2));
    assert_says(&text(&both.stderr), &["one", "two", "give only one"]);
    let line = format!("publish --model bundle --to {REPO} --revision a..b");
    assert_eq!(
        starsight(home, hub, None, &words(&line)).status.code(),
        Some(1)
    );
}
