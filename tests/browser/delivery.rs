//! Loading a model from a Hub into the browser, and the faults on the way: broken connections,
//! damage, full or missing storage, other tabs, newer versions, private models.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{good, json as parsed, trained};
use crate::loopback_hub::{Fault, Kind, LoopbackHub, Traffic};
use crate::scene::{Browser, Process, REVIEWS, host, native, serve};

const TOKEN: &str = "hf_loopbackSecret";
const REPO: &str = "someone/stars";
const WEIGHTS: &str = "web/weights.safetensors";

/// The script of most of these tests: loads the model, rates a text, and returns the callbacks it
/// received. `args`: the options of `load`.
const LOAD: &str = "const { load } = await import('./starsight.js');
    const heard = { notices: [], newer: false, phases: [] };
    const options = { ...args, onNotice: (notice) => heard.notices.push(notice), onNewer: () => (heard.newer = true), onProgress: ({ phase }) => heard.phases.push(phase) };
    try {
        const rater = await load(options);
        const { ratings } = await rater.rate(['great app, love it']);
        if (args.wait) await new Promise((resolve) => setTimeout(resolve, 1000));
        rater.free();
        return { ...heard, stars: ratings[0].stars, info: rater.info };
    } catch (error) {
        return { ...heard, error: `${error.name}: ${error.message}` };
    }";

/// Changes the last byte of the largest cached file, the weights. `largest` is its handle, `size`
/// its bytes.
const DAMAGE: &str = "const root = await navigator.storage.getDirectory();
    const files = await (await root.getDirectoryHandle('starsight')).getDirectoryHandle('files');
    let largest, size = 0;
    for await (const handle of files.values()) {
        const file = await handle.getFile();
        if (file.size > size) [largest, size] = [handle, file.size];
    }
    const byte = new Uint8Array(await (await largest.getFile()).slice(size - 1).arrayBuffer());
    const writable = await largest.createWritable({ keepExistingData: true });
    await writable.write({ type: 'write', position: size - 1, data: byte.map((b) => b ^ 1) });
    await writable.close();";

/// A Hub with a published model, the site built from it, and the site's server.
struct Scene {
    dir: TempDir,
    hub: LoopbackHub,
    address: String,
    _server: Process,
}

impl Scene {
    async fn new(publishing: &[&str]) -> Scene {
        let dir = trained();
        let store = dir.path().join("hub");
        let hub = tokio::task::spawn_blocking(move || {
            LoopbackHub::start(&store, 0, TOKEN).expect("a hub")
        })
        .await
        .expect("a thread");
        std::fs::write(dir.path().join("token"), TOKEN).expect("written");
        let endpoint = hub.endpoint();
        let mut publish = vec![
            "publish",
            "--model",
            "model",
            "--to",
            REPO,
            "--endpoint",
            &endpoint,
            "--token-file",
            "token",
            "--json",
        ];
        publish.extend(publishing);
        assert!(parsed(&good(dir.path(), &publish))["commit"].is_string());
        // Large files are on another host: loopback's other name.
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
        // A page of the site that does not load the site's own model. That model is the same file,
        // so loading it would fill the cache.
        std::fs::write(
            dir.path().join("site/blank.html"),
            "<!doctype html><title>Blank</title>",
        )
        .expect("written");
        let (server, address) = serve(&dir.path().join("site"));
        hub.take_traffic();
        Scene {
            dir,
            hub,
            address,
            _server: server,
        }
    }

    /// Size of the weights for browsers, in bytes.
    fn size(&self) -> u64 {
        std::fs::metadata(self.dir.path().join("model").join(WEIGHTS))
            .expect("weights")
            .len()
    }

    /// Their hash. Tabs take turns by a lock of this name.
    fn sha256(&self) -> String {
        let manifest = parsed(
            &std::fs::read_to_string(self.dir.path().join("model/starsight.json"))
                .expect("a manifest"),
        );
        let weights = manifest["files"]
            .as_array()
            .and_then(|files| files.iter().find(|file| file["path"] == WEIGHTS))
            .expect("weights");
        weights["sha256"].as_str().expect("a hash").to_string()
    }

