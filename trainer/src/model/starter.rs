//! The starter: a small model embedded in this program, which rates reviews as it is and can be
//! fine-tuned on one's own. `docs/starter.md` says how it was made.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use starsight_model::bundle::{self, hex};

use crate::model::verify;
use crate::system::files;

/// Its name where a model is expected.
pub const NAME: &str = "starter";

/// Default recipe for fine-tuning it, in the format of `--config`.
pub const RECIPE: &str = include_str!("starter.toml");

/// The bundle `models/starter`, without floating-point weights: paths with `/`, and contents.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/starter.rs"));

/// Returns the starter's folder in the user's cache, and writes it there if it is missing or
/// damaged.
///
/// # Errors
/// When there is no home folder, or it cannot be written.
pub fn folder() -> Result<PathBuf> {
    let cache =
        files::cache().context("no cache folder for the starter: set HOME or XDG_CACHE_HOME")?;
    unpack(FILES, &cache)
}

/// A folder below `cache` with these files of a bundle. Each version has its own folder.
fn unpack(bundle: &[(&str, &[u8])], cache: &Path) -> Result<PathBuf> {
    let manifest = bundle
        .iter()
        .find(|(path, _)| *path == bundle::MANIFEST)
        .map(|(_, bytes)| Sha256::digest(bytes));
    let folder = cache.join(format!(
        "{NAME}-{}",
        &hex(&manifest.context("this starsight was built without models/starter")?)[..16]
    ));
    // Write the manifest last, because it confirms the other files.
    if verify::bundle(&folder).is_err() {
        for last in [false, true] {
            for (path, bytes) in bundle
                .iter()
                .filter(|(path, _)| (*path == bundle::MANIFEST) == last)
            {
                files::write_bytes(&folder.join(path), bytes)?;
            }
        }
        verify::bundle(&folder)?;
    }
    ensure!(
        folder.join(bundle::CONFIG).is_file(),
        "{} has no {}",
        folder.display(),
        bundle::CONFIG
    );
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_starter_is_unpacked_once_and_mended() {
        let cache = tempfile::tempdir().expect("a folder");
        let folder = unpack(FILES, cache.path()).expect("a folder");
        let weights = folder.join(bundle::INT8_WEIGHTS);
        let written = |path: &Path| {
            std::fs::metadata(path)
                .and_then(|m| m.modified())
                .expect("a file")
        };
        let first = written(&weights);
        assert_eq!(unpack(FILES, cache.path()).expect("a folder"), folder);
        assert_eq!(written(&weights), first, "nothing is done twice");
        std::fs::write(&weights, b"damaged").expect("written");
        assert_eq!(unpack(FILES, cache.path()).expect("a folder"), folder);
        assert!(verify::bundle(&folder).is_ok());
        assert!(unpack(&[], cache.path()).is_err());
    }
}
