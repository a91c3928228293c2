//! The main job on what the project carries itself: the starter, and sample reviews to fine-tune it on.

use crate::sh::{Cmd, Result, at, step};
use crate::tools::Wants;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};

const OUT: &str = "out/demo";

/// What is done, as one would type it after `starsight` in the folder of the workspace.
const STEPS: [(&str, &str); 2] = [
    (
        "Fine-tuning the starter on the sample reviews, and testing what it learned",
        "train --model starter --data samples/reviews.csv --out out/demo/demo-stars",
    ),
    (
        "Building the site around it",
        "site --model out/demo/demo-stars --out out/demo/site",
    ),
];
const SERVE: &str = "serve out/demo/site";

/// Trains on the samples, builds the site around the model, and serves it unless told not to.
pub fn run(port: u16, serve: bool) -> Result {
    if serve {
        check_free(port)?;
    }
    crate::web(Wants::default())?;
    step("Compiling the trainer (8 minutes the first time)", || {
        crate::cargo("build --locked --release --package starsight").run()
    })?;

    // Made anew each time, from the same seeds: what an earlier run left has no part in it.
    let out = crate::root().join(OUT);
    if out.is_dir() {
        fs::remove_dir_all(&out).map_err(at(&out))?;
    }
    for (what, line) in STEPS {
        step(what, || starsight(line).run())?;
    }
    // Said first, for serving does not come back.
    eprintln!(
        "The site is in {OUT}/site. To see it{}: cargo run --release -p starsight -- {SERVE}",
        if serve { " again" } else { "" }
    );
    if serve {
        return starsight(SERVE)
            .words(&format!("--port {port}"))
            .become_it();
    }
    Ok(())
}

/// Whether the site can be served at this port: better told now than after the training.
fn check_free(port: u16) -> Result {
    let another = "Name another one with `--port N`, or 0 for any that is free.";
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .map(drop)
        .map_err(|error| format!("Port {port} cannot be served at: {error}. {another}"))
}

fn starsight(line: &str) -> Cmd {
    crate::cargo("run --quiet --locked --release --package starsight --").words(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_told() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let port = taken.local_addr().expect("it has an address").port();
        assert!(
            check_free(port)
                .is_err_and(|why| why.contains(&port.to_string()) && why.contains("--port"))
        );
        drop(taken);
        assert!(check_free(port).is_ok() && check_free(0).is_ok());
    }
}
