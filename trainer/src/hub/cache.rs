//! The Hub's cache on this disk, in the layout that Python's huggingface_hub reads and writes:
//!
//! ```text
//! models--OWNER--NAME/
//!     blobs/ETAG                  a complete, checked file; ETAG.incomplete: a partial one
//!     refs/REVISION               the commit of a branch or tag
//!     snapshots/COMMIT/PATH       a link to the blob
//! .locks/models--OWNER--NAME/ETAG.lock
//! ```

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{RepoId, rest::RepoKind};
use crate::system::files::write_bytes;

/// A repository's place in the cache.
pub(super) struct Cache {
    folder: PathBuf,
    locks: PathBuf,
}

/// Lock of a blob while it is being downloaded. Released when dropped.
pub(super) struct Lock(Option<File>);

impl Cache {
    pub(super) fn new(root: &Path, kind: RepoKind, repo: &RepoId) -> Cache {
        let name = format!("{}--{}--{}", kind.plural(), repo.owner, repo.name);
        Cache {
            folder: root.join(&name),
            locks: root.join(".locks").join(name),
        }
    }

    /// Path of a blob.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// The folder of a commit's files.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The commit that a branch or tag pointed to when it was last fetched; a commit id is itself.
    pub(super) fn commit_of(&self, revision: &str) -> Option<String> {
        let known = fs::read_to_string(self.folder.join("refs").join(revision)).ok();
        known
            .map(|commit| commit.trim().to_owned())
            .or_else(|| is_hex(revision).then(|| revision.to_owned()))
    }

    /// Records the commit of a branch or tag.
    pub(super) fn remember(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit || self.commit_of(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        write_bytes(&self.folder.join("refs").join(revision), commit.as_bytes())
    }

    /// Waits until no other program downloads this blob; `waiting` is called if one does.
    pub(super) fn lock(&self, etag: &str, waiting: impl FnOnce()) -> Result<Lock> {
        let path = self.locks.join(format!("{etag}.lock"));
        let locking = || format!("locking {}", path.display());
        fs::create_dir_all(&self.locks).with_context(locking)?;
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(locking)?;
        match file.try_lock() {
            Ok(()) => return Ok(Lock(Some(file))),
            Err(TryLockError::WouldBlock) => waiting(),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                return Ok(Lock(None));
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(locking),
        }
        file.lock().with_context(locking)?;
        Ok(Lock(Some(file)))
    }

    /// Links a blob as the file `path` of a commit. A concurrent reader finds the old file or the
    /// new one, never none.
    pub(super) fn link(&self, commit: &str, path: &str, etag: &str) -> Result<()> {
        let place = self.snapshot(commit).join(path);
        let linking = || format!("writing {}", place.display());
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder).with_context(linking)?;
        }
        // Up out of the path's folders and `snapshots/COMMIT`.
        let up = "../".repeat(2 + path.matches('/').count());
        let target = PathBuf::from(format!("{up}blobs/{etag}"));
        if fs::read_link(&place).is_ok_and(|known| known == target) {
            return Ok(());
        }
        let fresh = tempfile::Builder::new().make_in(self.folder.join("blobs"), |fresh| {
            link(&target, &self.blob(etag), fresh)
        });
        fresh
            .with_context(linking)?
            .persist(&place)
            .with_context(linking)?;
        Ok(())
    }
}

#[cfg(unix)]
fn link(relative: &Path, _blob: &Path, place: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(relative, place)
}

/// Without symbolic links, which need a privilege on Windows: a hard link to the blob.
#[cfg(not(unix))]
fn link(_relative: &Path, blob: &Path, place: &Path) -> io::Result<()> {
    fs::hard_link(blob, place)
}

/// Removes a file or a link, if there is one.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file would unlock it too, unless a child process has inherited the file.
        if let Some(file) = &self.0 {
            let _ = file.unlock();
        }
    }
}

/// Whether this is a hash or a commit id, and so may become a file name in the cache.
pub(super) fn is_hex(text: &str) -> bool {
    (40..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_that_of_python() {
        let root = tempfile::tempdir().unwrap();
        let (etag, commit) = ("a".repeat(64), "b".repeat(40));
        let cache = Cache::new(
            root.path(),
            RepoKind::Dataset,
            &"some/reviews".parse().unwrap(),
        );
        write_bytes(&cache.blob(&etag), b"content").unwrap();
        cache.link(&commit, "data/train.csv", &etag).unwrap();
        cache.remember("refs/pr/1", &commit).unwrap();
        let folder = root.path().join("datasets--some--reviews");
        assert_eq!(
            fs::read(
                folder
                    .join("snapshots")
                    .join(&commit)
                    .join("data/train.csv")
            )
            .unwrap(),
            b"content"
        );
        assert_eq!(
            fs::read_to_string(folder.join("refs/refs/pr/1")).unwrap(),
            commit
        );
        assert_eq!(cache.commit_of("refs/pr/1"), Some(commit.clone()));
        assert_eq!(cache.commit_of(&commit), Some(commit.clone()));
        assert_eq!(cache.commit_of("main"), None);
        // Replace the blob; no temporary name is left over.
        let other = "c".repeat(64);
        write_bytes(&cache.blob(&other), b"newer").unwrap();
        cache.link(&commit, "data/train.csv", &other).unwrap();
        cache.link(&commit, "data/train.csv", &other).unwrap();
        assert_eq!(
            fs::read(
                folder
                    .join("snapshots")
                    .join(&commit)
                    .join("data/train.csv")
            )
            .unwrap(),
            b"newer"
        );
        assert_eq!(fs::read_dir(folder.join("blobs")).unwrap().count(), 2);
    }

    #[test]
    fn a_reader_never_finds_a_file_missing() {
        let root = tempfile::tempdir().unwrap();
        let (contents, commit) = (["a".repeat(64), "b".repeat(64)], "c".repeat(40));
        let cache = Cache::new(root.path(), RepoKind::Model, &"some/model".parse().unwrap());
        for content in &contents {
            write_bytes(&cache.blob(content), content.as_bytes()).unwrap();
        }
        cache.link(&commit, "config.json", &contents[0]).unwrap();
        let place = cache.snapshot(&commit).join("config.json");
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                (0..500).for_each(|i| {
                    cache
                        .link(&commit, "config.json", &contents[i % 2])
                        .unwrap();
                });
            });
            while !writer.is_finished() {
                assert_eq!(fs::read(&place).unwrap().len(), 64);
            }
        });
    }

    #[test]
    fn one_program_at_a_time_brings_a_content() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path(), RepoKind::Model, &"some/model".parse().unwrap());
        let first = cache.lock("abc", || panic!("nobody else is here")).unwrap();
        assert!(
            root.path()
                .join(".locks/models--some--model/abc.lock")
                .is_file(),
            "where Python looks for it"
        );
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let second =
                scope.spawn(|| cache.lock("abc", || send.send("waiting").unwrap()).unwrap());
            assert_eq!(receive.recv().unwrap(), "waiting");
            assert!(!second.is_finished());
            drop(first);
            second.join().unwrap();
        });
    }
}
