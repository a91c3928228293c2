//! Finishes the page that trunk built: adds what browsers need to check and cache its files.
//!
//! Trunk starts the page with an inline script. Here that script becomes a file, so that the page
//! can forbid inline scripts (Content Security Policy level 3, in a `meta` element, because we do
//! not control a static host's headers). Every script is checked against a hash (Subresource
//! Integrity), and a service worker caches all files.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::json;
use sha2::{Digest, Sha384};
use starsight_model::bundle::sha256_hex;

use super::{MODULE, Options, Page};

const START_PAGE: &str = "index.html";
const SERVICE_WORKER: &str = "sw.js";
const NOT_FOUND: &str = "404.html";
const ELEMENT: &str = "element.js";

/// A module that starts workers, the folder of the workers' files, and the placeholder for the
/// versions and hashes of those files.
struct Sealing {
    module: &'static str,
    folder: &'static str,
    mark: &'static str,
}

/// The rating engine, and the reader of files.
const SEALING: [Sealing; 2] = [
    Sealing {
        module: MODULE,
        folder: "engine/",
        mark: "__STARSIGHT_ENGINE__",
    },
    Sealing {
        module: "table/desk.js",
        folder: "table/",
        mark: "__STARSIGHT_TABLE__",
    },
];

/// Allows only the site's own files, no inline scripts or styles, and compiling WebAssembly.
/// `blob:` is for the rating worker, which the module starts from memory. It inherits this policy,
/// so `hosts` limits what it may fetch.
fn policy(hosts: &[String]) -> String {
    let hosts: String = hosts.iter().map(|host| format!(" {host}")).collect();
    format!(
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; style-src 'self'; img-src 'self' data:; \
         connect-src 'self'{hosts}; manifest-src 'self'; base-uri 'none'; form-action 'none'"
    )
}

/// Policy of the 404 page, which runs and loads nothing.
const POLICY_OF_NOT_FOUND: &str = "default-src 'none'; base-uri 'none'; form-action 'none'";

/// The script that starts the page.
const START: &str = include_str!("start.js");

/// Files by path.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// Finishes the page that trunk built.
///
/// # Errors
/// When it is not a page that trunk built from `web/index.html`.
pub(super) fn finish(page: &Page, options: &Options) -> Result<Files> {
    let mut files: Files = page
        .iter()
        .map(|(path, content)| ((*path).to_owned(), content.to_vec()))
        .collect();
    let source = text(&files, START_PAGE)?;
    let StartPage {
        before,
        program,
        after,
    } = StartPage::of(&source)?;
    let wasm = format!("{program}_bg.wasm");
    ensure!(files.contains_key(&wasm), "the page has no {wasm}");

    let modules = seal_modules(&mut files)?;
    let program = version_imports(&mut files, program, &modules)?;
    let start = START
        .replace("WASM", &wasm)
        .replace("HASH", &integrity(&files[&wasm]))
        .replace("PROGRAM", &program);
    let start = add(&mut files, "start", start);
    let html = format!(
        "{before}<script type=\"module\" src=\"./{start}\"></script>{}",
        preloads_removed(after)
    );
    let preloads = std::iter::once(&program).chain(modules.iter().map(|module| &module.versioned));
    let html = with_links(&html, options.base_url.as_deref(), preloads);
    let html = with_policy(&html, &policy(&options.model_hosts))
        .with_context(|| format!("in {START_PAGE}"))?;
    let html = with_integrity(&html, &files);
    files.insert(START_PAGE.into(), html.into_bytes());

    if files.contains_key(NOT_FOUND) {
        let page = not_found(&files, options.base_url.as_deref())?;
        files.insert(NOT_FOUND.into(), page.into_bytes());
    }
    if files.contains_key(SERVICE_WORKER) {
        let worker = service_worker(&files)?;
        files.insert(SERVICE_WORKER.into(), worker.into_bytes());
    }
    Ok(files)
}

