//! The tools that the commands need besides a Rust toolchain, and their installation. Set-up keeps
//! no record: a tool that exists and reports the right version is installed. So set-up can be
//! interrupted anywhere and run again.

use crate::apt;
use crate::axe;
use crate::nvrtc;
use crate::sh::{Cmd, Result, at, lock, on_path, step};
use crate::toolchain::{self, Toolchain};
use crate::versions;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// The optional parts of the set-up.
#[derive(Clone, Copy, Default)]
pub struct SetupOptions {
    /// Chromium, its driver, axe-core and Python, for the tests.
    pub browser: bool,
    /// NVRTC, which compiles the CUDA kernels for the tests.
    pub compiler: bool,
    /// The programs that check format and lints, on both sides.
    pub linter: bool,
    /// Servers that are not configured for the site.
    pub hosts: bool,
}

/// A program that is needed in a certain version.
struct Tool {
    /// Its name on PATH.
    program: &'static str,
    /// Version of its package.
    version: &'static str,
    package: &'static str,
    registry: Registry,
    takes: &'static str,
}

#[derive(PartialEq)]
enum Registry {
    /// A crate, built here with its own lock file or with the newest compatible dependencies. The
    /// program runs for seconds, so optimising it would cost more time than it saves; hence the low
    /// `opt_level`.
    Crates {
        locked: bool,
        opt_level: &'static str,
    },
    Npm,
}

/// Bundles the page.
const TRUNK: Tool = Tool {
    program: "trunk",
    version: versions::TRUNK,
    package: "trunk",
    registry: Registry::Crates {
        locked: true,
        opt_level: "0",
    },
    takes: "about 5 minutes on 2 cores",
};

/// Writes the JavaScript glue for a wasm module.
const WASM_BINDGEN: Tool = Tool {
    program: "wasm-bindgen",
    version: versions::WASM_BINDGEN,
    package: "wasm-bindgen-cli",
    // Not locked: a dependency in its lock file is no longer available. Optimised: it reads and
    // writes megabytes of code.
    registry: Registry::Crates {
        locked: false,
        opt_level: "1",
    },
    takes: "about 2 minutes on 2 cores",
};

/// Optimises wasm modules for size and speed.
const WASM_OPT: Tool = Tool {
    program: "wasm-opt",
    version: versions::BINARYEN,
    package: "binaryen",
    registry: Registry::Npm,
    takes: "23 MB, some seconds",
};

/// Bundles several JavaScript files into one.
const ESBUILD: Tool = Tool {
    program: "esbuild",
    version: versions::ESBUILD,
    package: "esbuild",
    registry: Registry::Npm,
    takes: "12 MB, some seconds",
};

const CHROMIUM: [&str; 2] = ["chromium", "chromium-driver"];
/// Debian's nginx; not on every user's PATH.
const NGINX: &str = "/usr/sbin/nginx";
const HOSTS: [&str; 1] = ["nginx-light"];
const PYTHON: &str = "python3";
const PIP: &str = "python3-pip";
const NPM: [&str; 2] = ["nodejs", "npm"];

/// The tools of a build.
pub struct Tools {
    /// The compiler for WebAssembly.
    pub toolchain: Toolchain,
    /// trunk, wasm-bindgen, wasm-opt and esbuild.
    pub programs: Vec<PathBuf>,
    /// The folder of NVRTC's library, if it was wanted.
    pub nvrtc: Option<PathBuf>,
}

/// Installs what is missing.
pub fn set_up(options: SetupOptions) -> Result<Tools> {
    let cache = cache()?;
    fs::create_dir_all(&cache).map_err(at(&cache))?;
    let _alone = lock(&cache.join("lock"))?;

    let toolchain = Toolchain::choose();
    if options.linter {
        toolchain::add_checkers()?;
    }
    let tools = [TRUNK, WASM_BINDGEN, WASM_OPT, ESBUILD].map(|tool| (tool.find(&cache), tool));

    let mut packages = toolchain.packages(options.linter);
    let script = axe::find(&cache);
    let npm = (options.browser && script.is_none())
        || tools
            .iter()
            .any(|(found, tool)| found.is_none() && tool.registry == Registry::Npm);
    if npm && on_path("npm").next().is_none() {
        packages.extend(NPM);
    }
    if options.browser && !has_browser() {
        packages.extend(CHROMIUM);
    }
    if options.hosts && !Path::new(NGINX).is_file() {
        packages.extend(HOSTS);
    }
    let compiler = nvrtc::find(&cache);
    let pip = options.compiler && compiler.is_none();
    if (options.browser || pip) && on_path("python3").next().is_none() {
        packages.push(PYTHON);
    }
    if pip
        && Cmd::new("python3")
            .words("-m pip --version")
            .read()
            .is_none()
    {
        packages.push(PIP);
    }
    let missing = apt::missing(&packages);
    if !missing.is_empty() {
        let what = format!("apt-get installs {} (1 to 3 minutes)", missing.join(" "));
        step(&what, || apt::install(&missing))?;
    }

    let mut programs = Vec::new();
    for (found, tool) in tools {
        programs.push(match found {
            Some(program) => program,
            None => {
                let what = format!(
                    "Installing {} {} ({})",
                    tool.program, tool.version, tool.takes
                );
                step(&what, || tool.get(&cache))?
            }
        });
    }
    if options.browser {
        let script = match script {
            Some(script) => script,
            None => step("Installing axe-core (1 MB, some seconds)", || {
                axe::get(&cache)
            })?,
        };
        axe::link(&script)?;
    }
    let nvrtc = match compiler {
        None if options.compiler => {
            let what = "Installing NVRTC (90 MB, some seconds)";
            Some(step(what, || nvrtc::get(&cache))?)
        }
        found => found,
    };
    // The build folder is large and no longer needed.
    let build = build_dir(&cache);
    if build.is_dir() {
        fs::remove_dir_all(&build).map_err(at(&build))?;
    }
    eprintln!(
        "Set-up complete ({}; tools in {}).",
        toolchain.name(),
        cache.display()
    );
    Ok(Tools {
        toolchain,
        programs,
        nvrtc,
    })
}

