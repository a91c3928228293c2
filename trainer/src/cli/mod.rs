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
    /// Write a small untrained model with a vocabulary learned from the reviews
    Init(Init),
    /// Remove from a model the vocabulary pieces that the reviews do not use
    Trim(Trim),
    /// Fine-tune a model on reviews and write the bundle
    Train(Box<Train>),
    /// Train a small new model, with its own vocabulary, to imitate a fine-tuned one
    Distill(Box<Distill>),
    /// Train several recipes with several seeds each, and compare the results
    Compare(Compare),
    /// Describe reviews: stars, repeats and contradictions, lengths, emoji, languages
    Data(Data),
    /// Split reviews into train, val and test as the notebook does, and write them as Parquet
    Split(SplitArgs),
    /// Rate reviews whose stars are known, and report how good the ratings are
    Evaluate(Evaluate),
    /// Rate reviews: texts, a file, or lines on standard input
    Rate(Rate),
    /// Measure how many reviews per second a model rates, in batches of several sizes, packed and
    /// padded
    Bench(Bench),
    /// Add the int8 weights, which the browser uses, to a bundle that lacks them
    Quantize(Quantize),
    /// Publish a bundle to the Hugging Face Hub in one commit, or copy it to a folder
    Publish(Publish),
    /// Build a complete static site that serves a bundle
    Site(Site),
    /// Preview a site on this machine
    Serve(Serve),
}

/// Names of the columns.
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

/// How reviews are divided, and which are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Args)]
#[serde(rename_all = "kebab-case")]
pub struct Division {
    /// How to divide into train, val and test: `stars`: stratified by stars, as in the notebook;
    /// `text`: the same, with equal texts in one part; `column:NAME`: the same, with equal values
    /// of this column in one part; `date:NAME`: the latest by this column are the test split;
    /// `given:NAME`: this column says train, validation or test
    #[arg(long, default_value_t = SplitBy::Stars, value_name = "stars|text|column:NAME|date:NAME|given:NAME", help_heading = "Data")]
    pub split_by: SplitBy,
    /// Leave out (after the split) reviews whose text, stars and these columns equal those of an
    /// earlier one, such as `package_name,date` against spam. Keep genuine repeats: they show the
    /// model how often a short text such as "good" got each number of stars
    #[arg(long, value_name = "COLUMN,...", help_heading = "Data")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedup: Option<Dedup>,
}

/// How to reach the Hub.
#[derive(Debug, Clone, Args)]
pub struct HubArgs {
    /// Address of the Hub; default: `HF_ENDPOINT`, else the public Hub
    #[arg(long, value_name = "URL", help_heading = "Hub")]
    pub endpoint: Option<String>,
    /// File with an access token; default: HF_TOKEN, else the token that `hf auth login` stored
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
    /// Model to take the vocabulary from instead of learning one: the pieces of its Unigram
    /// tokeniser that the reviews use most, with their embeddings
    #[arg(long, value_name = "DIR|OWNER/NAME[@REV]")]
    pub pieces_of: Option<Source>,
    /// Column with the weight of each review in choosing pieces, with --pieces-of; default: 1 each
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
    /// Reviews that decide which pieces stay
    #[arg(long, num_args = 1.., value_name = "FILE|DIR|OWNER/NAME", required = true)]
    pub data: Vec<Source>,
    /// Occurrences in the distinct texts that a piece needs to stay; a single character needs one
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
    // `run` comes before `model`: `Configured` must still find the model in clap's matches, because
    // the starter has its own default recipe.
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
    /// Fine-tuned model to learn from, besides the stars; may be given several times: then from the
    /// mean of their log-probabilities
    #[arg(long, value_name = "DIR|OWNER/NAME[@REV]|starter", display_order = 0)]
    pub teacher: Vec<Source>,
}

/// `starsight distill`
#[derive(Debug, Args)]
pub struct Distill {
    /// Fine-tuned model to learn from, besides the stars; may be given several times: then from the
    /// mean of their log-probabilities
    #[arg(long, required = true, value_name = "DIR|OWNER/NAME[@REV]|starter")]
    pub teacher: Vec<Source>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub student: Shape,
    #[command(flatten)]
    #[allow(missing_docs, reason = "see Labelled")]
    pub run: TrainingRun,
}

/// Arguments of every training run.
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
    /// Resume from the newest checkpoint in OUT
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

