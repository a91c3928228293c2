//! The commands: what each does with its arguments. Results go to stdout, everything else to stderr.

mod bench;
mod compare;
mod data;
mod evaluate;
mod init;
mod publish;
mod quantize;
mod rate;
mod site;
mod split;
mod train;
mod transfer;
mod trim;

use std::path::PathBuf;

use anyhow::Result;

use crate::cli::{Columns, Command, Division, HubArgs, Labelled};
use crate::data::{Empty, Labels, Reviews};
use crate::evaluate::Evaluation;
use crate::hub::{Hub, Token};

/// Runs a command.
///
/// # Errors
/// With a message for the user.
pub fn run(command: Command) -> Result<()> {
    match command {
        Command::Init(args) => init::run(&args),
        Command::Trim(args) => trim::run(&args),
        Command::Train(args) => train::run(*args),
        Command::Distill(args) => train::distill(*args),
        Command::Compare(args) => compare::run(&args),
        Command::Data(args) => data::run(&args),
        Command::Split(args) => split::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Rate(args) => rate::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Quantize(args) => quantize::run(&args),
        Command::Publish(args) => publish::run(&args),
        Command::Site(args) => site::run(&args),
        Command::Serve(args) => site::serve(&args),
    }
}

/// The Hub, with its transfers shown on stderr.
fn hub(args: &HubArgs) -> Result<Hub> {
    Ok(Hub::new(
        args.endpoint.as_deref(),
        Token::find(args.token_file.as_deref())?,
    )?
    .watched_by(transfer::shown()))
}

/// The columns and rows that a command reads.
fn labels(args: &Labelled) -> Labels {
    let Columns {
        text_column,
        label_column,
    } = args.columns.clone();
    let empty = if args.drop_empty {
        Empty::Drop
    } else {
        Empty::Keep
    };
    Labels {
        text: text_column,
        star: label_column,
        rows: args.rows,
        empty,
        ..Labels::usual()
    }
}

/// The same, with the division that a command asks for.
fn divided(labels: Labels, division: &Division) -> Labels {
    Labels {
        split_by: division.split_by.clone(),
        dedup: division.dedup.clone().filter(|dedup| !dedup.is_off()),
        ..labels
    }
}

/// Prints how many reviews have no text, and whether they are left out.
fn print_blank(blank: usize, reviews: usize, args: &Labelled) {
    match (blank, args.drop_empty) {
        (0, _) => {}
        (n, true) => {
            say!("{n} of {reviews} reviews have no text, and are left out after the split");
        }
        (n, false) => {
            say!(
                "{n} of {reviews} reviews have no text, and are kept; --drop-empty leaves them out"
            );
        }
    }
}

/// Reads reviews with their stars, and of the other columns those in `columns`, or all if that is
/// `None`.
fn reviews(
    files: &[PathBuf],
    args: &Labelled,
    division: &Division,
    columns: Option<&[&str]>,
) -> Result<Reviews> {
    let reviews = Reviews::read(files, &divided(labels(args), division), columns)?;
    print_blank(reviews.blank(), reviews.len(), args);
    Ok(reviews)
}

/// Metrics as a small table.
fn print_metrics(title: &str, evaluation: &Evaluation) {
    out!("{title}: {} reviews", evaluation.metrics.samples);
    for measure in evaluation.measures() {
        let interval = if measure.interval.is_some() {
            format!("   95%: {}", measure.show_interval())
        } else {
            String::new()
        };
        out!(
            "  {:<28}{:>8}{interval}",
            measure.name,
            measure.show((measure.of)(&evaluation.metrics))
        );
    }
}
