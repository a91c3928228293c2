//! `--config FILE`: flags in a TOML file, under their own names. Flags on the command line take
//! precedence. If the model to start from is the starter and no file is named, the starter's own
//! recipe is used.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches, value_parser};
use serde::Serialize;
use toml::{Table, Value};

use crate::cli::source::Source;
use crate::model::starter;

/// Pairs of flags where the first overrides the second. If the second is given on the command line,
/// the first is ignored in the file.
const DECIDES: [(&str, &str); 2] = [("max-steps", "epochs"), ("warmup-steps", "warmup")];

/// The flags `T`, from the command line and from the file that `--config` names.
#[derive(Debug, Clone)]
pub struct Configured<T>(pub T);

impl<T: Args> Configured<T> {
    /// The flags of `line`, as on a command line.
    ///
    /// # Errors
    /// When a flag is wrong, or the file that `--config` names.
    pub fn parse(
        line: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Configured<T>> {
        let command = Self::augment_args(Command::new("recipe").no_binary_name(true));
        command
            .try_get_matches_from(line)
            .and_then(|matches| Self::from_arg_matches(&matches))
            .map_err(|e| anyhow!(first_paragraph(&e)))
    }
}

impl<T: Serialize> Configured<T> {
    /// The flags as a file that `--config` reads, with `comment` as its first line.
    ///
    /// # Errors
    /// When a value cannot be written as TOML.
    pub fn to_toml(&self, comment: &str) -> Result<String> {
        // A line break would end the comment.
        Ok(format!(
            "# {}\n{}",
            comment.replace(char::is_control, " "),
            toml::to_string(&self.0).context("writing the recipe as TOML")?
        ))
    }
}

impl<T: Args> Args for Configured<T> {
    fn augment_args(command: Command) -> Command {
        let help = "TOML file of recipe flags, such as a run's recipe.toml; flags on the command line take precedence";
        T::augment_args(
            command.arg(
                Arg::new("config")
                    .long("config")
                    .value_name("FILE")
                    .value_parser(value_parser!(PathBuf))
                    .help(help),
            ),
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<T: Args> FromArgMatches for Configured<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let (path, starts_from) = (
            matches.get_one::<PathBuf>("config"),
            matches.try_get_one::<Source>("model"),
        );
        let name = path.map_or_else(
            || starter::NAME.to_owned(),
            |path| path.display().to_string(),
        );
        let fail = |what: String| Error::raw(ErrorKind::InvalidValue, format!("{name}{what}\n"));
        let text = match (path, starts_from) {
            (Some(path), _) => std::fs::read_to_string(path).map_err(|e| fail(format!(": {e}")))?,
            (None, Ok(Some(Source::Starter))) => starter::RECIPE.to_owned(),
            (None, _) => return T::from_arg_matches(matches).map(Configured),
        };
        let table: Table = toml::from_str(&text).map_err(|e| {
            let before = text.bytes().take(e.span().map_or(0, |span| span.start));
            fail(format!(
                ", line {}: not TOML: {}",
                before.filter(|byte| *byte == b'\n').count() + 1,
                e.message()
            ))
        })?;
        let command = T::augment_args(Command::new("config").no_binary_name(true));
        let line =
            command_line(&command, table, matches).map_err(|what| fail(format!(": {what}")))?;
        T::from_arg_matches(&command.try_get_matches_from(line)?).map(Configured)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Builds a command line from the flags of `table`, each checked; flags given on the command line
/// replace them.
fn command_line(
    command: &Command,
    mut table: Table,
    given: &ArgMatches,
) -> Result<Vec<OsString>, String> {
    let is_given = |name: &str| {
        command
            .get_arguments()
            .any(|arg| arg.get_long() == Some(name) && from_command_line(given, arg))
    };
    let mut line = Vec::new();
    for arg in command.get_arguments() {
        let Some(name) = arg.get_long() else { continue };
        if let Some(value) = table.remove(name) {
            let flag = OsString::from(format!(
                "--{name}={}",
                plain(&value)
                    .ok_or_else(|| format!("`{name}` is {value}; expected a single value"))?
            ));
            command
                .clone()
                .try_get_matches_from([&flag])
                .map_err(|e| format!("`{name}`: {}", first_paragraph(&e)))?;
            let decided = DECIDES
                .iter()
                .any(|(decides, other)| *decides == name && is_given(other));
            if !from_command_line(given, arg) && !decided {
                line.push(flag);
            }
        }
        if from_command_line(given, arg) {
            for value in given.get_raw(arg.get_id().as_str()).into_iter().flatten() {
                let mut flag = OsString::from(format!("--{name}="));
                flag.push(value);
                line.push(flag);
            }
        }
    }
    match table.keys().next() {
        None => Ok(line),
        Some(key) => {
            let known: Vec<&str> = command.get_arguments().filter_map(Arg::get_long).collect();
            Err(format!(
                "unknown key `{key}`; known keys: {}",
                known.join(", ")
            ))
        }
    }
}

fn from_command_line(given: &ArgMatches, arg: &Arg) -> bool {
    given.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
}

/// A value as written on the command line; lists are joined with commas.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::Array(values) => values
            .iter()
            .map(plain)
            .collect::<Option<Vec<_>>>()
            .map(|values| values.join(",")),
        Value::Datetime(_) | Value::Table(_) => None,
    }
}

/// clap's message about a value, without the usage that follows.
fn first_paragraph(error: &Error) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    lines.join(" ").trim_start_matches("error: ").into()
}

#[cfg(test)]
mod tests {
    use clap::{Parser, Subcommand};

