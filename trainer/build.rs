//! Embeds files into the program as tables: the built page for `src/site/`, the starter for
//! `src/starter.rs`.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    println!("cargo::rerun-if-changed=build.rs");
    // While the page is being built, its folder has no start page.
    embed(&root.join("../web/dist"), "index.html", "page.rs")?;
    embed(
        &root.join("../models/starter"),
        "starsight.json",
        "starter.rs",
    )
}

/// Writes a table of the files below `folder`; the table is empty while the file `last` is missing.
fn embed(folder: &Path, last: &str, table: &str) -> io::Result<()> {
    // Cargo can watch only existing folders; for a missing one it would compile this package every
    // time.
    fs::create_dir_all(folder)?;
    let folder = fs::canonicalize(folder)?;
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files = Vec::new();
    if folder.join(last).is_file() {
        list(&folder, &mut files)?;
    }
    files.sort();
    let mut text = String::from("&[\n");
    for file in &files {
        let below = file.strip_prefix(&folder).expect("it was found there");
        let name: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
        text += &format!(
            "    ({:?}, include_bytes!({:?})),\n",
            name.join("/"),
            file.to_string_lossy()
        );
    }
    text += "]\n";
    fs::write(
        Path::new(&env::var_os("OUT_DIR").expect("cargo sets it")).join(table),
        text,
    )
}

/// Adds the files below `folder`, without hidden ones such as trunk's working folder.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'))
        {
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
