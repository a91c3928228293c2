//! The commands: what each does with its arguments. Results go to stdout, everything else to stderr.

mod bench;
mod evaluate;
mod init;
mod publish;
mod quantize;
mod rate;
mod site;
mod split;
mod train;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::cli::{Columns, Command, HubArgs, Labelled};
use crate::data::{Empty, Labels, Reviews};
use crate::evaluation::Evaluation;
use crate::hub::{Event, Hub, Token};

/// Does what the command line says.
///
/// # Errors
/// What went wrong, fit for a user.
pub fn run(command: Command) -> Result<()> {
    match command {
        Command::Init(args) => init::run(&args),
        Command::Train(args) => train::run(*args),
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
    let bar = ProgressBar::new(0).with_style(
        ProgressStyle::with_template("{prefix:>12} {bar:32} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let shown = AtomicU64::new(0);
    let report = move |event: Event<'_>| match event {
        Event::Note(text) => bar.suspend(|| eprintln!("{text}")),
        Event::Transfer { done, total } => {
            bar.set_length(total);
            bar.set_position(done);
            if done == total && shown.swap(total, Ordering::Relaxed) != total {
                bar.finish_and_clear();
                eprintln!("transferred {}", HumanBytes(total));
            }
        }
    };
    Ok(Hub::new(args.endpoint.as_deref(), Token::find(args.token_file.as_deref())?)?.watched_by(Arc::new(report)))
}

/// Which columns and rows a command wants.
fn labels(args: &Labelled) -> Labels {
    let Columns { text_column, label_column } = args.columns.clone();
    Labels { text: text_column, star: label_column, rows: args.rows, empty: if args.drop_empty { Empty::Drop } else { Empty::Keep } }
}

/// Says how many reviews have no text, and what becomes of them.
fn tell_blank(blank: usize, reviews: usize, args: &Labelled) {
    match (blank, args.drop_empty) {
        (0, _) => {}
        (n, true) => eprintln!("{n} of {reviews} reviews have no text, and are left out after the split"),
        (n, false) => eprintln!("{n} of {reviews} reviews have no text, and stay in; --drop-empty leaves them out"),
    }
}

/// Reads reviews with their stars, and of the other columns those named, else all.
fn reviews(files: &[PathBuf], args: &Labelled, columns: Option<&[&str]>) -> Result<Reviews> {
    let reviews = Reviews::read(files, &labels(args), columns)?;
    tell_blank(reviews.blank(), reviews.len(), args);
    Ok(reviews)
}

/// Metrics as a small table.
fn print_metrics(title: &str, evaluation: &Evaluation) {
    println!("{title}: {} reviews", evaluation.metrics.samples);
    for measure in evaluation.measures() {
        let interval = if measure.interval.is_some() { format!("   95%: {}", measure.show_interval()) } else { String::new() };
        println!("  {:<28}{:>8}{interval}", measure.name, measure.show((measure.of)(&evaluation.metrics)));
    }
}
