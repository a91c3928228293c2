//! Fetches repositories from the Hub into the cache.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use starsight_model::bundle;

use super::{
    Hub, RepoId,
    cache::{Cache, is_hex},
    download::Download,
    failure::{Failure, Operation},
    meter::Meter,
    rest::{RemoteFile, RepoKind, Rest},
};
use crate::model::verify;

/// The files fetched of a model, where present.
const MODEL_FILES: [&str; 7] = [
    bundle::CONFIG,
    bundle::WEIGHTS,
    bundle::TOKENIZER,
    bundle::TOKENIZER_CONFIG,
    bundle::VOCAB,
    "special_tokens_map.json",
    bundle::CARD,
];
/// File formats of data sets, in order of preference.
const DATA_FILES: [&str; 4] = ["parquet", "csv", "tsv", "jsonl"];

/// A repository's files at one commit, in the cache.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The folder that holds them.
    pub folder: PathBuf,
    /// The commit.
    pub commit: String,
    /// The files asked for, sorted by name.
    pub files: Vec<PathBuf>,
}

impl Hub {
    /// Fetches a model: its configuration, tokeniser and weights, or all files of a bundle. Files
    /// in the cache are not fetched again.
    ///
    /// # Errors
    /// When the Hub refuses, the repository lacks a configuration or safetensors weights, or a file
    /// arrives damaged twice.
    pub fn fetch_model(&self, repo: &RepoId) -> Result<Snapshot> {
        let fetch = Fetch::open(self, RepoKind::Model, repo)?;
        if !fetch.present.iter().any(|file| file == bundle::MANIFEST) {
            if self.offline {
                fetch.must_have([bundle::CONFIG, bundle::WEIGHTS])?;
            }
            return fetch.all(choose_model(repo, &fetch.present)?);
        }
        let folder = fetch.files(vec![bundle::MANIFEST.into()])?.folder;
        let mut wanted: Vec<String> = verify::manifest(&folder)?
            .files
            .into_iter()
            .map(|file| file.path)
            .collect();
        fetch.must_have(wanted.iter().map(String::as_str))?;
        wanted.push(bundle::MANIFEST.into());
        let snapshot = fetch.all(wanted)?;
        verify::bundle(&snapshot.folder)
            .with_context(|| format!("the bundle {repo} differs from its manifest"))?;
        Ok(snapshot)
    }

    /// Fetches the data files of a data set: all its parquet files, else its csv, tsv or jsonl
    /// files.
    ///
    /// # Errors
    /// When the Hub refuses, the repository has no such files, or one arrives damaged twice.
    pub fn fetch_dataset(&self, repo: &RepoId) -> Result<Snapshot> {
        let fetch = Fetch::open(self, RepoKind::Dataset, repo)?;
        fetch.all(choose_data(repo, &fetch.present)?)
    }

    /// The commit of a revision, and the files it contains.
    fn listing(&self, kind: RepoKind, repo: &RepoId) -> Result<(String, Vec<String>), Failure> {
        let client = self.client()?;
        let (commit, siblings) = match kind {
            RepoKind::Model => {
                let info = client
                    .model(&repo.owner, &repo.name)
                    .info()
                    .revision(repo.revision())
                    .send()?;
                (info.sha, info.siblings)
            }
            RepoKind::Dataset => {
                let info = client
                    .dataset(&repo.owner, &repo.name)
                    .info()
                    .revision(repo.revision())
                    .send()?;
                (info.sha, info.siblings)
            }
        };
        // The commit and the file names become paths on this disk, so they are checked.
        let commit = commit
            .filter(|commit| is_hex(commit))
            .ok_or_else(|| Failure::Answer(format!("no commit for {}", repo.revision())))?;
        let files: Vec<String> = siblings
            .unwrap_or_default()
            .into_iter()
            .map(|file| file.rfilename)
            .collect();
        match files.iter().find(|path| {
            path.contains('\\') || path.split('/').any(|part| matches!(part, "" | "." | ".."))
        }) {
            Some(path) => Err(Failure::Answer(format!(
                "the file name {path:?} leads out of the repository"
            ))),
            None => Ok((commit, files)),
        }
    }
}

