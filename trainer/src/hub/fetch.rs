//! From the Hub into the cache.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use hf_hub::{HFError, HFRepositorySync, RepoType, repository::RepoTreeEntry};
use starsight_model::bundle;

use super::{
    Hub, RepoId, STALL_TIMEOUT,
    failure::{Failure, Wish},
    rest::{RemoteFile, Rest},
};
use crate::verify;

/// What is fetched of a model, where it has it.
const MODEL_FILES: [&str; 7] =
    [bundle::CONFIG, bundle::WEIGHTS, bundle::TOKENIZER, bundle::TOKENIZER_CONFIG, bundle::VOCAB, "special_tokens_map.json", bundle::MANIFEST];
/// The kinds of files that a data set is read from, the best first.
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
    /// Fetches a model: its configuration, tokeniser and weights, and all of it where it is a bundle. What the cache has already is not fetched again.
    ///
    /// # Errors
    /// When the Hub does not give it, it lacks a configuration or safetensors weights, or a file arrives damaged twice.
    pub fn fetch_model(&self, repo: &RepoId) -> Result<Snapshot> {
        let handle = self.client(Some(STALL_TIMEOUT))?.model(&repo.owner, &repo.name);
        let snapshot = self.fetch(&handle, repo, |files| choose_model(repo, files))?;
        if !snapshot.folder.join(bundle::MANIFEST).is_file() {
            return Ok(snapshot);
        }
        let manifest = verify::manifest(&snapshot.folder)?;
        let mut wanted: Vec<String> = manifest.files.into_iter().map(|file| file.path).collect();
        wanted.push(bundle::MANIFEST.into());
        // At the same commit, whatever was committed meanwhile.
        let commit = RepoId { revision: Some(snapshot.commit), ..repo.clone() };
        let snapshot = self.fetch(&handle, &commit, |_| Ok(wanted))?;
        verify::bundle(&snapshot.folder).with_context(|| format!("the bundle {repo} is not what its own manifest says"))?;
        Ok(snapshot)
    }

    /// Fetches the data files of a data set: all its parquet files, or else its csv, tsv or jsonl files.
    ///
    /// # Errors
    /// When the Hub does not give it, it has no such files, or one arrives damaged twice.
    pub fn fetch_dataset(&self, repo: &RepoId) -> Result<Snapshot> {
        let handle = self.client(Some(STALL_TIMEOUT))?.dataset(&repo.owner, &repo.name);
        self.fetch(&handle, repo, |files| choose_data(repo, files))
    }

    fn fetch<T: RepoType>(
        &self,
        handle: &HFRepositorySync<T>,
        repo: &RepoId,
        choose: impl FnOnce(&[String]) -> Result<Vec<String>>,
    ) -> Result<Snapshot> {
        let explain = |failure: Failure| failure.explain(self, Wish::Fetch, repo);
        if self.offline {
            let folder = handle.snapshot_download().revision(repo.revision()).local_files_only(true).send().map_err(|error| match error {
                HFError::LocalEntryNotFound { .. } => {
                    anyhow!("{repo} is not in the cache, and HF_HUB_OFFLINE keeps this program off the network: unset it once to fetch the files")
                }
                other => explain(other.into()),
            })?;
            let mut present = Vec::new();
            list(&folder, &folder, &mut present)?;
            let wanted = choose(&present)?;
            if let Some(missing) = wanted.iter().find(|path| !present.contains(path)) {
                bail!(
                    "the cache holds {repo} without {missing}, and HF_HUB_OFFLINE keeps this program off the network: unset it once to fetch the file"
                );
            }
            return snapshot(folder, wanted);
        }

        let tree = handle.list_tree().revision(repo.revision()).recursive(true).send().map_err(|e| explain(e.into()))?;
        let present: Vec<String> = tree
            .into_iter()
            .filter_map(|entry| match entry {
                RepoTreeEntry::File { path, .. } => Some(path),
                RepoTreeEntry::Directory { .. } => None,
            })
            .collect();
        let wanted = choose(&present)?;
        if let Some(missing) = wanted.iter().find(|path| !present.contains(path)) {
            bail!("{repo} at {} has no {missing}, though its manifest lists it", self.endpoint());
        }

        let rest = Rest::new(self).map_err(explain)?;
        let mut last_try = false;
        loop {
            let folder = handle
                .snapshot_download()
                .revision(repo.revision())
                .allow_patterns(wanted.iter().map(|path| literally(path)).collect())
                .progress(self.progress())
                .send()
                .map_err(|e| explain(e.into()))?;
            let commit = folder_name(&folder)?;
            let listed = rest.paths_info(handle.repo_type().plural(), repo, &commit, &wanted).map_err(explain)?;
            let mut damage = Vec::new();
            for path in &wanted {
                let listed =
                    listed.iter().find(|file| file.path == *path).with_context(|| format!("{} does not list {path} of {repo}", self.endpoint()))?;
                if let Some(how) = damaged(&folder, listed)? {
                    remove_cached(&folder.join(path))?;
                    damage.push(how);
                }
            }
            if damage.is_empty() {
                return snapshot(folder, wanted);
            }
            let damage = damage.join("; ");
            ensure!(!last_try, "fetching {repo} from {}: files arrived damaged twice, and were removed: {damage}", self.endpoint());
            self.note(&format!("fetching again what arrived damaged: {damage}"));
            last_try = true;
        }
    }
}

