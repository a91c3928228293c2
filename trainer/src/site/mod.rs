//! A complete static site for a bundle: the page embedded in this program, and the model it serves.

mod compress;
mod page;
pub mod serve;

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use starsight_model::bundle::{INT8_WEIGHTS, MANIFEST, Manifest, WEIGHTS};

use crate::model::verify;

/// The page's files: paths with `/`, and contents.
pub type Page = [(&'static str, &'static [u8])];

/// The page as `cargo xtask web` had built it when this program was compiled; empty if it had not.
static PAGE: &Page = include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// The JavaScript module beside the page. This file and the manifest identify a site.
const MODULE: &str = "starsight.js";
/// Folder of the bundle in a site.
const MODEL: &str = "model";

/// Size of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Number of files.
    pub files: usize,
    /// Number of bytes.
    pub bytes: u64,
}

/// Options of a site.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The site's address, if it is known; ends in a slash.
    pub base_url: Option<String>,
    /// Hosts, besides the site's own, from which the page may fetch models, as written in a Content
    /// Security Policy.
    pub model_hosts: Vec<String>,
    /// Whether to include the whole bundle, for `transformers` too. The page does not need the
    /// floating-point weights, which are four times as large as its own.
    pub full: bool,
}

/// Writes a static site for the bundle in the folder `bundle` to the folder `out`, which must not
/// exist, be empty, or hold an earlier site, which is replaced. The site appears complete or not at
/// all.
///
/// # Errors
/// When this program was built without the page, the bundle differs from its manifest or has no
/// weights for browsers, or `out` cannot be written or holds something else.
pub fn write_site(bundle: &Path, out: &Path, options: &Options) -> Result<Written> {
    ensure!(
        !PAGE.is_empty(),
        "this starsight was built without the page: run `cargo xtask web`, then build it again"
    );
    write_site_of(PAGE, bundle, out, options)
}

/// [`write_site`] with another page.
///
/// # Errors
/// As [`write_site`].
pub fn write_site_of(page: &Page, bundle: &Path, out: &Path, options: &Options) -> Result<Written> {
    // Beside OUT, because a folder can be renamed only within a file system.
    let absolute = std::path::absolute(out)?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        bail!("{} is not a writable folder", out.display())
    };
    let former = parent.join(format!(".starsight-former-{}", name.to_string_lossy()));
    restore_former(out, &former).with_context(|| {
        format!(
            "moving the site that an earlier run left at {}",
            former.display()
        )
    })?;
    let manifest = site_manifest(bundle, options)?;
    check_replaceable(out)?;
    fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    let work = tempfile::Builder::new()
        .prefix(".starsight-site-")
        .tempdir_in(parent)
        .with_context(|| format!("writing in {}", parent.display()))?;
    let fresh = work.path().join("fresh");
    let written = write_files(page, bundle, &manifest, options, &fresh)
        .with_context(|| format!("writing the site {}", out.display()))?;
    move_into_place(&fresh, out, &former)
        .with_context(|| format!("moving the site to {}", out.display()))?;
    Ok(written)
}

/// The site's own manifest, which lists only the files that the site contains.
fn site_manifest(bundle: &Path, options: &Options) -> Result<Manifest> {
    let manifest = verify::manifest(bundle)?;
    ensure!(
        manifest.file(INT8_WEIGHTS).is_ok(),
        "{} has no {INT8_WEIGHTS}, which browsers need: `starsight quantize --model {}` adds it",
        bundle.display(),
        bundle.display()
    );
    Ok(Manifest {
        files: manifest
            .files
            .into_iter()
            .filter(|file| options.full || file.path != WEIGHTS)
            .collect(),
        ..manifest
    })
}

