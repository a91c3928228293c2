//! `starsight`: exits with 0 on success, 1 on failure, 2 for wrong usage.

use std::process::ExitCode;

use clap::Parser;
use starsight::cli::Cli;
use starsight::{commands, print};

fn main() -> ExitCode {
    // clap itself exits with 2 for wrong usage.
    let cli = Cli::parse();
    match commands::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print::say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
