//! Publishes a bundle to the Hub in one commit.

use std::{
    collections::HashSet,
    iter,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use base64::{Engine, prelude::BASE64_STANDARD};
use hf_hub::{HFClientSync, RepoTypeModel};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Hub, RepoId,
    failure::{Failure, Operation},
    lfs::Upload,
    meter::Meter,
    plan::{FileState, Plan, PlannedFile, UploadMethod, state_of},
    rest::{RepoKind, Rest},
};
use crate::system::files::read;

/// Timeout of a commit, as a multiple of that of other answers: the Hub checks and stores
/// everything before it answers.
const COMMIT: u32 = 3;

/// What to publish, and where.
#[derive(Debug, Clone, Copy)]
pub struct Publication<'a> {
    /// The bundle's folder.
    pub bundle: &'a Path,
    /// The repository and branch; created if they do not exist.
    pub repo: &'a RepoId,
    /// Whether a new repository is private. An existing one must then be private too.
    pub private: bool,
    /// Commit message.
    pub message: &'a str,
    /// Propose the commit in a pull request.
    pub pull_request: bool,
}

/// The result of publishing.
#[derive(Debug, Clone, Serialize)]
pub struct Published {
    /// The new commit, or the existing one if nothing had changed.
    pub commit: String,
    /// Address of the model's page.
    pub url: String,
    /// Number of uploaded files.
    pub files: usize,
    /// Number of uploaded bytes.
    pub bytes: u64,
    /// Files of the previous version that were deleted because the bundle no longer has them.
    pub deleted: Vec<String>,
    /// Address of the pull request, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<String>,
}

impl Hub {
    /// Publishes a bundle. Files that the Hub lacks are added in one commit on top of the branch,
    /// or not at all. Files that the Hub has are not sent again, and if it has all of them no
    /// commit is made. The same commit deletes files of the previous version that the bundle no
    /// longer has. Afterwards the sizes and hashes of all files are read back and compared.
    ///
    /// # Errors
    /// When the bundle differs from its manifest, the Hub refuses, or someone else committed
    /// meanwhile. The Hub's content is then unchanged, except for a repository or branch that was
    /// created for the bundle; the error names it.
    pub fn publish(&self, publication: &Publication<'_>) -> Result<Published> {
        let Publication {
            repo, pull_request, ..
        } = *publication;
        let mut plan = self.plan(publication)?;
        let mut url = format!("{}/{}", self.endpoint(), repo.path());
        if let Some(revision) = &repo.revision {
            url = format!("{url}/tree/{revision}");
        }
        if let (Some(parent), true, 0) = (&plan.parent, plan.revision_exists, plan.going().count())
        {
            return Ok(Published {
                commit: parent.clone(),
                url,
                files: 0,
                bytes: 0,
                deleted: Vec::new(),
                pull_request: None,
            });
        }

        let explain = |failure: Failure| failure.explain(self, Operation::Publish, repo);
        let rest = Rest::new(self).map_err(explain)?;
        let client = self.client()?;
        let mut made = Vec::new();
        let commit = self
            .make_room(&mut plan, publication, &mut made)
            .and_then(|()| match &plan.parent {
                // A new branch that already has all files.
                Some(parent) if plan.going().count() == 0 => Ok(parent.clone()),
                _ => Commit {
                    hub: self,
                    rest: &rest,
                    client: &client,
                    publication,
                    plan: &plan,
                }
                .make()
                .map_err(explain),
            });
        let commit = commit.map_err(|error| match made.is_empty() {
            true => error,
            false => error.context(format!(
                "created at {}: {}; publish again to fill it, or delete it there",
                self.endpoint(),
                made.join(", ")
            )),
        })?;
        self.read_back(&rest, publication, &commit, &plan)?;
        let pull_request = match pull_request {
            true => Some(self.proposal(&client, repo, &commit).map_err(explain)?.with_context(|| {
                format!("published to {repo} at {} as commit {commit}, but the Hub lists no pull request for it", self.endpoint())
            })?),
            false => None,
        };
        Ok(Published {
            commit,
            url,
            files: plan.going().count(),
            bytes: plan.bytes(),
            deleted: plan.stale,
            pull_request,
        })
    }

