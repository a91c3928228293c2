//! Where a model or data set comes from: a path, or a repository on the Hub.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Result, bail};

use crate::hub::{Hub, RepoId};

/// What `--model` and `--data` name.
#[derive(Debug, Clone)]
pub enum Source {
    /// A folder or file.
    Path(PathBuf),
    /// A repository, `OWNER/NAME[@REV]`.
    Repo(RepoId),
}

impl FromStr for Source {
    type Err = anyhow::Error;

    /// A path if there is something, else a repository if it looks like one.
    fn from_str(text: &str) -> Result<Source> {
        let path = Path::new(text);
        let names_a_file = path.extension().is_some_and(|e| ["parquet", "csv", "tsv", "jsonl", "ndjson"].iter().any(|kind| e == *kind));
        if path.exists() || text.starts_with(['.', '/', '~']) || names_a_file {
            return Ok(Source::Path(path.into()));
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
        }
    }
}

impl Source {
    /// The folder of a model, fetched if need be.
    ///
    /// # Errors
    /// When there is no such folder, or the Hub does not give it.
    pub fn model_folder(&self, hub: impl FnOnce() -> Result<Hub>) -> Result<PathBuf> {
        match self {
            Source::Path(path) if path.is_dir() => Ok(path.clone()),
            Source::Path(path) => bail!("{}: no such folder; wanted a folder with a model, or OWNER/NAME of one on the Hub", path.display()),
            Source::Repo(repo) => Ok(hub()?.fetch_model(repo)?.folder),
        }
    }

    /// The one file of a data set, fetched if need be.
    ///
    /// # Errors
    /// When there is no such file, the Hub does not give it, or it has several.
    pub fn data_file(&self, hub: impl FnOnce() -> Result<Hub>) -> Result<PathBuf> {
        match self {
            Source::Path(path) if path.is_file() => Ok(path.clone()),
            Source::Path(path) => {
                bail!("{}: no such file; wanted a .parquet, .csv, .tsv or .jsonl file, or OWNER/NAME of a data set on the Hub", path.display())
            }
            Source::Repo(repo) => match &hub()?.fetch_dataset(repo)?.files[..] {
                [file] => Ok(file.clone()),
                files => bail!("{repo} has {} data files; wanted one: fetch it and name the file", files.len()),
            },
        }
    }
}