    /// The options of `load` for the model on the Hub.
    fn wish(&self) -> Value {
        json!({ "model": REPO, "endpoint": self.hub.endpoint() })
    }

    /// The requests for weights since the last call: the offset where each began, and the bytes it
    /// sent.
    fn weights_sent(&self) -> Vec<(u64, u64)> {
        let sent = |request: &Traffic| {
            request.status.is_success()
                && request.sent > 0
                && request.method == "GET"
                && is_weights(request)
        };
        let from = |request: &Traffic| {
            request.range.as_deref().map_or(0, |range| {
                range["bytes=".len()..]
                    .trim_end_matches('-')
                    .parse()
                    .expect("a range")
            })
        };
        self.hub
            .take_traffic()
            .iter()
            .filter(|request| sent(request))
            .map(|request| (from(request), request.sent))
            .collect()
    }
}

/// Large files are stored under their hash on the other host. This model has two, and a browser
/// requests only one.
fn is_weights(request: &Traffic) -> bool {
    request.path.starts_with("/lfs/")
}

async fn page(address: &str) -> Browser {
    let browser = Browser::open().await;
    browser
        .client
        .goto(&format!("{address}/blank.html"))
        .await
        .expect("the page");
    browser
}

async fn forget(browser: &Browser) {
    let left = browser.call("const { forget, kept } = await import('./starsight.js'); await forget(); return kept()", Value::Null).await;
    assert_eq!(left, json!({ "models": [], "unfinished": 0 }));
}

async fn load(browser: &Browser, options: Value) -> Value {
    browser.call(LOAD, options).await
}