    /// Creates the repository and the branch if necessary, adds them to `made`, and asks how to
    /// upload the files there.
    fn make_room(
        &self,
        plan: &mut Plan,
        publication: &Publication<'_>,
        made: &mut Vec<String>,
    ) -> Result<()> {
        if plan.revision_exists {
            return Ok(());
        }
        let repo = publication.repo;
        let explain = |failure: Failure| failure.explain(self, Operation::Publish, repo);
        let client = self.client()?;
        if !plan.repository_exists {
            let path = repo.path();
            let create = client
                .create_repository()
                .repo_id(&path)
                .repo_type(RepoTypeModel);
            create
                .private(publication.private)
                .exist_ok(true)
                .send()
                .map_err(|error| explain(error.into()))?;
            made.push(format!("the repository {}", repo.path()));
        }
        let main = RepoId {
            revision: None,
            ..repo.clone()
        };
        if repo.revision() != main.revision() {
            match client
                .model(&repo.owner, &repo.name)
                .create_branch()
                .branch(repo.revision())
                .send()
                .map_err(Failure::from)
            {
                // 409: it was created since the check, or by a first attempt whose answer was lost.
                Ok(()) | Err(Failure::Status { code: 409, .. }) => {
                    made.push(format!("the branch {}", repo.revision()));
                }
                Err(failure) => return Err(explain(failure)),
            }
        }
        let head = Hub::head(&client, repo).map_err(explain)?;
        if plan.parent.as_ref().is_some_and(|parent| *parent != head) {
            // The branch differs from what the plan was made for.
            *plan = self.plan(publication)?;
            return Ok(());
        }
        plan.parent = Some(head);
        (plan.repository_exists, plan.revision_exists) = (true, true);
        self.choose_upload_methods(plan, publication)
            .map_err(explain)
    }

    /// The address of the pull request whose tip is `commit`.
    fn proposal(
        &self,
        client: &HFClientSync,
        repo: &RepoId,
        commit: &str,
    ) -> Result<Option<String>, Failure> {
        let refs = client
            .model(&repo.owner, &repo.name)
            .list_refs()
            .include_pull_requests(true)
            .send()?;
        let tip = refs
            .pull_requests
            .into_iter()
            .find(|tip| tip.target_commit == commit);
        let number = tip.and_then(|tip| tip.git_ref.rsplit('/').next().map(str::to_owned));
        Ok(
            number
                .map(|number| format!("{}/{}/discussions/{number}", self.endpoint(), repo.path())),
        )
    }

    fn read_back(
        &self,
        rest: &Rest<'_>,
        publication: &Publication<'_>,
        commit: &str,
        plan: &Plan,
    ) -> Result<()> {
        let Publication { bundle, repo, .. } = publication;
        let listed = rest
            .paths_info(RepoKind::Model, repo, commit, &plan.paths())
            .map_err(|failure| {
                let why = failure.explain(self, Operation::Publish, repo);
                why.context(format!(
                    "published as commit {commit}, but it could not be read back"
                ))
            })?;
        for file in &plan.files {
            let path = &file.entry.path;
            let how = match listed.iter().find(|there| there.path == *path) {
                None => "it is missing".to_owned(),
                Some(there) => match there.differs(&bundle.join(path))? {
                    Some(how) => how.to_string(),
                    None => continue,
                },
            };
            bail!(
                "published to {repo} at {} as commit {commit}, but {path} differs from the local file ({how}): publish again",
                self.endpoint()
            );
        }
        if let Some(stale) = plan
            .stale
            .iter()
            .find(|path| listed.iter().any(|there| there.path == **path))
        {
            bail!(
                "published to {repo} at {} as commit {commit}, but {stale}, a file of the previous version, is still there: delete it",
                self.endpoint()
            );
        }
        Ok(())
    }
}

/// A commit to be made.
struct Commit<'a> {
    hub: &'a Hub,
    rest: &'a Rest<'a>,
    client: &'a HFClientSync,
    publication: &'a Publication<'a>,
    plan: &'a Plan,
}

