//! The checks: format, lints, documentation, tests. The last lines are those of `cargo test`.

use crate::cargo;
use crate::sh::{Result, step};
use crate::toolchain::TARGET;
use crate::tools::{self, SetupOptions};

/// Crates that are built only for WebAssembly.
const NOT_NATIVE: &str =
    "--exclude starsight-page --exclude starsight-worker --exclude starsight-table-worker";

/// The crates that are built for WebAssembly.
const WASM_SIDE: &str = "--package starsight-model --package starsight-worker --package starsight-table-worker --package starsight-page";

/// The checks before each commit: format, lints of the native side, unit tests.
pub fn quick() -> Result {
    format()?;
    lints()?;
    step("Unit tests", || {
        cargo("test --locked --release --lib --bins --workspace")
            .words(NOT_NATIVE)
            .run()
    })
}

fn format() -> Result {
    step("Format", || {
        cargo("fmt --all --check")
            .hint("`cargo fmt --all` fixes it.")
            .run()
    })
}

fn lints() -> Result {
    step("Lints", || {
        cargo("clippy --locked --release --all-targets -- --deny warnings").run()
    })
}

/// Runs all checks, and stops at the first that fails.
pub fn run() -> Result {
    let tools = tools::set_up(SetupOptions {
        browser: true,
        // versions.rs has NVRTC's hash only for x86-64.
        compiler: cfg!(target_arch = "x86_64"),
        linter: true,
        hosts: false,
    })?;
    let nvrtc = tools.nvrtc.clone();
    format()?;
    let kit = crate::web_with(tools)?;
    lints()?;
    step("Check without the feature `cuda`", || {
        cargo("check --locked --release --package starsight --no-default-features").run()
    })?;
    step("Lints of the WebAssembly side", || {
        let clippy = kit
            .cmd("cargo")
            .words("clippy --locked --profile wasm --target")
            .arg(TARGET);
        clippy.words(WASM_SIDE).words("-- --deny warnings").run()
    })?;
    step("Documentation", || {
        cargo("doc --locked --release --no-deps")
            .env("RUSTDOCFLAGS", "--deny warnings")
            .run()
    })?;
    step("Timing tests, one by one", || {
        cargo("test --locked --release --test browser -- --ignored --nocapture --test-threads=1 measured::").run()
    })?;
    if let Some(folder) = nvrtc {
        step("The CUDA kernels, compiled for every architecture", || {
            cargo("test --locked --release --lib -- --ignored kernel_compiles")
                .env("LD_LIBRARY_PATH", folder)
                .run()
        })?;
    }
    eprintln!("==> Tests");
    cargo("test --locked --release").run()
}

/// Tests the site on servers that are not configured for it. Slow, and not part of the checks
/// above.
pub fn hosts() -> Result {
    crate::web(SetupOptions {
        browser: true,
        hosts: true,
        ..SetupOptions::default()
    })?;
    eprintln!("==> The site on other hosts");
    cargo("test --locked --release --test browser -- --ignored --nocapture any_static_host_will_do")
        .run()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    /// The local link targets of a Markdown file: `](...)` and `src="..."`, without a part after
    /// `#`.
    fn links(text: &str) -> impl Iterator<Item = &str> {
        let targets = [("](", ')'), ("src=\"", '"')].map(|(before, after)| {
            text.split(before)
                .skip(1)
                .filter_map(move |rest| rest.split(after).next())
        });
        targets
            .into_iter()
            .flatten()
            .filter_map(|target| target.split('#').next())
            .filter(|target| !target.is_empty() && !target.contains("://"))
    }

    /// The Markdown files in `folder` and its subfolders.
    fn texts(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder)
            .expect("a folder is read")
            .map(|entry| entry.expect("an entry").path());
        let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) =
            entries.partition(|path| path.is_dir());
        let own = files
            .into_iter()
            .filter(|file| file.extension().is_some_and(|kind| kind == "md"));
        own.chain(folders.iter().flat_map(|folder| texts(folder)))
            .collect()
    }

    #[test]
    fn every_local_link_leads_somewhere() {
        let own = fs::read_dir(crate::root())
            .expect("the root is read")
            .map(|entry| entry.expect("an entry").path());
        let own = own.filter(|file| file.extension().is_some_and(|kind| kind == "md"));
        let files: Vec<_> = own.chain(texts(&crate::root().join("docs"))).collect();
        let mut dead = Vec::new();
        for file in &files {
            let text = fs::read_to_string(file).expect("a text is read");
            let folder = file.parent().unwrap_or(Path::new("."));
            dead.extend(
                links(&text)
                    .filter(|target| !folder.join(target).exists())
                    .map(|target| format!("{}: {target}", file.display())),
            );
        }
        assert!(dead.is_empty(), "{dead:?}");
        assert_eq!(
            links("[a](b.md#c) ![d](e.svg) <img src=\"f.png\"> [g](https://h/i.md) [j](#k)")
                .collect::<Vec<_>>(),
            ["b.md", "e.svg", "f.png"]
        );
    }
}
