//! What the Hub keeps: repositories in `state.json`, contents in `blobs/`, each under its SHA-256.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use starsight_model::bundle::sha256_hex;

/// The kind of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Model,
    Dataset,
}

impl Kind {
    /// From the plural in addresses.
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
    /// Kept apart from git.
    pub lfs: bool,
}

impl File {
    pub fn oid(&self) -> String {
        sha256_hex(format!("{}{}", if self.lfs { "pointer " } else { "" }, self.sha256).as_bytes())[..40].to_owned()
    }
}

#[derive(Serialize, Deserialize, Clone, Default)]
pub struct Commit {
    pub title: String,
    pub files: BTreeMap<String, File>,
}

#[derive(Serialize, Deserialize)]
pub struct Repo {
    pub private: bool,
    pub head: String,
    pub commits: BTreeMap<String, Commit>,
}

impl Repo {
    pub fn head_commit(&self) -> &Commit {
        &self.commits[&self.head]
    }

    /// The commit that a revision means: the branch `main`, or a commit's own id.
    pub fn at(&self, revision: &str) -> Option<(&str, &Commit)> {
        let id = if revision == "main" { &self.head } else { revision };
        self.commits.get_key_value(id).map(|(id, commit)| (id.as_str(), commit))
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
        Ok(Store { folder: folder.to_owned(), repos })
    }

    pub fn repo(&self, kind: Kind, id: &str) -> Option<&Repo> {
        self.repos.get(&format!("{}/{id}", kind.plural()))
    }

    /// Whether the address is that of a private repository, or of something in it.
    pub fn is_private(&self, path: &str) -> bool {
        let path = path.strip_prefix("/api").unwrap_or(path).trim_start_matches('/');
        let typed = if path.starts_with("models/") || path.starts_with("datasets/") { path.to_owned() } else { format!("models/{path}") };
        let key: Vec<_> = typed.split('/').take(3).collect();
        self.repos.get(&key.join("/")).is_some_and(|repo| repo.private)
    }

    /// Makes a repository with a first commit; whether there was none before.
    pub fn create(&mut self, kind: Kind, id: &str, private: bool) -> io::Result<bool> {
        let key = format!("{}/{id}", kind.plural());
        if self.repos.contains_key(&key) {
            return Ok(false);
        }
        let head = sha256_hex(key.as_bytes())[..40].to_owned();
        let attributes =
            self.keep(".gitattributes", b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n*.parquet filter=lfs diff=lfs merge=lfs -text\n")?;
        let first = Commit { title: "initial commit".into(), files: BTreeMap::from([(".gitattributes".to_owned(), attributes)]) };
        self.repos.insert(key, Repo { private, commits: BTreeMap::from([(head.clone(), first)]), head });
        self.save()?;
        Ok(true)
    }

    /// Keeps a content; the entry for it.
    pub fn keep(&self, path: &str, content: &[u8]) -> io::Result<File> {
        let sha256 = sha256_hex(content);
        let blob = self.blob(&sha256);
        // Written beside and moved: a reader never sees half of it.
        let part = self.folder.join(format!("{sha256}.part"));
        fs::write(&part, content)?;
        fs::rename(part, blob)?;
        Ok(File { size: content.len() as u64, sha256, lfs: is_large(path, content.len() as u64) })
    }

    pub fn blob(&self, sha256: &str) -> PathBuf {
        self.folder.join("blobs").join(sha256)
    }

    /// Commits to the branch: files to write, or `None` to delete.
    pub fn commit(&mut self, kind: Kind, id: &str, title: &str, changes: Vec<(String, Option<File>)>) -> io::Result<String> {
        let repo = self.repos.get_mut(&format!("{}/{id}", kind.plural())).ok_or(io::ErrorKind::NotFound)?;
        let mut commit = Commit { title: title.to_owned(), files: repo.head_commit().files.clone() };
        for (path, file) in changes {
            match file {
                Some(file) => commit.files.insert(path, file),
                None => commit.files.remove(&path),
            };
        }
        let oid = sha256_hex(format!("{} {}", repo.head, repo.commits.len()).as_bytes())[..40].to_owned();
        repo.commits.insert(oid.clone(), commit);
        repo.head = oid.clone();
        self.save()?;
        Ok(oid)
    }

    fn save(&self) -> io::Result<()> {
        let part = self.folder.join("state.json.part");
        fs::write(&part, serde_json::to_vec_pretty(&self.repos)?)?;
        fs::rename(part, self.folder.join("state.json"))
    }
}

/// Whether a file is kept apart from git.
pub fn is_large(path: &str, size: u64) -> bool {
    size > 10 << 20 || path.ends_with(".safetensors") || path.ends_with(".parquet")
}
