//! Plans what publishing would do.

use std::{collections::HashMap, fs::File, io::Read, path::Path};

use anyhow::{Context, Result, ensure};
use hf_hub::HFClientSync;
use serde::Serialize;
use starsight_model::bundle::{FileEntry, MANIFEST, Manifest};

use super::{
    Hub, RepoId,
    failure::{Failure, Operation},
    publish::Publication,
    rest::{RemoteFile, RepoKind, Rest, UploadMode},
};
use crate::model::verify;
use crate::system::files::read;

/// Files above this size never go into the commit itself.
const LARGE: u64 = 10 << 20;
/// Number of bytes from the beginning of a file that the Hub wants to see.
const SAMPLE: u64 = 512;

/// The effects of publishing.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// The Hub's address.
    pub endpoint: String,
    /// The repository, `OWNER/NAME`.
    pub repository: String,
    /// Whether it exists; otherwise it is created.
    pub repository_exists: bool,
    /// The branch.
    pub revision: String,
    /// Whether it exists; otherwise it is created.
    pub revision_exists: bool,
    /// The parent of the new commit, if there is one.
    pub parent: Option<String>,
    /// The files of the bundle.
    pub files: Vec<PlannedFile>,
    /// The files that the published manifest lists and the bundle's does not. The commit deletes
    /// them, because they would seem to belong to the new version. Files that no manifest lists
    /// belong to someone else and stay.
    pub stale: Vec<String>,
}

/// A file of the bundle, and what would happen to it.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedFile {
    /// Path, size and hash.
    #[serde(flatten)]
    pub entry: FileEntry,
    /// How it compares with the Hub's file.
    pub state: FileState,
    /// How it would be uploaded, if it would be.
    #[serde(rename = "way", skip_serializing_if = "Option::is_none")]
    pub method: Option<UploadMethod>,
}

/// How a file compares with the Hub's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileState {
    /// The Hub does not have it.
    New,
    /// The Hub has other content.
    Changed,
    /// The Hub has the same content, and nothing is uploaded.
    Same,
}

/// How a file is uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UploadMethod {
    /// In the commit itself.
    Commit,
    /// Before the commit, by Xet.
    Xet,
    /// Before the commit, by git-lfs.
    Lfs,
    /// Before the commit, by Xet or git-lfs: the Hub says which once the repository exists.
    Ahead,
}

impl Plan {
    /// The files that would be uploaded.
    pub fn going(&self) -> impl Iterator<Item = &PlannedFile> {
        self.files
            .iter()
            .filter(|file| file.state != FileState::Same)
    }

    /// Number of bytes that would be uploaded.
    pub fn bytes(&self) -> u64 {
        self.going().map(|file| file.entry.size).sum()
    }

    /// The paths in the commit: the bundle's files, and the files it deletes.
    pub(super) fn paths(&self) -> Vec<String> {
        self.files
            .iter()
            .map(|file| &file.entry.path)
            .chain(&self.stale)
            .cloned()
            .collect()
    }
}

impl Hub {
    /// Plans what [`Hub::publish`] would do. Nothing is changed on the Hub.
    ///
    /// # Errors
    /// When the bundle differs from its manifest, or the Hub refuses.
    pub fn plan(&self, publication: &Publication<'_>) -> Result<Plan> {
        let Publication { bundle, repo, .. } = publication;
        ensure!(
            !self.offline,
            "publishing to {repo}: HF_HUB_OFFLINE is set; unset it"
        );
        let mut entries = verify::bundle(bundle)?.files;
        entries.push(FileEntry::of(MANIFEST, &read(&bundle.join(MANIFEST))?));
        let mut plan = self.compare(publication, entries)?;
        self.choose_upload_methods(&mut plan, publication)
            .map_err(|failure| failure.explain(self, Operation::Publish, repo))?;
        Ok(plan)
    }

    /// Compares the bundle's files with those on the Hub.
    fn compare(&self, publication: &Publication<'_>, entries: Vec<FileEntry>) -> Result<Plan> {
        let Publication {
            bundle,
            repo,
            private,
            pull_request,
            ..
        } = *publication;
        let explain = |failure: Failure| failure.explain(self, Operation::Publish, repo);
        let client = self.client()?;
        let repository = found(
            client
                .model(&repo.owner, &repo.name)
                .info()
                .send()
                .map_err(Failure::from),
        )
        .map_err(explain)?;
        if let Some(info) = &repository {
            ensure!(
                !private || info.private == Some(true),
                "{repo} at {} exists and is public: make it private in its settings there, or publish to another name; nothing was published",
                self.endpoint()
            );
        }
        let branch = if repository.is_some() {
            found(Hub::head(&client, repo)).map_err(explain)?
        } else {
            None
        };
        ensure!(
            !pull_request || branch.is_some(),
            "publishing to {repo} at {}: branch {} does not exist; publish without --pull-request first",
            self.endpoint(),
            repo.revision()
        );
        // A new branch starts at main.
        let parent = branch
            .clone()
            .or_else(|| repository.as_ref().and_then(|info| info.sha.clone()));
        let paths: Vec<String> = entries.iter().map(|entry| entry.path.clone()).collect();
        let listed = match &parent {
            Some(parent) => Rest::new(self)
                .and_then(|rest| rest.paths_info(RepoKind::Model, repo, parent, &paths))
                .map_err(explain)?,
            None => Vec::new(),
        };
        let planned = |entry| {
            Ok(PlannedFile {
                state: state_of(bundle, &entry, &listed)?,
                entry,
                method: None,
            })
        };
        let files = entries
            .into_iter()
            .map(planned)
            .collect::<Result<Vec<_>>>()?;
        let other_manifest = files
            .iter()
            .any(|file| file.entry.path == MANIFEST && file.state == FileState::Changed);
        let stale = match &parent {
            Some(parent) if other_manifest => self.stale(repo, parent, &paths).map_err(explain)?,
            _ => Vec::new(),
        };
        Ok(Plan {
            endpoint: self.endpoint().to_owned(),
            repository: repo.path(),
            repository_exists: repository.is_some(),
            revision: repo.revision().to_owned(),
            revision_exists: branch.is_some(),
            files,
            stale,
            parent,
        })
    }

