//! Builds the site without a model into `web/dist`: the workers' modules, then the page.

use crate::sh::{Cmd, Result, at, lock, step};
use crate::toolchain::{TARGET, Toolchain};
use crate::tools::Tools;
use crate::versions;
use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Optimisation level of `wasm-opt`, which reads the allowed features from the module.
const OPTIMISE: &str = "-O3";

/// Options of `wasm-bindgen`. The JavaScript is the same for all builds, and is given the module's
/// path.
const BIND: &str = "--target web --no-typescript --omit-default-module-path --out-name bound";
/// Names of its two output files.
const GLUE: &str = "bound.js";
const MODULE: &str = "bound_bg.wasm";

/// Options of `esbuild` for a bundle.
const BUNDLE: &str = "--bundle --minify --legal-comments=none --log-level=warning";

/// The programs that build for WebAssembly, in a folder of their own that comes first on PATH.
pub struct Kit {
    toolchain: Toolchain,
    /// Folder of all builds, separate from the native side, whose compiler may have another
    /// version.
    target: PathBuf,
    bin: PathBuf,
    path: OsString,
}

impl Kit {
    /// Collects the programs of the set-up.
    pub fn new(tools: Tools) -> Result<Kit> {
        let target = crate::root().join("target/web");
        let bin = target.join("bin");
        renew(&bin)?;
        for program in tools.programs.into_iter().chain(tools.toolchain.programs()) {
            let link = bin.join(program.file_name().unwrap_or_default());
            symlink(&program, &link).map_err(at(&link))?;
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths(std::iter::once(bin.clone()).chain(env::split_paths(&path)))
            .map_err(|e| {
                format!(
                    "{} cannot be on PATH: {e}. Move the checkout.",
                    bin.display()
                )
            })?;
        Ok(Kit {
            toolchain: tools.toolchain,
            target,
            bin,
            path,
        })
    }

    /// A command that runs `program` from the root in the environment for WebAssembly: the set-up's
    /// copy if there is one, else the one on PATH.
    pub fn cmd(&self, program: &str) -> Cmd {
        let ours = self.bin.join(program);
        let cmd = if ours.exists() {
            Cmd::new(ours)
        } else {
            Cmd::new(program)
        };
        let cmd = self.toolchain.prepare(cmd).dir(crate::root());
        cmd.env("PATH", &self.path)
            .env("CARGO_TARGET_DIR", &self.target)
    }
}

/// Builds `web/dist`.
pub fn build(kit: &Kit) -> Result {
    let web = crate::root().join("web");
    let _alone = lock(&kit.target.join("lock"))?;
    step("Fetching the crates of the page", || {
        kit.cmd("cargo").words("fetch --locked --quiet").run()
    })?;
    let mut parts = Vec::new();
    for part in PARTS {
        step(
            &format!("Compiling {} (2 minutes the first time)", part.what),
            || compile(kit, part.package, part.features),
        )?;
        let bound = step("Binding it to JavaScript and optimising it", || {
            bind(kit, &part)
        })?;
        parts.push((part, bound));
    }
    step("Bundling the modules", || lay_out(kit, &web, &parts))?;
    // Trunk would compile it too, but hides cargo's progress.
    step("Compiling the page (2 minutes the first time)", || {
        compile(kit, "starsight-page", "")
    })?;
    step("Bundling the page", || {
        let new = kit.target.join("dist");
        renew(&new)?;
        kit.cmd("trunk")
            .words("build --offline --dist")
            .arg(&new)
            .dir(&web)
            .run()?;
        replace(&web.join("dist"), &new)
    })
}

fn compile(kit: &Kit, package: &str, features: &str) -> Result {
    let cargo = kit.cmd("cargo").words("build --locked --profile wasm");
    cargo
        .args([
            "--target",
            TARGET,
            "--package",
            package,
            "--features",
            features,
        ])
        .run()
}

/// A wasm module that a worker runs.
struct Part {
    what: &'static str,
    package: &'static str,
    features: &'static str,
    /// Name of the module.
    name: &'static str,
    /// Its folder in the site.
    folder: &'static str,
}

/// Folder of the rating engine in the site.
const ENGINE: &str = "engine";
/// Folder of the file reader in the site.
const TABLE: &str = "table";

/// There are two engines, because a browser without relaxed SIMD refuses a module that uses it.
/// They differ by a feature of our own crates, not by a flag of the target, so that std and
/// third-party crates are compiled once.
const PARTS: [Part; 3] = [
    Part {
        what: "the worker",
        package: "starsight-worker",
        features: "",
        name: "starsight_worker",
        folder: ENGINE,
    },
    Part {
        what: "the worker with relaxed SIMD",
        package: "starsight-worker",
        features: "relaxed-simd",
        name: "starsight_worker_relaxed",
        folder: ENGINE,
    },
    Part {
        what: "the reader of files",
        package: "starsight-table-worker",
        features: "",
        name: "starsight_table",
        folder: TABLE,
    },
];

/// The JavaScript and the module of the part compiled last, in a folder named after a hash of their
/// inputs.
fn bind(kit: &Kit, part: &Part) -> Result<PathBuf> {
    let raw = kit
        .target
        .join(TARGET)
        .join("wasm")
        .join(format!("{}.wasm", part.package.replace('-', "_")));
    let mut hasher = DefaultHasher::new();
    fs::read(&raw).map_err(at(&raw))?.hash(&mut hasher);
    (versions::WASM_BINDGEN, BIND, versions::BINARYEN, OPTIMISE).hash(&mut hasher);
    let bound = kit.target.join("engine").join(part.name);
    let latest = bound.join(format!("{:016x}", hasher.finish()));
    if latest.is_dir() {
        return Ok(latest);
    }

    renew(&bound)?;
    let new = bound.join("new");
    kit.cmd("wasm-bindgen")
        .words(BIND)
        .arg("--out-dir")
        .arg(&new)
        .arg(&raw)
        .run()?;
    let module = new.join(MODULE);
    kit.cmd("wasm-opt")
        .arg(OPTIMISE)
        .arg(&module)
        .arg("-o")
        .arg(&module)
        .run()?;
    fs::rename(&new, &latest).map_err(at(&new))?;
    Ok(latest)
}

/// Lays out `web/module`, which trunk copies into the site: `starsight.js`, the element, their
/// types, `engine/` and `table/` with their workers, and the service worker. Lays out the same as a
/// package in `web/package`, without what only the page needs. Placeholders (`__STARSIGHT_...__`)
/// mark what a site writes into the modules.
fn lay_out(kit: &Kit, web: &Path, parts: &[(Part, PathBuf)]) -> Result {
    let (module, package) = (web.join("module"), web.join("package"));
    let [engine, table] = [ENGINE, TABLE].map(|folder| glue(parts, folder));
    let (engine, table) = (engine?, table?);
    let bundle = |entry: &str, format: &str, more: &[&str], out: &Path| {
        let esbuild = kit
            .cmd("esbuild")
            .arg(web.join(entry))
            .words(BUNDLE)
            .args(more);
        esbuild
            .arg(format!("--format={format}"))
            .arg(format!("--alias:starsight-engine={}", engine.display()))
            .arg(format!("--alias:starsight-table={}", table.display()))
            .arg(format!("--outfile={}", out.display()))
            .run()
    };
    let modules = |folder: &Path, of: &str| -> Result {
        renew(&folder.join(of))?;
        parts
            .iter()
            .filter(|(part, _)| part.folder == of)
            .try_for_each(|(part, bound)| {
                copy(
                    &bound.join(MODULE),
                    &folder.join(of).join(format!("{}_bg.wasm", part.name)),
                )
            })
    };
    // Bundlers rename files.
    for (folder, more) in [
        (&module, &[][..]),
        (&package, &["--define:__STARSIGHT_ENGINE__=null"]),
    ] {
        renew(folder)?;
        modules(folder, ENGINE)?;
        bundle("starsight.js", "esm", more, &folder.join("starsight.js"))?;
        bundle(
            "worker/worker.js",
            "esm",
            more,
            &folder.join("engine/worker.js"),
        )?;
        for file in ["element.js", "element.d.ts", "starsight.d.ts"] {
            copy(&web.join(file), &folder.join(file))?;
        }
    }
    modules(&module, TABLE)?;
    bundle(
        "table/worker/desk.js",
        "esm",
        &[],
        &module.join("table/desk.js"),
    )?;
    bundle(
        "table/worker/worker.js",
        "esm",
        &[],
        &module.join("table/worker.js"),
    )?;
    bundle("sw.js", "iife", &[], &module.join("sw.js"))?;
    let about = package.join("package.json");
    fs::write(
        &about,
        PACKAGE.replace("VERSION", env!("CARGO_PKG_VERSION")),
    )
    .map_err(at(&about))
}

/// The JavaScript glue of `folder`'s worker, which must be the same for all of its builds.
fn glue(parts: &[(Part, PathBuf)], folder: &str) -> Result<PathBuf> {
    let paths: Vec<PathBuf> = parts
        .iter()
        .filter(|(part, _)| part.folder == folder)
        .map(|(_, bound)| bound.join(GLUE))
        .collect();
    let texts = paths
        .iter()
        .map(|path| fs::read(path).map_err(at(path)))
        .collect::<Result<Vec<_>>>()?;
    match texts.windows(2).all(|pair| pair[0] == pair[1]) {
        true => paths.into_iter().next().ok_or_else(|| format!("Nothing was built for {folder}.")),
        false => Err("wasm-bindgen wrote different JavaScript for two builds of a worker; worker.js can import only one.".to_owned()),
    }
}

fn copy(from: &Path, to: &Path) -> Result {
    fs::copy(from, to).map(drop).map_err(at(from))
}

/// npm's metadata of the package.
const PACKAGE: &str = r#"{
  "name": "starsight",
  "version": "VERSION",
  "description": "Rates reviews from one to five stars with a small language model, inside the browser",
  "license": "MIT OR Apache-2.0",
  "type": "module",
  "main": "./starsight.js",
  "types": "./starsight.d.ts",
  "exports": {
    ".": { "types": "./starsight.d.ts", "default": "./starsight.js" },
    "./element.js": { "types": "./element.d.ts", "default": "./element.js" },
    "./package.json": "./package.json"
  },
  "files": ["starsight.js", "starsight.d.ts", "element.js", "element.d.ts", "engine"],
  "sideEffects": ["./element.js"]
}
"#;

