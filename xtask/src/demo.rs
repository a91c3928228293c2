//! The main workflow with the project's own data: the starter, fine-tuned on sample reviews.

use crate::sh::{Cmd, Result, at, step};
use crate::tools::SetupOptions;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};

const OUT: &str = "out/demo";

/// The commands, as typed after `starsight` in the folder of the workspace.
const STEPS: [(&str, &str); 2] = [
    (
        "Fine-tuning and testing the starter on the sample reviews",
        "train --model starter --data samples/reviews.csv --out out/demo/demo-stars",
    ),
    (
        "Building the site around the model",
        "site --model out/demo/demo-stars --out out/demo/site",
    ),
];
const SERVE: &str = "serve out/demo/site";

/// Trains on the samples, builds the site around the model and, with `serve`, serves it.
pub fn run(port: u16, serve: bool) -> Result {
    if serve {
        check_free(port)?;
    }
    crate::web(SetupOptions::default())?;
    step("Compiling the trainer (8 minutes the first time)", || {
        crate::cargo("build --locked --release --package starsight").run()
    })?;

    // Start from scratch each time, with the same seeds, without anything from an earlier run.
    let out = crate::root().join(OUT);
    if out.is_dir() {
        fs::remove_dir_all(&out).map_err(at(&out))?;
    }
    for (what, line) in STEPS {
        step(what, || starsight(line).run())?;
    }
    // Printed first, because serving does not return.
    eprintln!(
        "The site is in {OUT}/site. To see it{}: cargo run --release -p starsight -- {SERVE}",
        if serve { " again" } else { "" }
    );
    if serve {
        return starsight(SERVE).words(&format!("--port {port}")).exec();
    }
    Ok(())
}

/// Checks that the site can be served at this port, before the training rather than after it.
fn check_free(port: u16) -> Result {
    let another = "Choose another with `--port N`, or 0 for any free port.";
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .map(drop)
        .map_err(|error| format!("Cannot serve at port {port}: {error}. {another}"))
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
