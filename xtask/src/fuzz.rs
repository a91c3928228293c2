//! Runs the fuzz targets in `fuzz/`. They build with the stable toolchain: libFuzzer comes with the
//! crate `libfuzzer-sys`, and LLVM's coverage instrumentation is an option of rustc.

use crate::root;
use crate::sh::{Cmd, Result, at, step};
use std::env;
use std::fs;
use std::path::Path;

/// The flags of `cargo fuzz build --sanitizer none`: they count which code an input reaches, and
/// show libFuzzer the operands of comparisons.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Limits of libFuzzer for one input: memory in MB, time in seconds, size in bytes.
const LIMITS: &str = "-rss_limit_mb=2048 -timeout=10 -max_len=8192";

/// Runs every target for `seconds`.
pub fn run(seconds: u32) -> Result {
    let folder = root().join("fuzz");
    step(
        "Fuzz targets (the first build takes 20 minutes on 2 cores)",
        || {
            cargo("build", &folder)
                .hint("libFuzzer needs a C++ compiler.")
                .run()
        },
    )?;
    let mut failed = Vec::new();
    for target in targets(&folder)? {
        let what = format!("Fuzzing `{target}` for {seconds} s");
        if let Err(why) = step(&what, || fuzz(&folder, &target, seconds)) {
            eprintln!("{why}");
            failed.push(target);
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "These targets failed: {}. The inputs are in fuzz/artifacts: mend the code, and move \
             them to fuzz/corpus.",
            failed.join(", ")
        )),
    }
}

/// Runs one target. libFuzzer starts from the committed inputs and keeps new ones in the target
/// folder.
fn fuzz(folder: &Path, target: &str, seconds: u32) -> Result {
    let found = folder.join("target/corpus").join(target);
    let artifacts = folder.join("artifacts").join(target);
    for needed in [&found, &artifacts] {
        fs::create_dir_all(needed).map_err(at(needed))?;
    }
    // The trainer waits until its files are on the disk, which takes most of the time there.
    let memory = Path::new("/dev/shm");
    let temporary = if memory.is_dir() {
        memory.to_path_buf()
    } else {
        env::temp_dir()
    };
    cargo("run", folder)
        .env("TMPDIR", temporary)
        .words("--quiet --bin")
        .arg(target)
        .arg("--")
        .words(LIMITS)
        .arg("-print_final_stats=1")
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(found)
        .arg(folder.join("corpus").join(target))
        .run()
}

/// cargo in `fuzz/`, with instrumentation. Because a platform is named, build scripts and
/// procedural macros are built without it.
fn cargo(command: &str, folder: &Path) -> Cmd {
    Cmd::new("cargo")
        .arg(command)
        .words("--release --target host-tuple")
        .dir(folder)
        .env("RUSTFLAGS", FLAGS)
}

/// The names of the targets.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let folder = folder.join("fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).map_err(at(&folder))? {
        let path = entry.map_err(at(&folder))?.path();
        names.extend(
            path.file_stem()
                .map(|name| name.to_string_lossy().into_owned()),
        );
    }
    names.sort();
    Ok(names)
}
