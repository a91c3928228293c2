//! Files that are complete or missing: written under a temporary name, then renamed.

use std::env;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

/// Prefix of a temporary file's name.
const UNFINISHED: &str = ".starsight-";

/// A complete file on disk that does not have its final name yet. Dropping it deletes it.
pub struct PendingFile {
    file: NamedTempFile,
    path: PathBuf,
}

impl PendingFile {
    /// Renames it to its final name, replacing an existing file.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn commit(self) -> Result<()> {
        let PendingFile { file, path } = self;
        file.persist(&path)
            .map_err(|e| e.error)
            .with_context(|| format!("writing {}", path.display()))?;
        sync_folder(folder_of(&path))
    }
}

/// Writes the file `path` with `write`. It gets its name only once it is completely on disk; on an
/// error the previous file stays.
///
/// # Errors
/// When the folder cannot be created, the disk is full, or `write` fails.
pub fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> Result<()>,
) -> Result<()> {
    write_pending(path, write)?.commit()
}

/// The same without renaming, so that several files that belong together can all be written before
/// the first is renamed.
///
/// # Errors
/// As [`write_whole`].
pub fn write_pending(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> Result<()>,
) -> Result<PendingFile> {
    let failed = || format!("writing {}", path.display());
    let folder = folder_of(path);
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(UNFINISHED);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Permissions of any new file; the process's umask applies.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder).with_context(failed)?;
    let mut out = BufWriter::new(file.as_file_mut());
    write(&mut out).with_context(failed)?;
    out.flush().with_context(failed)?;
    drop(out);
    file.as_file().sync_all().with_context(failed)?;
    Ok(PendingFile {
        file,
        path: path.to_owned(),
    })
}

/// The folder of the file `path`.
fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Waits until the entries of `folder` are on disk: earlier renames then survive a power failure.
///
/// # Errors
/// When the disk fails.
pub fn sync_folder(folder: &Path) -> Result<()> {
    // On other systems a folder cannot be opened as a file, and needs no sync.
    if cfg!(unix) {
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .with_context(|| format!("writing {}", folder.display()))?;
    }
    Ok(())
}

/// Removes temporary files in `folder` that a killed program left.
///
/// # Errors
/// When the folder exists but cannot be read, or a file cannot be removed.
pub fn sweep(folder: &Path) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry
            .with_context(|| format!("reading {}", folder.display()))?
            .path();
        if path.is_file()
            && path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(UNFINISHED))
        {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

/// The program's cache folder; `None` without a home folder.
pub fn cache() -> Option<PathBuf> {
    let set = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("starsight"))
}

/// [`write_whole`] for bytes in memory.
///
/// # Errors
/// As [`write_whole`].
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    write_whole(path, |out| Ok(out.write_all(bytes)?))
}

/// Reads a whole file.
///
/// # Errors
/// When it cannot be read; the error names it.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_what_was_there() {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().join("new/file.txt");
        write_bytes(&path, b"first").expect("written");
        let failed = write_whole(&path, |out| {
            out.write_all(b"sec")?;
            anyhow::bail!("the disk is full")
        });
        assert!(
            format!("{:#}", failed.expect_err("an error")).contains("file.txt: the disk is full")
        );
        assert_eq!(read(&path).expect("read"), b"first");
        let names = || {
            fs::read_dir(home.path().join("new"))
                .expect("a folder")
                .count()
        };
        assert_eq!(names(), 1, "nothing is left beside it");
        fs::write(home.path().join("new/.starsight-abc"), "ha").expect("written");
        sweep(&home.path().join("new")).expect("swept");
        assert_eq!(names(), 1, "nor by a killed program");
        sweep(&home.path().join("none")).expect("nothing to sweep");
    }
}
