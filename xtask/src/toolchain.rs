//! The compiler for WebAssembly: the workspace's own if it has the target's standard library, else
//! Debian's, which builds that library from source.

use crate::apt;
use crate::sh::{Cmd, Result, on_path, step};
use std::path::PathBuf;
use std::time::Duration;

/// The target of the page and the workers.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Flags for every crate of that target: 128-bit SIMD; no "loop strength reduction" in LLVM,
/// because V8 cannot fold the resulting addresses into its loads (the integer product loses a
/// tenth); and random numbers from the browser.
const FLAGS: &str =
    "-C target-feature=+simd128 -C llvm-args=-disable-lsr --cfg getrandom_backend=\"wasm_js\"";

/// Debian's compiler, cargo, source of std, and linker for wasm.
const DEBIAN: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-19"];

/// Long enough to download the target (20 MB), short enough to wait for a server that does not
/// answer.
const RUSTUP_LIMIT: Duration = Duration::from_mins(2);

/// Which compiler builds for WebAssembly.
#[derive(Clone, Copy, PartialEq)]
pub enum Toolchain {
    /// The workspace's own, with the target added by `rustup target add`.
    Own,
    /// Debian's packages.
    Debian,
}

impl Toolchain {
    /// Chooses a compiler that is installed or that rustup can complete, else Debian's, whose
    /// packages are then missing.
    pub fn choose() -> Toolchain {
        if own_has_target() {
            return Toolchain::Own;
        }
        if apt::missing(&DEBIAN).is_empty() {
            return Toolchain::Debian;
        }
        if on_path("rustup").next().is_some() {
            let limit = RUSTUP_LIMIT.as_secs();
            let added = step(
                &format!("rustup installs {TARGET} (20 MB; times out after {limit} s)"),
                || {
                    Cmd::new("rustup")
                        .args(["target", "add", TARGET])
                        .run_within(RUSTUP_LIMIT)
                },
            );
            match added {
                Ok(()) if own_has_target() => return Toolchain::Own,
                Ok(()) => eprintln!("    rustup installed it, but not for the `rustc` on PATH."),
                Err(why) => eprintln!("    {why}"),
            }
            eprintln!("    Using Debian's compiler instead.");
        }
        Toolchain::Debian
    }

    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Toolchain::Own => "the installed Rust compiles WebAssembly",
            Toolchain::Debian => "Debian's Rust compiles WebAssembly",
        }
    }

    /// The Debian packages it needs, and those of its linter, if wanted.
    pub fn packages(self, linter: bool) -> Vec<&'static str> {
        match self {
            Toolchain::Own => Vec::new(),
            Toolchain::Debian => DEBIAN
                .into_iter()
                .chain(linter.then_some("rust-web-clippy"))
                .collect(),
        }
    }

    /// Programs that must precede others of the same name on PATH.
    pub fn programs(self) -> impl Iterator<Item = PathBuf> {
        let names: &[_] = match self {
            Toolchain::Own => &[],
            Toolchain::Debian => &["cargo", "rustc", "rustdoc", "cargo-clippy"],
        };
        names
            .iter()
            .map(|name| PathBuf::from("/usr/bin").join(name))
    }

    /// Prepares a command to build for WebAssembly.
    pub fn prepare(self, cmd: Cmd) -> Cmd {
        // Cargo would use these instead of the target's own flags.
        let cmd = cmd.without("RUSTFLAGS").without("CARGO_ENCODED_RUSTFLAGS");
        // Flags only for this target: cargo also tests the host with general flags, and a linker
        // for wasm does not work for the host.
        let flags = "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS";
        match self {
            Toolchain::Own => cmd.env(flags, FLAGS),
            Toolchain::Debian => cmd
                .env(flags, format!("{FLAGS} -C linker-flavor=wasm-ld"))
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-ld-19")
                .env("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort")
                .env("RUSTC_BOOTSTRAP", "1")
                .without("RUSTUP_TOOLCHAIN")
                .without("RUSTC"),
        }
    }
}

/// Makes sure that the workspace's own cargo can check format and lints; rustup installs what is
/// missing.
pub fn add_checkers() -> Result {
    let lacks = |command: &str| crate::cargo(command).arg("--version").read().is_none();
    let missing: Vec<&str> = [("fmt", "rustfmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(command, _)| lacks(command))
        .map(|(_, name)| name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" and ");
    if on_path("rustup").next().is_none() {
        return Err(format!(
            "The checks need cargo's {names}, which this Rust toolchain lacks, and there is no rustup to install it.\n\
             Install it from the source of the toolchain, then run the command again."
        ));
    }
    let limit = RUSTUP_LIMIT.as_secs();
    step(
        &format!("rustup installs {names} (10 MB; times out after {limit} s)"),
        || {
            let add = Cmd::new("rustup")
                .args(["component", "add"])
                .args(&missing)
                .dir(crate::root());
            add.hint("It needs the network. Run the command again: finished steps are skipped.")
                .run_within(RUSTUP_LIMIT)
        },
    )
}

/// Whether the `rustc` on PATH has the target's standard library.
fn own_has_target() -> bool {
    let folder = Cmd::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .read()
        .unwrap_or_default();
    let files = std::fs::read_dir(folder.trim())
        .into_iter()
        .flatten()
        .flatten();
    files
        .into_iter()
        .any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
}