/// The start page around the inline script that starts the program.
struct StartPage<'a> {
    before: &'a str,
    /// Name of the program that the script imports, without its ending.
    program: &'a str,
    after: &'a str,
}

impl StartPage<'_> {
    fn of(html: &str) -> Result<StartPage<'_>> {
        let (before, rest) = html
            .split_once("<script type=\"module\">")
            .context("index.html has no module script")?;
        let (script, after) = rest
            .split_once("</script>")
            .context("index.html: unclosed script")?;
        let program = between(script, "bindings from './", ".js'")
            .context("index.html: the script imports no program")?;
        Ok(StartPage {
            before,
            program,
            after,
        })
    }
}

/// A module that keeps its name, and its address within the page.
struct Module {
    path: &'static str,
    versioned: String,
}

/// Writes the versions and hashes of the workers' files into the modules that start them.
///
/// The modules keep their names, because other sites import one of them; within the page their
/// addresses carry a version, because a browser may have cached an earlier one.
fn seal_modules(files: &mut Files) -> Result<Vec<Module>> {
    let mut modules = Vec::new();
    for Sealing {
        module,
        folder,
        mark,
    } in SEALING
    {
        let seals = serde_json::to_string(&seals(files, folder))?;
        let content = text(files, module)?.replace(mark, &seals).into_bytes();
        modules.push(Module {
            path: module,
            versioned: versioned(module, &content),
        });
        files.insert(module.into(), content);
    }
    Ok(modules)
}

/// Makes the program and the element import the modules by their versioned addresses. Gives the
/// program a name that depends on its content, and returns it.
fn version_imports(files: &mut Files, program: &str, modules: &[Module]) -> Result<String> {
    let with_versions = |text: String| {
        modules
            .iter()
            .fold(text, |text, Module { path, versioned }| {
                text.replace(&format!("'./{path}'"), &format!("'./{versioned}'"))
            })
    };
    let glue = with_versions(text(files, &format!("{program}.js"))?);
    files.remove(&format!("{program}.js"));
    let program = add(files, "starsight-page", glue);
    if files.contains_key(ELEMENT) {
        let element = with_versions(text(files, ELEMENT)?);
        files.insert(ELEMENT.into(), element.into_bytes());
    }
    Ok(program)
}

/// Adds the canonical address and the preloads to the head of the HTML.
fn with_links<'a>(
    html: &str,
    base_url: Option<&str>,
    preloads: impl Iterator<Item = &'a String>,
) -> String {
    let preloads: Vec<String> = preloads
        .map(|path| format!("<link rel=\"modulepreload\" href=\"./{path}\">"))
        .collect();
    let preloads = preloads.join("\n    ");
    let canonical = base_url
        .map(|url| format!("<link rel=\"canonical\" href=\"{url}\">\n    "))
        .unwrap_or_default();
    html.replacen("</head>", &format!("  {canonical}{preloads}\n  </head>"), 1)
}

/// The 404 page, with its policy and a link to the start page.
fn not_found(files: &Files, base_url: Option<&str>) -> Result<String> {
    let home = base_url
        .map(|url| format!(", or go to <a href=\"{url}\">the start page</a>"))
        .unwrap_or_default();
    let page = text(files, NOT_FOUND)?.replace("<!-- home -->", &home);
    with_policy(&page, POLICY_OF_NOT_FOUND).with_context(|| format!("in {NOT_FOUND}"))
}

/// Version and hash of each file that the workers in this folder run, by name; all files except the
/// module that starts them.
fn seals<'a>(files: &'a Files, folder: &str) -> BTreeMap<&'a str, serde_json::Value> {
    let sealed = |path: &str| !SEALING.iter().any(|sealing| sealing.module == path);
    let within = files
        .iter()
        .filter(|(path, _)| sealed(path))
        .filter_map(|(path, content)| Some((path.strip_prefix(folder)?, content)));
    within
        .map(|(name, content)| {
            (
                name,
                json!({ "version": hash(content), "integrity": integrity(content) }),
            )
        })
        .collect()
}

