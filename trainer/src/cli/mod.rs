//! The command line.

pub mod config;
pub mod source;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use starsight_model::rating::Decoding;

use crate::cli::config::Configured;
use crate::cli::source::Source;
use crate::data::{Dedup, SPLIT_SEED, SplitBy, SplitName};
use crate::hub::{self, RepoId};
use crate::model::fresh::{MAX_LENGTH, Shape};
use crate::model::starter;
use crate::rate::device::{Hardware, RatingHardware};
use crate::train::Recipe;

/// Fine-tunes a small encoder to rate reviews from one to five stars, publishes it, and rates reviews with it.
#[derive(Debug, Parser)]
#[command(name = "starsight", version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a small fresh model, its vocabulary learned from the reviews, to train from scratch
    Init(Init),
    /// Leave a model only the pieces of its vocabulary that reviews use
    Trim(Trim),
    /// Fine-tune a model on reviews and write the bundle
    Train(Box<Train>),
    /// Train a small fresh model, with a vocabulary of its own, to rate as a fine-tuned one does
    Distill(Box<Distill>),
    /// Train by several recipes, each from several seeds, and say what comes of them
    Compare(Compare),
    /// Say what reviews are like: stars, repeats and contradictions, lengths, emoji, languages
    Data(Data),
    /// Divide reviews into train, val and test as the notebook does, and write them as parquet
    Split(SplitArgs),
    /// Rate reviews whose stars are known, and report how good the ratings are
    Evaluate(Evaluate),
    /// Rate reviews: texts, a file, or lines on standard input
    Rate(Rate),
    /// Measure how many reviews a second a model rates, in batches of several sizes, packed and padded
    Bench(Bench),
    /// Write the weights that the browser computes with, in int8, into a bundle that lacks them
    Quantize(Quantize),
    /// Publish a bundle to the Hugging Face Hub in one commit, or copy it to a folder
    Publish(Publish),
    /// Build a complete static site that serves a bundle
    Site(Site),
    /// Preview a site on this machine
    Serve(Serve),
}

/// Which columns hold what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Args)]
#[serde(rename_all = "kebab-case")]
pub struct Columns {
    /// Column with the texts
    #[arg(long, default_value = "review", help_heading = "Data")]
    pub text_column: String,
    /// Column with the stars, 1 to 5
    #[arg(long, default_value = "star", help_heading = "Data")]
    pub label_column: String,
}

/// Reviews with stars.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Args)]
#[serde(rename_all = "kebab-case")]
pub struct Labelled {
    #[command(flatten)]
    #[serde(flatten)]
    #[allow(
        missing_docs,
        reason = "clap would show it as the heading of the command"
    )]
    pub columns: Columns,
    /// Use only the first rows of the file
    #[arg(long, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..), help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<usize>,
    /// Leave out rows without stars, and (after the split) reviews without text
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set, help_heading = "Data")]
    pub drop_empty: bool,
}

/// How reviews are divided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Args)]
#[serde(rename_all = "kebab-case")]
pub struct Division {
    /// What train, val and test are divided by: `stars`, as the notebook; `text`: by stars, no text in two parts; `column:NAME`: by stars, no value of this column in two parts;
    /// `date:NAME`: the last by this column are the test split; `given:NAME`: this column says train, validation or test
    #[arg(long, default_value_t = SplitBy::Stars, value_name = "stars|text|column:NAME|date:NAME|given:NAME", help_heading = "Data")]
    pub split_by: SplitBy,
    /// Leave out (after the split) copies: reviews whose text, stars and these columns are those of an earlier one, such as `package_name,date` against spam. This hides from the model how
    /// often a short text such as "good" got each star: keep genuine repeats
    #[arg(long, value_name = "COLUMN,...", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedup: Option<Dedup>,
}

/// How to reach the Hub.
#[derive(Debug, Clone, Args)]
pub struct HubArgs {
    /// The Hub's address; `HF_ENDPOINT` or the public Hub unless given
    #[arg(long, value_name = "URL", help_heading = "Hub")]
    pub endpoint: Option<String>,
    /// File that holds an access token; HF_TOKEN or the token that `hf auth login` left unless given
    #[arg(long, value_name = "FILE", help_heading = "Hub")]
    pub token_file: Option<PathBuf>,
}

