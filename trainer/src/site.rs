//! A complete static site around a bundle: the page that this program was built with, and the model that it serves.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use starsight_model::bundle::MANIFEST;

use crate::{files, verify};

/// The page's files: paths with `/`, and contents.
pub type Page = [(&'static str, &'static [u8])];

/// The page as `cargo xtask web` had built it when this program was compiled; empty when it had not.
static PAGE: &Page = include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// The module that every site holds beside its page: by it and the manifest a site is known.
const MODULE: &str = "starsight.js";
/// Where a site holds its bundle.
const MODEL: &str = "model";

/// What a site holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Files.
    pub files: usize,
    /// Bytes.
    pub bytes: u64,
}

/// Writes a static site that serves the bundle in the folder `bundle` to the folder `out`, which must not exist, be empty, or hold a site of Starsight's: that one is replaced.
/// The site appears whole or not at all.
///
/// # Errors
/// When this program was built without the page, the bundle is not what its manifest says, or `out` cannot be written or holds something else.
pub fn write_site(bundle: &Path, out: &Path) -> Result<Written> {
    ensure!(!PAGE.is_empty(), "this starsight was built without the page: run `cargo xtask web`, then build it again");
    write_site_of(PAGE, bundle, out)
}

/// [`write_site`] with a page of one's own.
///
/// # Errors
/// As [`write_site`].
pub fn write_site_of(page: &Page, bundle: &Path, out: &Path) -> Result<Written> {
    let manifest = verify::manifest(bundle)?;
    check_replaceable(out)?;
    // Beside OUT, because only within a file system can a folder be moved into place.
    let parent =
        std::path::absolute(out)?.parent().map(Path::to_owned).with_context(|| format!("{} is no folder that can be written", out.display()))?;
    fs::create_dir_all(&parent).with_context(|| format!("creating {}", parent.display()))?;
    let work = tempfile::Builder::new().prefix(".starsight-site-").tempdir_in(&parent).with_context(|| format!("writing in {}", parent.display()))?;
    let fresh = work.path().join("fresh");

    let mut written = Written { files: 0, bytes: 0 };
    let mut put = |path: &str, write: &mut dyn FnMut(&mut File) -> Result<u64>| -> Result<()> {
        let target = fresh.join(path);
        let failed = || format!("writing {path} for {}", out.display());
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).with_context(failed)?;
        }
        let mut file = File::create(&target).with_context(failed)?;
        written.bytes += write(&mut file).with_context(failed)?;
        written.files += 1;
        Ok(())
    };
    for (path, content) in page {
        put(path, &mut |file| Ok(file.write_all(content).map(|()| content.len() as u64)?))?;
    }
    for entry in &manifest.files {
        put(&format!("{MODEL}/{}", entry.path), &mut |file| verify::copy(bundle, entry, file).map(|()| entry.size))?;
    }
    let json = files::read(&bundle.join(MANIFEST))?;
    put(&format!("{MODEL}/{MANIFEST}"), &mut |file| Ok(file.write_all(&json).map(|()| json.len() as u64)?))?;
    // GitHub Pages would otherwise pass the site through Jekyll, which drops some files.
    put(".nojekyll", &mut |_| Ok(0))?;

    move_into_place(&fresh, out, &work.path().join("former")).with_context(|| format!("moving the site to {}", out.display()))?;
    Ok(written)
}

/// Whether `out` is free, or holds a site, which may be replaced.
fn check_replaceable(out: &Path) -> Result<()> {
    let is_site = out.join(MODULE).is_file() && out.join(MODEL).join(MANIFEST).is_file();
    if is_site || !out.exists() {
        return Ok(());
    }
    if !out.is_dir() {
        bail!("{} is a file: name a folder for the site", out.display());
    }
    let empty = fs::read_dir(out).with_context(|| format!("reading {}", out.display()))?.next().is_none();
    ensure!(empty, "{} holds something that is not a site of Starsight's, and is left as it is: name a new folder", out.display());
    Ok(())
}

/// Moves `fresh` to `out`; what is there goes to `former`, and comes back should that fail.
fn move_into_place(fresh: &Path, out: &Path, former: &Path) -> std::io::Result<()> {
    if !out.exists() {
        return fs::rename(fresh, out);
    }
    fs::rename(out, former)?;
    fs::rename(fresh, out).inspect_err(|_| {
        let _ = fs::rename(former, out);
    })
}