fn with(options: Value, more: Value) -> Value {
    let mut options = options;
    let more = more.as_object().expect("options").clone();
    options.as_object_mut().expect("options").extend(more);
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_rates_with_a_model_on_the_hub() {
    let scene = Scene::new(&[]).await;
    let browser = Browser::open().await;
    browser
        .client
        .goto(&format!(
            "{}/?model={REPO}&endpoint={}",
            scene.address,
            scene.hub.endpoint()
        ))
        .await
        .expect("the page");
    browser.ready().await;
    browser.type_into("#review", REVIEWS[0]).await;
    let stars = browser
        .until(
            "a rating",
            "return document.querySelector('#verdict').dataset.stars || null",
        )
        .await;
    assert_eq!(
        stars.as_str().map(str::to_string),
        Some(native(scene.dir.path())[0]["stars"].to_string())
    );
    let fetched = scene.hub.traffic();
    assert_eq!(
        fetched
            .iter()
            .filter(|request| is_weights(request))
            .map(|request| request.sent)
            .sum::<u64>(),
        scene.size(),
        "{fetched:?}"
    );
    let pinned = |request: &Traffic| {
        request.path.contains("/resolve/") && !request.path.contains("/resolve/main/")
    };
    assert!(
        fetched
            .iter()
            .filter(|request| request.path.contains("/resolve/"))
            .all(pinned),
        "pinned to a commit: {fetched:?}"
    );

    // The model beside the page has the same files, which are cached. No byte is requested from
    // either host, so this damage is not noticed.
    let weights = scene.dir.path().join("site/model").join(WEIGHTS);
    let mut bytes = std::fs::read(&weights).expect("weights");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&weights, bytes).expect("written");
    browser.client.goto(&scene.address).await.expect("the page");
    browser.ready().await;
    // With an empty cache the damage is found, the file is fetched again, and the model refused.
    forget(&browser).await;
    browser.client.refresh().await.expect("the page");
    browser
        .until(
            "refusing",
            "return document.querySelector('main')?.dataset.state === 'failed' || null",
        )
        .await;
    let page = browser
        .client
        .execute("return document.body.innerText", vec![])
        .await
        .expect("a script");
    assert!(
        page.as_str()
            .is_some_and(|text| text.contains(WEIGHTS) && text.contains("downloaded again")),
        "{page}"
    );
    assert_eq!(browser.call("const { kept } = await import('./starsight.js'); return (await kept()).models.length", Value::Null).await, json!(0));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_goes_on_where_it_was_cut_off_even_after_a_reload() {
    let scene = Scene::new(&[]).await;
    let browser = page(&scene.address).await;
    for share in [0.3, 0.7] {
        let arrived = (scene.size() as f64 * share) as u64;
        scene.hub.take_traffic();
        scene.hub.spoil(1, "GET", "/lfs/", Fault::Cut(arrived));
        scene.hub.spoil(1, "GET", "/lfs/", Fault::Stall(0));
        browser
            .call(
                "const { load } = await import('./starsight.js'); load(args).catch(() => {})",
                scene.wish(),
            )
            .await;
        // The second request resumes by itself, and then hangs.
        for waited in 0.. {
            assert!(
                waited < 200,
                "the download did not go on: {:?}",
                scene.hub.traffic()
            );
            if scene
                .hub
                .traffic()
                .iter()
                .filter(|request| is_weights(request))
                .count()
                == 2
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        scene.hub.take_traffic();
        scene.hub.forget_faults();
        browser.client.refresh().await.expect("the page");
        let loaded = load(&browser, scene.wish()).await;
        assert_eq!(loaded["error"], Value::Null, "{loaded}");
        let sent = scene.weights_sent();
        assert!(
            matches!(sent[..], [(from, bytes)] if from == arrived && from + bytes == scene.size()),
            "{sent:?} of {}",
            scene.size()
        );
        forget(&browser).await;
    }

    // A server without range requests sends the whole file, and the client skips the beginning.
    scene.hub.take_traffic();
    scene
        .hub
        .spoil(1, "GET", "/lfs/", Fault::Cut(scene.size() / 2));
    scene.hub.spoil(1, "GET", "/lfs/", Fault::WholeOnly);
    let loaded = load(&browser, scene.wish()).await;
    assert_eq!(
        (&loaded["error"], &loaded["notices"]),
        (&Value::Null, &json!([])),
        "{loaded}"
    );
    // A server with a temporary error is asked again. One that refuses is not, and its reason is
    // shown.
    forget(&browser).await;
    scene.hub.fail(1, "GET", "/lfs/", 503);
    assert_eq!(load(&browser, scene.wish()).await["error"], Value::Null);
    forget(&browser).await;
    scene.hub.fail(1, "GET", "/lfs/", 403);
    let refused = load(&browser, scene.wish()).await;
    assert!(
        refused["error"]
            .as_str()
            .is_some_and(|error| error.starts_with("DownloadError") && error.contains("403")),
        "{refused}"
    );
    assert_eq!(load(&browser, scene.wish()).await["error"], Value::Null);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_loads_without_a_network_and_damage_is_found() {
    let scene = Scene::new(&[]).await;
    let browser = page(&scene.address).await;
    // Damaged in transit.
    scene
        .hub
        .spoil(1, "GET", "/lfs/", Fault::Flip(scene.size() / 2));
    let loaded = load(&browser, scene.wish()).await;
    let told = |heard: &Value| {
        heard["notices"]
            .as_array()
            .expect("notices")
            .iter()
            .any(|notice| notice.as_str().is_some_and(|n| n.contains(WEIGHTS)))
    };
    assert!(loaded["error"].is_null() && told(&loaded), "{loaded}");
    assert_eq!(scene.weights_sent(), [(0, scene.size()), (0, scene.size())]);

    // Cached: the model loads without the Hub.
    scene.hub.fail(1000, "GET", "", 500);
    let kept = load(&browser, scene.wish()).await;
    assert_eq!(
        (&kept["error"], &kept["notices"], &kept["info"]["kept"]),
        (&Value::Null, &json!([]), &json!(true)),
        "{kept}"
    );
    let update = load(&browser, with(scene.wish(), json!({ "update": true }))).await;
    assert!(
        update["error"].is_null()
            && update["notices"][0]
                .as_str()
                .is_some_and(|notice| notice.contains("newer version")),
        "{update}"
    );
    scene.hub.forget_faults();
    scene.hub.take_traffic();

    // Damaged on disk.
    assert_eq!(
        browser
            .call(&format!("{DAMAGE} return size"), Value::Null)
            .await,
        json!(scene.size())
    );
    let mended = load(&browser, scene.wish()).await;
    assert!(mended["error"].is_null() && told(&mended), "{mended}");
    assert_eq!(scene.weights_sent(), [(0, scene.size())]);
    assert_eq!(load(&browser, scene.wish()).await["notices"], json!([]));

    // Cached models are listed, and can be deleted.
    let list = browser
        .call(
            "const { kept } = await import('./starsight.js'); return kept()",
            Value::Null,
        )
        .await;
    let model = &list["models"][0];
    assert_eq!(
        model["model"],
        json!(format!("{}/{REPO}/tree/main", scene.hub.endpoint()))
    );
    assert!(
        model["bytes"]
            .as_u64()
            .is_some_and(|bytes| bytes > scene.size()),
        "{list}"
    );
    let left = "const { forget, kept } = await import('./starsight.js'); await forget(args); return kept()";
    assert_eq!(
        browser.call(left, model["model"].clone()).await,
        json!({ "models": [], "unfinished": 0 })
    );
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_is_offered_and_not_forced() {
    let scene = Scene::new(&[]).await;
    let browser = page(&scene.address).await;
    assert_eq!(load(&browser, scene.wish()).await["info"]["name"], "model");
    let manifest =
        std::fs::read_to_string(scene.dir.path().join("model/starsight.json")).expect("a manifest");
    let mut newer = parsed(&manifest);
    newer["name"] = json!("a better one");
    scene.hub.commit(
        Kind::Model,
        REPO,
        &[("starsight.json", newer.to_string().as_bytes())],
    );
    scene.hub.take_traffic();

    let kept = load(&browser, with(scene.wish(), json!({ "wait": true }))).await;
    assert_eq!(
        (&kept["info"]["name"], &kept["newer"]),
        (&json!("model"), &json!(true)),
        "{kept}"
    );
    let updated = load(
        &browser,
        with(scene.wish(), json!({ "update": true, "wait": true })),
    )
    .await;
    assert_eq!(
        (&updated["info"]["name"], &updated["newer"]),
        (&json!("a better one"), &json!(false)),
        "{updated}"
    );
    let again = load(&browser, with(scene.wish(), json!({ "wait": true }))).await;
    assert_eq!(
        (&again["info"]["name"], &again["newer"]),
        (&json!("a better one"), &json!(false)),
        "{again}"
    );
    assert_eq!(
        scene.weights_sent(),
        [],
        "the weights are the same, and kept"
    );
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_that_is_no_good_leaves_the_kept_one() {
    let scene = Scene::new(&[]).await;
    let browser = page(&scene.address).await;
    assert_eq!(load(&browser, scene.wish()).await["info"]["name"], "model");
    scene.weights_sent();
    let manifest = parsed(
        &std::fs::read_to_string(scene.dir.path().join("model/starsight.json"))
            .expect("a manifest"),
    );
    let with_other = |change: &dyn Fn(&mut Value)| {
        let mut other = manifest.clone();
        change(&mut other);
        other.to_string()
    };
    let differing = with_other(&|manifest| manifest["probes"][0]["int8_logits"][0] = json!(9.5));
    // Weights that differ from the manifest; probes with other logits; no probes; no manifest.
    let hash = with_other(&|manifest| {
        let files = manifest["files"].as_array_mut().expect("files");
        files
            .iter_mut()
            .find(|file| file["path"] == WEIGHTS)
            .expect("weights")["sha256"] = json!("0".repeat(64));
    });
    let none = with_other(&|manifest| manifest["probes"] = json!([]));
    let whole = (0, scene.size());
    let cases = [
        (hash.as_str(), "downloaded again", vec![whole, whole]),
        (differing.as_str(), "computes other logits", vec![]),
        (none.as_str(), "no probes", vec![]),
        ("?", "not a manifest", vec![]),
    ];
    for (newer, why, sent) in cases {
        scene
            .hub
            .commit(Kind::Model, REPO, &[("starsight.json", newer.as_bytes())]);
        let update = load(&browser, with(scene.wish(), json!({ "update": true }))).await;
        assert_eq!(
            (&update["error"], &update["info"]["kept"]),
            (&Value::Null, &json!(true)),
            "{why}: {update}"
        );
        let notices = update["notices"].to_string();
        assert!(notices.contains(why), "{why}: {notices}");
        assert_eq!(scene.weights_sent(), sent, "{why}");
        // The cached model is intact and loads without the Hub.
        scene.hub.fail(1000, "GET", "", 500);
        let kept = load(&browser, scene.wish()).await;
        assert_eq!(
            (&kept["error"], &kept["notices"], &kept["info"]["kept"]),
            (&Value::Null, &json!([]), &json!(true)),
            "{why}: {kept}"
        );
        scene.hub.forget_faults();
        scene.hub.take_traffic();
    }
    // Without a cached model this one is refused. Only its intact files stay in the cache.
    scene.hub.commit(
        Kind::Model,
        REPO,
        &[("starsight.json", differing.as_bytes())],
    );
    forget(&browser).await;
    for sent in [vec![whole], vec![]] {
        let refused = load(&browser, scene.wish()).await;
        assert!(
            refused["error"]
                .as_str()
                .is_some_and(|error| error.starts_with("BundleError")
                    && error.contains("computes other logits")),
            "{refused}"
        );
        assert_eq!(scene.weights_sent(), sent);
    }
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_does_not_come_is_asked_for_again() {
    let scene = Scene::new(&[]).await;
    let browser = page(&scene.address).await;
    // Shortens the worker's timeout of 30 seconds to 2, which is long enough for an answer that
    // does come.
    let hasten = "const Real = Blob;
        const hasty = 'const Timer = setTimeout; globalThis.setTimeout = (task, wait) => Timer(task, wait === 30000 ? 2000 : wait);';
        globalThis.Blob = class extends Real {
            constructor(parts, options) { super(options?.type === 'text/javascript' ? [hasty, ...parts] : parts, options); }
        }";
    browser.call(hasten, Value::Null).await;
    scene.hub.fail(1, "GET", "/api/models/", 503);
    scene
        .hub
        .spoil(1, "GET", "/starsight.json", Fault::Stall(10));
    let loaded = load(&browser, scene.wish()).await;
    assert_eq!(
        (&loaded["error"], &loaded["notices"]),
        (&Value::Null, &json!([])),
        "{loaded}"
    );
    let asked = |part: &str| {
        scene
            .hub
            .traffic()
            .iter()
            .filter(|request| request.method == "GET" && request.path.contains(part))
            .count()
    };
    // The second request for the manifest counts as two: Chromium has cached the first 10 bytes,
    // requests one more (`bytes=10-10`), and then the rest.
    assert_eq!((asked("/api/models/"), asked("/starsight.json")), (2, 3));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_storage_is_full_the_model_is_fetched_into_memory_and_no_half_of_it_stays() {
    const QUOTA: u64 = 24 << 20;
    let scene = Scene::new(&[]).await;
    let browser = page(&scene.address).await;
    browser
        .chromium(
            "Storage.overrideQuotaForOrigin",
            json!({ "origin": scene.address, "quotaSize": QUOTA }),
        )
        .await;
    // Another part of the site fills the storage, leaving less than the weights need.
    let fill = "const root = await navigator.storage.getDirectory();
        const writable = await (await root.getFileHandle('ballast', { create: true })).createWritable();
        const { usage } = await navigator.storage.estimate();
        await writable.write(new Uint8Array(args - usage));
        await writable.close();
        return (await navigator.storage.estimate()).usage";
    let used = browser.call(fill, json!(QUOTA - scene.size() / 2)).await;
    assert!(
        used.as_u64()
            .is_some_and(|used| QUOTA - used < scene.size()),
        "{used}"
    );

    let names = "const root = await navigator.storage.getDirectory();
        const home = await root.getDirectoryHandle('starsight');
        const found = [];
        for await (const handle of (await home.getDirectoryHandle('files')).values()) {
            const bytes = await (await handle.getFile()).arrayBuffer();
            const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
            found.push(handle.name === Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join(''));
        }
        const models = [];
        for await (const name of (await home.getDirectoryHandle('models')).keys()) models.push(name);
        return { whole: found.every(Boolean), models: models.length }";
    for workers in [1, 2] {
        let full = load(&browser, with(scene.wish(), json!({ "workers": workers }))).await;
        assert_eq!(
            (&full["error"], &full["info"]["kept"]),
            (&Value::Null, &json!(false)),
            "{full}"
        );
        assert!(
            matches!(full["notices"].as_array().expect("notices").as_slice(), [notice] if notice.as_str().is_some_and(|n| n.contains("no space left"))),
            "{full}"
        );
        assert_eq!(
            scene.weights_sent(),
            [(0, scene.size())],
            "fetched once, for however many workers"
        );
        assert_eq!(
            browser.call(names, Value::Null).await,
            json!({ "whole": true, "models": 0 })
        );
    }

    // With enough room the model is cached again.
    browser
        .call(
            "await (await navigator.storage.getDirectory()).removeEntry('ballast')",
            Value::Null,
        )
        .await;
    assert_eq!(load(&browser, scene.wish()).await["notices"], json!([]));
    assert_eq!(
        load(&browser, scene.wish()).await["info"]["kept"],
        json!(true)
    );
    assert_eq!(
        browser.call(names, Value::Null).await,
        json!({ "whole": true, "models": 1 })
    );
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_fetch_once() {
    // Sends half of the file, and the rest once the second tab waits.
    static SECOND_WAITS: AtomicBool = AtomicBool::new(false);
    let scene = Scene::new(&[]).await;
    let browser = page(&scene.address).await;
    scene
        .hub
        .spoil(1, "GET", "/lfs/", Fault::Held(&SECOND_WAITS));
    let begin = "const { load } = await import('./starsight.js'); window.phases = []; const onProgress = ({ phase }) => window.phases.push(phase);
        window.loading = load({ ...args, onProgress }).then(async (rater) => (await rater.rate(['great app, love it'])).ratings[0].stars)";
    browser.call(begin, scene.wish()).await;
    // Wait until the first tab holds the lock: a tab in the background is slow, and the first might
    // otherwise wait for the second.
    let fetches = format!(
        "return navigator.locks.query().then(({{ held }}) => held.some(({{ name }}) => name === 'starsight {}') || null)",
        scene.sha256()
    );
    browser.until("the first tab fetches", &fetches).await;
    let first = browser.client.window().await.expect("a tab");
    let second = browser
        .client
        .new_window(true)
        .await
        .expect("another tab")
        .handle;
    browser
        .client
        .switch_to_window(second)
        .await
        .expect("a tab");
    browser
        .client
        .goto(&format!("{}/blank.html", scene.address))
        .await
        .expect("the page");
    browser.call(begin, scene.wish()).await;
    browser
        .until("the wait", "return phases.includes('wait') || null")
        .await;
    SECOND_WAITS.store(true, Ordering::Relaxed);
    let answer = "return await window.loading";
    let waited = browser.call(answer, Value::Null).await;
    browser.client.switch_to_window(first).await.expect("a tab");
    let fetched = browser.call(answer, Value::Null).await;
    assert_eq!(waited, fetched);
    assert_eq!(scene.weights_sent(), [(0, scene.size())]);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_two_tabs_find_is_mended_once() {
    let scene = Scene::new(&[]).await;
    let browser = page(&scene.address).await;
    assert_eq!(load(&browser, scene.wish()).await["error"], Value::Null);
    // Hold the lock until both tabs have read the damaged file.
    let sha256 = browser
        .call(&format!("{DAMAGE} return largest.name"), Value::Null)
        .await;
    let hold = "await new Promise((held) => navigator.locks.request(`starsight ${args}`, () => new Promise((release) => { window.release = release; held(); })))";
    browser.call(hold, sha256).await;
    scene.weights_sent();
    let begin = "const { load } = await import('./starsight.js'); window.phases = []; window.notices = [];
        const options = { ...args, onProgress: ({ phase }) => window.phases.push(phase), onNotice: (notice) => window.notices.push(notice) };
        window.loading = load(options).then(async (rater) => (await rater.rate(['great app, love it'])).ratings[0].stars)";
    let waits = "return window.phases.includes('wait') || null";
    browser.call(begin, scene.wish()).await;
    browser.until("the first tab waits", waits).await;
    let first = browser.client.window().await.expect("a tab");
    let second = browser
        .client
        .new_window(true)
        .await
        .expect("another tab")
        .handle;
    browser
        .client
        .switch_to_window(second.clone())
        .await
        .expect("a tab");
    browser
        .client
        .goto(&format!("{}/blank.html", scene.address))
        .await
        .expect("the page");
    browser.call(begin, scene.wish()).await;
    browser.until("the second tab waits", waits).await;
    let answer = "return [await window.loading, window.notices.length]";
    browser.client.switch_to_window(first).await.expect("a tab");
    browser.call("window.release()", Value::Null).await;
    let mended = browser.call(answer, Value::Null).await;
    browser
        .client
        .switch_to_window(second)
        .await
        .expect("a tab");
    assert_eq!(browser.call(answer, Value::Null).await, mended);
    assert_eq!(scene.weights_sent(), [(0, scene.size())]);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_takes_anothers_place_loads_the_same_version_even_when_nothing_is_kept_any_more()
 {
    let scene = Scene::new(&["--private"]).await;
    let browser = page(&scene.address).await;
    let begin = "const Real = Worker; window.workers = [];
        globalThis.Worker = class extends Real { constructor(...all) { super(...all); window.workers.push(this); } };
        const { load } = await import('./starsight.js');
        window.rater = await load({ ...args, workers: 2 });
        return rater.info.source";
    let options = with(scene.wish(), json!({ "token": TOKEN }));
    let source = browser.call(begin, options).await;
    forget(&browser).await;
    scene
        .hub
        .commit(Kind::Model, REPO, &[("starsight.json", b"{}".as_slice())]);
    scene.hub.take_traffic();
    let replace = "const before = workers.length;
        workers[0].terminate();
        workers[0].dispatchEvent(new ErrorEvent('error', { message: 'killed by the test' }));
        let count = 0;
        for (let waited = 0; waited < 100 && count < 2; waited += 1) {
            await new Promise((resolve) => setTimeout(resolve, 100));
            count = (await rater.rate(['great app, love it'])).stats.workers;
        }
        rater.free();
        return [count, workers.length - before]";
    assert_eq!(browser.call(replace, Value::Null).await, json!([2, 1]));
    let requests = scene.hub.take_traffic();
    let gets = || requests.iter().filter(|request| request.method == "GET");
    let base = source
        .as_str()
        .and_then(|source| source.strip_prefix(&scene.hub.endpoint()))
        .expect("a place on the Hub");
    let pinned = |request: &Traffic| request.authorized && request.path.starts_with(base);
    assert!(
        gets().any(is_weights) && gets().filter(|request| !is_weights(request)).all(pinned),
        "{source}: {requests:?}"
    );
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_a_private_model_and_goes_to_the_hub_alone() {
    let scene = Scene::new(&["--private"]).await;
    let browser = page(&scene.address).await;
    let closed = load(&browser, scene.wish()).await;
    assert!(
        closed["error"]
            .as_str()
            .is_some_and(|error| error.contains("401") && error.contains("not public")),
        "{closed}"
    );
    let wrong = load(
        &browser,
        with(scene.wish(), json!({ "token": "two words" })),
    )
    .await;
    assert!(
        wrong["error"]
            .as_str()
            .is_some_and(|error| error.starts_with("TypeError") && !error.contains("two words")),
        "{wrong}"
    );
    scene.hub.take_traffic();
    let open = load(&browser, with(scene.wish(), json!({ "token": TOKEN }))).await;
    assert_eq!(open["error"], Value::Null, "{open}");
    let requests = scene.hub.take_traffic();
    let gets = || requests.iter().filter(|request| request.method == "GET");
    assert!(gets().any(is_weights) && gets().any(|request| !is_weights(request)));
    for request in gets() {
        assert_eq!(request.authorized, !is_weights(request), "{request:?}");
    }
    let stored = "const root = await navigator.storage.getDirectory();
        const models = await (await root.getDirectoryHandle('starsight')).getDirectoryHandle('models');
        let all = '';
        for await (const handle of models.values()) all += await (await handle.getFile()).text();
        return [all.length > 0, all.includes(args), JSON.stringify({ ...localStorage, ...sessionStorage }).includes(args), location.href.includes(args)]";
    assert_eq!(
        browser.call(stored, json!(TOKEN)).await,
        json!([true, false, false, false])
    );
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_takes_a_typed_token_and_deletes_what_is_kept() {
    let scene = Scene::new(&["--private"]).await;
    let browser = Browser::open().await;
    browser
        .client
        .goto(&format!(
            "{}/?model={REPO}&endpoint={}",
            scene.address,
            scene.hub.endpoint()
        ))
        .await
        .expect("the page");
    browser
        .until(
            "a refusal",
            "return document.querySelector('main')?.dataset.state === 'failed' || null",
        )
        .await;
    browser.type_into("#token", TOKEN).await;
    browser
        .client
        .execute(
            "document.querySelector('.strip__token').requestSubmit()",
            vec![],
        )
        .await
        .expect("a script");
    browser.ready().await;
    let address = browser.client.current_url().await.expect("an address");
    assert!(!address.as_str().contains(TOKEN), "{address}");

    browser.show("model").await;
    let listed = browser
        .until(
            "the kept model",
            "return document.querySelector('#kept')?.textContent ?? null",
        )
        .await;
    assert!(
        listed.as_str().is_some_and(
            |text| text.contains("1 model") && text.contains(&format!("{REPO} @ main"))
        ),
        "{listed}"
    );
    browser
        .client
        .execute("document.querySelector('#kept').open = true; document.querySelector('#kept .kept__model button').click()", vec![])
        .await
        .expect("a script");
    browser
        .until(
            "nothing kept",
            "return document.querySelector('#kept') ? null : true",
        )
        .await;
    // The loaded model still rates.
    browser.show("one").await;
    browser.type_into("#review", REVIEWS[0]).await;
    browser
        .until(
            "a rating",
            "return document.querySelector('#verdict').dataset.stars || null",
        )
        .await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_site_may_use_the_module_even_without_storage() {
    let scene = Scene::new(&[]).await;
    let site = scene.dir.path().join("site");
    let (module, page) = (host(&site).await, host(Path::new("/nowhere")).await);
    let browser = Browser::open().await;
    // A worker's script starts from a blob that the page builds once for all workers. There the
    // test disables its storage.
    let run = "const Real = Blob;
        globalThis.Blob = class extends Real {
            constructor(parts, options) {
                const denied = 'navigator.storage.getDirectory = () => Promise.reject(new Error(`denied`));';
                super(args.deny && options?.type === 'text/javascript' ? [...parts, denied] : parts, options);
            }
        };
        const { load } = await import(args.module + '/starsight.js');
        const rater = await load({ model: args.module + '/model/', workers: 2 });
        const { ratings, stats } = await rater.rate(args.texts);
        rater.free();
        globalThis.Blob = Real;
        return { ratings, workers: stats.workers, kept: rater.info.kept }";
    let wanted = native(scene.dir.path());
    for (deny, kept) in [(true, false), (true, false), (false, false), (false, true)] {
        browser.client.goto(&page).await.expect("another site");
        let found = browser
            .call(
                run,
                json!({ "module": module, "texts": REVIEWS, "deny": deny }),
            )
            .await;
        assert_eq!(
            (&found["workers"], &found["kept"]),
            (&json!(2), &json!(kept)),
            "denied: {deny}"
        );
        for (rating, wanted) in found["ratings"]
            .as_array()
            .expect("ratings")
            .iter()
            .zip(&wanted)
        {
            assert_eq!(rating["stars"], wanted["stars"]);
        }
    }
    browser.close().await;
}
