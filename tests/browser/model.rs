//! The model's card, and loading other models.

use std::path::Path;

use serde_json::{Value, json};

use crate::common::{good, json as parsed, trained, words};
use crate::loopback_hub::{Fault, LoopbackHub};
use crate::scene::{Browser, Process, serve};

const TOKEN: &str = "hf_loopbackSecret";
const REPO: &str = "someone/stars";

/// The model view of a site with a small model, and the model's manifest.
async fn page() -> (Browser, String, Value, Process, tempfile::TempDir) {
    let dir = trained();
    good(dir.path(), &words("site --model model --out site"));
    let manifest = parsed(
        &std::fs::read_to_string(dir.path().join("model/starsight.json")).expect("a manifest"),
    );
    let (server, address) = serve(&dir.path().join("site"));
    let browser = Browser::open().await;
    browser
        .client
        .goto(&format!("{address}/?tab=model"))
        .await
        .expect("the page");
    browser.ready().await;
    (browser, address, manifest, server, dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_card_says_what_the_manifest_says() {
    let (browser, _, manifest, _server, _dir) = page().await;
    let weights = manifest["files"]
        .as_array()
        .expect("files")
        .iter()
        .find(|file| file["path"] == "web/weights.safetensors")
        .expect("weights");
    let facts = browser.text("#facts").await;
    for fact in [
        "model",
        "BERT, 1 layer of width 32",
        "reviews.csv",
        "starsight",
        weights["sha256"].as_str().expect("a hash"),
    ] {
        assert!(facts.contains(fact), "{fact}: {facts}");
    }
    let metrics = &manifest["metrics"];
    let percent = |share: &Value| format!("{:.1}%", share.as_f64().expect("a share") * 100.0);
    let shown = browser.text("#metrics").await;
    let interval = &metrics["intervals"]["accuracy"];
    for figure in [
        percent(&metrics["accuracy"]),
        percent(&metrics["off_by_one"]),
        format!("{} to {}", percent(&interval[0]), percent(&interval[1])),
    ] {
        assert!(shown.contains(&figure), "{figure}: {shown}");
    }
    let cells = "return [...document.querySelectorAll('#confusion tbody tr')].map((row) => [...row.querySelectorAll('td')].map((cell) => Number(cell.innerText)))";
    assert_eq!(browser.call(cells, Value::Null).await, metrics["confusion"]);
    let bins = metrics["calibration"].as_array().expect("a curve");
    let dots = browser
        .client
        .execute(
            "return document.querySelectorAll('#calibration circle').length",
            vec![],
        )
        .await
        .expect("a script");
    assert_eq!(dots, json!(bins.len()));
    assert!(bins.iter().all(|bin| {
        bin["samples"].as_f64() > Some(0.0)
            && bin["confidence"]
                .as_f64()
                .is_some_and(|sure| (0.2..=1.0).contains(&sure))
    }));
    // The cached model is listed and can be deleted.
    let kept = browser
        .until(
            "the kept model",
            "return document.querySelector('#kept')?.innerText ?? null",
        )
        .await;
    assert!(
        kept.as_str().is_some_and(|text| text.contains("1 model")),
        "{kept}"
    );
    browser.click("#forget-all").await;
    browser
        .until(
            "nothing kept",
            "return document.querySelector('#kept') ? null : true",
        )
        .await;
    assert_eq!(
        browser
            .client
            .execute("return document.activeElement.id", vec![])
            .await
            .expect("a script"),
        "kept-title"
    );
    assert_eq!(browser.errors().await, Vec::<String>::new());
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_model_is_asked_for_by_its_folder_and_history_leads_back() {
    let (browser, address, _, _server, dir) = page().await;
    add_other(&dir.path().join("site"));

    browser.click("#load-another").await;
    assert!(browser.text("#another-hint").await.contains("Type a name"));
    browser.type_into("#another", "./other/").await;
    browser.click("#load-another").await;
    browser
        .until(
            "the other",
            "return document.querySelector('#model-name')?.innerText === 'the other' || null",
        )
        .await;
    assert_eq!(
        browser
            .client
            .current_url()
            .await
            .expect("an address")
            .as_str(),
        format!("{address}/?tab=model&model=./other/")
    );
    // The address of each view keeps the model.
    let links = browser
        .client
        .execute(
            "return [...document.querySelectorAll('.views a')].map((a) => a.getAttribute('href'))",
            vec![],
        )
        .await
        .expect("a script");
    assert_eq!(
        links,
        json!([
            "./?model=./other/",
            "./?tab=many&model=./other/",
            "./?tab=speed&model=./other/",
            "./?tab=model&model=./other/"
        ])
    );
    browser.client.back().await.expect("back");
    browser
        .until(
            "the first",
            "return document.querySelector('#model-name')?.innerText === 'model' || null",
        )
        .await;
    browser.client.forward().await.expect("forward");
    browser
        .until(
            "the other",
            "return document.querySelector('#model-name')?.innerText === 'the other' || null",
        )
        .await;
    browser.click("#load-own").await;
    browser
        .until(
            "the focus",
            "return document.activeElement.id === 'another' || null",
        )
        .await;
    browser
        .until(
            "the first",
            "return document.querySelector('#model-name')?.innerText === 'model' || null",
        )
        .await;

    // A string that is not a model's name is refused.
    browser.type_into("#another", "no such thing").await;
    browser.click("#load-another").await;
    browser.until("an error", "return document.querySelector('#load-error')?.innerText.includes('wanted a folder') || null").await;
    // A folder that does not exist: the page shows the error and offers a retry.
    browser.type_into("#another", "./nowhere/").await;
    browser.click("#load-another").await;
    browser
        .until(
            "an error",
            "return document.querySelector('#load-error')?.innerText.includes('404') || null",
        )
        .await;
    assert_eq!(browser.text("#load-retry").await, "Try again");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_loaded_from_files_of_this_device() {
    let (browser, _, _, _server, dir) = page().await;
    let local = dir.path().join("at home");
    copy(&dir.path().join("model"), &local);
    let manifest = std::fs::read_to_string(local.join("starsight.json")).expect("a manifest");
    std::fs::write(
        local.join("starsight.json"),
        manifest.replacen("\"name\": \"model\"", "\"name\": \"from home\"", 1),
    )
    .expect("written");

    // The files are chosen one by one.
    let paths = [
        "starsight.json",
        "config.json",
        "tokenizer.json",
        "web/weights.safetensors",
    ]
    .map(|path| local.join(path).display().to_string());
    choose(&browser, &paths).await;
    browser
        .until(
            "the chosen one",
            "return document.querySelector('#model-name')?.innerText === 'from home' || null",
        )
        .await;
    browser.show("one").await;
    browser.type_into("#review", "great app, love it").await;
    browser
        .until(
            "a rating",
            "return document.querySelector('#verdict').dataset.stars === '5' || null",
        )
        .await;
    browser.show("model").await;
    // Some files are missing.
    choose(&browser, &paths[..2]).await;
    let missing = browser
        .until(
            "an error",
            "return document.querySelector('#load-error')?.innerText ?? null",
        )
        .await;
    assert!(
        missing
            .as_str()
            .is_some_and(|error| error.contains("there is no web/weights.safetensors")),
        "{missing}"
    );

    // The folder is dropped on the page.
    let middle = "const drop = document.querySelector('#drop'); drop.scrollIntoView({ block: 'center' }); const { x, y, width, height } = drop.getBoundingClientRect(); return [x + width / 2, y + height / 2]";
    let at = browser.call(middle, Value::Null).await;
    let drop = |folder: String| json!({ "items": [], "files": [folder], "dragOperationsMask": 1 });
    for kind in ["dragEnter", "dragOver", "drop"] {
        let event = json!({ "type": kind, "x": at[0], "y": at[1], "data": drop(local.display().to_string()) });
        browser.devtools("Input.dispatchDragEvent", event).await;
    }
    browser
        .until(
            "the dropped one",
            "return document.querySelector('#model-name')?.innerText === 'from home' || null",
        )
        .await;

    // Back to the site's own model, though the address says nothing about files; then the files
    // once more.
    browser.click("#load-own").await;
    browser
        .until(
            "the site's own",
            "return document.querySelector('#model-name')?.innerText === 'model' || null",
        )
        .await;
    browser
        .until(
            "the button goes",
            "return document.querySelector('#load-own') ? null : true",
        )
        .await;

    // Damaged files are checked against the manifest like any others.
    let weights = local.join("web/weights.safetensors");
    let mut bytes = std::fs::read(&weights).expect("weights");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&weights, bytes).expect("written");
    choose(&browser, &paths).await;
    let damaged = browser
        .until(
            "an error",
            "return document.querySelector('#load-error')?.innerText ?? null",
        )
        .await;
    assert!(
        damaged
            .as_str()
            .is_some_and(|error| error.contains("SHA-256")),
        "{damaged}"
    );
    let kept = browser
        .call(
            "const { kept } = await import('./starsight.js'); return (await kept()).models.length",
            Value::Null,
        )
        .await;
    assert_eq!(
        kept,
        json!(1),
        "files of this device are not kept once more"
    );
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_on_a_hub_is_typed_into_a_page_that_was_opened_for_its_own() {
    let dir = trained();
    let store = dir.path().join("hub");
    let hub =
        tokio::task::spawn_blocking(move || LoopbackHub::start(&store, 0, TOKEN).expect("a hub"))
            .await
            .expect("a thread");
    std::fs::write(dir.path().join("token"), TOKEN).expect("written");
    let endpoint = hub.endpoint();
    good(
        dir.path(),
        &[
            "publish",
            "--model",
            "model",
            "--to",
            REPO,
            "--endpoint",
            &endpoint,
            "--token-file",
            "token",
            "--private",
        ],
    );
    let elsewhere = endpoint.replace("127.0.0.1", "localhost");
    good(
        dir.path(),
        &[
            "site",
            "--model",
            "model",
            "--out",
            "site",
            "--model-host",
            &endpoint,
            "--model-host",
            &elsewhere,
        ],
    );
    let (_server, address) = serve(&dir.path().join("site"));
    let browser = Browser::open().await;
    browser
        .client
        .goto(&format!("{address}/?tab=model&endpoint={endpoint}"))
        .await
        .expect("the page");
    browser.ready().await;

    // The Hub refuses, and the page asks for a token.
    browser.type_into("#another", REPO).await;
    browser.click("#load-another").await;
    browser
        .until(
            "a place for a token",
            "return document.querySelector('#token') && true",
        )
        .await;
    let page = browser.client.current_url().await.expect("an address");
    assert!(page.as_str().contains(&format!("model={REPO}")), "{page}");
    // A malformed token is refused, and asked for again.
    let submit = "document.querySelector('.strip__token').requestSubmit()";
    browser.type_into("#token", "two words").await;
    browser
        .client
        .execute(submit, vec![])
        .await
        .expect("a script");
    browser.until("the words", "return document.querySelector('.strip__title').innerText === 'The access token is not valid' || null").await;

    // A download is stopped and resumed. (The site's own model has the same files, so the cache is
    // emptied first.)
    browser
        .call(
            "const { forget } = await import('./starsight.js'); await forget()",
            Value::Null,
        )
        .await;
    let weights = std::fs::metadata(dir.path().join("model/web/weights.safetensors"))
        .expect("weights")
        .len();
    hub.spoil(1, "GET", "/lfs/", Fault::Stall(weights / 2));
    browser.type_into("#token", TOKEN).await;
    browser
        .client
        .execute(submit, vec![])
        .await
        .expect("a script");
    let share = "const share = document.querySelector('#load-progress')?.ariaValueNow; return share > 0 && share < 100 ? +share : null";
    browser.until("a part of it", share).await;
    browser.click("#load-cancel").await;
    browser
        .until(
            "a way on",
            "return document.querySelector('#load-retry')?.innerText === 'Load the model' || null",
        )
        .await;
    assert_eq!(
        browser
            .client
            .execute("return document.activeElement.id", vec![])
            .await
            .expect("a script"),
        "strip"
    );
    hub.forget_faults();
    browser.click("#load-retry").await;
    browser.ready().await;

    // And back to the site's own.
    browser.click("#load-own").await;
    browser
        .until(
            "the first address",
            "return location.search.includes('model=') ? null : true",
        )
        .await;
    browser.ready().await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_model_in_the_middle_of_a_run_is_no_failure() {
    let (browser, _, _, _server, dir) = page().await;
    add_other(&dir.path().join("site"));
    let watch = "const main = document.querySelector('main'); window.states = [];
        new MutationObserver(() => states.push(main.dataset.state)).observe(main, { attributes: true, attributeFilter: ['data-state'] })";
    browser
        .client
        .execute(watch, vec![])
        .await
        .expect("a script");
    browser.show("many").await;
    // The run must outlast the clicks below. The texts differ, because a repeated text is rated
    // once.
    let lines = dir.path().join("lines.txt");
    let texts: String = (0..200_000)
        .map(|i| format!("great app {i}, love it, but it crashes all day\n"))
        .collect();
    std::fs::write(&lines, texts).expect("written");
    let input = browser
        .client
        .find(fantoccini::Locator::Css("#file"))
        .await
        .expect("an input");
    input
        .send_keys(&lines.display().to_string())
        .await
        .expect("a file");
    browser
        .until(
            "the lines",
            "return document.querySelector('#run').ariaDisabled === 'false' || null",
        )
        .await;
    browser.click("#run").await;
    let status = |words: &str| {
        format!(
            "const s = document.querySelector('#many-status').innerText; return s.startsWith('{words}') ? s : null"
        )
    };
    browser.until("ratings", &status("Rated ")).await;
    // No benchmark runs at the same time.
    browser.show("speed").await;
    browser.click("#measure").await;
    assert!(
        browser
            .text("#bench-status")
            .await
            .starts_with("Reviews are being rated"),
        "{}",
        browser.text("#bench-status").await
    );
    assert_eq!(browser.text("#measure").await, "Measure this device");

    browser.show("model").await;
    browser.type_into("#another", "./other/").await;
    browser.click("#load-another").await;
    browser
        .until(
            "the other",
            "return document.querySelector('#model-name')?.innerText === 'the other' || null",
        )
        .await;
    browser.until("a pause", &status("Paused after ")).await;
    assert_eq!(
        browser
            .client
            .execute("return states", vec![])
            .await
            .expect("a script"),
        json!(["loading", "ready"])
    );
    assert_eq!(browser.errors().await, Vec::<String>::new());
    browser.close().await;
}

/// Adds a second model to a site, with the same weights, named `the other`.
pub fn add_other(site: &Path) {
    copy(&site.join("model"), &site.join("other"));
    let manifest = std::fs::read_to_string(site.join("other/starsight.json")).expect("a manifest");
    std::fs::write(
        site.join("other/starsight.json"),
        manifest.replacen("\"name\": \"model\"", "\"name\": \"the other\"", 1),
    )
    .expect("written");
}

/// Chooses these files as a visitor would.
async fn choose(browser: &Browser, paths: &[String]) {
    let input = browser
        .client
        .find(fantoccini::Locator::Css("#files"))
        .await
        .expect("an input");
    input.send_keys(&paths.join("\n")).await.expect("files");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("copied");
        }
    }
}
