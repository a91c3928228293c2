//! The site without its server, and what its Content Security Policy forbids.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::common::{good, trained, words};
use crate::scene::{Browser, REVIEWS, counting_host, native, serve};

#[tokio::test(flavor = "multi_thread")]
async fn after_one_visit_the_page_opens_and_rates_without_its_server() {
    let dir = trained();
    good(dir.path(), &words("site --model model --out root/a/b"));
    let (server, address) = serve(&dir.path().join("root"));
    let browser = Browser::open().await;
    browser
        .client
        .goto(&format!("{address}/a/b/"))
        .await
        .expect("the page");
    browser.ready().await;
    browser
        .call("await navigator.serviceWorker.ready", Value::Null)
        .await;
    browser.until("the model kept", "return window.models ?? (import('./starsight.js').then(async ({ kept }) => { const { models } = await kept(); if (models.length) window.models = models.length; }), null)").await;
    drop(server);
    browser.client.refresh().await.expect("the page");
    browser.ready().await;
    browser.type_into("#review", REVIEWS[1]).await;
    let stars = browser
        .until(
            "a rating",
            "return document.querySelector('#verdict').dataset.stars || null",
        )
        .await;
    assert_eq!(
        stars.as_str().map(str::to_string),
        Some(native(dir.path())[1]["stars"].to_string())
    );
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_runs_no_script_but_its_own_and_asks_no_other_host() {
    let dir = trained();
    good(
        dir.path(),
        &words("site --model model --out site --base-url https://example.org/stars"),
    );
    let (_server, address) = serve(&dir.path().join("site"));
    let browser = Browser::open().await;
    browser.client.goto(&address).await.expect("the page");
    browser.ready().await;
    let forbidden = "const broken = [];
        addEventListener('securitypolicyviolation', (event) => broken.push(event.effectiveDirective));
        const script = document.createElement('script');
        script.textContent = 'window.ran = true';
        document.body.append(script);
        const other = await fetch('http://localhost:9/').catch((error) => error.name);
        const image = new Image();
        image.src = 'http://localhost:9/pixel.png';
        await new Promise((resolve) => setTimeout(resolve, 300));
        return { ran: window.ran ?? false, other, broken: [...new Set(broken)].sort() }";
    let found = browser.call(forbidden, Value::Null).await;
    assert_eq!(
        found,
        json!({ "ran": false, "other": "TypeError", "broken": ["connect-src", "img-src", "script-src-elem"] })
    );

    // The workers, which fetch the model, are bound by the same policy.
    let (other, requests) = counting_host(&dir.path().join("site")).await;
    let load = "const { load } = await import('./starsight.js'); return load({ model: args }).then(() => 'loaded', (error) => `${error.name}: ${error.message}`)";
    let refused = browser.call(load, json!(format!("{other}/model/"))).await;
    assert!(
        refused
            .as_str()
            .is_some_and(|error| error.starts_with("DownloadError") && error.contains("policy")),
        "{refused}"
    );
    assert_eq!(requests.load(Ordering::Relaxed), 0);

    // The address of a page that does not exist.
    browser
        .client
        .goto(&format!("{address}/nothing/here"))
        .await
        .expect("a page");
    let link = browser
        .client
        .execute("return document.querySelector('a')?.href", vec![])
        .await
        .expect("a script");
    assert_eq!(link, json!("https://example.org/stars/"));

    // A host that the site allows is requested only when the page's address names it.
    good(
        dir.path(),
        &[
            "site",
            "--model",
            "model",
            "--out",
            "site",
            "--model-host",
            &other,
        ],
    );
    let browser = Browser::open().await;
    browser.client.goto(&address).await.expect("the page");
    browser.ready().await;
    assert!(
        browser
            .call(load, json!(format!("{other}/model/")))
            .await
            .as_str()
            .is_some_and(|error| error.contains("policy"))
    );
    assert_eq!(requests.load(Ordering::Relaxed), 0);
    browser
        .client
        .goto(&format!("{address}/?model={other}/model/"))
        .await
        .expect("the page");
    browser.ready().await;
    assert!(requests.load(Ordering::Relaxed) > 0);
    browser.close().await;
}