/// A repository at one commit, which later commits do not affect.
struct Fetch<'a> {
    hub: &'a Hub,
    kind: RepoKind,
    repo: &'a RepoId,
    cache: Cache,
    commit: String,
    /// The files of the repository; offline, those that the cache holds.
    present: Vec<String>,
}

impl<'a> Fetch<'a> {
    fn open(hub: &'a Hub, kind: RepoKind, repo: &'a RepoId) -> Result<Fetch<'a>> {
        let cache = Cache::new(&hub.cache_dir(), kind, repo);
        let (commit, present) = if hub.offline {
            let known = cache
                .commit_of(repo.revision())
                .filter(|commit| cache.snapshot(commit).is_dir());
            let commit = known.with_context(|| {
                format!(
                    "{repo} is not in the cache {}, and HF_HUB_OFFLINE is set; unset it to download",
                    hub.cache_dir().display()
                )
            })?;
            let (folder, mut present) = (cache.snapshot(&commit), Vec::new());
            list(&folder, &folder, &mut present)?;
            (commit, present)
        } else {
            hub.listing(kind, repo)
                .map_err(|failure| failure.explain(hub, Operation::Fetch, repo))?
        };
        Ok(Fetch {
            hub,
            kind,
            repo,
            cache,
            commit,
            present,
        })
    }

    /// Fails if a file is missing.
    fn must_have<'b>(&self, needed: impl IntoIterator<Item = &'b str>) -> Result<()> {
        let Fetch {
            repo, hub, present, ..
        } = self;
        let Some(missing) = needed
            .into_iter()
            .find(|needed| !present.iter().any(|file| file == needed))
        else {
            return Ok(());
        };
        if hub.offline {
            bail!(
                "the cache has {repo} without {missing}, and HF_HUB_OFFLINE is set; unset it to download"
            );
        }
        bail!(
            "{repo} at {} has no {missing}, though its manifest lists it",
            hub.endpoint()
        );
    }

    /// Fetches the `wanted` files. Then records the revision's commit, which offline runs use: all
    /// of its files are now in the cache.
    fn all(&self, wanted: Vec<String>) -> Result<Snapshot> {
        let snapshot = self.files(wanted)?;
        self.cache.remember(self.repo.revision(), &self.commit)?;
        Ok(snapshot)
    }

    /// Makes sure that the cache holds these files.
    fn files(&self, mut wanted: Vec<String>) -> Result<Snapshot> {
        let folder = self.cache.snapshot(&self.commit);
        if !self.hub.offline {
            self.download_missing(&wanted)
                .map_err(|failure| failure.explain(self.hub, Operation::Fetch, self.repo))?;
        }
        wanted.sort();
        let files = wanted.iter().map(|path| folder.join(path)).collect();
        Ok(Snapshot {
            folder,
            commit: self.commit.clone(),
            files,
        })
    }

    fn download_missing(&self, wanted: &[String]) -> Result<(), Failure> {
        let Fetch {
            hub,
            kind,
            repo,
            cache,
            commit,
            ..
        } = self;
        let rest = Rest::new(hub)?;
        let listed = rest.paths_info(*kind, repo, commit, wanted)?;
        let mut missing = Vec::new();
        for path in wanted {
            let file = listed.iter().find(|file| file.path == *path);
            let file = file.ok_or_else(|| {
                Failure::Answer(format!(
                    "{path} is listed in one answer and missing in another"
                ))
            })?;
            if !is_hex(file.etag()) {
                return Err(Failure::Answer(format!(
                    "{:?} is not a valid hash of {path}",
                    file.etag()
                )));
            }
            if !self.holds(file)? {
                missing.push(file);
            }
        }
        // The Hub states the sizes, and their sum could overflow.
        let total = missing
            .iter()
            .map(|file| file.size)
            .fold(0, u64::saturating_add);
        let meter = Meter::new(&hub.report, total);
        let download = Download {
            hub,
            rest,
            kind: *kind,
            repo,
            commit,
            cache,
        };
        for file in missing {
            download.download(file, &meter)?;
        }
        Ok(())
    }

    /// Whether the cache holds the file as the Hub lists it.
    fn holds(&self, file: &RemoteFile) -> Result<bool> {
        let path = self.cache.snapshot(&self.commit).join(&file.path);
        let differs = path.is_file().then(|| file.differs(&path));
        // Another program may have removed a damaged file while we read it.
        if !path.is_file() {
            return Ok(false);
        }
        Ok(differs
            .transpose()?
            .is_some_and(|difference| difference.is_none()))
    }
}