    /// The files that the manifest at `commit` lists and the Hub has, except `paths`.
    fn stale(&self, repo: &RepoId, commit: &str, paths: &[String]) -> Result<Vec<String>, Failure> {
        let rest = Rest::new(self)?;
        let manifest = self.retry(|| {
            Ok(rest
                .content(RepoKind::Model, repo, commit, MANIFEST, 0)?
                .bytes()?)
        })?;
        let former = match Manifest::from_json(&manifest) {
            Ok(manifest) => manifest
                .files
                .into_iter()
                .map(|file| file.path)
                .filter(|path| !paths.contains(path))
                .collect::<Vec<_>>(),
            Err(error) => {
                self.note(&format!("the manifest on the Hub cannot be read ({error}); no file of that version is deleted"));
                return Ok(Vec::new());
            }
        };
        Ok(rest
            .paths_info(RepoKind::Model, repo, commit, &former)?
            .into_iter()
            .map(|file| file.path)
            .collect())
    }

    /// The commit at the tip of the branch.
    pub(super) fn head(client: &HFClientSync, repo: &RepoId) -> Result<String, Failure> {
        let info = client
            .model(&repo.owner, &repo.name)
            .info()
            .revision(repo.revision())
            .send()?;
        info.sha
            .ok_or_else(|| Failure::Answer(format!("no commit for {}", repo.revision())))
    }

    /// Asks the Hub how to upload the files. A repository that does not exist yet cannot be asked;
    /// then the size decides what is likely.
    pub(super) fn choose_upload_methods(
        &self,
        plan: &mut Plan,
        publication: &Publication<'_>,
    ) -> Result<(), Failure> {
        let Publication { bundle, repo, .. } = publication;
        let going = plan
            .files
            .iter_mut()
            .filter(|file| file.state != FileState::Same);
        if !plan.revision_exists {
            going.for_each(|file| {
                file.method = Some(if file.entry.size > LARGE {
                    UploadMethod::Ahead
                } else {
                    UploadMethod::Commit
                });
            });
            return Ok(());
        }
        let rest = Rest::new(self)?;
        let samples: Vec<(&str, u64, Vec<u8>)> = plan
            .files
            .iter()
            .filter(|file| file.state != FileState::Same)
            .map(|file| {
                Ok((
                    file.entry.path.as_str(),
                    file.entry.size,
                    sample(&bundle.join(&file.entry.path))?,
                ))
            })
            .collect::<Result<_>>()?;
        if samples.is_empty() {
            return Ok(());
        }
        let modes = rest.preupload(repo, &samples)?;
        let methods = upload_methods(&rest, repo, &modes, plan)?;
        for file in &mut plan.files {
            file.method = methods.get(&file.entry.path).copied();
        }
        Ok(())
    }
}

/// For each path, how the file is uploaded.
fn upload_methods(
    rest: &Rest<'_>,
    repo: &RepoId,
    modes: &HashMap<String, UploadMode>,
    plan: &Plan,
) -> Result<HashMap<String, UploadMethod>, Failure> {
    // git-lfs does not store empty files.
    let ahead =
        |entry: &FileEntry| entry.size > 0 && modes.get(&entry.path) == Some(&UploadMode::Lfs);
    if let Some(file) = plan
        .going()
        .find(|file| file.entry.size > LARGE && !ahead(&file.entry))
    {
        return Err(Failure::Answer(format!(
            "it asks for {} ({} bytes) in the commit itself",
            file.entry.path, file.entry.size
        )));
    }
    let objects: Vec<(&str, u64)> = plan
        .going()
        .filter(|file| ahead(&file.entry))
        .map(|file| (file.entry.sha256.as_str(), file.entry.size))
        .collect();
    let by_xet = !objects.is_empty()
        && rest
            .batch(repo, &["basic", "multipart", "xet"], &objects)?
            .transfer
            .as_deref()
            == Some("xet");
    let method = |file: &PlannedFile| match (ahead(&file.entry), by_xet) {
        (false, _) => UploadMethod::Commit,
        (true, true) => UploadMethod::Xet,
        (true, false) => UploadMethod::Lfs,
    };
    Ok(plan
        .going()
        .map(|file| (file.entry.path.clone(), method(file)))
        .collect())
}

/// Turns the status 404 into `None`.
fn found<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Err(Failure::Status { code: 404, .. }) => Ok(None),
        answer => answer.map(Some),
    }
}

/// Compares a file of the bundle with the Hub's listing.
pub(super) fn state_of(
    bundle: &Path,
    entry: &FileEntry,
    listed: &[RemoteFile],
) -> Result<FileState> {
    match listed.iter().find(|there| there.path == entry.path) {
        None => Ok(FileState::New),
        Some(there) => Ok(if there.differs(&bundle.join(&entry.path))?.is_some() {
            FileState::Changed
        } else {
            FileState::Same
        }),
    }
}

/// The beginning of a file.
fn sample(path: &Path) -> Result<Vec<u8>> {
    let mut sample = Vec::new();
    let reading = || format!("reading {}", path.display());
    File::open(path)
        .with_context(reading)?
        .take(SAMPLE)
        .read_to_end(&mut sample)
        .with_context(reading)?;
    Ok(sample)
}
