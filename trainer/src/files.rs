//! Files that are whole or not there: written beside, then renamed.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};

/// Writes the file `path` through `write`. It appears under its name only when all of it is on the disk; on an error what was there before stays.
///
/// # Errors
/// When the folder cannot be made, the disk is full, or `write` fails.
pub fn write_whole(path: &Path, write: impl FnOnce(&mut BufWriter<&mut File>) -> Result<()>) -> Result<()> {
    let failed = || format!("writing {}", path.display());
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".starsight-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any new file: the process's umask takes its share.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder).with_context(failed)?;
    let mut out = BufWriter::new(file.as_file_mut());
    write(&mut out).with_context(failed)?;
    out.flush().with_context(failed)?;
    drop(out);
    file.as_file().sync_all().with_context(failed)?;
    file.persist(path).map_err(|e| e.error).with_context(failed)?;
    Ok(())
}

/// [`write_whole`] of bytes that are at hand.
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
        assert!(format!("{:#}", failed.expect_err("an error")).contains("file.txt: the disk is full"));
        assert_eq!(read(&path).expect("read"), b"first");
        assert_eq!(fs::read_dir(home.path().join("new")).expect("a folder").count(), 1, "nothing is left beside it");
    }
}
