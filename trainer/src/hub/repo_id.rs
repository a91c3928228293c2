//! Names of repositories on the Hub.

use std::{fmt, str::FromStr};

use anyhow::{Context, Result, bail, ensure};

/// `OWNER/NAME`, or `OWNER/NAME@REV` for a branch, tag or commit other than `main`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoId {
    /// The user or organisation.
    pub owner: String,
    /// The repository's name.
    pub name: String,
    /// The branch, tag or commit; `None` is `main`.
    pub revision: Option<String>,
}

impl RepoId {
    /// `OWNER/NAME`, without the revision.
    pub fn path(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// The repository at a branch, tag or commit.
    ///
    /// # Errors
    /// When `revision` is not a valid name.
    pub fn at(&self, revision: &str) -> Result<RepoId> {
        let plain = revision
            .chars()
            .all(|c| c.is_ascii_graphic() && !"~^:?*[\\@".contains(c));
        ensure!(
            !revision.is_empty()
                && plain
                && !revision.contains("..")
                && !revision.starts_with('/')
                && !revision.ends_with('/'),
            "{revision:?} is not a valid branch, tag or commit"
        );
        Ok(RepoId {
            revision: Some(revision.to_owned()),
            ..self.clone()
        })
    }

    /// The revision, `main` by default.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }
}

impl FromStr for RepoId {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<RepoId> {
        let (path, revision) = match text.split_once('@') {
            Some((path, revision)) => (path, Some(revision)),
            None => (text, None),
        };
        let Some((owner, name)) = path.split_once('/') else {
            bail!("{text:?} is not a repository on the Hub: expected OWNER/NAME or OWNER/NAME@REV");
        };
        for part in [owner, name] {
            // The Hub's own rules. They also keep `..` and the cache's separator `--` out of its
            // folder names.
            let letters = part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
            let edges = !part.starts_with(['-', '.']) && !part.ends_with(['-', '.']);
            ensure!(
                !part.is_empty()
                    && part.len() <= 96
                    && letters
                    && edges
                    && !part.contains("--")
                    && !part.contains(".."),
                "{text:?} is not a repository on the Hub: {part:?} is not a valid name there (expected OWNER/NAME or OWNER/NAME@REV; letters, digits, '-', '_' and '.', at most 96, \
                 no '--' or '..', no '-' or '.' at the ends)"
            );
        }
        ensure!(!name.ends_with(".git"), "{text:?}: leave out the .git");
        let repo = RepoId {
            owner: owner.into(),
            name: name.into(),
            revision: None,
        };
        revision
            .map_or(Ok(repo.clone()), |revision| repo.at(revision))
            .with_context(|| format!("{text:?}"))
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)?;
        match &self.revision {
            Some(revision) => write!(f, "@{revision}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let id: RepoId = "distilbert/distilbert-base-cased".parse().unwrap();
        assert_eq!(
            (id.owner.as_str(), id.name.as_str(), id.revision()),
            ("distilbert", "distilbert-base-cased", "main")
        );
        for text in [
            "a/b",
            "a/b@main",
            "A_1/b.c-d@refs/pr/3",
            "a/b@0123456789abcdef0123456789abcdef01234567",
        ] {
            assert_eq!(text.parse::<RepoId>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "", "a", "a/", "/b", "a/b/c", "../b", "a/..", "a--b/c", "a/b.git", "a/-b", "a/b c",
            "a/b@", "a/b@x..y", "a/b@../x", "a/b@x y", "a/é",
        ] {
            let error = format!("{:#}", text.parse::<RepoId>().expect_err(text));
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
