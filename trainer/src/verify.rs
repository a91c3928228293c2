//! A bundle on disk, held to its manifest.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use starsight_model::Rater;
use starsight_model::bundle::{self, FileEntry, Manifest};

use crate::{card, files};

/// Reads the manifest of the bundle in the folder `dir`.
///
/// # Errors
/// When the folder has none, or an unreadable one.
pub fn manifest(dir: &Path) -> Result<Manifest> {
    let path = dir.join(bundle::MANIFEST);
    ensure!(path.is_file(), "{} is not a bundle: it holds no {}", dir.display(), bundle::MANIFEST);
    Manifest::from_json(&files::read(&path)?).with_context(|| format!("in {}", dir.display()))
}

/// Checks the size and the SHA-256 of every file that the bundle in `dir` should hold.
///
/// # Errors
/// When a file is missing, or is not what the manifest says.
pub fn bundle(dir: &Path) -> Result<Manifest> {
    let manifest = manifest(dir)?;
    for entry in &manifest.files {
        copy(dir, entry, &mut io::sink())?;
    }
    Ok(manifest)
}

/// Copies a file of the bundle in `dir` to `out`, and checks what went by against its entry.
///
/// # Errors
/// When the file is missing or is not what its entry says, or `out` does not take it.
pub fn copy(dir: &Path, entry: &FileEntry, out: &mut dyn Write) -> Result<()> {
    let (size, sha256) = hashed(&dir.join(&entry.path), out)?;
    entry.check(size, || sha256).with_context(|| format!("in {}", dir.display()))
}

/// Copies the file at `path` to `out`; its size and SHA-256.
///
/// # Errors
/// When one cannot be read, or the other not written.
pub fn hashed(path: &Path, out: &mut dyn Write) -> Result<(u64, String)> {
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let (mut hash, mut size, mut block) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut block).with_context(|| format!("reading {}", path.display()))?;
        if read == 0 {
            return Ok((size, bundle::hex(&hash.finalize())));
        }
        hash.update(&block[..read]);
        out.write_all(&block[..read])?;
        size += read as u64;
    }
}

/// How a copy differs from its bundle.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Leave out the weights in floating point. The logits of its probes then are what the weights give that the integers stand for, and its card says what can load it.
    pub integers: bool,
    /// Markdown that the card has before its limits.
    pub notes: Option<String>,
    /// The languages that the card names, by their ISO 639-1 codes; as they are if there are none.
    pub languages: Vec<String>,
}

/// Copies the bundle in `dir` to the folder `out`, which must not exist or be empty, with these changes, and returns the number of files. It appears whole or not at all.
///
/// # Errors
/// When a file is missing or is not what the manifest says, `integers` are wanted and there are none, or `out` holds something or cannot be written.
pub fn copy_bundle(dir: &Path, out: &Path, changes: &Changes) -> Result<usize> {
    let Changes { integers, notes, languages } = changes;
    let mut manifest = manifest(dir)?;
    if *integers {
        manifest.file(bundle::INT8_WEIGHTS)?;
        manifest.files.retain(|file| file.path != bundle::WEIGHTS);
    }
    let free = !out.exists() || out.is_dir() && out.read_dir().with_context(|| format!("reading {}", out.display()))?.next().is_none();
    ensure!(free, "{} holds something already, and is left as it is: name a new folder", out.display());
    let failed = || format!("writing {}", out.display());
    let parent = std::path::absolute(out)?.parent().map(Path::to_owned).with_context(failed)?;
    std::fs::create_dir_all(&parent).with_context(failed)?;
    let work = tempfile::Builder::new().prefix(".starsight-bundle-").tempdir_in(&parent).with_context(failed)?;
    let fresh = work.path().join("bundle");
    std::fs::create_dir(&fresh).with_context(failed)?;
    for entry in &manifest.files {
        let path = fresh.join(&entry.path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(failed)?;
        }
        copy(dir, entry, &mut File::create(&path).with_context(failed)?).with_context(failed)?;
    }
    if *integers {
        // What reads the copy in floating point has no other weights.
        let [config, tokenizer, weights] = [bundle::CONFIG, bundle::TOKENIZER, bundle::INT8_WEIGHTS].map(|name| files::read(&fresh.join(name)));
        let rater = Rater::from_bytes(&config?, &tokenizer?, weights?).with_context(|| format!("in {}", dir.display()))?;
        for probe in &mut manifest.probes {
            probe.logits = rater.logits(&[&rater.encode(&probe.text)?])?[0];
        }
    }
    let noted = notes.is_some() || !languages.is_empty();
    let card = manifest.files.iter_mut().find(|file| file.path == bundle::CARD);
    ensure!(card.is_some() || !noted, "{} has no model card to change: leave --notes and --languages out", dir.display());
    if let Some(entry) = card.filter(|_| *integers || noted) {
        let path = fresh.join(bundle::CARD);
        let mut card = String::from_utf8_lossy(&files::read(&path)?).into_owned();
        if *integers {
            card = card::of_integers(&card);
        }
        if let Some(notes) = notes {
            card = card::with_notes(&card, notes);
        }
        if !languages.is_empty() {
            card = card::in_languages(&card, languages)
                .with_context(|| format!("the card of {} does not say `language: en`, which --languages replaces", dir.display()))?;
        }
        std::fs::write(&path, &card).with_context(failed)?;
        *entry = FileEntry::of(bundle::CARD, card.as_bytes());
    }
    std::fs::write(fresh.join(bundle::MANIFEST), serde_json::to_vec_pretty(&manifest)?).with_context(failed)?;
    std::fs::rename(&fresh, out).with_context(failed)?;
    Ok(manifest.files.len() + 1)
}