/// `starsight init`
#[derive(Debug, Args)]
pub struct Init {
    /// Reviews to learn the vocabulary from
    #[arg(long, num_args = 1.., value_name = "FILE|DIR|OWNER/NAME")]
    pub data: Vec<Source>,
    /// Folder to write the model to
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub labelled: Labelled,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub shape: Shape,
    /// Model to take the vocabulary from, in place of a learned one: the pieces of its Unigram tokeniser that the reviews use most, and what they mean to it
    #[arg(long, value_name = "DIR|OWNER/NAME[@REV]")]
    pub pieces_of: Option<Source>,
    /// Column that says how much a review counts in choosing pieces, with --pieces-of; each counts 1 unless given
    #[arg(long, value_name = "COLUMN", requires = "pieces_of")]
    pub weight_column: Option<String>,
    /// Longest review in tokens
    #[arg(long, default_value_t = MAX_LENGTH, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(8..=4096))]
    pub max_length: usize,
    /// Seed of the weights
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub hub: HubArgs,
}

/// `starsight trim`
#[derive(Debug, Args)]
pub struct Trim {
    /// Model to trim, with a Unigram tokeniser such as XLM-RoBERTa's
    #[arg(long, value_name = "DIR|OWNER/NAME[@REV]")]
    pub model: Source,
    /// Reviews whose pieces stay
    #[arg(long, num_args = 1.., value_name = "FILE|DIR|OWNER/NAME", required = true)]
    pub data: Vec<Source>,
    /// How often a piece must occur in the different texts to stay; a single character once
    #[arg(long, default_value_t = 2, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub least: usize,
    /// Folder to write the model to
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub labelled: Labelled,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub hub: HubArgs,
}

/// `starsight train`
#[derive(Debug, Args)]
#[command(mut_arg("teacher_share", |share| share.requires("teacher")), mut_arg("teacher_temperature", |temperature| temperature.requires("teacher")))]
pub struct Train {
    // Read before the model is taken out of what clap has found: where that is the starter, the recipe's defaults are its own (`Configured`).
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub run: TrainingRun,
    /// Model to start from
    #[arg(
        long,
        value_name = "DIR|OWNER/NAME[@REV]|starter",
        default_value = "distilbert/distilbert-base-cased",
        display_order = 0
    )]
    pub model: Source,
    /// Fine-tuned model to learn from, besides the stars; given several times, from the mean of their log-probabilities
    #[arg(long, value_name = "DIR|OWNER/NAME[@REV]|starter", display_order = 0)]
    pub teacher: Vec<Source>,
}

/// `starsight distill`
#[derive(Debug, Args)]
pub struct Distill {
    /// Fine-tuned model to learn from, besides the stars; given several times, from the mean of their log-probabilities
    #[arg(long, required = true, value_name = "DIR|OWNER/NAME[@REV]|starter")]
    pub teacher: Vec<Source>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub student: Shape,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub run: TrainingRun,
}

/// What every run of training takes.
#[derive(Debug, Args)]
pub struct TrainingRun {
    /// Reviews with stars: files (.parquet, .csv, .tsv or .jsonl), folders of them, patterns, or a data set on the Hub
    #[arg(long, num_args = 1.., value_name = "FILE|DIR|OWNER/NAME", default_value = "sealuzh/app_reviews")]
    pub data: Vec<Source>,
    /// Further reviews without stars, labelled by the teachers
    #[arg(long, requires = "teacher", num_args = 1.., value_name = "FILE|DIR|OWNER/NAME")]
    pub unlabelled: Vec<Source>,
    /// Folder for the bundle, the log and the checkpoints
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Go on from the newest checkpoint in OUT
    #[arg(long)]
    pub resume: bool,
    /// Replace an earlier run in OUT
    #[arg(long, conflicts_with = "resume")]
    pub overwrite: bool,
    /// Print the results as one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub settings: Configured<Settings>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub hardware: Hardware,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub hub: HubArgs,
}

/// What of `starsight train` may stand in a `--config` file, and is kept in `OUT/recipe.toml`.
#[derive(Debug, Clone, Serialize, Args)]
pub struct Settings {
    #[command(flatten)]
    #[serde(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub labelled: Labelled,
    #[command(flatten)]
    #[serde(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub division: Division,
    #[command(flatten)]
    #[serde(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub recipe: Recipe,
}

/// `starsight compare`
#[derive(Debug, Args)]
pub struct Compare {
    /// Recipes, TOML files as `train --config` reads them; a file's name is what its recipe is called
    #[arg(required = true, value_name = "RECIPE.toml")]
    pub recipes: Vec<PathBuf>,
    /// Model to start from
    #[arg(
        long,
        value_name = "DIR|OWNER/NAME[@REV]|starter",
        default_value = "distilbert/distilbert-base-cased"
    )]
    pub model: Source,
    /// Reviews with stars to learn from and to be tested on: files, folders of them, patterns, or a data set on the Hub
    #[arg(long, num_args = 1.., value_name = "FILE|DIR|OWNER/NAME", default_value = "sealuzh/app_reviews")]
    pub data: Vec<Source>,
    /// Other reviews with stars to be tested on, all of them; may be given several times
    #[arg(long, value_name = "FILE|DIR|OWNER/NAME")]
    pub also: Vec<Source>,
    /// Use only the first rows of the data
    #[arg(long, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub rows: Option<usize>,
    /// Runs of each recipe, from seed 42 on
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// Folder for the runs; those that it holds already are not done again
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Print the results as one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub hardware: Hardware,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub hub: HubArgs,
}

