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
    let [texts, split, encoder, teacher, base, student] =
        ["texts", "split", "encoder", "teacher", "base", "starter"]
            .map(|name| format!("{OUT}/{name}"));
    let [reviews, made, unlabelled] =
        ["reviews", "made", "unlabelled"].map(|name| format!("{texts}/{name}.parquet"));
    let [train, validation] = ["train", "val"].map(|part| format!("{split}/{part}.parquet"));
    step("Preparing the texts", || {
        let prepare = crate::cargo(
            "run --quiet --locked --release --package starsight --example starter_texts --",
        );
        prepare
            .arg(&sources.play)
            .arg(&sources.multilingual)
            .arg(&texts)
            .run()?;
        starsight("split --split-by given:part")
            .words("--data")
            .arg(&reviews)
            .words("--out")
            .arg(&split)
            .run()
    })?;
    let missing = |folder: &str| !crate::root().join(folder).join("config.json").is_file();
    if missing(&encoder) {
        step("Trimming the encoder's vocabulary", || {
            starsight("trim --model")
                .arg(&sources.encoder)
                .words("--data")
                .arg(&train)
                .arg(&validation)
                .words("--out")
                .arg(&encoder)
                .run()
        })?;
    }
    step("Fine-tuning the teacher", || {
        starsight("train --model")
            .arg(&encoder)
            .words("--data")
            .arg(&reviews)
            .words(DATA)
            .words(TEACHER)
            .words("--out")
            .arg(&teacher)
            .run()
    })?;
    if missing(&base) {
        step("Building the student's vocabulary", || {
            let init = starsight("init --weight-column weight --pieces-of")
                .arg(&encoder)
                .words(SHAPE);
            init.words("--data")
                .arg(&train)
                .words("--out")
                .arg(&base)
                .run()
        })?;
    }
    step("Distilling the student", || {
        let train = starsight("train --model")
            .arg(&base)
            .words("--teacher")
            .arg(&teacher)
            .words("--unlabelled")
            .arg(&unlabelled);
        train
            .words("--data")
            .arg(&reviews)
            .arg(&made)
            .words(DATA)
            .words(STUDENT)
            .words("--out")
            .arg(&student)
            .run()
    })?;
    let fresh = crate::root().join(OUT).join("kept");
    if fresh.is_dir() {
        fs::remove_dir_all(&fresh).map_err(at(&fresh))?;
    }
    step("Copying the int8 model to models/starter", || {
        let publish = starsight("publish --integers --notes")
            .arg(NOTES)
            .words("--languages")
            .arg(LANGUAGES);
        publish
            .words("--model")
            .arg(&student)
            .words("--out")
            .arg(format!("{OUT}/kept"))
            .run()
    })?;
    replace(&crate::root().join(KEPT), &fresh)
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