/// Writes the page, the bundle and their compressed forms to the new folder `folder`.
fn write_files(
    page: &Page,
    bundle: &Path,
    manifest: &Manifest,
    options: &Options,
    folder: &Path,
) -> Result<Written> {
    let mut paths = Vec::new();
    let mut bytes = 0;
    let mut put = |path: String, write: &mut dyn FnMut(&mut File) -> Result<u64>| -> Result<()> {
        let target = folder.join(&path);
        let failed = || format!("writing {path}");
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).with_context(failed)?;
        }
        let mut file = File::create(&target).with_context(failed)?;
        bytes += write(&mut file).with_context(failed)?;
        paths.push(path);
        Ok(())
    };
    for (path, content) in page::finish(page, options)? {
        put(path, &mut |file| {
            Ok(file.write_all(&content).map(|()| content.len() as u64)?)
        })?;
    }
    for entry in &manifest.files {
        put(format!("{MODEL}/{}", entry.path), &mut |file| {
            verify::copy(bundle, entry, file).map(|()| entry.size)
        })?;
    }
    let json = serde_json::to_vec_pretty(manifest)?;
    put(format!("{MODEL}/{MANIFEST}"), &mut |file| {
        Ok(file.write_all(&json).map(|()| json.len() as u64)?)
    })?;
    // GitHub Pages would otherwise process the site with Jekyll, which drops some files.
    put(".nojekyll".into(), &mut |_| Ok(0))?;
    let mut written = Written {
        files: paths.len(),
        bytes,
    };
    let compressed = paths
        .par_iter()
        .map(|path| compress::write_compressed(folder, path))
        .collect::<Result<Vec<_>>>()?;
    for more in compressed {
        written.files += more.files;
        written.bytes += more.bytes;
    }
    Ok(written)
}

/// Checks that `out` is empty or missing, or holds a site, which may be replaced.
fn check_replaceable(out: &Path) -> Result<()> {
    let is_site = out.join(MODULE).is_file() && out.join(MODEL).join(MANIFEST).is_file();
    if is_site || !out.exists() {
        return Ok(());
    }
    if !out.is_dir() {
        bail!("{} is a file; choose a folder for the site", out.display());
    }
    let empty = fs::read_dir(out)
        .with_context(|| format!("reading {}", out.display()))?
        .next()
        .is_none();
    ensure!(
        empty,
        "{} contains something that is not a site of Starsight's; choose a new folder",
        out.display()
    );
    Ok(())
}

/// Moves `fresh` to `out`. The site at `out` is first moved to `former`; it is moved back if the
/// second step fails, and deleted once the new one is in place. A run that is interrupted in
/// between leaves no site at `out` and the previous one at `former`; the next run restores it.
fn move_into_place(fresh: &Path, out: &Path, former: &Path) -> std::io::Result<()> {
    if !out.exists() {
        return fs::rename(fresh, out);
    }
    fs::rename(out, former)?;
    fs::rename(fresh, out).inspect_err(|_| {
        let _ = fs::rename(former, out);
    })?;
    fs::remove_dir_all(former)
}

/// Restores the site that an interrupted run left at `former`, or deletes it if the new one is
/// already in place.
fn restore_former(out: &Path, former: &Path) -> std::io::Result<()> {
    match (former.exists(), out.exists()) {
        (false, _) => Ok(()),
        (true, false) => fs::rename(former, out),
        (true, true) => fs::remove_dir_all(former),
    }
}

#[cfg(test)]
mod tests {
    use starsight_model::bundle::{FORMAT, FileEntry};
    use starsight_model::rating::Decoding;

    use super::*;

