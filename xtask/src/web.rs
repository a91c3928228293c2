//! Builds the site without a model: the workers' modules, then the page around them, into `web/dist`.

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

/// How hard `wasm-opt` tries. Which features it may use it reads from the module.
const OPTIMISE: &str = "-O3";

/// Stands in the module's JavaScript for the version of all of it, which its addresses carry: trunk hashes the names of the page's
/// files, not of these, and without it a new page could run a worker that the browser kept.
const VERSION_MARK: &str = "?v=__STARSIGHT_VERSION__";

/// The programs that build for WebAssembly, in a folder of their own that stands first on PATH.
pub struct Kit {
    toolchain: Toolchain,
    /// Where everything is built: apart from the native side, whose compiler may be another version.
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
            .map_err(|e| format!("{} cannot be on PATH: {e}. Move the checkout.", bin.display()))?;
        Ok(Kit { toolchain: tools.toolchain, target, bin, path })
    }

    /// A program, ours before others of its name, in the environment that builds for WebAssembly.
    pub fn cmd(&self, program: &str) -> Cmd {
        let ours = self.bin.join(program);
        let cmd = if ours.exists() { Cmd::new(ours) } else { Cmd::new(program) };
        let cmd = self.toolchain.prepare(cmd).dir(crate::root());
        cmd.env("PATH", &self.path).env("CARGO_TARGET_DIR", &self.target)
    }
}

/// Builds `web/dist`.
pub fn build(kit: &Kit) -> Result {
    let web = crate::root().join("web");
    let _alone = lock(&kit.target.join("lock"))?;
    step("Fetching the crates of the page", || kit.cmd("cargo").words("fetch --locked --quiet").run())?;
    let mut parts = Vec::new();
    for part in PARTS {
        step(&format!("Compiling {} (2 minutes the first time)", part.what), || compile(kit, part.package, part.features))?;
        parts.push((part.folder, step("Binding it to JavaScript, optimising it", || bind(kit, &part))?));
    }
    lay_out(&web, &parts)?;
    // Trunk would compile it too, but keeps cargo's progress to itself.
    step("Compiling the page (2 minutes the first time)", || compile(kit, "starsight-page", ""))?;
    step("Bundling the page", || {
        let new = kit.target.join("dist");
        renew(&new)?;
        kit.cmd("trunk").words("build --offline --dist").arg(&new).dir(&web).run()?;
        replace(&web.join("dist"), &new)
    })
}

fn compile(kit: &Kit, package: &str, features: &str) -> Result {
    let cargo = kit.cmd("cargo").words("build --locked --profile wasm");
    cargo.args(["--target", TARGET, "--package", package, "--features", features]).run()
}

/// A module that a worker runs.
struct Part {
    what: &'static str,
    package: &'static str,
    features: &'static str,
    /// How its files are called.
    name: &'static str,
    /// Where the site has them.
    folder: &'static str,
}

/// Where the site has the rating engine.
const ENGINE: &str = "engine";
/// Where the site has what reads files.
const TABLE: &str = "table";

/// There are two engines, for a browser that does not know relaxed SIMD refuses a module that has it. What differs is a feature of our own crates, not a flag of the target: std and all
/// that others wrote are compiled once.
const PARTS: [Part; 3] = [
    Part { what: "the worker", package: "starsight-worker", features: "", name: "starsight_worker", folder: ENGINE },
    Part {
        what: "the worker with relaxed SIMD",
        package: "starsight-worker",
        features: "relaxed-simd",
        name: "starsight_worker_relaxed",
        folder: ENGINE,
    },
    Part { what: "the reader of files", package: "starsight-table-worker", features: "", name: "starsight_table", folder: TABLE },
];

/// The JavaScript and the module of the part that was compiled last, in a folder named after all that they are made from.
fn bind(kit: &Kit, part: &Part) -> Result<PathBuf> {
    let raw = kit.target.join(TARGET).join("wasm").join(format!("{}.wasm", part.package.replace('-', "_")));
    let mut hasher = DefaultHasher::new();
    fs::read(&raw).map_err(at(&raw))?.hash(&mut hasher);
    (versions::WASM_BINDGEN, versions::BINARYEN, OPTIMISE).hash(&mut hasher);
    let bound = kit.target.join("engine").join(part.name);
    let latest = bound.join(format!("{:016x}", hasher.finish()));
    if latest.is_dir() {
        return Ok(latest);
    }

    renew(&bound)?;
    let new = bound.join("new");
    let bind = kit.cmd("wasm-bindgen").words("--target web --no-typescript --out-name").arg(part.name);
    bind.arg("--out-dir").arg(&new).arg(&raw).run()?;
    let module = new.join(format!("{}_bg.wasm", part.name));
    kit.cmd("wasm-opt").arg(OPTIMISE).arg(&module).arg("-o").arg(&module).run()?;
    fs::rename(&new, &latest).map_err(at(&new))?;
    Ok(latest)
}

