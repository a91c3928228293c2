//! Files of the site that were damaged after it was built, and the update from one version of a
//! site to the next.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::common::{good, trained, words};
use crate::scene::{Browser, serve};

/// Changes the last byte of a file; a second time changes it back.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("a file");
    let last = bytes.last_mut().expect("content");
    *last ^= 1;
    fs::write(path, bytes).expect("written");
}

/// Waits until the service worker is active, so that the page is cached.
async fn kept_by_service_worker(browser: &Browser) {
    browser
        .call("await navigator.serviceWorker.ready", Value::Null)
        .await;
    browser.until("an active service worker", "return navigator.serviceWorker.getRegistration && (window.state ?? (navigator.serviceWorker.ready.then(({ active }) => { if (active.state === 'activated') window.state = true; }), null))").await;
}

async fn caches(browser: &Browser) -> usize {
    browser
        .call("return (await caches.keys()).length", Value::Null)
        .await
        .as_u64()
        .expect("a number") as usize
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_in_the_engine_is_told_and_nothing_of_it_runs() {
    let dir = trained();
    let site = dir.path().join("site");
    good(dir.path(), &words("site --model model --out site"));
    let (_server, address) = serve(&site);
    let browser = Browser::open().await;
    for file in [
        "engine/worker.js",
        "engine/starsight_worker_relaxed_bg.wasm",
        "engine/starsight_worker_bg.wasm",
    ] {
        flip(&site.join(file));
        browser.client.goto(&address).await.expect("the page");
        let state = browser
            .until("an end", "const state = document.querySelector('main')?.dataset.state; return ['ready', 'failed'].includes(state) ? state : null")
            .await;
        if state == "ready" {
            // This browser uses the other of the two builds unless the options say otherwise.
            assert_eq!(file, "engine/starsight_worker_bg.wasm");
            let load = "const { load } = await import('./starsight.js'); return load({ relaxedSimd: false }).then(() => 'loaded', (error) => `${error.name}: ${error.message}`)";
            let error = browser.call(load, Value::Null).await;
            assert!(
                error
                    .as_str()
                    .is_some_and(|error| error.starts_with("EngineError")
                        && error.contains(file)
                        && error.contains("damaged")),
                "{error}"
            );
        } else {
            let page = browser
                .client
                .execute("return document.body.innerText", vec![])
                .await
                .expect("a script");
            assert!(
                page.as_str()
                    .is_some_and(|text| text.contains(file) && text.contains("damaged")),
                "{file}: {page}"
            );
        }
        // If the page fails, its service worker is not installed either.
        let installed = "const registration = await navigator.serviceWorker.getRegistration(); return Boolean(registration?.waiting ?? registration?.active)";
        let needed = state == "failed";
        assert!(
            !needed || browser.call(installed, Value::Null).await == json!(false),
            "{file}"
        );
        flip(&site.join(file));
    }
    let mut names = fs::read_dir(&site).expect("the site").map(|entry| {
        entry
            .expect("an entry")
            .file_name()
            .into_string()
            .expect("a name")
    });
    let program = names
        .find(|name| name.starts_with("starsight-page-") && name.ends_with(".js"))
        .expect("a program");
    let fresh = Browser::open().await;
    for file in ["starsight.js", program.as_str()] {
        flip(&site.join(file));
        fresh.client.goto(&address).await.expect("the page");
        let words = fresh
            .until(
                "words",
                "return document.querySelector('.boot [role=alert]')?.textContent ?? null",
            )
            .await;
        assert!(words.as_str().is_some_and(|words| words.contains("could not start") && words.contains("damaged")), "{words}");
        flip(&site.join(file));
    }
    fresh.client.goto(&address).await.expect("the page");
    fresh.ready().await;
    kept_by_service_worker(&fresh).await;
    assert_eq!(caches(&fresh).await, 1);
    // Cached files were checked when they were fetched, and are served without another check.
    flip(&site.join("engine/worker.js"));
    fresh.client.refresh().await.expect("the page");
    fresh.ready().await;
    browser.close().await;
    fresh.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_of_the_site_takes_over_whole() {
    const VERSION: &str = "return document.querySelector('link[rel=canonical]')?.href ?? 'none'";
    const UPDATE: &str = "const registration = await navigator.serviceWorker.getRegistration();
        await registration.update().catch(() => {});
        for (let waited = 0; waited < 100 && registration.installing; waited += 1) await new Promise((resolve) => setTimeout(resolve, 100));
        return Boolean(registration.waiting)";
    let dir = trained();
    let make = |url: &str, out: &str| {
        good(
            dir.path(),
            &["site", "--model", "model", "--out", out, "--base-url", url],
        )
    };
    make("https://example.org/1/", "site");
    let (_server, address) = serve(&dir.path().join("site"));
    let browser = Browser::open().await;
    let visit = async || {
        browser.client.goto("about:blank").await.expect("a page");
        // The last tab of the old version is closed; its service worker is replaced a moment later.
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        browser.client.goto(&address).await.expect("the page");
        browser.ready().await;
        browser.call(VERSION, Value::Null).await
    };
    assert_eq!(visit().await, "https://example.org/1/");
    kept_by_service_worker(&browser).await;
    // From the second visit on, the service worker serves the page.
    assert_eq!(visit().await, "https://example.org/1/");

    // While a tab has the old version open, that version stays complete, even after a reload.
    make("https://example.org/2/", "site");
    assert_eq!(browser.call(UPDATE, Value::Null).await, json!(true));
    browser.client.refresh().await.expect("the page");
    browser.ready().await;
    assert_eq!(
        browser.call(VERSION, Value::Null).await,
        "https://example.org/1/"
    );
    assert_eq!(caches(&browser).await, 2);
    assert_eq!(visit().await, "https://example.org/2/");
    kept_by_service_worker(&browser).await;
    assert_eq!(caches(&browser).await, 1);

    // A new version of which only a part was uploaded: nothing of it is cached.
    make("https://example.org/3/", "next");
    fs::copy(dir.path().join("next/sw.js"), dir.path().join("site/sw.js")).expect("copied");
    assert_eq!(browser.call(UPDATE, Value::Null).await, json!(false));
    assert_eq!(caches(&browser).await, 1);
    assert_eq!(visit().await, "https://example.org/2/");
    fs::copy(
        dir.path().join("next/index.html"),
        dir.path().join("site/index.html"),
    )
    .expect("copied");
    assert_eq!(browser.call(UPDATE, Value::Null).await, json!(true));
    assert_eq!(visit().await, "https://example.org/3/");
    browser.close().await;
}