    /// In trunk's layout.
    pub(super) const TEST_PAGE: &Page = &[
        (
            "index.html",
            b"<html><head>\n    <meta charset=\"utf-8\">\n    <link rel=\"icon\" href=\"./icon.svg\">\n    <link rel=\"stylesheet\" href=\"./page-1.css\"/>\n\
              <script type=\"module\">\nimport init, * as bindings from './starsight-page-1.js';\n\
              const wasm = await init({ module_or_path: './starsight-page-1_bg.wasm' });\n</script>\n<link rel=\"modulepreload\" href=\"./starsight-page-1.js\">\
              <link rel=\"preload\" href=\"./starsight-page-1_bg.wasm\"></head><body></body></html>",
        ),
        ("404.html", b"<meta charset=\"utf-8\"><p>lost<!-- home -->"),
        ("icon.svg", b"<svg/>"),
        ("page-1.css", b"p {}"),
        ("starsight-page-1.js", b"import { load } from './starsight.js'; import { Desk } from './table/desk.js';"),
        ("starsight-page-1_bg.wasm", b"\0asm"),
        ("starsight.d.ts", b"//"),
        ("element.js", b"import('./starsight.js')"),
        ("starsight.js", b"export const engine = __STARSIGHT_ENGINE__"),
        ("sw.js", b"const VERSION = '__STARSIGHT_VERSION__'; const FILES = __STARSIGHT_FILES__;"),
        ("engine/worker.js", b"//"),
        ("table/desk.js", b"export class Desk {} const table = __STARSIGHT_TABLE__"),
        ("table/worker.js", b"//"),
    ];

    const FULL: Options = Options {
        base_url: None,
        model_hosts: Vec::new(),
        full: true,
    };

    fn bundle(dir: &Path, weights: &[u8]) {
        fs::create_dir_all(dir.join("web")).unwrap();
        fs::write(dir.join("model.safetensors"), weights).unwrap();
        fs::write(dir.join(INT8_WEIGHTS), b"int8").unwrap();
        fs::write(dir.join("config.json"), " ".repeat(2000)).unwrap();
        fs::write(dir.join("notes.txt"), b"not in the manifest").unwrap();
        let manifest = Manifest {
            format: FORMAT,
            name: "test".into(),
            files: vec![
                FileEntry::of(WEIGHTS, weights),
                FileEntry::of(INT8_WEIGHTS, b"int8"),
                FileEntry::of("config.json", " ".repeat(2000).as_bytes()),
            ],
            probes: vec![],
            metrics: None,
            temperature: 1.0,
            decoding: Decoding::Likeliest,
            prior: None,
            provenance: serde_json::Value::Null,
        };
        fs::write(dir.join(MANIFEST), serde_json::to_vec(&manifest).unwrap()).unwrap();
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_site_is_the_page_and_the_bundle() {
        let home = tempfile::tempdir().unwrap();
        let (model, out) = (home.path().join("model"), home.path().join("new/site"));
        bundle(&model, b"weights");
        let written = write_site_of(TEST_PAGE, &model, &out, &FULL).unwrap();
        let found = names(&out);
        for name in [
            ".nojekyll",
            "404.html",
            "engine",
            "index.html",
            "model",
            "starsight.js",
            "sw.js",
        ] {
            assert!(
                found.iter().any(|found| found == name),
                "{name} in {found:?}"
            );
        }
        assert_eq!(
            names(&out.join("model")),
            [
                "config.json",
                "config.json.br",
                "config.json.gz",
                "model.safetensors",
                "starsight.json",
                "web"
            ]
        );
        assert_eq!(
            fs::read(out.join("model/model.safetensors")).unwrap(),
            b"weights"
        );
        assert_eq!(
            names(&home.path().join("new")),
            ["site"],
            "nothing is left beside it"
        );
        verify::bundle(&out.join("model")).unwrap();
        let count = |dir: &Path| -> usize {
            let mut folders = vec![dir.to_owned()];
            let mut files = 0;
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(folder).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() {
                        folders.push(path);
                    } else {
                        files += 1;
                    }
                }
            }
            files
        };
        assert_eq!(written.files, count(&out));

        // By default only the files that a browser needs, and a manifest that lists only those.
        write_site_of(TEST_PAGE, &model, &out, &Options::default()).unwrap();
        assert!(!out.join("model/model.safetensors").exists());
        assert_eq!(verify::bundle(&out.join("model")).unwrap().files.len(), 2);
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

