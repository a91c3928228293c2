//! `starsight`: exit 0 when done, 1 when it failed, 2 for wrong usage.

use std::process::ExitCode;

use clap::Parser;
use starsight::cli::Cli;

fn main() -> ExitCode {
    // clap itself exits with 2 for wrong usage.
    let cli = Cli::parse();
    match starsight::commands::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
