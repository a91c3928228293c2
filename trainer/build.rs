//! Embeds the built page: writes a table of its files, for `src/site.rs`.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let page = root.join("../web/dist");
    // `cargo xtask web` fills this folder. Cargo can watch only what exists, and would otherwise compile this package again each time.
    fs::create_dir_all(&page)?;
    let page = fs::canonicalize(page)?;
    println!("cargo::rerun-if-changed={}", page.display());
    println!("cargo::rerun-if-changed=build.rs");

    let mut files = Vec::new();
    // A folder that is being filled has no start page yet.
    if page.join("index.html").is_file() {
        list(&page, &mut files)?;
    }
    files.sort();
    let mut table = String::from("&[\n");
    for file in &files {
        let below = file.strip_prefix(&page).expect("it was found there");
        let name: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
        table += &format!("    ({:?}, include_bytes!({:?})),\n", name.join("/"), file);
    }
    table += "]\n";
    fs::write(Path::new(&env::var_os("OUT_DIR").expect("cargo sets it")).join("page.rs"), table)
}

/// Adds the files below `folder`, but for hidden ones: trunk's working folder is one of these.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
