//! Where a model or data set comes from: a path, or a repository on the Hub.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};

use crate::hub::{Hub, RepoId};
use crate::model::starter;

/// The value of `--model` and `--data`.
#[derive(Debug, Clone)]
pub enum Source {
    /// A folder or file.
    Path(PathBuf),
    /// A repository, `OWNER/NAME[@REV]`.
    Repo(RepoId),
    /// The model embedded in this program.
    Starter,
}

impl FromStr for Source {
    type Err = anyhow::Error;

    /// Parses a path if it exists or looks like one, else `starter` as the starter, else OWNER/NAME
    /// as a repository.
    fn from_str(text: &str) -> Result<Source> {
        let path = Path::new(text);
        if path.exists() || text.starts_with(['.', '/', '~']) || is_data(path) || is_pattern(text) {
            return Ok(Source::Path(path.into()));
        }
        if text == starter::NAME {
            return Ok(Source::Starter);
        }
        match text.parse() {
            Ok(repo) => Ok(Source::Repo(repo)),
            Err(_) => Ok(Source::Path(path.into())),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Path(path) => path.display().fmt(f),
            Source::Repo(repo) => repo.fmt(f),
            Source::Starter => starter::NAME.fmt(f),
        }
    }
}

impl Source {
    /// The name to show to others: a repository as named, a path by its last part, because the rest
    /// concerns only this machine.
    pub fn title(&self) -> String {
        match self {
            Source::Path(path) => path.file_name().map_or_else(
                || path.display().to_string(),
                |name| name.to_string_lossy().into_owned(),
            ),
            Source::Repo(_) | Source::Starter => self.to_string(),
        }
    }

    /// Returns the folder of a model, fetching it if necessary.
    ///
    /// # Errors
    /// When there is no such folder, or the Hub refuses.
    pub fn model_folder(&self, hub: impl FnOnce() -> Result<Hub>) -> Result<PathBuf> {
        match self {
            Source::Path(path) if path.is_dir() => Ok(path.clone()),
            Source::Path(path) => {
                bail!(
                    "{}: no such folder; expected a folder with a model, OWNER/NAME of one on the Hub, or {}",
                    path.display(),
                    starter::NAME
                )
            }
            Source::Repo(repo) => Ok(hub()?
                .fetch_model(repo)
                .with_context(|| format!("no local folder {repo}; trying the Hub"))?
                .folder),
            Source::Starter => starter::folder(),
        }
    }

    /// Returns the files of a data set, fetching them if necessary: a file, the data files of a
    /// folder, those that match a pattern such as `shards/*.parquet`, or those of a repository.
    ///
    /// # Errors
    /// When there are none, or the Hub refuses.
    fn data_files(&self, hub: impl FnOnce() -> Result<Hub>) -> Result<Vec<PathBuf>> {
        let path = match self {
            Source::Path(path) => path.as_path(),
            Source::Repo(repo) => {
                return Ok(hub()?
                    .fetch_dataset(repo)
                    .with_context(|| format!("no local file or folder {repo}; trying the Hub"))?
                    .files);
            }
            // Where reviews are expected, `starter` is a file name like any other.
            Source::Starter => Path::new(starter::NAME),
        };
        if path.is_file() {
            return Ok(vec![path.to_owned()]);
        }
        let pattern = if path.is_dir() {
            path.join("*")
        } else {
            path.to_owned()
        };
        let pattern = pattern.to_string_lossy().into_owned();
        let found = glob::glob(&pattern)
            .with_context(|| format!("{}: invalid path pattern", path.display()))?;
        let files: Vec<PathBuf> = found
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .filter(|file| file.is_file() && is_data(file))
            .collect();
        ensure!(
            !files.is_empty(),
            "{}: no such file; expected a .parquet, .csv, .tsv or .jsonl file, a folder or pattern of such files, or OWNER/NAME of a data set on the Hub",
            path.display()
        );
        Ok(files)
    }
}

/// The files of all `sources`, in their order.
///
/// # Errors
/// When one of them has none, or the Hub refuses.
pub fn data_files(sources: &[Source], hub: impl Fn() -> Result<Hub>) -> Result<Vec<PathBuf>> {
    let files: Vec<Vec<PathBuf>> = sources
        .iter()
        .map(|source| source.data_files(&hub))
        .collect::<Result<_>>()?;
    Ok(files.concat())
}

/// The names of several sources, as given.
pub fn names(sources: &[Source]) -> String {
    sources
        .iter()
        .map(Source::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The names of several sources, as shown to others.
pub fn titles(sources: &[Source]) -> String {
    sources
        .iter()
        .map(Source::title)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Whether a file of this name can hold reviews.
fn is_data(path: &Path) -> bool {
    path.extension().is_some_and(|e| {
        ["parquet", "csv", "tsv", "jsonl", "ndjson"]
            .iter()
            .any(|kind| e.eq_ignore_ascii_case(kind))
    })
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}