/// The service worker with its list of files to cache: the hash of each, by the address that the
/// page requests. The element is for other pages, and whoever installs the page keeps the icons, so
/// both are left out.
fn service_worker(files: &Files) -> Result<String> {
    let kept = |path: &str| {
        ![SERVICE_WORKER, NOT_FOUND, ELEMENT].contains(&path)
            && ![".d.ts", ".png"].iter().any(|kind| path.ends_with(kind))
    };
    let address = |path: &str, content: &[u8]| match path {
        START_PAGE => String::new(),
        path if path == MODULE
            || SEALING
                .iter()
                .any(|sealing| path.starts_with(sealing.folder)) =>
        {
            versioned(path, content)
        }
        path => path.to_owned(),
    };
    let kept: BTreeMap<String, String> = files
        .iter()
        .filter(|(path, _)| kept(path))
        .map(|(path, content)| (format!("./{}", address(path, content)), integrity(content)))
        .collect();
    let kept = serde_json::to_string(&kept)?;
    let source = text(files, SERVICE_WORKER)?;
    Ok(source
        .replace("__STARSIGHT_VERSION__", &hash(kept.as_bytes()))
        .replace("__STARSIGHT_FILES__", &kept))
}

/// Inserts a policy into the HTML, before everything it applies to.
fn with_policy(html: &str, policy: &str) -> Result<String> {
    let charset = "<meta charset=\"utf-8\">";
    let (before, after) = html
        .split_once(charset)
        .with_context(|| format!("no {charset}, which the policy would follow"))?;
    Ok(format!(
        "{before}{charset}\n    <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">{after}"
    ))
}

/// Adds the hash of its content to each of our styles and scripts in the HTML.
fn with_integrity(html: &str, files: &Files) -> String {
    let mut out = String::with_capacity(html.len() + 1024);
    for (i, part) in html.split("./").enumerate() {
        let (name, rest) = part.split_once('"').unwrap_or(("", part));
        let file = name.split('?').next().unwrap_or_default();
        // The web manifest and the icon do not support the attribute.
        let checked = [".js", ".css"].iter().any(|kind| file.ends_with(kind));
        match files.get(file).filter(|_| i > 0 && checked) {
            Some(content) => {
                out += &format!("./{name}\" integrity=\"{}\"{rest}", integrity(content));
            }
            None if i > 0 => out += &format!("./{part}"),
            None => out += part,
        }
    }
    out
}

/// Removes the preloads of trunk and of the source, because file names change here.
fn preloads_removed(html: &str) -> String {
    let mut out = html.to_owned();
    for rel in ["<link rel=\"modulepreload\"", "<link rel=\"preload\""] {
        while let Some(start) = out.find(rel) {
            let end = out[start..]
                .find('>')
                .map_or(out.len(), |length| start + length + 1);
            out.replace_range(start..end, "");
        }
    }
    out
}

/// The address of a file that keeps its name, with its version.
fn versioned(path: &str, content: &[u8]) -> String {
    format!("{path}?v={}", hash(content))
}

/// Adds a script under a name that depends on its content.
fn add(files: &mut Files, name: &str, script: String) -> String {
    let path = format!("{name}-{}.js", hash(script.as_bytes()));
    files.insert(path.clone(), script.into_bytes());
    path
}

fn text(files: &Files, path: &str) -> Result<String> {
    let bytes = files
        .get(path)
        .with_context(|| format!("the page has no {path}"))?;
    String::from_utf8(bytes.clone()).with_context(|| format!("{path} is not UTF-8"))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?
        .1
        .split_once(after)
        .map(|(found, _)| found)
}

/// Sixteen characters that depend on the content.
fn hash(bytes: &[u8]) -> String {
    sha256_hex(bytes)[..16].to_owned()
}