    use super::*;
    use crate::cli::{Cli, Settings};
    use crate::train::schedule::Decay;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(subcommand)]
        command: TestCommand,
    }

    #[derive(Debug, Subcommand)]
    enum TestCommand {
        Train {
            #[command(flatten)]
            settings: Configured<Settings>,
        },
    }

    /// The settings from `flags` and a file with the content `text`, or the error without its
    /// usage.
    fn settings(text: &str, flags: &[&str]) -> Result<Settings, String> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("recipe.toml");
        std::fs::write(&path, text).expect("written");
        let line = ["starsight", "train", "--config"]
            .map(OsString::from)
            .into_iter()
            .chain([path.into()])
            .chain(flags.iter().map(OsString::from));
        match Program::try_parse_from(line) {
            Ok(Program {
                command: TestCommand::Train { settings },
            }) => Ok(settings.0),
            Err(error) => {
                Err(first_paragraph(&error).replace(&format!("{}/", dir.path().display()), ""))
            }
        }
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let text = "lr = 1e-3\nepochs = 3\nschedule = \"cosine\"\nfreeze-embeddings = true\nclass-weights = [1, 2, 2.5, 2, 1]\nrows = 100\n";
        let found = settings(text, &["--epochs", "5", "--drop-empty"]).expect("settings");
        assert_eq!(
            (found.recipe.lr, found.recipe.epochs, found.labelled.rows),
            (1e-3, 5, Some(100))
        );
        assert_eq!(
            found
                .recipe
                .class_weights
                .as_ref()
                .expect("weights")
                .to_string(),
            "1,2,2.5,2,1"
        );
        assert!(found.recipe.freeze_embeddings && found.labelled.drop_empty);
        assert_eq!(found.recipe.schedule, Decay::Cosine);
        assert_eq!(
            found.recipe.batch, 64,
            "and what neither says is as it always is"
        );
        let found = settings(text, &["--freeze-embeddings=false", "--schedule", "linear"])
            .expect("settings");
        assert!(!found.recipe.freeze_embeddings && found.recipe.schedule == Decay::Linear);
        // A flag also takes precedence over a flag in the file that would override it.
        let steps = "max-steps = 7\nwarmup-steps = 2\n";
        let found = settings(steps, &["--epochs", "2"])
            .expect("settings")
            .recipe;
        assert_eq!((found.max_steps, found.warmup_steps), (None, Some(2)));
        let found = settings(steps, &["--warmup", "0.2", "--max-steps", "9"])
            .expect("settings")
            .recipe;
        assert_eq!((found.max_steps, found.warmup_steps), (Some(9), None));
    }

    #[test]
    fn errors_name_the_file_and_the_key() {
        for (text, wanted) in [
            (
                "learning-rate = 1",
                "recipe.toml: unknown key `learning-rate`; known keys: text-column,",
            ),
            ("[train]\nlr = 1", "recipe.toml: unknown key `train`"),
            (
                "lr = -1.0",
                "recipe.toml: `lr`: invalid value '-1' for '--lr <LR>': expected a number above 0",
            ),
            (
                "epochs = 1.5",
                "recipe.toml: `epochs`: invalid value '1.5' for '--epochs <EPOCHS>'",
            ),
            (
                "schedule = \"square\"",
                "[possible values: linear, cosine, constant, polynomial]",
            ),
            (
                "best-by = \"luck\"",
                "recipe.toml: `best-by`: invalid value 'luck'",
            ),
            (
                "class-weights = [1, 2]",
                "recipe.toml: `class-weights`: invalid value '1,2'",
            ),
            (
                "seed = 2024-01-01",
                "recipe.toml: `seed` is 2024-01-01; expected a single value",
            ),
            ("lr = 1\n\nlr = 2", "recipe.toml, line 3: not TOML"),
            ("lr 5", "recipe.toml, line 1: not TOML"),
        ] {
            // A flag on the command line does not hide a mistake in the file.
            for flags in [&[][..], &["--lr", "1e-3"]] {
                let error = settings(text, flags).expect_err("an error");
                assert!(error.contains(wanted), "{text:?}: {error}");
            }
        }
        let missing = Cli::try_parse_from([
            "starsight",
            "train",
            "--out",
            "x",
            "--config",
            "nowhere.toml",
        ])
        .expect_err("an error");
        assert!(missing.to_string().contains("nowhere.toml: "), "{missing}");
        assert_eq!(missing.exit_code(), 2);
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let flags = [
            &[
                "--max-steps",
                "9",
                "--warmup-steps",
                "2",
                "--lr",
                "3.3e-5",
                "--dropout",
                "0.1",
                "--seed",
                "9223372036854775807",
            ][..],
            &[
                "--class-weights",
                "balanced",
                "--freeze-embeddings",
                "--best-by",
                "macro-f1",
                "--patience",
                "2",
                "--rows",
                "50",
            ],
            &[],
        ];
        for flags in flags {
            let found = settings("", flags).expect("settings");
            let text = Configured(found.clone())
                .to_toml("from `base`\nlr = 7")
                .expect("TOML");
            assert!(text.starts_with("# from `base` lr = 7\n"), "{text}");
            let again = settings(&text, &[]).expect("settings");
            assert_eq!(
                (&again.recipe, &again.labelled),
                (&found.recipe, &found.labelled),
                "{text}"
            );
        }
    }
}
