//! The compiler for WebAssembly: the workspace's own where it has the target's standard library, else Debian's, which builds
//! that library itself.

use crate::apt;
use crate::sh::{Cmd, Result, on_path, step};
use std::path::PathBuf;
use std::time::Duration;

/// The target that the page and the worker are built for.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Flags for every crate of that target: 128-bit SIMD; loops left as they are written, for LLVM's "loop strength reduction" makes addresses of them that V8 cannot fold into its loads
/// (the integer product loses a tenth); and random numbers from the browser.
const FLAGS: &str =
    "-C target-feature=+simd128 -C llvm-args=-disable-lsr --cfg getrandom_backend=\"wasm_js\"";

/// Debian's compiler, cargo, source of std, and linker of wasm.
const DEBIAN: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-19"];

/// Long enough to download the target (20 MB); short enough to wait for a server that does not answer.
const RUSTUP_LIMIT: Duration = Duration::from_secs(120);

/// Which compiler builds for WebAssembly.
#[derive(Clone, Copy, PartialEq)]
pub enum Toolchain {
    /// The workspace's own, with the target that `rustup target add` brings.
    Own,
    /// Debian's packages.
    Debian,
}

impl Toolchain {
    /// The one that is there, or that rustup can bring; else Debian's, whose packages are then missing.
    pub fn choose() -> Result<Toolchain> {
        if own_has_target() {
            return Ok(Toolchain::Own);
        }
        if apt::missing(&DEBIAN).is_empty() {
            return Ok(Toolchain::Debian);
        }
        if on_path("rustup").next().is_some() {
            let limit = RUSTUP_LIMIT.as_secs();
            let added = step(
                &format!("rustup gets {TARGET} (20 MB; given up after {limit} s)"),
                || {
                    Cmd::new("rustup")
                        .args(["target", "add", TARGET])
                        .run_within(RUSTUP_LIMIT)
                },
            );
            match added {
                Ok(()) if own_has_target() => return Ok(Toolchain::Own),
                Ok(()) => eprintln!("    rustup has it, but not for the `rustc` on PATH."),
                Err(why) => eprintln!("    {why}"),
            }
            eprintln!("    Debian's compiler does it instead.");
        }
        Ok(Toolchain::Debian)
    }

    /// What to call it.
    pub fn name(self) -> &'static str {
        match self {
            Toolchain::Own => "the installed Rust compiles WebAssembly",
            Toolchain::Debian => "Debian's Rust compiles WebAssembly",
        }
    }

    /// Debian's packages that it needs; and its linter's, if wanted.
    pub fn packages(self, linter: bool) -> Vec<&'static str> {
        match self {
            Toolchain::Own => Vec::new(),
            Toolchain::Debian => DEBIAN
                .into_iter()
                .chain(linter.then_some("rust-web-clippy"))
                .collect(),
        }
    }

    /// The programs that must come before others of their name on PATH.
    pub fn programs(self) -> impl Iterator<Item = PathBuf> {
        let names: &[_] = match self {
            Toolchain::Own => &[],
            Toolchain::Debian => &["cargo", "rustc", "rustdoc", "cargo-clippy"],
        };
        names
            .iter()
            .map(|name| PathBuf::from("/usr/bin").join(name))
    }

    /// Sets a command up to build for WebAssembly.
    pub fn prepare(self, cmd: Cmd) -> Cmd {
        // Cargo would take these in place of the target's own flags.
        let cmd = cmd.without("RUSTFLAGS").without("CARGO_ENCODED_RUSTFLAGS");
        // Flags of the target, not of all: cargo probes the host with those, and a linker for wasm is none for the host.
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

/// Sees to it that the workspace's own cargo can check format and lints: rustup brings what is missing.
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
            "The checks need cargo's {names}, which this Rust toolchain lacks, and there is no rustup to bring it.\n\
             Install it from where the toolchain came, then run the command again."
        ));
    }
    let limit = RUSTUP_LIMIT.as_secs();
    step(
        &format!("rustup gets {names} (10 MB; given up after {limit} s)"),
        || {
            let add = Cmd::new("rustup")
                .args(["component", "add"])
                .args(&missing)
                .dir(crate::root());
            add.hint("It needs the network. Run the command again: what is done is kept.")
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
