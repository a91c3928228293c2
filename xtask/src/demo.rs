//! The main job on what the project carries itself: the starter, and sample reviews to fine-tune it on.

use crate::sh::{Cmd, Result, at, step};
use crate::tools::Wants;
use std::fs;

const OUT: &str = "out/demo";

/// What is done, as one would type it after `starsight` in the folder of the workspace.
const STEPS: [(&str, &str); 2] = [
    (
        "Fine-tuning the starter on the sample reviews, and testing what it learned",
        "train --model starter --data samples/reviews.csv --out out/demo/demo-stars",
    ),
    ("Building the site around it", "site --model out/demo/demo-stars --out out/demo/site"),
];
const SERVE: &str = "serve out/demo/site";

/// Trains on the samples, builds the site around the model, and serves it unless told not to.
pub fn run(port: u16, serve: bool) -> Result {
    crate::web(Wants::default())?;
    step("Compiling the trainer (8 minutes the first time)", || crate::cargo("build --locked --release --package starsight").run())?;

    // Made anew each time, from the same seeds: what an earlier run left has no part in it.
    let out = crate::root().join(OUT);
    if out.is_dir() {
        fs::remove_dir_all(&out).map_err(at(&out))?;
    }
    for (what, line) in STEPS {
        step(what, || starsight(line).run())?;
    }
    if serve {
        return starsight(SERVE).words(&format!("--port {port}")).become_it();
    }
    eprintln!("The site is in {OUT}/site. To see it: cargo run --release -p starsight -- {SERVE}");
    Ok(())
}

fn starsight(line: &str) -> Cmd {
    crate::cargo("run --quiet --locked --release --package starsight --").words(line)
}