        // A site is replaced, even when it is rebuilt from its own bundle.
        fs::write(out.join("stale.txt"), b"stale").unwrap();
        write_site_of(TEST_PAGE, &out.join("model"), &out, &FULL).unwrap();
        assert!(!out.join("stale.txt").exists());
        bundle(&model, b"better");
        write_site_of(TEST_PAGE, &model, &out, &FULL).unwrap();
        assert_eq!(
            fs::read(out.join("model/model.safetensors")).unwrap(),
            b"better"
        );
    }

    #[test]
    fn a_run_that_was_cut_off_costs_no_site() {
        let home = tempfile::tempdir().unwrap();
        let (model, out, former) = (
            home.path().join("model"),
            home.path().join("out"),
            home.path().join(".starsight-former-out"),
        );
        bundle(&model, b"weights");
        write_site_of(TEST_PAGE, &model, &out, &FULL).unwrap();
        // Interrupted before the new site was in place; and the next run fails.
        fs::rename(&out, &former).unwrap();
        fs::write(model.join("model.safetensors"), b"weight").unwrap();
        write_site_of(TEST_PAGE, &model, &out, &FULL).unwrap_err();
        assert_eq!(
            fs::read(out.join("model/model.safetensors")).unwrap(),
            b"weights",
            "the site before is back"
        );
        // Interrupted after the new site was in place.
        fs::create_dir(&former).unwrap();
        bundle(&model, b"better");
        write_site_of(TEST_PAGE, &model, &out, &FULL).unwrap();
        assert_eq!(
            fs::read(out.join("model/model.safetensors")).unwrap(),
            b"better"
        );
        assert_eq!(names(home.path()), ["model", "out"]);
    }

    #[test]
    fn what_is_no_site_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let (model, out) = (home.path().join("model"), home.path().join("out"));
        bundle(&model, b"weights");
        fs::create_dir(&out).unwrap();
        write_site_of(TEST_PAGE, &model, &out, &FULL).expect("an empty folder is free");
        fs::remove_file(out.join("starsight.js")).unwrap();
        let error = write_site_of(TEST_PAGE, &model, &out, &FULL)
            .unwrap_err()
            .to_string();
        assert!(error.contains("not a site"), "{error}");
        assert!(
            write_site_of(TEST_PAGE, &model, &model, &FULL).is_err(),
            "nor the bundle itself"
        );
        assert!(
            write_site_of(TEST_PAGE, &model, &model.join("notes.txt"), &FULL)
                .unwrap_err()
                .to_string()
                .contains("is a file")
        );
    }

    #[test]
    fn a_damaged_bundle_makes_no_site() {
        let home = tempfile::tempdir().unwrap();
        let (model, out) = (home.path().join("model"), home.path().join("out"));
        bundle(&model, b"weights");
        write_site_of(TEST_PAGE, &model, &out, &FULL).unwrap();
        fs::write(model.join("model.safetensors"), b"weight").unwrap();
        let error = format!(
            "{:#}",
            write_site_of(TEST_PAGE, &model, &out, &FULL).unwrap_err()
        );
        assert!(
            error.contains("model.safetensors: 6 bytes, but starsight.json says 7"),
            "{error}"
        );
        assert_eq!(
            fs::read(out.join("model/model.safetensors")).unwrap(),
            b"weights",
            "the former site stands"
        );
        assert_eq!(names(home.path()), ["model", "out"]);
        fs::remove_file(model.join(MANIFEST)).unwrap();
        assert!(
            format!(
                "{:#}",
                write_site_of(TEST_PAGE, &model, &out, &FULL).unwrap_err()
            )
            .contains("has no starsight.json")
        );
        let old = Manifest {
            files: vec![],
            ..verify::manifest(&out.join("model")).unwrap()
        };
        fs::write(model.join(MANIFEST), serde_json::to_vec(&old).unwrap()).unwrap();
        assert!(
            format!(
                "{:#}",
                write_site_of(TEST_PAGE, &model, &out, &FULL).unwrap_err()
            )
            .contains("starsight quantize")
        );
    }
}
