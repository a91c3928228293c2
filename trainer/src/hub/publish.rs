//! From a bundle to the Hub, in one commit.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use hf_hub::{HFClientSync, HFError, RepoTypeModel, repository::CommitOperation};
use starsight_model::bundle::{FileEntry, MANIFEST};

use super::{
    Hub, RepoId,
    failure::{Failure, Wish},
    rest::Rest,
};
use crate::{files::read, verify};

/// The Hub keeps files above this size apart from git, and wants them by Xet.
const LARGE_FILE: u64 = 10 << 20;
/// The most that goes into a commit request itself where a Hub has no Xet: it is held in memory as text, several times over.
const INLINE_LIMIT: u64 = 1 << 30;

/// What was published.
#[derive(Debug, Clone)]
pub struct Published {
    /// The commit.
    pub commit: String,
    /// Where to look at the model.
    pub url: String,
}

impl Hub {
    /// Publishes the bundle in the folder `bundle` as one commit to `repo`, which is made when it does not exist, `private` or not. Afterwards the files' sizes and
    /// hashes are read back from the Hub and compared.
    ///
    /// # Errors
    /// When the bundle is not what its manifest says, or the Hub does not take it. The commit is atomic: the Hub then holds what it held before.
    pub fn publish(&self, bundle: &Path, repo: &RepoId, private: bool, message: &str) -> Result<Published> {
        ensure!(!self.offline, "publishing to {repo}: HF_HUB_OFFLINE keeps this program off the network; unset it");
        let mut files = verify::bundle(bundle)?.files;
        let manifest = read(&bundle.join(MANIFEST))?;
        files.push(FileEntry::of(MANIFEST, &manifest));

        let explain = |failure: Failure| failure.explain(self, Wish::Publish, repo);
        let client = self.client(None)?;
        self.ensure_repository(&client, repo, private)?;
        let model = client.model(&repo.owner, &repo.name);
        let head = || model.info().revision(repo.revision()).send().map(|info| info.sha);
        let parent = head().map_err(|e| explain(e.into()))?;
        let rest = Rest::new(self).map_err(explain)?;
        self.check_large_files(&rest, repo, &files)?;

        let operations = files.iter().map(|file| CommitOperation::add_file(&file.path, bundle.join(&file.path))).collect();
        let sent = model
            .create_commit()
            .operations(operations)
            .commit_message(message)
            .revision(repo.revision())
            .maybe_parent_commit(parent.clone())
            .progress(self.progress())
            .send();
        let commit = match sent.map_err(Failure::from) {
            Ok(info) => info.commit_oid,
            // The commit may be there all the same, when only its answer was lost: hf-hub then sent it again, and met its own commit.
            Err(failure) => match head() {
                Ok(Some(now)) if parent.as_ref() != Some(&now) && rest.read(repo, &now, MANIFEST).is_ok_and(|there| there == manifest) => Some(now),
                _ => return Err(explain(failure)),
            },
        };
        let commit = commit.with_context(|| format!("publishing to {repo} at {}: the answer names no commit", self.endpoint()))?;
        self.read_back(&rest, repo, &commit, &files)?;
        let url = match &repo.revision {
            None => format!("{}/{}", self.endpoint(), repo.path()),
            Some(revision) => format!("{}/{}/tree/{revision}", self.endpoint(), repo.path()),
        };
        Ok(Published { commit, url })
    }

    /// Makes the repository unless it is there.
    fn ensure_repository(&self, client: &HFClientSync, repo: &RepoId, private: bool) -> Result<()> {
        let explain = |error: HFError| Failure::from(error).explain(self, Wish::Publish, repo);
        match client.model(&repo.owner, &repo.name).info().send() {
            Ok(info) => ensure!(
                !private || info.private == Some(true),
                "{repo} at {} exists and is public: make it private in its settings there, or publish to another name; nothing was published",
                self.endpoint()
            ),
            Err(HFError::RepoNotFound { .. }) => {
                client.create_repository().repo_id(&repo.path()).repo_type(RepoTypeModel).private(private).exist_ok(true).send().map_err(explain)?;
            }
            Err(error) => return Err(explain(error)),
        }
        Ok(())
    }

    /// Where the Hub does not take large files by Xet, hf-hub puts them into the commit request. Says so, or refuses where that is too much.
    fn check_large_files(&self, rest: &Rest<'_>, repo: &RepoId, files: &[FileEntry]) -> Result<()> {
        let large: Vec<&FileEntry> = files.iter().filter(|file| file.size > LARGE_FILE).collect();
        let size: u64 = large.iter().map(|file| file.size).sum();
        if large.is_empty() {
            return Ok(());
        }
        let takes_xet = match rest.takes_xet(repo, &large) {
            Err(Failure::Status { code: 404, .. }) => false,
            answer => answer.map_err(|failure| failure.explain(self, Wish::Publish, repo))?,
        };
        if takes_xet {
            return Ok(());
        }
        let endpoint = self.endpoint();
        if size > INLINE_LIMIT {
            bail!(
                "publishing to {repo}: {endpoint} does not take large files by Xet, and {:.1} GB are too much for a commit request (at most {:.1} GB); \
                 publish with `HF_HUB_DISABLE_XET=1 hf upload {} DIR` instead",
                size as f64 / 1e9,
                INLINE_LIMIT as f64 / 1e9,
                repo.path()
            );
        }
        self.note(&format!(
            "{endpoint} does not take large files by Xet: {:.1} MB go into the commit request itself, which takes some 6 times as much memory",
            size as f64 / 1e6
        ));
        Ok(())
    }

    fn read_back(&self, rest: &Rest<'_>, repo: &RepoId, commit: &str, files: &[FileEntry]) -> Result<()> {
        let paths: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
        let listed = rest.paths_info("models", repo, commit, &paths).map_err(|failure| {
            let why = failure.explain(self, Wish::Publish, repo);
            why.context(format!("published as commit {commit}, but it could not be read back"))
        })?;
        for file in files {
            let differs = match listed.iter().find(|there| there.path == file.path) {
                None => "is missing".to_owned(),
                Some(there) if there.size != file.size => format!("has {} bytes instead of {}", there.size, file.size),
                Some(there) => match &there.lfs {
                    Some(lfs) if lfs.oid != file.sha256 => format!("has SHA-256 {} instead of {}", lfs.oid, file.sha256),
                    _ => continue,
                },
            };
            bail!("published to {repo} at {} as commit {commit}, but read back, {} {differs}: publish again", self.endpoint(), file.path);
        }
        Ok(())
    }
}
