//! `starsight publish`

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap::error::ErrorKind;
use indicatif::HumanBytes;
use serde_json::json;

use super::hub;
use crate::bundle::copy::{Changes, copy_bundle};
use crate::cli::{Cli, Publish};
use crate::hub::{FileState, Plan, Publication, RepoId, UploadMethod};

pub(super) fn run(args: &Publish) -> Result<()> {
    if let Some(out) = &args.out {
        let notes = args
            .notes
            .as_ref()
            .map(|path| {
                std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
            })
            .transpose()?;
        let changes = Changes {
            integers: args.integers,
            notes,
            languages: args.languages.clone(),
        };
        let files = copy_bundle(&args.model, out, &changes)?;
        match args.json {
            true => out!("{}", json!({ "folder": out, "files": files })),
            false => out!("{}: {files} files, hashes verified", out.display()),
        }
        return Ok(());
    }
    let repo = repository(args)?;
    let publication = Publication {
        bundle: &args.model,
        repo: &repo,
        private: args.private,
        message: &args.message,
        pull_request: args.pull_request,
    };
    let hub = hub(&args.hub)?;
    if args.dry_run {
        let plan = hub.plan(&publication)?;
        match args.json {
            true => out!("{}", serde_json::to_string(&plan)?),
            false => show(&plan, &publication),
        }
        return Ok(());
    }
    let published = hub.publish(&publication)?;
    if args.json {
        out!("{}", serde_json::to_string(&published)?);
    } else if let Some(address) = &published.pull_request {
        out!("{address} (commit {})", published.commit);
    } else {
        out!("{} (commit {})", published.url, published.commit);
    }
    match published.files {
        0 => say!("already up to date; no commit made"),
        files => say!(
            "uploaded {files} files ({}), verified",
            HumanBytes(published.bytes)
        ),
    }
    if !published.deleted.is_empty() {
        say!(
            "deleted on the Hub, no longer in the bundle: {}",
            published.deleted.join(", ")
        );
    }
    Ok(())
}

/// The repository with its branch, from --revision or @BRANCH.
fn repository(args: &Publish) -> Result<RepoId> {
    let repo = args.to.as_ref().context("clap asks for --to or --out")?;
    match (&args.revision, &repo.revision) {
        (Some(revision), Some(other)) if revision != other => {
            let conflict = format!(
                "--to {repo} names the branch {other}, and --revision the branch {revision}: give only one"
            );
            Cli::command()
                .error(ErrorKind::ArgumentConflict, conflict)
                .exit()
        }
        (Some(revision), _) => repo.at(revision).context("--revision"),
        (None, _) => Ok(repo.clone()),
    }
}

/// The plan as a table.
fn show(plan: &Plan, publication: &Publication<'_>) {
    let Plan {
        endpoint,
        repository,
        revision,
        ..
    } = plan;
    let made = match (plan.repository_exists, plan.revision_exists) {
        (false, _) if publication.private => " (to be created, private)",
        (false, _) => " (to be created, public)",
        (true, false) => " (to be created)",
        (true, true) => "",
    };
    out!("{repository} at {endpoint}, branch {revision}{made}\n");
    let width = plan
        .files
        .iter()
        .map(|file| &file.entry.path)
        .chain(&plan.stale)
        .map(String::len)
        .max()
        .unwrap_or(0);
    for file in &plan.files {
        let state = match file.state {
            FileState::New => "new",
            FileState::Changed => "changed",
            FileState::Same => "same",
        };
        let method = match file.method {
            Some(UploadMethod::Commit) => "in the commit",
            Some(UploadMethod::Xet) => "by Xet",
            Some(UploadMethod::Lfs) => "by git-lfs",
            Some(UploadMethod::Ahead) => "by Xet or git-lfs",
            None => "",
        };
        out!(
            "{:<width$}{:>14}  {state:<8}  {method}",
            file.entry.path,
            HumanBytes(file.entry.size).to_string()
        );
    }
    for path in &plan.stale {
        out!(
            "{path:<width$}{:>14}  {:<8}  to be deleted: no longer in the bundle",
            "",
            "stale"
        );
    }
    let where_to = if publication.pull_request {
        "a pull request"
    } else {
        "one commit"
    };
    match plan.going().count() {
        0 => out!("\nalready up to date; nothing to upload"),
        files => out!(
            "\n{files} of {} files ({}) to upload in {where_to}",
            plan.files.len(),
            HumanBytes(plan.bytes())
        ),
    }
}