impl Commit<'_> {
    /// Uploads the large files, then commits. A lost answer must not lead to a second commit:
    /// before another attempt the Hub is asked whether the commit exists, and a second one would
    /// fail because its parent is no longer the tip. A pull request has no such protection, so it
    /// is not sent again.
    fn make(&self) -> Result<String, Failure> {
        let lines = self.lines()?;
        self.upload()?;
        let proposals = if self.publication.pull_request {
            self.tips()?
        } else {
            HashSet::new()
        };
        let mut waits = self.hub.retry_policy.waits();
        loop {
            let Publication {
                repo, pull_request, ..
            } = *self.publication;
            let failure = match self.rest.commit(
                repo,
                lines.clone(),
                pull_request,
                self.hub.retry_policy.stall * COMMIT,
            ) {
                Ok(commit) => return Ok(commit),
                Err(failure) => failure,
            };
            if pull_request && failure.may_have_succeeded() {
                return self.find_proposal(&proposals, &failure);
            }
            match self.find_commit(&proposals) {
                Ok(Some(commit)) => return Ok(commit),
                Ok(None) if failure.is_transient() => {}
                // Refused, or it is unknown whether the commit exists.
                _ => return Err(failure),
            }
            match waits.next() {
                Some(wait) => self.hub.wait_after(&failure, wait),
                None => return Err(failure),
            }
        }
    }

    /// Waits for the Hub to list a pull request whose answer was lost, and returns its commit.
    fn find_proposal(
        &self,
        proposals: &HashSet<String>,
        failure: &Failure,
    ) -> Result<String, Failure> {
        let Commit {
            hub,
            publication: Publication { repo, .. },
            ..
        } = self;
        for wait in iter::once(Duration::ZERO).chain(hub.retry_policy.waits()) {
            thread::sleep(wait);
            if let Ok(Some(commit)) = self.find_commit(proposals) {
                return Ok(commit);
            }
            hub.note(&format!(
                "{}; checking whether a pull request was created",
                hub.redacted(&failure.to_string())
            ));
        }
        let (failure, address) = (
            hub.redacted(&failure.to_string()),
            format!("{}/{}/discussions", hub.endpoint(), repo.path()),
        );
        Err(Failure::Local(anyhow!(
            "{failure}; it is unknown whether a pull request was created: check {address} before publishing again"
        )))
    }

    /// Uploads the large files.
    fn upload(&self) -> Result<(), Failure> {
        let Publication { bundle, repo, .. } = *self.publication;
        let going_by = |method: UploadMethod| {
            self.plan
                .going()
                .filter(move |file| file.method == Some(method))
        };
        let ahead = going_by(UploadMethod::Xet).chain(going_by(UploadMethod::Lfs));
        let meter = Meter::new(&self.hub.report, ahead.map(|file| file.entry.size).sum());
        let by_xet: Vec<PathBuf> = going_by(UploadMethod::Xet)
            .map(|file| bundle.join(&file.entry.path))
            .collect();
        if !by_xet.is_empty() {
            self.hub.send_by_xet(self.rest, repo, &by_xet, &meter)?;
        }
        let upload = Upload {
            hub: self.hub,
            rest: self.rest,
            repo,
            meter: &meter,
        };
        going_by(UploadMethod::Lfs)
            .try_for_each(|file| upload.send(&bundle.join(&file.entry.path), &file.entry))
    }

    /// The commit as lines of JSON: a header, then a line for each file. Small files are included,
    /// large ones referenced.
    fn lines(&self) -> Result<Vec<u8>> {
        let Publication {
            bundle, message, ..
        } = *self.publication;
        let mut lines = Vec::new();
        let mut line = |key: &str, value: Value| -> Result<()> {
            serde_json::to_writer(&mut lines, &json!({ "key": key, "value": value }))?;
            lines.push(b'\n');
            Ok(())
        };
        line(
            "header",
            json!({ "summary": message, "description": "", "parentCommit": self.plan.parent }),
        )?;
        for PlannedFile { entry, method, .. } in self.plan.going() {
            if matches!(method, Some(UploadMethod::Lfs | UploadMethod::Xet)) {
                line(
                    "lfsFile",
                    json!({ "path": entry.path, "algo": "sha256", "oid": entry.sha256, "size": entry.size }),
                )?;
            } else {
                let content = BASE64_STANDARD.encode(read(&bundle.join(&entry.path))?);
                line(
                    "file",
                    json!({ "path": entry.path, "encoding": "base64", "content": content }),
                )?;
            }
        }
        for path in &self.plan.stale {
            line("deletedFile", json!({ "path": path }))?;
        }
        Ok(lines)
    }

    /// The tips of all pull requests.
    fn tips(&self) -> Result<HashSet<String>, Failure> {
        let RepoId { owner, name, .. } = self.publication.repo;
        let refs = self
            .client
            .model(owner, name)
            .list_refs()
            .include_pull_requests(true)
            .send()?;
        Ok(refs
            .pull_requests
            .into_iter()
            .map(|tip| tip.target_commit)
            .collect())
    }

    /// Our commit, if the Hub has it: a new tip with the bundle's files.
    fn find_commit(&self, proposals: &HashSet<String>) -> Result<Option<String>, Failure> {
        let repo = self.publication.repo;
        let tips: Vec<String> = match self.publication.pull_request {
            true => self.tips()?.difference(proposals).cloned().collect(),
            false => Some(Hub::head(self.client, repo)?)
                .filter(|head| self.plan.parent.as_ref() != Some(head))
                .into_iter()
                .collect(),
        };
        for tip in tips {
            let listed = self
                .rest
                .paths_info(RepoKind::Model, repo, &tip, &self.plan.paths())?;
            let mut same = !self
                .plan
                .stale
                .iter()
                .any(|path| listed.iter().any(|there| there.path == *path));
            for file in &self.plan.files {
                same &= state_of(self.publication.bundle, &file.entry, &listed)? == FileState::Same;
            }
            if same {
                return Ok(Some(tip));
            }
        }
        Ok(None)
    }
}