/// The hash by which a browser checks a file (W3C, Subresource Integrity).
fn integrity(bytes: &[u8]) -> String {
    format!("sha384-{}", BASE64_STANDARD.encode(Sha384::digest(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::tests::TEST_PAGE;

    fn finished() -> Files {
        let model_hosts = vec!["https://hub.example".to_owned()];
        finish(
            TEST_PAGE,
            &Options {
                base_url: Some("https://example.org/stars/".into()),
                model_hosts,
                full: false,
            },
        )
        .unwrap()
    }

    #[test]
    fn no_script_is_left_within_the_html() {
        let files = finished();
        let html = String::from_utf8(files[START_PAGE].clone()).unwrap();
        for script in html.split("<script").skip(1) {
            assert!(
                script.contains("src=\"./start-") && script.contains("></script>"),
                "{html}"
            );
        }
        assert!(
            html.contains("http-equiv=\"Content-Security-Policy\"")
                && html.find("Policy") < html.find("<link"),
            "{html}"
        );
        assert!(
            html.contains("connect-src 'self' https://hub.example;"),
            "{html}"
        );
        assert!(
            html.contains("<link rel=\"canonical\" href=\"https://example.org/stars/\">"),
            "{html}"
        );
        let not_found = String::from_utf8_lossy(&files[NOT_FOUND]);
        assert!(
            not_found.contains("href=\"https://example.org/stars/\"")
                && not_found.contains("content=\"default-src 'none'; "),
            "{not_found}"
        );
    }

    #[test]
    fn a_page_that_is_not_whole_is_told() {
        for missing in [
            "index.html",
            "starsight.js",
            "table/desk.js",
            "starsight-page-1.js",
            "starsight-page-1_bg.wasm",
        ] {
            let page: Vec<_> = TEST_PAGE
                .iter()
                .filter(|(path, _)| *path != missing)
                .copied()
                .collect();
            let error = finish(&page, &Options::default()).unwrap_err().to_string();
            assert!(error.contains(missing), "{missing}: {error}");
        }
    }

    #[test]
    fn every_file_that_the_html_names_is_there_and_carries_its_hash() {
        let files = finished();
        let html = String::from_utf8(files[START_PAGE].clone()).unwrap();
        let mut checked = 0;
        for part in html.split("\"./").skip(1) {
            let (name, rest) = part.split_once('"').unwrap();
            let content = files
                .get(name.split('?').next().unwrap())
                .unwrap_or_else(|| panic!("no {name}"));
            if let Some(hash) = rest.strip_prefix(" integrity=\"") {
                assert!(hash.starts_with(&integrity(content)), "{name}");
                checked += 1;
            }
        }
        assert_eq!(
            checked, 5,
            "a style, the start, the program and the two modules: {html}"
        );
        let start = files
            .keys()
            .find(|path| path.starts_with("start-"))
            .unwrap();
        assert!(String::from_utf8_lossy(&files[start]).contains(&integrity(b"\0asm")));
        // The hash of an empty text, as computed by OpenSSL.
        assert_eq!(
            integrity(b""),
            "sha384-OLBgp1GsljhM2TJ+sbHjaiH9txEUvgdDTAzHv2P24donTt6/529l+9Ua0vFImLlb"
        );
    }

    #[test]
    fn a_program_imports_the_module_in_its_version_and_its_name_tells() {
        let files = finished();
        let (_, program) = files
            .iter()
            .find(|(path, _)| path.starts_with("starsight-page-") && path.ends_with(".js"))
            .unwrap();
        let [module, table] = [MODULE, "table/desk.js"].map(|path| hash(&files[path]));
        assert_eq!(
            *program,
            format!("import {{ load }} from './starsight.js?v={module}'; import {{ Desk }} from './table/desk.js?v={table}';").into_bytes()
        );
        assert_eq!(
            files[ELEMENT],
            format!("import('./starsight.js?v={module}')").into_bytes()
        );
        // The modules check their workers by hash, so another engine makes another module, and so
        // on up to the page.
        let sealed = |path: &str| String::from_utf8(files[path].clone()).unwrap();
        for path in [MODULE, "table/desk.js"] {
            let seal = format!(
                "\"worker.js\":{{\"integrity\":\"{}\",\"version\":\"{}\"}}",
                integrity(b"//"),
                hash(b"//")
            );
            assert!(sealed(path).contains(&seal), "{}", sealed(path));
        }
        let other: Vec<_> = TEST_PAGE
            .iter()
            .map(|(path, content)| {
                (
                    *path,
                    if *path == "engine/worker.js" {
                        &b"// other"[..]
                    } else {
                        *content
                    },
                )
            })
            .collect();
        let other = finish(&other, &Options::default()).unwrap();
        let scripts = |files: &Files| {
            files
                .keys()
                .filter(|path| path.ends_with(".js"))
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(
            scripts(&files)
                .iter()
                .filter(|path| scripts(&other).contains(path))
                .collect::<Vec<_>>(),
            [
                "element.js",
                "engine/worker.js",
                "starsight.js",
                "sw.js",
                "table/desk.js",
                "table/worker.js"
            ]
        );
        assert_ne!(files[SERVICE_WORKER], other[SERVICE_WORKER]);
    }

    /// Checks the page embedded in this program, or its source if there is none.
    #[test]
    fn the_web_manifest_is_relative_and_its_icons_have_the_sizes_that_it_says() {
        let source = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../web"));
        let read = |path: &str| match crate::site::PAGE.iter().find(|(name, _)| *name == path) {
            Some((_, content)) => content.to_vec(),
            None => {
                std::fs::read(source.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
            }
        };
        let manifest: serde_json::Value =
            serde_json::from_slice(&read("manifest.webmanifest")).unwrap();
        for address in ["start_url", "scope", "id"] {
            assert_eq!(manifest[address], "./", "{address}");
        }
        let icons = manifest["icons"].as_array().unwrap();
        for icon in icons {
            let content = read(
                icon["src"]
                    .as_str()
                    .unwrap()
                    .strip_prefix("./")
                    .expect("a relative address"),
            );
            let (kind, sizes) = match content.strip_prefix(b"\x89PNG\r\n\x1a\n") {
                // The first chunk starts with width and height, after its length and name.
                Some(png) => (
                    "image/png",
                    [8, 12]
                        .map(|at| {
                            u32::from_be_bytes(png[at..at + 4].try_into().unwrap()).to_string()
                        })
                        .join("x"),
                ),
                None => ("image/svg+xml", "any".to_owned()),
            };
            assert_eq!(
                (icon["type"].as_str(), icon["sizes"].as_str()),
                (Some(kind), Some(&*sizes)),
                "{icon}"
            );
        }
        // Icons that browsers require before they offer to install a page.
        let has = |sizes: &str, purpose: &str| {
            icons
                .iter()
                .any(|icon| icon["sizes"] == sizes && icon["purpose"] == purpose)
        };
        assert!(
            has("192x192", "any") && has("512x512", "any") && has("512x512", "maskable"),
            "{manifest}"
        );
        let html = String::from_utf8(read(START_PAGE)).unwrap();
        assert!(
            html.contains("<link rel=\"manifest\" href=\"./manifest.webmanifest\""),
            "{html}"
        );
    }

    #[test]
    fn the_service_worker_keeps_what_the_page_needs() {
        let files = finished();
        let worker = String::from_utf8(files[SERVICE_WORKER].clone()).unwrap();
        let kept: BTreeMap<String, String> =
            serde_json::from_str(between(&worker, "FILES = ", ";").unwrap()).unwrap();
        for (path, content) in &files {
            let name = if path == START_PAGE {
                "./".to_owned()
            } else {
                format!("./{path}")
            };
            let found = kept
                .iter()
                .find(|(address, _)| address.split('?').next() == Some(&name))
                .map(|(_, hash)| hash.clone());
            let wanted =
                ![SERVICE_WORKER, NOT_FOUND, ELEMENT, "starsight.d.ts"].contains(&path.as_str());
            assert_eq!(found, wanted.then(|| integrity(content)), "{path}");
        }
        assert!(!worker.contains("__"), "{worker}");
    }
}
