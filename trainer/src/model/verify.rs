//! Checks a bundle on disk against its manifest.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use starsight_model::bundle::{self, FileEntry, Manifest};

use crate::system::files;

/// Reads the manifest of the bundle in the folder `dir`.
///
/// # Errors
/// When the folder has no manifest, or an unreadable one.
pub fn manifest(dir: &Path) -> Result<Manifest> {
    let path = dir.join(bundle::MANIFEST);
    ensure!(
        path.is_file(),
        "{} is not a bundle: it has no {}",
        dir.display(),
        bundle::MANIFEST
    );
    Manifest::from_json(&files::read(&path)?).with_context(|| format!("in {}", dir.display()))
}

/// Checks the size and the SHA-256 of every file that the bundle in `dir` should hold.
///
/// # Errors
/// When a file is missing or differs from the manifest.
pub fn bundle(dir: &Path) -> Result<Manifest> {
    let manifest = manifest(dir)?;
    for entry in &manifest.files {
        copy(dir, entry, &mut io::sink())?;
    }
    Ok(manifest)
}

/// Copies a file of the bundle in `dir` to `out`, and checks the copied bytes against its entry.
///
/// # Errors
/// When the file is missing or differs from its entry, or `out` cannot be written.
pub fn copy(dir: &Path, entry: &FileEntry, out: &mut dyn Write) -> Result<()> {
    let (size, sha256) = hashed(&dir.join(&entry.path), out)?;
    entry
        .check(size, || sha256)
        .with_context(|| format!("in {}", dir.display()))
}

/// Copies the file at `path` to `out`, and returns its size and SHA-256.
///
/// # Errors
/// When the file cannot be read, or `out` not written.
pub fn hashed(path: &Path, out: &mut dyn Write) -> Result<(u64, String)> {
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let (mut hash, mut size, mut block) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let read = file
            .read(&mut block)
            .with_context(|| format!("reading {}", path.display()))?;
        if read == 0 {
            return Ok((size, bundle::hex(&hash.finalize())));
        }
        hash.update(&block[..read]);
        out.write_all(&block[..read])?;
        size += read as u64;
    }
}