/// `starsight data`
#[derive(Debug, Args)]
pub struct Data {
    /// Reviews with stars
    #[arg(long, num_args = 1.., value_name = "FILE|DIR|OWNER/NAME")]
    pub data: Vec<Source>,
    /// Column whose values the stars are shown by; `package_name` if there is one
    #[arg(long, value_name = "COLUMN")]
    pub by: Option<String>,
    /// Seed of the split that is looked at for texts in two parts
    #[arg(long, default_value_t = SPLIT_SEED)]
    pub split_seed: u64,
    /// Print the results as one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub labelled: Labelled,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub hub: HubArgs,
}

/// `starsight split`
#[derive(Debug, Args)]
pub struct SplitArgs {
    /// Reviews with stars
    #[arg(long, num_args = 1.., value_name = "FILE|DIR|OWNER/NAME")]
    pub data: Vec<Source>,
    /// Folder for train.parquet, val.parquet and test.parquet
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Seed of the split
    #[arg(long, default_value_t = SPLIT_SEED)]
    pub seed: u64,
    /// Print the results as one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub labelled: Labelled,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub division: Division,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub hub: HubArgs,
}

/// `starsight evaluate`
#[derive(Debug, Clone, Args)]
pub struct Evaluate {
    /// Fine-tuned model
    #[arg(long, value_name = "DIR|OWNER/NAME[@REV]|starter")]
    pub model: Source,
    /// Reviews with stars
    #[arg(long, num_args = 1.., value_name = "FILE|DIR|OWNER/NAME")]
    pub data: Vec<Source>,
    /// The part to rate, divided as `train` does: for train, val and test --rows, --dedup and --drop-empty hold too as in the model's training, where its bundle says so
    #[arg(long, value_enum, default_value_t = SplitName::All)]
    pub split: SplitName,
    /// Seed of the split; the one that the model was trained with, where its bundle says so, else 42
    #[arg(long)]
    pub split_seed: Option<u64>,
    /// What the parts are divided by; what the model was trained with, where its bundle says so, else `stars`
    #[arg(long, value_name = "stars|text|column:NAME|date:NAME|given:NAME")]
    pub split_by: Option<SplitBy>,
    /// Leave out (after the split) copies: reviews whose text, stars and these columns are those of an earlier one
    #[arg(long, value_name = "COLUMN,...")]
    pub dedup: Option<Dedup>,
    /// How stars follow from the probabilities; as the model's bundle says, unless given
    #[arg(long, value_name = "likeliest|median|expected|balanced")]
    pub decode: Option<Decoding>,
    /// Judge group by group too: by a column of the file, or by `length` in tokens; may be given several times
    #[arg(long, value_name = "COLUMN|length")]
    pub by: Vec<String>,
    /// Write a report to this file, one HTML page that opens by double click
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Print the results as one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub labelled: Labelled,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub hardware: RatingHardware,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub hub: HubArgs,
}

/// `starsight rate`
#[derive(Debug, Args)]
pub struct Rate {
    /// Fine-tuned model
    #[arg(long, value_name = "DIR|OWNER/NAME[@REV]|starter")]
    pub model: Source,
    /// Texts to rate
    #[arg(conflicts_with = "data")]
    pub text: Vec<String>,
    /// Files of reviews (.parquet, .csv, .tsv or .jsonl), folders of them, patterns, or a data set on the Hub
    #[arg(long, requires = "out", num_args = 1.., value_name = "FILE|DIR|OWNER/NAME")]
    pub data: Vec<Source>,
    /// File for the reviews with their ratings; its name says the format
    #[arg(long, requires = "data", value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Column with the texts
    #[arg(long, default_value = "review")]
    pub text_column: String,
    /// Use only the first rows of the file
    #[arg(long, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub rows: Option<usize>,
    /// How stars follow from the probabilities; as the model's bundle says, unless given
    #[arg(long, value_name = "likeliest|median|expected|balanced")]
    pub decode: Option<Decoding>,
    /// Print the results as one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub hardware: RatingHardware,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub hub: HubArgs,
}