impl Tool {
    /// The program in the wanted version, from our own folder or from PATH.
    fn find(&self, cache: &Path) -> Option<PathBuf> {
        let ours = self.folder(cache).join(self.bin()).join(self.program);
        std::iter::once(ours)
            .chain(on_path(self.program))
            .find(|file| self.is(file))
    }

    /// Whether this file is the program in the wanted version. Binaryen's programs report 132 where
    /// its package has 132.0.0.
    fn is(&self, file: &Path) -> bool {
        let said = Cmd::new(file).arg("--version").read().unwrap_or_default();
        let version = self.version.strip_suffix(".0.0").unwrap_or(self.version);
        said.split_whitespace().any(|word| word == version)
    }

    fn get(&self, cache: &Path) -> Result<PathBuf> {
        let folder = self.folder(cache);
        let package = format!("{}@{}", self.package, self.version);
        let again = "It needs the network. Run the command again: finished steps are skipped.";
        match self.registry {
            Registry::Crates { locked, opt_level } => Cmd::new("cargo")
                .words("install --force")
                .args(locked.then_some("--locked"))
                .arg("--root")
                .arg(&folder)
                .arg(package)
                .env("CARGO_TARGET_DIR", build_dir(cache))
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", opt_level)
                .env("CARGO_PROFILE_RELEASE_LTO", "off")
                .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
                .hint(again)
                .run()?,
            Registry::Npm => {
                // npm would take the remains of an interrupted install for complete.
                if folder.is_dir() {
                    fs::remove_dir_all(&folder).map_err(at(&folder))?;
                }
                fs::create_dir_all(&folder).map_err(at(&folder))?;
                Cmd::new("npm")
                    .words("install --no-save --no-audit --no-fund --ignore-scripts --prefix")
                    .arg(&folder)
                    .arg(package)
                    .hint(again)
                    .run()?;
            }
        }
        self.find(cache).ok_or_else(|| {
            let (program, version) = (self.program, self.version);
            let folder = folder.display();
            format!("{program} was installed in {folder}, but does not run, or is not version {version}.\nTry `{program} --version` there.")
        })
    }

    fn folder(&self, cache: &Path) -> PathBuf {
        let name = if self.registry == Registry::Npm {
            self.package
        } else {
            self.program
        };
        cache.join(format!("{name}-{}", self.version))
    }

    fn bin(&self) -> &'static str {
        if self.registry == Registry::Npm {
            "node_modules/.bin"
        } else {
            "bin"
        }
    }
}

/// Folder of the tools, shared by all checkouts.
fn cache() -> Result<PathBuf> {
    let set = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let folder = set("STARSIGHT_TOOLS")
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("starsight")))
        .or_else(|| set("HOME").map(|folder| folder.join(".cache/starsight")))
        .ok_or("No folder for the tools: HOME is not set. Set STARSIGHT_TOOLS to a folder.")?;
    std::path::absolute(&folder).map_err(at(&folder))
}

/// Folder in which crates are built; kept until all are installed, so that an interrupted build can
/// continue.
fn build_dir(cache: &Path) -> PathBuf {
    cache.join("build")
}

/// Whether the tests can find a browser and its driver, on PATH or in these variables.
fn has_browser() -> bool {
    let there =
        |variable, program| env::var_os(variable).is_some() || on_path(program).next().is_some();
    there("STARSIGHT_CHROMIUM", "chromium") && there("STARSIGHT_CHROMEDRIVER", "chromedriver")
}
