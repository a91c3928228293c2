//! git's object ids.

use std::{fs::File, io::Read, path::Path};

use anyhow::{Context, Result};
use sha1::{Digest, Sha1};
use starsight_model::bundle::hex;

/// The object id that git gives to the file at `path`: SHA-1 of a small header and the content.
pub(super) fn git_oid(path: &Path) -> Result<String> {
    let reading = || format!("reading {}", path.display());
    let mut file = File::open(path).with_context(reading)?;
    let size = file.metadata().with_context(reading)?.len();
    let (mut hash, mut block) = (
        Sha1::new_with_prefix(format!("blob {size}\0")),
        vec![0; 1 << 16],
    );
    loop {
        match file.read(&mut block).with_context(reading)? {
            0 => return Ok(hex(&hash.finalize())),
            read => hash.update(&block[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_named_as_git_names_them() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        // `git hash-object`.
        for (content, oid) in [
            ("", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
            ("hello\n", "ce013625030ba8dba906f756967f9e9ca394464a"),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(git_oid(&path).unwrap(), oid);
        }
    }
}
