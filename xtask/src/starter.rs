//! How the starter was made: a teacher from a pretrained encoder, a student that rates as it does, and of that the integers. `docs/starter.md` holds what came of it.

use crate::sh::{Cmd, Result, at, step};
use std::fs;
use std::path::Path;

const OUT: &str = "out/starter";
/// Where the repository keeps it.
const KEPT: &str = "models/starter";

/// No text stands in two parts, and none twice.
const DATA: &str = "--split-by text --dedup --max-length 128 --resume";
const TEACHER: &str = "train --batch 32 --accum 1 --lr 1e-4";
const STUDENT: &str =
    "distill --teacher out/starter/teacher --layers 3 --hidden 192 --heads 6 --vocab-size 10000 --batch 64 --accum 1 --lr 1e-3 --epochs 8 --int8 0.1";

/// Makes it from the reviews in the file `reviews` and the encoder in the folder `encoder`. A run that was cut off goes on.
pub fn run(encoder: &str, reviews: &str) -> Result {
    crate::cargo("build --locked --release --package starsight").run()?;
    step("Fine-tuning the teacher", || {
        starsight(TEACHER).words(DATA).words("--out out/starter/teacher --model").arg(encoder).arg("--data").arg(reviews).run()
    })?;
    step("Teaching the student", || starsight(STUDENT).words(DATA).words("--out out/starter/starter --data").arg(reviews).run())?;
    let fresh = crate::root().join(OUT).join("kept");
    if fresh.is_dir() {
        fs::remove_dir_all(&fresh).map_err(at(&fresh))?;
    }
    step("Keeping its integers", || starsight("publish --integers --model out/starter/starter --out out/starter/kept").run())?;
    replace(&crate::root().join(KEPT), &fresh)
}

/// Puts the folder `fresh` in the place of `kept`.
fn replace(kept: &Path, fresh: &Path) -> Result {
    if kept.is_dir() {
        fs::remove_dir_all(kept).map_err(at(kept))?;
    }
    fs::rename(fresh, kept).map_err(at(kept))
}

fn starsight(line: &str) -> Cmd {
    crate::cargo("run --quiet --locked --release --package starsight --").words(line)
}
