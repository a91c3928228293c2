//! `cargo xtask`: set-up, site, demo and tests.

mod apt;
mod axe;
mod checks;
mod demo;
mod fuzz;
mod nvrtc;
mod samples;
mod sh;
mod starter;
mod toolchain;
mod tools;
mod versions;
mod web;

use sh::{Cmd, Result};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::LazyLock;
use tools::SetupOptions;

const USAGE: &str = "\
Usage: cargo xtask COMMAND

Commands:
  setup [--browser]            install what is missing: the wasm target, trunk, wasm-bindgen, wasm-opt, esbuild; with --browser Chromium and axe-core
  web                          build the page and its worker into web/dist
  demo [--port N] [--no-serve] train on the sample reviews, build the site around the model, and serve it
  check                        format, lints and unit tests, in minutes
  test                         check, lint and test everything
  hosts                        build the page, and test the site on Debian's nginx and Python's http.server (installs nginx)
  fuzz [SECONDS]               run each fuzz target for SECONDS (default 60), and fail if one fails
  starter PLAY MULTILINGUAL ENCODER
                               rebuild models/starter from two files of reviews and the folder of a pretrained encoder (three hours)
  samples                      regenerate samples/reviews.csv, the same each time

All commands except `check`, `fuzz`, `samples` and `starter` begin with the set-up, which skips what is installed. An interrupted command can be run again.
Browser and driver are `chromium` and `chromedriver` on PATH, or the programs that $STARSIGHT_CHROMIUM and $STARSIGHT_CHROMEDRIVER name.
Tools go to $STARSIGHT_TOOLS, else $XDG_CACHE_HOME/starsight, else ~/.cache/starsight.";

enum Task {
    SetUp { browser: bool },
    Web,
    Demo { port: u16, serve: bool },
    Check,
    Test,
    Hosts,
    Fuzz { seconds: u32 },
    Starter(starter::Sources),
    Samples,
    Help,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let task = match parse(&args.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(task) => task,
        Err(why) => {
            eprintln!("{why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let done = match task {
        Task::SetUp { browser } => tools::set_up(SetupOptions {
            browser,
            ..SetupOptions::default()
        })
        .map(drop),
        Task::Web => web(SetupOptions::default()).map(drop),
        Task::Demo { port, serve } => demo::run(port, serve),
        Task::Check => checks::quick(),
        Task::Test => checks::run(),
        Task::Hosts => checks::hosts(),
        Task::Fuzz { seconds } => fuzz::run(seconds),
        Task::Starter(sources) => starter::run(&sources),
        Task::Samples => write_samples(),
        Task::Help => {
            println!("{USAGE}");
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn parse(args: &[&str]) -> Result<Task> {
    if args
        .iter()
        .any(|arg| ["-h", "--help", "help"].contains(arg))
    {
        return Ok(Task::Help);
    }
    let (command, mut rest) = args.split_first().ok_or("A command is missing.")?;
    let mut task = match *command {
        "starter" => match rest {
            [play, multilingual, encoder] => {
                let [play, multilingual, encoder] =
                    [play, multilingual, encoder].map(std::string::ToString::to_string);
                return Ok(Task::Starter(starter::Sources {
                    play,
                    multilingual,
                    encoder,
                }));
            }
            _ => {
                return Err(
                    "`starter` needs two files of reviews and the folder of an encoder.".to_owned(),
                );
            }
        },
        "setup" => Task::SetUp { browser: false },
        "web" => Task::Web,
        "demo" => Task::Demo {
            port: 8080,
            serve: true,
        },
        "check" => Task::Check,
        "test" => Task::Test,
        "hosts" => Task::Hosts,
        "fuzz" => Task::Fuzz { seconds: 60 },
        "samples" => Task::Samples,
        other => return Err(format!("Unknown command `{other}`.")),
    };
    loop {
        match (&mut task, rest) {
            (_, []) => return Ok(task),
            (Task::SetUp { browser }, ["--browser", more @ ..]) => (*browser, rest) = (true, more),
            (Task::Demo { serve, .. }, ["--no-serve", more @ ..]) => (*serve, rest) = (false, more),
            (Task::Demo { port, .. }, ["--port", number, more @ ..]) => {
                let wrong = |_| format!("`--port {number}`: a port is a number from 0 to 65535.");
                (*port, rest) = (number.parse().map_err(wrong)?, more);
            }
            (Task::Fuzz { seconds }, [number]) => {
                let wrong = |_| format!("`{number}`: expected a number of seconds.");
                (*seconds, rest) = (number.parse().map_err(wrong)?, &[]);
            }
            (Task::Demo { .. }, ["--port"]) => return Err("`--port` needs a number.".to_owned()),
            (_, [other, ..]) => return Err(format!("`{command}` does not take `{other}`.")),
        }
    }
}

/// Writes the sample reviews under a temporary name, then renames the file.
fn write_samples() -> Result {
    let path = root().join("samples/reviews.csv");
    let fresh = path.with_extension("csv.part");
    std::fs::write(&fresh, samples::generate(samples::ROWS, samples::SEED))
        .map_err(sh::at(&fresh))?;
    std::fs::rename(&fresh, &path).map_err(sh::at(&path))?;
    eprintln!("{}: {} reviews", path.display(), samples::ROWS);
    Ok(())
}

/// The folder of the workspace.
fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        // From cargo, because the workspace may have been moved, with its target folder, since this
        // program was built.
        let xtask = PathBuf::from(
            std::env::var_os("CARGO_MANIFEST_DIR")
                .unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()),
        );
        xtask.parent().map(Path::to_path_buf).unwrap_or(xtask)
    });
    &ROOT
}

/// The workspace's own cargo, with these arguments.
fn cargo(line: &str) -> Cmd {
    Cmd::new("cargo").words(line).dir(root())
}

/// Sets up and builds the site without a model.
fn web(options: SetupOptions) -> Result<web::Kit> {
    web_with(tools::set_up(options)?)
}

/// Builds the site without a model.
fn web_with(tools: tools::Tools) -> Result<web::Kit> {
    let kit = web::Kit::new(tools)?;
    web::build(&kit)?;
    Ok(kit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_understood_or_named() {
        assert!(matches!(
            parse(&["setup", "--browser"]),
            Ok(Task::SetUp { browser: true })
        ));
        assert!(matches!(
            parse(&["demo"]),
            Ok(Task::Demo {
                port: 8080,
                serve: true
            })
        ));
        assert!(matches!(
            parse(&["demo", "--no-serve", "--port", "0"]),
            Ok(Task::Demo {
                port: 0,
                serve: false
            })
        ));
        assert!(matches!(parse(&["check"]), Ok(Task::Check)));
        assert!(matches!(
            parse(&["fuzz", "5"]),
            Ok(Task::Fuzz { seconds: 5 })
        ));
        assert!(matches!(parse(&["test", "--help"]), Ok(Task::Help)));
        assert!(
            matches!(parse(&["starter", "play.parquet", "many.parquet", "e5"]), Ok(Task::Starter(of)) if of.play == "play.parquet" && of.multilingual == "many.parquet" && of.encoder == "e5")
        );
        for (args, word) in [
            (&["starter", "play.parquet", "e5"][..], "encoder"),
            (&[], "missing"),
            (&["dmeo"], "dmeo"),
            (&["demo", "--port"], "number"),
            (&["demo", "--port", "70000"], "70000"),
            (&["web", "--port", "1"], "--port"),
            (&["fuzz", "long"], "seconds"),
        ] {
            assert!(parse(args).is_err_and(|why| why.contains(word)), "{args:?}");
        }
    }
}