#[cfg(test)]
mod tests {
    use starsight_model::bundle::{FORMAT, FileEntry, Manifest};

    use super::*;

    const TEST_PAGE: &Page = &[("index.html", b"<p>page"), ("starsight.js", b"export {}"), ("engine/worker.js", b"//")];

    fn bundle(dir: &Path, weights: &[u8]) {
        fs::create_dir_all(dir.join("web")).unwrap();
        fs::write(dir.join("model.safetensors"), weights).unwrap();
        fs::write(dir.join("web/model.int8"), b"int8").unwrap();
        fs::write(dir.join("notes.txt"), b"not in the manifest").unwrap();
        let manifest = Manifest {
            format: FORMAT,
            name: "test".into(),
            files: vec![FileEntry::of("model.safetensors", weights), FileEntry::of("web/model.int8", b"int8")],
            probes: vec![],
            metrics: None,
            temperature: 1.0,
            provenance: serde_json::Value::Null,
        };
        fs::write(dir.join(MANIFEST), serde_json::to_vec(&manifest).unwrap()).unwrap();
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_site_is_the_page_and_the_bundle() {
        let home = tempfile::tempdir().unwrap();
        let (model, out) = (home.path().join("model"), home.path().join("new/site"));
        bundle(&model, b"weights");
        let written = write_site_of(TEST_PAGE, &model, &out).unwrap();
        assert_eq!(names(&out), [".nojekyll", "engine", "index.html", "model", "starsight.js"]);
        assert_eq!(names(&out.join("model")), ["model.safetensors", "starsight.json", "web"]);
        assert_eq!(fs::read(out.join("model/model.safetensors")).unwrap(), b"weights");
        assert_eq!(written.files, 7);
        assert_eq!(names(&home.path().join("new")), ["site"], "nothing is left beside it");
        verify::bundle(&out.join("model")).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let other = home.path().join("other");
            fs::create_dir(&other).unwrap();
            assert_eq!(
                fs::metadata(&out).unwrap().permissions().mode(),
                fs::metadata(&other).unwrap().permissions().mode(),
                "as readable as any folder"
            );
        }

        // A site is replaced, even one that is made anew from its own bundle.
        fs::write(out.join("stale.txt"), b"stale").unwrap();
        write_site_of(TEST_PAGE, &out.join("model"), &out).unwrap();
        assert!(!out.join("stale.txt").exists());
        bundle(&model, b"better");
        write_site_of(TEST_PAGE, &model, &out).unwrap();
        assert_eq!(fs::read(out.join("model/model.safetensors")).unwrap(), b"better");
    }

    #[test]
    fn what_is_no_site_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let (model, out) = (home.path().join("model"), home.path().join("out"));
        bundle(&model, b"weights");
        fs::create_dir(&out).unwrap();
        write_site_of(TEST_PAGE, &model, &out).expect("an empty folder is free");
        fs::remove_file(out.join("starsight.js")).unwrap();
        let error = write_site_of(TEST_PAGE, &model, &out).unwrap_err().to_string();
        assert!(error.contains("not a site"), "{error}");
        assert!(write_site_of(TEST_PAGE, &model, &model).is_err(), "nor the bundle itself");
        assert!(write_site_of(TEST_PAGE, &model, &model.join("notes.txt")).unwrap_err().to_string().contains("is a file"));
    }

    #[test]
    fn a_damaged_bundle_makes_no_site() {
        let home = tempfile::tempdir().unwrap();
        let (model, out) = (home.path().join("model"), home.path().join("out"));
        bundle(&model, b"weights");
        write_site_of(TEST_PAGE, &model, &out).unwrap();
        fs::write(model.join("model.safetensors"), b"weight").unwrap();
        let error = format!("{:#}", write_site_of(TEST_PAGE, &model, &out).unwrap_err());
        assert!(error.contains("model.safetensors: 6 bytes, but starsight.json says 7"), "{error}");
        assert_eq!(fs::read(out.join("model/model.safetensors")).unwrap(), b"weights", "the former site stands");
        assert_eq!(names(home.path()), ["model", "out"]);
        fs::remove_file(model.join(MANIFEST)).unwrap();
        assert!(format!("{:#}", write_site_of(TEST_PAGE, &model, &out).unwrap_err()).contains("holds no starsight.json"));
    }
}
