//! Builds the starter from two files of reviews and a pretrained encoder; `docs/starter.md` has the
//! results. Interrupted training resumes; the other steps take seconds.

use crate::sh::{Cmd, Result, at, step};
use std::fs;
use std::path::Path;

const OUT: &str = "out/starter";
/// The starter's folder in the repository.
const KEPT: &str = "models/starter";
/// The part of its model card that is written by hand.
const NOTES: &str = "docs/starter-card.md";

/// How both models read the prepared texts: splits and weights come from columns, and each distinct
/// text is learned with the counts of its stars.
const DATA: &str =
    "--split-by given:part --repeats counted --weight-column weight --batch 64 --accum 1 --resume";
/// An epoch of the teacher's upper six layers takes an hour on 2 cores; of the whole model, 100
/// minutes.
const TEACHER: &str =
    "--lr 3e-4 --layer-decay 0.9 --freeze-layers 6 --max-length 64 --epochs 1 --precision bf16";
const SHAPE: &str = "--layers 3 --hidden 192 --heads 6 --vocab-size 24000";
const STUDENT: &str = "--teacher-share 0.7 --teacher-temperature 1 --lr 1e-3 --epochs 5 --int8 0.1 --max-length 128 --decode balanced --precision bf16";
const LANGUAGES: &str = "en,id,ko,zh,pt,fa,vi,es,fr,de,ar,tr,ru,uz,it,th";

/// The sources of the starter.
pub struct Sources {
    /// A Parquet file of Google Play reviews in English: columns package_name, review, date, star.
    pub play: String,
    /// A Parquet file of reviews in other languages: the same columns, and language.
    pub multilingual: String,
    /// The folder of a pretrained multilingual encoder with a Unigram tokeniser.
    pub encoder: String,
}

/// Builds the starter. An interrupted run resumes.
pub fn run(sources: &Sources) -> Result {
    crate::cargo("build --locked --release --package starsight").run()?;
    step("Preparing the texts", || prepare(sources))?;
    if is_missing("encoder") {
        step("Trimming the encoder's vocabulary", || trim(sources))?;
    }
    step("Fine-tuning the teacher", train_teacher)?;
    if is_missing("base") {
        step("Making the student's vocabulary", init_student)?;
    }
    step("Teaching the student", train_student)?;
    let fresh = crate::root().join(OUT).join("kept");
    step("Keeping its integers", || publish(&fresh))?;
    replace(&crate::root().join(KEPT), &fresh)
}

/// A folder of the run.
fn folder(name: &str) -> String {
    format!("{OUT}/{name}")
}

/// One of the prepared tables: `texts/reviews`, `split/train` and so on.
fn table(name: &str) -> String {
    format!("{OUT}/{name}.parquet")
}

/// Whether a model is still to be made.
fn is_missing(model: &str) -> bool {
    let config = crate::root().join(OUT).join(model).join("config.json");
    !config.is_file()
}

fn prepare(sources: &Sources) -> Result {
    crate::cargo("run --quiet --locked --release --package starsight --example starter_texts --")
        .arg(&sources.play)
        .arg(&sources.multilingual)
        .arg(folder("texts"))
        .run()?;
    starsight("split --split-by given:part --data")
        .arg(table("texts/reviews"))
        .words("--out")
        .arg(folder("split"))
        .run()
}

fn trim(sources: &Sources) -> Result {
    starsight("trim --model")
        .arg(&sources.encoder)
        .words("--data")
        .arg(table("split/train"))
        .arg(table("split/val"))
        .words("--out")
        .arg(folder("encoder"))
        .run()
}

fn train_teacher() -> Result {
    starsight("train --model")
        .arg(folder("encoder"))
        .words("--data")
        .arg(table("texts/reviews"))
        .words(DATA)
        .words(TEACHER)
        .words("--out")
        .arg(folder("teacher"))
        .run()
}

fn init_student() -> Result {
    starsight("init --weight-column weight --pieces-of")
        .arg(folder("encoder"))
        .words(SHAPE)
        .words("--data")
        .arg(table("split/train"))
        .words("--out")
        .arg(folder("base"))
        .run()
}

fn train_student() -> Result {
    starsight("train --model")
        .arg(folder("base"))
        .words("--teacher")
        .arg(folder("teacher"))
        .words("--unlabelled")
        .arg(table("texts/unlabelled"))
        .words("--data")
        .arg(table("texts/reviews"))
        .arg(table("texts/made"))
        .words(DATA)
        .words(STUDENT)
        .words("--out")
        .arg(folder("starter"))
        .run()
}

/// Copies the student's integers, card and tokeniser to `fresh`.
fn publish(fresh: &Path) -> Result {
    if fresh.is_dir() {
        fs::remove_dir_all(fresh).map_err(at(fresh))?;
    }
    starsight("publish --integers --notes")
        .arg(NOTES)
        .words("--languages")
        .arg(LANGUAGES)
        .words("--model")
        .arg(folder("starter"))
        .words("--out")
        .arg(fresh)
        .run()
}

/// Replaces the folder `kept` with `fresh`.
fn replace(kept: &Path, fresh: &Path) -> Result {
    if kept.is_dir() {
        fs::remove_dir_all(kept).map_err(at(kept))?;
    }
    fs::rename(fresh, kept).map_err(at(kept))
}

fn starsight(line: &str) -> Cmd {
    crate::cargo("run --quiet --locked --release --package starsight --").words(line)
}
