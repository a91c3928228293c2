//! Copies of a bundle, with changes.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use starsight_model::Rater;
use starsight_model::bundle::{self, FileEntry};

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
    let Changes {
        integers,
        notes,
        languages,
    } = changes;
    let mut manifest = verify::manifest(dir)?;
    if *integers {
        manifest.file(bundle::INT8_WEIGHTS)?;
        manifest.files.retain(|file| file.path != bundle::WEIGHTS);
    }
    let free = !out.exists()
        || out.is_dir()
            && out
                .read_dir()
                .with_context(|| format!("reading {}", out.display()))?
                .next()
                .is_none();
    ensure!(
        free,
        "{} holds something already, and is left as it is: name a new folder",
        out.display()
    );
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
    std::fs::create_dir(&fresh).with_context(failed)?;
    for entry in &manifest.files {
        let path = fresh.join(&entry.path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(failed)?;
        }
        verify::copy(dir, entry, &mut File::create(&path).with_context(failed)?)
            .with_context(failed)?;
    }
    if *integers {
        // Programs that read the copy in floating point have only these weights.
        let [config, tokenizer, weights] =
            [bundle::CONFIG, bundle::TOKENIZER, bundle::INT8_WEIGHTS]
                .map(|name| files::read(&fresh.join(name)));
        let rater = Rater::from_bytes(&config?, &tokenizer?, weights?)
            .with_context(|| format!("in {}", dir.display()))?;
        for probe in &mut manifest.probes {
            probe.logits = rater.logits(&[&rater.encode(&probe.text)?])?[0];
        }
    }
    let noted = notes.is_some() || !languages.is_empty();
    let card = manifest
        .files
        .iter_mut()
        .find(|file| file.path == bundle::CARD);
    ensure!(
        card.is_some() || !noted,
        "{} has no model card to change: leave --notes and --languages out",
        dir.display()
    );
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
            card = card::in_languages(&card, languages).with_context(|| {
                format!(
                    "the card of {} does not say `language: en`, which --languages replaces",
                    dir.display()
                )
            })?;
        }
        std::fs::write(&path, &card).with_context(failed)?;
        *entry = FileEntry::of(bundle::CARD, card.as_bytes());
    }
    std::fs::write(
        fresh.join(bundle::MANIFEST),
        serde_json::to_vec_pretty(&manifest)?,
    )
    .with_context(failed)?;
    std::fs::rename(&fresh, out).with_context(failed)?;
    Ok(manifest.files.len() + 1)
}