/// Creates an empty folder, or empties it.
fn renew(folder: &Path) -> Result {
    if folder.is_dir() {
        fs::remove_dir_all(folder).map_err(at(folder))?;
    }
    fs::create_dir_all(folder).map_err(at(folder))
}

/// Replaces a folder with a finished one: a concurrent reader finds the old one or the new one,
/// never half of it. An identical old folder stays with its file times, so that the trainer, which
/// embeds the page, is not compiled again.
fn replace(folder: &Path, new: &Path) -> Result {
    if folder.is_dir() {
        if same(folder, new).map_err(at(folder))? {
            return Ok(());
        }
        let old = new.with_extension("old");
        renew(&old)?;
        fs::rename(folder, &old).map_err(at(folder))?;
    }
    fs::rename(new, folder).map_err(at(folder))
}

/// Whether two folders have the same content.
fn same(one: &Path, other: &Path) -> io::Result<bool> {
    let names = |folder| -> io::Result<BTreeSet<OsString>> {
        fs::read_dir(folder)?
            .map(|entry| Ok(entry?.file_name()))
            .collect()
    };
    let inside = names(one)?;
    if inside != names(other)? {
        return Ok(false);
    }
    for name in inside {
        let (one, other) = (one.join(&name), other.join(&name));
        let equal = match (one.is_dir(), other.is_dir()) {
            (true, true) => same(&one, &other)?,
            (false, false) => fs::read(&one)? == fs::read(&other)?,
            _ => false,
        };
        if !equal {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_folder_is_replaced_only_by_another_content() {
        let work = env::temp_dir().join(format!("xtask-replace-{}", std::process::id()));
        let (folder, new) = (work.join("dist"), work.join("new"));
        let fill = |text| {
            renew(&new.join("engine")).expect("a folder is made");
            fs::write(new.join("engine/worker.js"), text).expect("a file is written");
            replace(&folder, &new).expect("the folder is put in place");
        };
        let identity = || fs::metadata(&folder).expect("the folder is there").ino();

        fill("one");
        let first = identity();
        fill("one");
        assert_eq!(identity(), first);
        fill("two");
        assert_ne!(identity(), first);
        assert_eq!(
            fs::read_to_string(folder.join("engine/worker.js")).expect("the file is there"),
            "two"
        );
        fs::remove_dir_all(&work).expect("the folder is removed");
    }
}
