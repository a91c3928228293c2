//! axe-core, which finds accessibility violations, for the browser tests.

use crate::sh::{Cmd, Result, at};
use crate::versions;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Path of the script in npm's folder.
const SCRIPT: &str = "node_modules/axe-core/axe.min.js";

/// Where the tests look for the script, in the workspace.
const LINK: &str = "target/axe.min.js";

/// The script in the cache, if it has the wanted version.
pub fn find(cache: &Path) -> Option<PathBuf> {
    let script = folder(cache).join(SCRIPT);
    let said = Cmd::new("sha256sum").arg(&script).read()?;
    (said.split_whitespace().next() == Some(versions::AXE_SHA256)).then_some(script)
}

/// Installs the script with npm, and checks its hash.
pub fn get(cache: &Path) -> Result<PathBuf> {
    let folder = folder(cache);
    if folder.is_dir() {
        fs::remove_dir_all(&folder).map_err(at(&folder))?;
    }
    fs::create_dir_all(&folder).map_err(at(&folder))?;
    let npm = Cmd::new("npm")
        .words("install --no-save --no-audit --no-fund --ignore-scripts --prefix")
        .arg(&folder);
    let package = format!("axe-core@{}", versions::AXE);
    npm.arg(package)
        .hint("It needs the network. Run the command again: finished steps are skipped.")
        .run()?;
    find(cache).ok_or_else(|| {
        let (folder, version, wanted) = (folder.display(), versions::AXE, versions::AXE_SHA256);
        format!("{folder}/{SCRIPT} is not axe-core {version}: its SHA-256 is not {wanted}.")
    })
}

/// Makes [`LINK`], where the browser tests look for the script, a link to `script`.
pub fn link(script: &Path) -> Result {
    let link = crate::root().join(LINK);
    if fs::read_link(&link).is_ok_and(|current| current == script) {
        return Ok(());
    }
    if let Some(folder) = link.parent() {
        fs::create_dir_all(folder).map_err(at(folder))?;
    }
    // Even a link that leads nowhere.
    if link.symlink_metadata().is_ok() {
        fs::remove_file(&link).map_err(at(&link))?;
    }
    symlink(script, &link).map_err(at(&link))
}

fn folder(cache: &Path) -> PathBuf {
    cache.join(format!("axe-core-{}", versions::AXE))
}