/// The flags of `starsight train` that a `--config` file may set; kept in `OUT/recipe.toml`.
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
    /// Recipes: TOML files as for `train --config`; a recipe is named after its file
    #[arg(required = true, value_name = "RECIPE.toml")]
    pub recipes: Vec<PathBuf>,
    /// Model to start from
    #[arg(
        long,
        value_name = "DIR|OWNER/NAME[@REV]|starter",
        default_value = "distilbert/distilbert-base-cased"
    )]
    pub model: Source,
    /// Reviews with stars, for training and testing: files, folders of them, patterns, or a data
    /// set on the Hub
    #[arg(long, num_args = 1.., value_name = "FILE|DIR|OWNER/NAME", default_value = "sealuzh/app_reviews")]
    pub data: Vec<Source>,
    /// Further reviews with stars, for testing only; may be given several times
    #[arg(long, value_name = "FILE|DIR|OWNER/NAME")]
    pub also: Vec<Source>,
    /// Use only the first rows of the data
    #[arg(long, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub rows: Option<usize>,
    /// Number of runs of each recipe, with seeds from 42 on
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// Folder for the runs; finished runs in it are not repeated
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
    /// Column to show the stars by; default: `package_name` if it exists
    #[arg(long, value_name = "COLUMN")]
    pub by: Option<String>,
    /// Seed of the split in which leaked texts are counted
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
    /// Part to rate, divided as in `train`; for train, val and test, --rows, --dedup and
    /// --drop-empty default to those of the model's training, if its bundle records them
    #[arg(long, value_enum, default_value_t = SplitName::All)]
    pub split: SplitName,
    /// Seed of the split; default: that of the model's training if its bundle records it, else 42
    #[arg(long)]
    pub split_seed: Option<u64>,
    /// How the reviews are divided; default: as in the model's training if its bundle records it,
    /// else `stars`
    #[arg(long, value_name = "stars|text|column:NAME|date:NAME|given:NAME")]
    pub split_by: Option<SplitBy>,
    /// Leave out (after the split) reviews whose text, stars and these columns equal those of an
    /// earlier one
    #[arg(long, value_name = "COLUMN,...")]
    pub dedup: Option<Dedup>,
    /// How to derive stars from the probabilities; default: as the model's bundle says
    #[arg(long, value_name = "likeliest|median|expected|balanced")]
    pub decode: Option<Decoding>,
    /// Report metrics by group too: by a column of the file, or by `length` in tokens; may be given
    /// several times
    #[arg(long, value_name = "COLUMN|length")]
    pub by: Vec<String>,
    /// Write a report to this file, as one HTML page that opens without a server
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
    /// File for the reviews with their ratings; its ending sets the format
    #[arg(long, requires = "data", value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Column with the texts
    #[arg(long, default_value = "review")]
    pub text_column: String,
    /// Use only the first rows of the file
    #[arg(long, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub rows: Option<usize>,
    /// How to derive stars from the probabilities; default: as the model's bundle says
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
    /// Network delay of every batch in milliseconds; default: the notebook's, 500 for a batch of 32
    /// and 20 for a single review
    #[arg(long, value_name = "N")]
    pub lag_ms: Option<u64>,
    /// Use the first rows of the file
    #[arg(long, default_value_t = 512, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub rows: usize,
    /// Number of measurements of each setting, after a warm-up
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
    /// Repository on the Hub; created if it does not exist
    #[arg(long, value_name = "OWNER/NAME[@BRANCH]", group = "target")]
    pub to: Option<RepoId>,
    /// Branch to commit to, the same as @BRANCH; created if it does not exist
    #[arg(long, value_name = "NAME", requires = "to")]
    pub revision: Option<String>,
    /// Folder to copy the bundle to
    #[arg(long, value_name = "DIR", group = "target")]
    pub out: Option<PathBuf>,
    /// Leave out the floating-point weights; Starsight and the page need only the int8 weights
    #[arg(long, requires = "out")]
    pub integers: bool,
    /// Markdown file to put into the copy's model card, before its limits
    #[arg(long, value_name = "FILE", requires = "out")]
    pub notes: Option<PathBuf>,
    /// Languages named on the copy's model card, as ISO 639-1 codes; default: English
    #[arg(long, value_name = "CODE,...", value_delimiter = ',', requires = "out")]
    pub languages: Vec<String>,
    /// Make a new repository private
    #[arg(long, requires = "to")]
    pub private: bool,
    /// Propose the commit in a pull request instead of putting it on the branch
    #[arg(long, requires = "to")]
    pub pull_request: bool,
    /// Only show what would be uploaded, and how
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
    /// Bundle that the site serves
    #[arg(long, value_name = "DIR|OWNER/NAME[@REV]|starter", default_value = starter::NAME)]
    pub model: Source,
    /// Folder for the site
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Address of the finished site: its canonical URL, and the link on the 404 page
    #[arg(long, value_name = "URL", value_parser = base_url)]
    pub base_url: Option<String>,
    /// Host, besides the site's own, from which the page may fetch models (`?model=`); its policy
    /// forbids all others; may be given several times; default: the hosts of the public Hub
    #[arg(long = "model-host", value_name = "URL", value_parser = model_host, default_values = hub::PUBLIC_HOSTS, hide_default_value = true)]
    pub model_hosts: Vec<String>,
    /// Include the floating-point weights, which the page does not need
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

/// Checks a host for a Content Security Policy: scheme, name, optional port, and no character that
/// would end the directive.
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
            "expected a host such as https://hub.example or http://localhost:8080, without a path"
                .into(),
        )
    }
}

/// Checks the URL of a folder, and ends it with a slash.
fn base_url(text: &str) -> Result<String, String> {
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"\"'<>?#".contains(&b));
    if !(text.starts_with("https://") || text.starts_with("http://")) || !plain {
        return Err("expected an address such as https://you.github.io/stars/".into());
    }
    Ok(format!("{}/", text.trim_end_matches('/')))
}
