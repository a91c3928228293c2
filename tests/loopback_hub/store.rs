//! Storage of the Hub: repositories in `state.json`, contents in `blobs/`, each named by its
//! SHA-256.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};
use starsight_model::bundle::{hex, sha256_hex};

/// The branch that every repository has.
pub const MAIN: &str = "main";

/// The kind of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Model,
    Dataset,
}

impl Kind {
    /// Parses the plural in addresses.
    pub fn of(plural: &str) -> Option<Kind> {
        match plural {
            "models" => Some(Kind::Model),
            "datasets" => Some(Kind::Dataset),
            _ => None,
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Kind::Model => "models",
            Kind::Dataset => "datasets",
        }
    }
}

#[derive(Serialize, Deserialize, Clone)]
pub struct File {
    pub size: u64,
    pub sha256: String,
    /// Whether it is stored apart from git.
    pub lfs: bool,
    /// git's object id; for a large file, that of its pointer.
    pub oid: String,
}

/// A path, and the file to write there, or `None` to delete it.
pub type Change = (String, Option<File>);

impl File {
    pub fn large(size: u64, sha256: &str) -> File {
        let pointer = format!(
            "version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
        );
        File {
            size,
            sha256: sha256.to_owned(),
            lfs: true,
            oid: git_oid(pointer.as_bytes()),
        }
    }

    fn of(path: &str, content: &[u8]) -> File {
        let (size, sha256) = (content.len() as u64, sha256_hex(content));
        if is_large(path, size) {
            File::large(size, &sha256)
        } else {
            File {
                size,
                sha256,
                lfs: false,
                oid: git_oid(content),
            }
        }
    }
}

/// The same hash as `git hash-object`.
fn git_oid(content: &[u8]) -> String {
    hex(&Sha1::new_with_prefix(format!("blob {}\0", content.len()))
        .chain_update(content)
        .finalize())
}

#[derive(Serialize, Deserialize, Clone, Default)]
pub struct Commit {
    pub title: String,
    pub files: BTreeMap<String, File>,
}

#[derive(Serialize, Deserialize)]
pub struct Repo {
    pub private: bool,
    /// Branch tips; for pull requests too, as `refs/pr/N`.
    pub branches: BTreeMap<String, String>,
    pub commits: BTreeMap<String, Commit>,
}

impl Repo {
    /// The commit of a revision: a branch name or a commit id.
    pub fn at(&self, revision: &str) -> Option<(&str, &Commit)> {
        let id = self.branches.get(revision).map_or(revision, String::as_str);
        self.commits
            .get_key_value(id)
            .map(|(id, commit)| (id.as_str(), commit))
    }
}

pub struct Store {
    folder: PathBuf,
    repos: BTreeMap<String, Repo>,
}

impl Store {
    pub fn open(folder: &Path) -> io::Result<Store> {
        fs::create_dir_all(folder.join("blobs"))?;
        let repos = match fs::read(folder.join("state.json")) {
            Ok(json) => serde_json::from_slice(&json)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Store {
            folder: folder.to_owned(),
            repos,
        })
    }

    pub fn repo(&self, kind: Kind, id: &str) -> Option<&Repo> {
        self.repos.get(&format!("{}/{id}", kind.plural()))
    }

    /// Whether the address is that of a private repository or of something in it.
    pub fn is_private(&self, path: &str) -> bool {
        let path = path
            .strip_prefix("/api")
            .unwrap_or(path)
            .trim_start_matches('/');
        let typed = if path.starts_with("models/") || path.starts_with("datasets/") {
            path.to_owned()
        } else {
            format!("models/{path}")
        };
        let key: Vec<_> = typed.split('/').take(3).collect();
        self.repos
            .get(&key.join("/"))
            .is_some_and(|repo| repo.private)
    }

    /// Creates a repository with a first commit; returns whether it is new.
    pub fn create(&mut self, kind: Kind, id: &str, private: bool) -> io::Result<bool> {
        let key = format!("{}/{id}", kind.plural());
        if self.repos.contains_key(&key) {
            return Ok(false);
        }
        let head = sha256_hex(key.as_bytes())[..40].to_owned();
        let attributes =
            self.keep(".gitattributes", b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n*.parquet filter=lfs diff=lfs merge=lfs -text\n")?;
        let first = Commit {
            title: "initial commit".into(),
            files: BTreeMap::from([(".gitattributes".to_owned(), attributes)]),
        };
        self.repos.insert(
            key,
            Repo {
                private,
                commits: BTreeMap::from([(head.clone(), first)]),
                branches: BTreeMap::from([(MAIN.to_owned(), head)]),
            },
        );
        self.save()?;
        Ok(true)
    }

    /// Stores a content and returns its entry.
    pub fn keep(&self, path: &str, content: &[u8]) -> io::Result<File> {
        let file = File::of(path, content);
        // Written to a temporary name and renamed, so that no reader sees half of it.
        let part = self.folder.join(format!("{}.part", file.sha256));
        fs::write(&part, content)?;
        fs::rename(part, self.blob(&file.sha256))?;
        Ok(file)
    }

    pub fn blob(&self, sha256: &str) -> PathBuf {
        self.folder.join("blobs").join(sha256)
    }

    /// Points a branch to a commit.
    pub fn set_branch(&mut self, kind: Kind, id: &str, branch: &str, tip: &str) -> io::Result<()> {
        self.repo_mut(kind, id)?
            .branches
            .insert(branch.to_owned(), tip.to_owned());
        self.save()
    }

    /// Commits to a branch.
    pub fn commit(
        &mut self,
        kind: Kind,
        id: &str,
        branch: &str,
        title: &str,
        changes: Vec<Change>,
    ) -> io::Result<String> {
        let repo = self.repo_mut(kind, id)?;
        let (tip, parent) = repo.at(branch).ok_or(io::ErrorKind::NotFound)?;
        let oid = sha256_hex(format!("{tip} {}", repo.commits.len()).as_bytes())[..40].to_owned();
        let mut commit = Commit {
            title: title.to_owned(),
            files: parent.files.clone(),
        };
        for (path, file) in changes {
            match file {
                Some(file) => commit.files.insert(path, file),
                None => commit.files.remove(&path),
            };
        }
        repo.commits.insert(oid.clone(), commit);
        repo.branches.insert(branch.to_owned(), oid.clone());
        self.save()?;
        Ok(oid)
    }

    fn repo_mut(&mut self, kind: Kind, id: &str) -> io::Result<&mut Repo> {
        self.repos
            .get_mut(&format!("{}/{id}", kind.plural()))
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn save(&self) -> io::Result<()> {
        let part = self.folder.join("state.json.part");
        fs::write(&part, serde_json::to_vec_pretty(&self.repos)?)?;
        fs::rename(part, self.folder.join("state.json"))
    }
}

/// Whether a file is stored apart from git.
pub fn is_large(path: &str, size: u64) -> bool {
    size > 0 && (size > 10 << 20 || path.ends_with(".safetensors") || path.ends_with(".parquet"))
}

pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}
