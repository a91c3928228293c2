//! Copies of a bundle, with changes.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use starsight_model::Rater;
use starsight_model::bundle::{self, FileEntry, Manifest};

use crate::bundle::card;
use crate::model::verify;
use crate::system::files;

/// How a copy differs from its bundle.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Leave out the floating-point weights. The logits of the probes are then those of the
    /// dequantised int8 weights, and the card says which programs can load it.
    pub integers: bool,
    /// Markdown inserted into the card before its limits.
    pub notes: Option<String>,
    /// Languages named on the card, as ISO 639-1 codes; unchanged if empty.
    pub languages: Vec<String>,
}

/// Copies the bundle in `dir` to the folder `out` with these changes, and returns the number of
/// files. `out` must be empty or not exist. It appears complete or not at all.
///
/// # Errors
/// When a file is missing or differs from the manifest, `integers` is set and the bundle has no
/// int8 weights, or `out` is not empty or cannot be written.
pub fn copy_bundle(dir: &Path, out: &Path, changes: &Changes) -> Result<usize> {
    let mut manifest = verify::manifest(dir)?;
    if changes.integers {
        manifest.file(bundle::INT8_WEIGHTS)?;
        manifest.files.retain(|file| file.path != bundle::WEIGHTS);
    }
    check_free(out)?;
    let failed = || format!("writing {}", out.display());
    let parent = std::path::absolute(out)?
        .parent()
        .map(Path::to_owned)
        .with_context(failed)?;
    std::fs::create_dir_all(&parent).with_context(failed)?;
    let work = tempfile::Builder::new()
        .prefix(".starsight-bundle-")
        .tempdir_in(&parent)
        .with_context(failed)?;
    let fresh = work.path().join("bundle");
    copy_files(dir, &manifest, &fresh).with_context(failed)?;
    if changes.integers {
        probe_integers(&mut manifest, &fresh).with_context(|| format!("in {}", dir.display()))?;
    }
    change_card(&mut manifest, dir, &fresh, changes)?;
    std::fs::write(
        fresh.join(bundle::MANIFEST),
        serde_json::to_vec_pretty(&manifest)?,
    )
    .with_context(failed)?;
    std::fs::rename(&fresh, out).with_context(failed)?;
    Ok(manifest.files.len() + 1)
}

/// Checks that `out` is missing or an empty folder.
fn check_free(out: &Path) -> Result<()> {
    let free = !out.exists()
        || out.is_dir()
            && out
                .read_dir()
                .with_context(|| format!("reading {}", out.display()))?
                .next()
                .is_none();
    ensure!(free, "{} is not empty; choose a new folder", out.display());
    Ok(())
}

/// Copies the files that `manifest` lists from `dir` to the new folder `to`, and checks them.
fn copy_files(dir: &Path, manifest: &Manifest, to: &Path) -> Result<()> {
    std::fs::create_dir(to)?;
    for entry in &manifest.files {
        let path = to.join(&entry.path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        verify::copy(dir, entry, &mut File::create(&path)?)?;
    }
    Ok(())
}

/// Computes the probes' logits with the int8 weights in `folder`: programs that read the copy in
/// floating point have only these weights.
fn probe_integers(manifest: &mut Manifest, folder: &Path) -> Result<()> {
    let [config, tokenizer, weights] = [bundle::CONFIG, bundle::TOKENIZER, bundle::INT8_WEIGHTS]
        .map(|name| files::read(&folder.join(name)));
    let rater = Rater::from_bytes(&config?, &tokenizer?, weights?)?;
    for probe in &mut manifest.probes {
        probe.logits = rater.logits(&[&rater.encode(&probe.text)?])?[0];
    }
    Ok(())
}

/// Applies `changes` to the card in `folder`, a copy of the bundle in `dir`, and to its entry.
fn change_card(
    manifest: &mut Manifest,
    dir: &Path,
    folder: &Path,
    changes: &Changes,
) -> Result<()> {
    let Changes {
        integers,
        notes,
        languages,
    } = changes;
    let noted = notes.is_some() || !languages.is_empty();
    let Some(entry) = manifest
        .files
        .iter_mut()
        .find(|file| file.path == bundle::CARD)
    else {
        ensure!(
            !noted,
            "{} has no model card; omit --notes and --languages",
            dir.display()
        );
        return Ok(());
    };
    if !(*integers || noted) {
        return Ok(());
    }
    let path = folder.join(bundle::CARD);
    let mut card = String::from_utf8_lossy(&files::read(&path)?).into_owned();
    if *integers {
        card = card::of_integers(&card);
    }
    if let Some(notes) = notes {
        card = card::with_notes(&card, notes);
    }
    if !languages.is_empty() {
        card = card::in_languages(&card, languages).with_context(|| {
            format!(
                "the card of {} does not say `language: en`, which --languages replaces",
                dir.display()
            )
        })?;
    }
    std::fs::write(&path, &card).context("writing the model card")?;
    *entry = FileEntry::of(bundle::CARD, card.as_bytes());
    Ok(())
}