/// `starsight bench`
#[derive(Debug, Args)]
pub struct Bench {
    /// Fine-tuned model
    #[arg(long, value_name = "DIR|OWNER/NAME[@REV]|starter")]
    pub model: Source,
    /// Reviews to rate
    #[arg(long, num_args = 1.., value_name = "FILE|DIR|OWNER/NAME")]
    pub data: Vec<Source>,
    /// Reviews in a batch
    #[arg(long, value_delimiter = ',', default_values_t = [64, 32, 1], value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=4096))]
    pub batch_sizes: Vec<usize>,
    /// Milliseconds that every batch waits for a network; the notebook's (500 for a batch of 32, 20 for a single review) unless given
    #[arg(long, value_name = "N")]
    pub lag_ms: Option<u64>,
    /// Use the first rows of the file
    #[arg(long, default_value_t = 512, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub rows: usize,
    /// How often each way is measured, after a warm-up
    #[arg(long, default_value_t = 3, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub repeats: usize,
    /// Column with the texts
    #[arg(long, default_value = "review")]
    pub text_column: String,
    /// Print the results as one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub hardware: RatingHardware,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub hub: HubArgs,
}

/// `starsight quantize`
#[derive(Debug, Args)]
pub struct Quantize {
    /// The bundle
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Print the results as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `starsight publish`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("target").required(true))]
pub struct Publish {
    /// The bundle
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Repository on the Hub; made when it does not exist
    #[arg(long, value_name = "OWNER/NAME[@BRANCH]", group = "target")]
    pub to: Option<RepoId>,
    /// Branch to commit to, the same as @BRANCH; made when it does not exist
    #[arg(long, value_name = "NAME", requires = "to")]
    pub revision: Option<String>,
    /// Folder to copy the bundle to
    #[arg(long, value_name = "DIR", group = "target")]
    pub out: Option<PathBuf>,
    /// Leave out the weights in floating point, for what needs the integers alone: Starsight and the page
    #[arg(long, requires = "out")]
    pub integers: bool,
    /// Markdown file to put into the copy's model card, before its limits
    #[arg(long, value_name = "FILE", requires = "out")]
    pub notes: Option<PathBuf>,
    /// Languages that the copy's model card names, by their ISO 639-1 codes; English unless given
    #[arg(long, value_name = "CODE,...", value_delimiter = ',', requires = "out")]
    pub languages: Vec<String>,
    /// Make a new repository private
    #[arg(long, requires = "to")]
    pub private: bool,
    /// Propose the commit in a pull request instead of putting it on the branch
    #[arg(long, requires = "to")]
    pub pull_request: bool,
    /// Only show what would go, and how
    #[arg(long, requires = "to")]
    pub dry_run: bool,
    /// Commit message
    #[arg(long, default_value = "Publish with Starsight")]
    pub message: String,
    /// Print the results as one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub hub: HubArgs,
}

/// `starsight site`
#[derive(Debug, Args)]
pub struct Site {
    /// The bundle that the site serves
    #[arg(long, value_name = "DIR|OWNER/NAME[@REV]|starter", default_value = starter::NAME)]
    pub model: Source,
    /// Folder for the site
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Where the site will be, for links to it: the 404 page's, and the address that search engines take as its own
    #[arg(long, value_name = "URL", value_parser = base_url)]
    pub base_url: Option<String>,
    /// Hosts besides the site's own from which the page may fetch models (`?model=`); its policy forbids all others. The public Hub's unless given; once for each
    #[arg(long = "model-host", value_name = "URL", value_parser = model_host, default_values = hub::PUBLIC_HOSTS, hide_default_value = true)]
    pub model_hosts: Vec<String>,
    /// Put the whole bundle into the site, floating-point weights too, which the page does not need
    #[arg(long)]
    pub full: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub hub: HubArgs,
}

/// `starsight serve`
#[derive(Debug, Args)]
pub struct Serve {
    /// The site
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Port on 127.0.0.1; 0 takes any free one
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
}

/// A host as a Content Security Policy takes it: scheme, name, perhaps a port; and nothing that would end the directive.
fn model_host(text: &str) -> Result<String, String> {
    let name = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .map(|name| name.trim_end_matches('/'));
    let good = name.is_some_and(|name| {
        !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-.*:[]".contains(&b))
    });
    if good {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err(
            "wanted a host such as https://hub.example or http://localhost:8080, without a path"
                .into(),
        )
    }
}

/// An address of a folder, which ends in a slash.
fn base_url(text: &str) -> Result<String, String> {
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"\"'<>?#".contains(&b));
    if !(text.starts_with("https://") || text.starts_with("http://")) || !plain {
        return Err("wanted an address such as https://you.github.io/stars/".into());
    }
    Ok(format!("{}/", text.trim_end_matches('/')))
}
