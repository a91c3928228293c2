//! The model's card, and the ways to other models.

use std::path::Path;

use serde_json::{Value, json};

use crate::common::{good, json as parsed, trained};
use crate::scene::{Browser, Process, serve};

/// The model's view of a site with a small model, and what its manifest says.
async fn page() -> (Browser, String, Value, Process, tempfile::TempDir) {
    let dir = trained();
    good(dir.path(), &["site", "--model", "model", "--out", "site"]);
    let manifest = parsed(&std::fs::read_to_string(dir.path().join("model/starsight.json")).expect("a manifest"));
    let (server, address) = serve(&dir.path().join("site"));
    let browser = Browser::open().await;
    browser.client.goto(&format!("{address}/?tab=model")).await.expect("the page");
    browser.ready().await;
    (browser, address, manifest, server, dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_card_says_what_the_manifest_says() {
    let (browser, _, manifest, _server, _dir) = page().await;
    let weights = manifest["files"].as_array().expect("files").iter().find(|file| file["path"] == "web/weights.safetensors").expect("weights");
    let facts = browser.text("#facts").await;
    for fact in ["model", "BERT, 1 layer of width 32", "reviews.csv", "starsight", weights["sha256"].as_str().expect("a hash")] {
        assert!(facts.contains(fact), "{fact}: {facts}");
    }
    let metrics = &manifest["metrics"];
    let percent = |share: &Value| format!("{:.1}%", share.as_f64().expect("a share") * 100.0);
    let shown = browser.text("#metrics").await;
    let interval = &metrics["intervals"]["accuracy"];
    for figure in [percent(&metrics["accuracy"]), percent(&metrics["off_by_one"]), format!("{} to {}", percent(&interval[0]), percent(&interval[1]))]
    {
        assert!(shown.contains(&figure), "{figure}: {shown}");
    }
    let cells = "return [...document.querySelectorAll('#confusion tbody tr')].map((row) => [...row.querySelectorAll('td')].map((cell) => Number(cell.innerText)))";
    assert_eq!(browser.call(cells, Value::Null).await, metrics["confusion"]);
    let bins = metrics["calibration"].as_array().expect("a curve");
    let dots = browser.client.execute("return document.querySelectorAll('#calibration circle').length", vec![]).await.expect("a script");
    assert_eq!(dots, json!(bins.len()));
    assert!(bins.iter().all(|bin| bin["samples"].as_f64() > Some(0.0) && bin["confidence"].as_f64().is_some_and(|sure| (0.2..=1.0).contains(&sure))));
    // What is kept, and deleted.
    let kept = browser.until("the kept model", "return document.querySelector('#kept')?.innerText ?? null").await;
    assert!(kept.as_str().is_some_and(|text| text.contains("1 model")), "{kept}");
    browser.click("#forget-all").await;
    browser.until("nothing kept", "return document.querySelector('#kept') ? null : true").await;
    assert_eq!(browser.errors().await, Vec::<String>::new());
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_model_is_asked_for_by_its_folder_and_history_leads_back() {
    let (browser, address, _, _server, dir) = page().await;
    let site = dir.path().join("site");
    copy(&site.join("model"), &site.join("other"));
    let manifest = std::fs::read_to_string(site.join("other/starsight.json")).expect("a manifest");
    std::fs::write(site.join("other/starsight.json"), manifest.replacen("\"name\": \"model\"", "\"name\": \"the other\"", 1)).expect("written");

    browser.click("#load-another").await;
    assert!(browser.text("#another-hint").await.contains("Type a name"));
    browser.type_into("#another", "./other/").await;
    browser.click("#load-another").await;
    browser.until("the other", "return document.querySelector('#model-name')?.innerText === 'the other' || null").await;
    assert_eq!(browser.client.current_url().await.expect("an address").as_str(), format!("{address}/?tab=model&model=./other/"));
    // Each view's address keeps it.
    let links = browser
        .client
        .execute("return [...document.querySelectorAll('.views a')].map((a) => a.getAttribute('href'))", vec![])
        .await
        .expect("a script");
    assert_eq!(links, json!(["./?model=./other/", "./?tab=many&model=./other/", "./?tab=speed&model=./other/", "./?tab=model&model=./other/"]));
    browser.client.back().await.expect("back");
    browser.until("the first", "return document.querySelector('#model-name')?.innerText === 'model' || null").await;
    browser.client.forward().await.expect("forward");
    browser.until("the other", "return document.querySelector('#model-name')?.innerText === 'the other' || null").await;
    browser.click("#load-own").await;
    browser.until("the first", "return document.querySelector('#model-name')?.innerText === 'model' || null").await;

    // What is no name is said to be none.
    browser.type_into("#another", "no such thing").await;
    browser.click("#load-another").await;
    browser.until("an error", "return document.querySelector('#load-error')?.innerText.includes('wanted a folder') || null").await;
    // A folder that is not there: what happened, and a way on.
    browser.type_into("#another", "./nowhere/").await;
    browser.click("#load-another").await;
    browser.until("an error", "return document.querySelector('#load-error')?.innerText.includes('404') || null").await;
    assert_eq!(browser.text("#load-retry").await, "Try again");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_loaded_from_files_of_this_device() {
    let (browser, _, _, _server, dir) = page().await;
    let local = dir.path().join("at home");
    copy(&dir.path().join("model"), &local);
    let manifest = std::fs::read_to_string(local.join("starsight.json")).expect("a manifest");
    std::fs::write(local.join("starsight.json"), manifest.replacen("\"name\": \"model\"", "\"name\": \"from home\"", 1)).expect("written");

    // Chosen one by one.
    let paths = ["starsight.json", "config.json", "tokenizer.json", "web/weights.safetensors"].map(|path| local.join(path).display().to_string());
    choose(&browser, &paths).await;
    browser.until("the chosen one", "return document.querySelector('#model-name')?.innerText === 'from home' || null").await;
    browser.show("one").await;
    browser.type_into("#review", "great app, love it").await;
    browser.until("a rating", "return document.querySelector('#verdict').dataset.stars === '5' || null").await;
    browser.show("model").await;
    // Not all of them.
    choose(&browser, &paths[..2]).await;
    let missing = browser.until("an error", "return document.querySelector('#load-error')?.innerText ?? null").await;
    assert!(missing.as_str().is_some_and(|error| error.contains("there is no web/weights.safetensors")), "{missing}");

    // The folder, dropped.
    let middle = "const drop = document.querySelector('#drop'); drop.scrollIntoView({ block: 'center' }); const { x, y, width, height } = drop.getBoundingClientRect(); return [x + width / 2, y + height / 2]";
    let at = browser.call(middle, Value::Null).await;
    let drop = |folder: String| json!({ "items": [], "files": [folder], "dragOperationsMask": 1 });
    for kind in ["dragEnter", "dragOver", "drop"] {
        let event = json!({ "type": kind, "x": at[0], "y": at[1], "data": drop(local.display().to_string()) });
        browser.devtools("Input.dispatchDragEvent", event).await;
    }
    browser.until("the dropped one", "return document.querySelector('#model-name')?.innerText === 'from home' || null").await;

    // Damaged: held to its manifest like any other.
    let weights = local.join("web/weights.safetensors");
    let mut bytes = std::fs::read(&weights).expect("weights");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&weights, bytes).expect("written");
    choose(&browser, &paths).await;
    let damaged = browser.until("an error", "return document.querySelector('#load-error')?.innerText ?? null").await;
    assert!(damaged.as_str().is_some_and(|error| error.contains("SHA-256")), "{damaged}");
    let kept = browser.call("const { kept } = await import('./starsight.js'); return (await kept()).models.length", Value::Null).await;
    assert_eq!(kept, json!(1), "files of this device are not kept once more");
    browser.close().await;
}

/// Has a visitor choose these files.
async fn choose(browser: &Browser, paths: &[String]) {
    let input = browser.client.find(fantoccini::Locator::Css("#files")).await.expect("an input");
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