/// Lays out `web/module`, which trunk copies into the site: `starsight.js`, its types, `engine/` and `table/`; and, but for the page's own `table/`, as a package, `web/package`.
fn lay_out(web: &Path, parts: &[(&'static str, PathBuf)]) -> Result {
    let mut sources = vec![(web.join("starsight.js"), ""), (web.join("starsight.d.ts"), "")];
    let own = [(ENGINE, web.join("worker")), (TABLE, web.join("table/worker"))];
    for (to, folder) in parts.iter().chain(&own) {
        for entry in fs::read_dir(folder).map_err(at(folder))? {
            let path = entry.map_err(at(folder))?.path();
            if path.extension().is_some_and(|kind| kind == "js" || kind == "wasm") {
                sources.push((path, *to));
            }
        }
    }
    sources.sort();
    let files: Vec<(PathBuf, Vec<u8>)> = sources
        .iter()
        .map(|(source, folder)| {
            let path = Path::new(folder).join(source.file_name().unwrap_or_default());
            Ok((path, fs::read(source).map_err(at(source))?))
        })
        .collect::<Result<_>>()?;
    let mut hasher = DefaultHasher::new();
    files.iter().for_each(|(_, bytes)| bytes.hash(&mut hasher));
    let version = format!("{:016x}", hasher.finish());
    write_module(&web.join("module"), &files, &format!("?v={version}"))?;
    let package = web.join("package");
    let files: Vec<_> = files.into_iter().filter(|(path, _)| !path.starts_with(TABLE)).collect();
    // Bundlers give files names of their own.
    write_module(&package, &files, "")?;
    let about = package.join("package.json");
    fs::write(&about, PACKAGE.replace("VERSION", env!("CARGO_PKG_VERSION"))).map_err(at(&about))
}

/// Writes the module's `files` into a folder, with `query` on the addresses by which they name one another.
fn write_module(folder: &Path, files: &[(PathBuf, Vec<u8>)], query: &str) -> Result {
    renew(folder)?;
    for (path, bytes) in files {
        let to = folder.join(path);
        let parent = to.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(at(parent))?;
        let bytes = match std::str::from_utf8(bytes) {
            Ok(text) => text.replace(VERSION_MARK, query).into_bytes(),
            Err(_) => bytes.clone(),
        };
        fs::write(&to, bytes).map_err(at(&to))?;
    }
    Ok(())
}

/// What npm wants to know of the package.
const PACKAGE: &str = r#"{
  "name": "starsight",
  "version": "VERSION",
  "description": "Rates reviews from one to five stars with a small language model, inside the browser",
  "license": "MIT OR Apache-2.0",
  "type": "module",
  "main": "./starsight.js",
  "types": "./starsight.d.ts",
  "exports": { ".": { "types": "./starsight.d.ts", "default": "./starsight.js" }, "./package.json": "./package.json" },
  "files": ["starsight.js", "starsight.d.ts", "engine"],
  "sideEffects": false
}
"#;

/// An empty folder.
fn renew(folder: &Path) -> Result {
    if folder.is_dir() {
        fs::remove_dir_all(folder).map_err(at(folder))?;
    }
    fs::create_dir_all(folder).map_err(at(folder))
}

/// Puts a finished folder in the place of another: whoever looks finds the old one or the new one, never a half. An old one that is
/// the same stays, with the times of its files: the trainer, which carries the page, is then not compiled again.
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

/// Whether two folders hold the same.
fn same(one: &Path, other: &Path) -> io::Result<bool> {
    let names = |folder| -> io::Result<BTreeSet<OsString>> { fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect() };
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
        assert_eq!(fs::read_to_string(folder.join("engine/worker.js")).expect("the file is there"), "two");
        fs::remove_dir_all(&work).expect("the folder is removed");
    }
}
