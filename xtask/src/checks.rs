//! All that must hold: format, lints, documentation, tests. The last lines are those of `cargo test`.

use crate::cargo;
use crate::sh::{Result, step};
use crate::toolchain::TARGET;
use crate::tools::Wants;

/// The crates that are built for WebAssembly.
const WASM_SIDE: &str = "--package starsight-model --package starsight-worker --package starsight-table-worker --package starsight-page";

/// Runs every check, up to the first that fails.
pub fn run() -> Result {
    step("Format", || cargo("fmt --all --check").hint("`cargo fmt --all` sets it right.").run())?;
    let kit = crate::web(Wants { browser: true, linter: true, hosts: false })?;
    step("Lints", || cargo("clippy --locked --release --all-targets -- --deny warnings").run())?;
    step("Lints of the WebAssembly side", || {
        let clippy = kit.cmd("cargo").words("clippy --locked --profile wasm --target").arg(TARGET);
        clippy.words(WASM_SIDE).words("-- --deny warnings").run()
    })?;
    step("Documentation", || cargo("doc --locked --release --no-deps").env("RUSTDOCFLAGS", "--deny warnings").run())?;
    step("What goes by the clock, with nothing beside it", || {
        cargo("test --locked --release --test browser -- --ignored --nocapture --test-threads=1 measured::").run()
    })?;
    eprintln!("==> Tests");
    cargo("test --locked --release").run()
}

/// Sees the site work on servers that know nothing of it. Slow, and no part of the checks above.
pub fn hosts() -> Result {
    crate::web(Wants { browser: true, linter: false, hosts: true })?;
    eprintln!("==> The site on other hosts");
    cargo("test --locked --release --test browser -- --ignored --nocapture any_static_host_will_do").run()
}
