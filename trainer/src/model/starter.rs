//! The starter: a small model that rates reviews as it is, and that this program carries, to go on from with reviews of one's own. `docs/starter.md` says how it was made.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use starsight_model::bundle::{self, hex};

use crate::model::verify;
use crate::system::files;

/// What it is called wherever a model may be named.
pub const NAME: &str = "starter";

/// The recipe by which it is fine-tuned unless told otherwise, as `--config` reads it.
pub const RECIPE: &str = include_str!("starter.toml");

/// The bundle `models/starter`, without weights in floating point: paths with `/`, and contents.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/starter.rs"));

/// The folder of the starter, in this user's cache; written there when it is not yet, or was damaged.
///
/// # Errors
/// When there is no home to keep it in, or it cannot be written.
pub fn folder() -> Result<PathBuf> {
    let cache = files::cache().context("the starter is unpacked into the user's cache, and there is none: set HOME or XDG_CACHE_HOME")?;
    unpack(FILES, &cache)
}

/// A folder below `cache` that holds these files of a bundle. Each version has its own.
fn unpack(bundle: &[(&str, &[u8])], cache: &Path) -> Result<PathBuf> {
    let manifest = bundle
        .iter()
        .find(|(path, _)| *path == bundle::MANIFEST)
        .map(|(_, bytes)| Sha256::digest(bytes));
    let folder = cache.join(format!(
        "{NAME}-{}",
        &hex(&manifest.context("this starsight was built without models/starter")?)[..16]
    ));
    // All but the manifest, which vouches for them, and is written last.
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
        "{} holds no {}",
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