fn choose_model(repo: &RepoId, files: &[String]) -> Result<Vec<String>> {
    let has = |name: &str| files.iter().any(|file| file == name);
    ensure!(
        has(bundle::CONFIG),
        "{repo} has no {}: it is not a model in Hugging Face's layout",
        bundle::CONFIG
    );
    if !has(bundle::WEIGHTS) {
        if files
            .iter()
            .any(|file| file.ends_with(".safetensors.index.json"))
        {
            bail!(
                "{repo}: the weights are sharded; only single-file models ({}) are supported",
                bundle::WEIGHTS
            );
        }
        if let Some(pickle) = files
            .iter()
            .find(|file| file.ends_with(".bin") || file.ends_with(".pt") || file.ends_with(".pth"))
        {
            bail!(
                "{repo} has no {}, only {pickle}: a Python pickle, which can run code and is not loaded. Use a revision with safetensors (OWNER/NAME@REV), \
                 or convert it with transformers: from_pretrained, then save_pretrained",
                bundle::WEIGHTS
            );
        }
        bail!("{repo} has no {}", bundle::WEIGHTS);
    }
    Ok(MODEL_FILES
        .into_iter()
        .filter(|name| has(name))
        .map(str::to_owned)
        .collect())
}

fn choose_data(repo: &RepoId, files: &[String]) -> Result<Vec<String>> {
    for kind in DATA_FILES {
        let found: Vec<String> = files
            .iter()
            .filter(|file| {
                Path::new(file)
                    .extension()
                    .is_some_and(|e| e.eq_ignore_ascii_case(kind))
            })
            .cloned()
            .collect();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    bail!("the data set {repo} has no .parquet, .csv, .tsv or .jsonl file")
}

/// Adds the files below `folder` to `files`, as paths from `root` with `/`.
fn list(root: &Path, folder: &Path, files: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            list(root, &path, files)?;
        } else if path.is_file() {
            let below: Vec<_> = path
                .strip_prefix(root)?
                .iter()
                .map(|part| part.to_string_lossy())
                .collect();
            files.push(below.join("/"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_model_without_safetensors_is_refused_with_the_reason() {
        let repo: RepoId = "a/b".parse().unwrap();
        let why = |names: &[&str]| {
            choose_model(&repo, &files(names))
                .expect_err("refused")
                .to_string()
        };
        assert!(why(&["model.safetensors"]).contains("config.json"));
        assert!(why(&["config.json"]).contains("no model.safetensors"));
        assert!(why(&["config.json", "pytorch_model.bin"]).contains("pickle"));
        assert!(
            why(&["config.json", "model.safetensors.index.json"])
                .contains("the weights are sharded; only single-file models")
        );
        let chosen = choose_model(
            &repo,
            &files(&[
                "config.json",
                "model.safetensors",
                "vocab.txt",
                "onnx/model.onnx",
            ]),
        )
        .unwrap();
        assert_eq!(chosen, ["config.json", "model.safetensors", "vocab.txt"]);
    }

    #[test]
    fn a_data_set_gives_its_best_kind_of_file() {
        let repo: RepoId = "a/b".parse().unwrap();
        assert_eq!(
            choose_data(&repo, &files(&["README.md", "a.csv", "data/x.parquet"])).unwrap(),
            ["data/x.parquet"]
        );
        assert_eq!(
            choose_data(&repo, &files(&["b.CSV", "a.csv"])).unwrap(),
            ["b.CSV", "a.csv"]
        );
        assert!(choose_data(&repo, &files(&["README.md"])).is_err());
    }
}