fn snapshot(folder: PathBuf, mut wanted: Vec<String>) -> Result<Snapshot> {
    wanted.sort();
    let files = wanted.iter().map(|path| folder.join(path)).collect();
    Ok(Snapshot { commit: folder_name(&folder)?, folder, files })
}

/// The cache names a snapshot's folder after its commit.
fn folder_name(folder: &Path) -> Result<String> {
    let name = folder.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).with_context(|| format!("{} is no snapshot of the Hub's cache", folder.display()))
}

fn choose_model(repo: &RepoId, files: &[String]) -> Result<Vec<String>> {
    let has = |name: &str| files.iter().any(|file| file == name);
    ensure!(has(bundle::CONFIG), "{repo} has no {}: it is not a model in Hugging Face's layout", bundle::CONFIG);
    if !has(bundle::WEIGHTS) {
        if files.iter().any(|file| file.ends_with(".safetensors.index.json")) {
            bail!("{repo} keeps its weights in several files: Starsight reads models with one {}", bundle::WEIGHTS);
        }
        if let Some(pickle) = files.iter().find(|file| file.ends_with(".bin") || file.ends_with(".pt") || file.ends_with(".pth")) {
            bail!(
                "{repo} has no {}, only {pickle}: that is a Python pickle, which may run code, and is not read here. Name a revision with safetensors (OWNER/NAME@REV), \
                 or convert it with transformers: from_pretrained, then save_pretrained",
                bundle::WEIGHTS
            );
        }
        bail!("{repo} has no {}", bundle::WEIGHTS);
    }
    Ok(MODEL_FILES.into_iter().filter(|name| has(name)).map(str::to_owned).collect())
}

fn choose_data(repo: &RepoId, files: &[String]) -> Result<Vec<String>> {
    for kind in DATA_FILES {
        let found: Vec<String> =
            files.iter().filter(|file| Path::new(file).extension().is_some_and(|e| e.eq_ignore_ascii_case(kind))).cloned().collect();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    bail!("the data set {repo} has no .parquet, .csv, .tsv or .jsonl file")
}

/// How the file in `folder` differs from what the Hub lists, if it does.
fn damaged(folder: &Path, listed: &RemoteFile) -> Result<Option<String>> {
    let path = folder.join(&listed.path);
    let size = match fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(format!("{}: did not arrive", listed.path))),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    if size != listed.size {
        return Ok(Some(format!("{}: {size} bytes, the Hub lists {}", listed.path, listed.size)));
    }
    let Some(lfs) = &listed.lfs else { return Ok(None) };
    let (_, sha256) = verify::hashed(&path, &mut io::sink())?;
    Ok((sha256 != lfs.oid).then(|| format!("{}: SHA-256 {sha256}, the Hub lists {}", listed.path, lfs.oid)))
}

/// Removes a file of a snapshot, and the blob that it points to, so that the next download brings it anew.
fn remove_cached(path: &Path) -> Result<()> {
    let blob = fs::canonicalize(path);
    for file in [Ok(path.to_owned()), blob].into_iter().flatten() {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("{} is damaged and cannot be removed", file.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Adds the files below `folder` to `files`, as paths from `root` with `/`.
fn list(root: &Path, folder: &Path, files: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            list(root, &path, files)?;
        } else if path.is_file() {
            let below: Vec<_> = path.strip_prefix(root)?.iter().map(|part| part.to_string_lossy()).collect();
            files.push(below.join("/"));
        }
    }
    Ok(())
}

/// The glob that fits this path only.
fn literally(path: &str) -> String {
    path.chars().map(|c| if "*?[]{}\\!".contains(c) { format!("[{c}]") } else { c.to_string() }).collect()
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
        let why = |names: &[&str]| choose_model(&repo, &files(names)).expect_err("refused").to_string();
        assert!(why(&["model.safetensors"]).contains("config.json"));
        assert!(why(&["config.json"]).contains("no model.safetensors"));
        assert!(why(&["config.json", "pytorch_model.bin"]).contains("pickle"));
        assert!(why(&["config.json", "model.safetensors.index.json"]).contains("several files"));
        let chosen = choose_model(&repo, &files(&["config.json", "model.safetensors", "vocab.txt", "onnx/model.onnx"])).unwrap();
        assert_eq!(chosen, ["config.json", "model.safetensors", "vocab.txt"]);
    }

    #[test]
    fn a_data_set_gives_its_best_kind_of_file() {
        let repo: RepoId = "a/b".parse().unwrap();
        assert_eq!(choose_data(&repo, &files(&["README.md", "a.csv", "data/x.parquet"])).unwrap(), ["data/x.parquet"]);
        assert_eq!(choose_data(&repo, &files(&["b.CSV", "a.csv"])).unwrap(), ["b.CSV", "a.csv"]);
        assert!(choose_data(&repo, &files(&["README.md"])).is_err());
    }

    #[test]
    fn a_glob_fits_one_path() {
        assert_eq!(literally("data/a[1]*.csv"), "data/a[[]1[]][*].csv");
    }
}
