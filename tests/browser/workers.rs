//! Several workers: sharing work, replacing one that dies, adding more for large tasks, and
//! cancelling calls.

use serde_json::{Value, json};

use crate::common::{good, trained, words};
use crate::scene::{Browser, Process, serve};

/// Largest compressed size of a build of the engine, in bytes.
const LARGEST_ENGINE: u64 = 1_500_000;

/// The page of a small model, with `workers`: all workers that were started.
async fn page() -> (Browser, Process, tempfile::TempDir) {
    let dir = trained();
    good(dir.path(), &words("site --model model --out site"));
    let (server, address) = serve(&dir.path().join("site"));
    let browser = Browser::open().await;
    browser.client.goto(&address).await.expect("the page");
    browser.ready().await;
    let watch = "const Real = Worker; window.workers = [];
        globalThis.Worker = class extends Real {
            constructor(...all) { super(...all); window.workers.push(this); this.live = true; }
            terminate() { this.live = false; super.terminate(); }
        };
        // No two the same: those would be rated once.
        window.bits = (i) => Array.from({ length: 16 }, (_, bit) => ((i >> bit) & 1 ? ' good' : ' bad')).join('');
        window.texts = Array.from({ length: 6000 }, (_, i) => ['great app, love it', 'terrible, crashes all day', 'it is okay'][i % 3] + bits(i))";
    browser.call(watch, Value::Null).await;
    (browser, server, dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_is_replaced_and_nothing_is_lost_or_rated_twice() {
    let (browser, _server, _dir) = page().await;
    let run = "const { load } = await import('./starsight.js');
        const notices = [];
        const rater = await load({ workers: 2, onNotice: (notice) => notices.push(notice) });
        const wanted = (await rater.rate(texts)).ratings;
        const times = new Uint32Array(texts.length);
        let killed = false;
        const kill = () => {
            // As a browser ends a worker that ran out of memory.
            workers[0].terminate();
            workers[0].dispatchEvent(new ErrorEvent('error', { message: 'killed by the test' }));
        };
        const { ratings, stats } = await rater.rate(texts, {
            onRatings({ indices }) {
                indices.forEach((index) => (times[index] += 1));
                if (!killed && times.some((count) => count > 0)) { killed = true; kill(); }
            },
        });
        const again = await rater.rate(texts.slice(0, 10));
        const started = workers.length;
        rater.free();
        return {
            same: JSON.stringify(ratings) === JSON.stringify(wanted), once: times.every((count) => count === 1), killed, started, notices,
            workers: again.stats.workers, samples: stats.samples, live: workers.filter((worker) => worker.live).length,
        }";
    let found = browser.call(run, Value::Null).await;
    assert_eq!(
        (&found["same"], &found["once"], &found["killed"]),
        (&json!(true), &json!(true), &json!(true)),
        "{found}"
    );
    assert_eq!(
        (&found["started"], &found["workers"], &found["live"]),
        (&json!(3), &json!(2), &json!(0)),
        "{found}"
    );
    assert!(
        found["notices"][0].as_str().is_some_and(
            |notice| notice.contains("replaced") && notice.contains("killed by the test")
        ),
        "{found}"
    );

    // A review that breaks every worker is given up with an error, and not retried for ever.
    let run = "const { load } = await import('./starsight.js');
        const rater = await load({ workers: 1 });
        const Real = globalThis.Worker;
        // It never hears of the review, or it might have rated it by then.
        const break_ = (worker) => setTimeout(() => { worker.terminate(); worker.dispatchEvent(new ErrorEvent('error', { message: 'broken again' })); });
        globalThis.Worker = class extends Real {
            postMessage(message) { if (message.type === 'rate') break_(this); else super.postMessage(message); }
        };
        const last = workers.at(-1);
        last.postMessage = function (message) { if (message.type === 'rate') break_(last); };
        const error = await rater.rate(['poison']).catch((error) => error);
        globalThis.Worker = Real;
        rater.free();
        return `${error.name}: ${error.message}`";
    let error = browser.call(run, Value::Null).await;
    assert!(error.as_str().is_some_and(|error| error.starts_with("EngineError") && error.contains("broken again")), "{error}");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_or_a_want_of_memory_ends_a_worker_and_its_reviews_are_rated_again() {
    let (browser, _server, _dir) = page().await;
    // Throws while the engine takes a text, as a trap does: what the engine had borrowed stays
    // borrowed. The test adds code at the beginning of the worker's script, which the page holds in
    // memory.
    let run = "const trap = `addEventListener('message', ({ data }) => {
            const thrown = { trap: () => new WebAssembly.RuntimeError('unreachable'), memory: () => new RangeError('allocation failed') }[data.fault];
            if (thrown) Object.defineProperty(data.texts, 0, { get() { throw thrown(); } });
        });`;
        const RealBlob = Blob;
        globalThis.Blob = class extends RealBlob {
            constructor(parts, options) { super(options?.type === 'text/javascript' ? [trap, ...parts] : parts, options); }
        };
        const { load } = await import('./starsight.js?trapped');
        const notices = [];
        const rater = await load({ workers: 2, onNotice: (notice) => notices.push(notice) });
        const wanted = JSON.stringify((await rater.rate(texts)).ratings);
        const same = [];
        for (const fault of ['trap', 'memory']) {
            let once = fault;
            for (const worker of workers) worker.postMessage = function (message) {
                Worker.prototype.postMessage.call(this, message.type === 'rate' && once ? { ...message, fault: once } : message);
                if (message.type === 'rate') once = undefined;
            };
            same.push(JSON.stringify((await rater.rate(texts)).ratings) === wanted);
        }
        const live = workers.filter((worker) => worker.live).length;
        rater.free();
        globalThis.Blob = RealBlob;
        return { same, notices, started: workers.length, live }";
    let found = browser.call(run, Value::Null).await;
    assert_eq!(
        (&found["same"], &found["started"], &found["live"]),
        (&json!([true, true]), &json!(4), &json!(2)),
        "{found}"
    );
    for (notice, why) in [(0, "unreachable"), (1, "allocation failed")] {
        let notice = found["notices"][notice].as_str().unwrap_or_default();
        assert!(
            ["replaced", "out of memory", why]
                .iter()
                .all(|part| notice.contains(part)),
            "{found}"
        );
    }
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_listener_throws_leaves_no_call_open_and_a_worker_that_is_not_needed_ends() {
    let (browser, _server, _dir) = page().await;
    let run = "const { load } = await import('./starsight.js');
        const kill = () => {
            const worker = workers.findLast((worker) => worker.live);
            worker.terminate();
            worker.dispatchEvent(new ErrorEvent('error', { message: 'killed by the test' }));
        };
        const rater = await load({ workers: 1, onNotice() { throw new Error('of the notice'); } });
        let killed = false;
        const onRatings = () => { if (!killed) { killed = true; kill(); } };
        const { ratings } = await rater.rate(texts, { onRatings });
        killed = false;
        let most = 0;
        const onProgress = ({ tokenised }) => {
            // The dead worker's reviews are not tokenised any more.
            if (tokenised < most) throw new Error('of the progress');
            most = tokenised;
        };
        const thrown = await rater.rate(texts, { onRatings, onProgress }).catch((error) => error.message);
        const after = (await rater.rate(['great app, love it'])).ratings.length;
        rater.free();

        // One of two is to end while it has work, and that work is cancelled.
        const pair = await load({ workers: 2 });
        const stop = new AbortController();
        const long = pair.rate(texts, { signal: stop.signal }).catch((error) => error.name);
        const measured = pair.bench(texts.slice(0, 8), { workers: [1], batches: [8], lags: [], repeats: 1 });
        stop.abort();
        const ended = await long;
        const rows = await measured;
        const live = workers.filter((worker) => worker.live).length;
        pair.free();
        return { rated: ratings.filter(Boolean).length, thrown, after, ended, workers: rows[0].workers, live }";
    let found = browser.call(run, Value::Null).await;
    let wanted = json!({ "rated": 6000, "thrown": "of the progress", "after": 1, "ended": "AbortError", "workers": 1, "live": 2 });
    assert_eq!(found, wanted);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_builds_of_the_engine_are_small_and_their_kernels_give_the_sums_of_the_reference() {
    let (browser, _server, dir) = page().await;
    let run = "const { load } = await import('./starsight.js');
        const rater = await load({ workers: 1, relaxedSimd: args });
        const worker = workers.at(-1);
        const kernels = await new Promise((resolve) => {
            worker.addEventListener('message', ({ data }) => data.type === 'checked' && resolve(data.kernels));
            worker.postMessage({ type: 'check', id: -1 });
        });
        rater.free();
        return kernels";
    assert_eq!(
        browser.call(run, json!(true)).await,
        "relaxed SIMD, relaxed SIMD in runs, SIMD, portable"
    );
    assert_eq!(browser.call(run, json!(false)).await, "SIMD, portable");
    for module in [
        "starsight_worker_bg.wasm.br",
        "starsight_worker_relaxed_bg.wasm.br",
    ] {
        let size = std::fs::metadata(dir.path().join("site/engine").join(module))
            .expect("packed")
            .len();
        assert!(size < LARGEST_ENGINE, "{module}: {size} bytes");
    }
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_begins_and_others_come_when_there_is_much_to_do() {
    let (browser, _server, _dir) = page().await;
    let run = "const of = ([name, value]) => Object.defineProperty(navigator, name, { value: value ?? undefined, configurable: true });
        Object.entries(args.navigator).forEach(of);
        const { load } = await import('./starsight.js');
        const before = workers.length;
        const rater = await load();
        const loaded = workers.length - before;
        const stop = new AbortController();
        const long = 'good but needs work, really really '.repeat(30);
        const rated = rater.rate(Array.from({ length: 40_000 }, (_, i) => long + bits(i)), { signal: stop.signal }).catch((error) => error.name);
        for (let i = 0; i < args.rounds && workers.length - before < 2; i += 1) await new Promise((resolve) => setTimeout(resolve, 100));
        const working = workers.length - before;
        stop.abort();
        const ended = await rated;
        const after = (await rater.rate(['great app, love it'])).ratings[0].stars;
        rater.free();
        return { loaded, working, ended, after }";
    let found = browser.call(run, json!({ "navigator": { "hardwareConcurrency": 3, "userAgentData": { "mobile": false } }, "rounds": 150 })).await;
    assert_eq!(
        found,
        json!({ "loaded": 1, "working": 2, "ended": "AbortError", "after": found["after"] })
    );
    // No second worker on two cores, of which the page uses one; nor on a phone, nor on a device
    // that claims to be a Mac but has a touch screen.
    let pad = json!({ "hardwareConcurrency": 8, "userAgentData": null, "userAgent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)", "maxTouchPoints": 5 });
    for device in [
        json!({ "hardwareConcurrency": 2 }),
        json!({ "hardwareConcurrency": 8, "userAgentData": { "mobile": true } }),
        pad,
    ] {
        let found = browser
            .call(run, json!({ "navigator": device, "rounds": 25 }))
            .await;
        assert_eq!(
            (&found["loaded"], &found["working"]),
            (&json!(1), &json!(1)),
            "{device}: {found}"
        );
    }
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_worker_is_kept_if_all_together_are_faster_and_only_then() {
    let (browser, _server, _dir) = page().await;
    // Each batch takes the time set here, the first one much longer. With one core, several workers
    // take turns and slow each other down.
    let run = "Object.defineProperty(navigator, 'hardwareConcurrency', { value: 3, configurable: true });
        const core = { free: Promise.resolve() };
        let first = true;
        const Watched = Worker;
        globalThis.Worker = class extends Watched {
            set onmessage(hear) {
                const mine = args.cores === 1 ? core : { free: Promise.resolve() };
                let heard = Promise.resolve();
                const compute = async () => {
                    const takes = first ? 1000 : args.cores === 1 && live() > 1 ? 180 : 60;
                    first = false;
                    await new Promise((resolve) => setTimeout(resolve, takes));
                };
                super.onmessage = (event) => {
                    heard = heard.then(async () => {
                        if (event.data.type === 'ratings') await (mine.free = mine.free.then(compute));
                        hear(event);
                    });
                };
            }
        };
        const { load } = await import('./starsight.js');
        const before = workers.length;
        const live = () => workers.slice(before).filter((worker) => worker.live).length;
        const rater = await load();
        const stop = new AbortController();
        const rated = rater.rate(Array.from({ length: 40_000 }, (_, i) => 'good but needs work, really really '.repeat(10) + bits(i)), { signal: stop.signal }).catch((error) => error.name);
        let most = 0;
        for (let i = 0; i < 150 && (most < 2 || live() !== args.cores); i += 1) {
            await new Promise((resolve) => setTimeout(resolve, 100));
            most = Math.max(most, live());
        }
        const end = live();
        stop.abort();
        await rated;
        rater.free();
        globalThis.Worker = Watched;
        return { most, end }";
    for cores in [1, 2] {
        assert_eq!(
            browser.call(run, json!({ "cores": cores })).await,
            json!({ "most": 2, "end": cores })
        );
    }
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn throughput_is_measured_in_the_ways_of_the_notebook() {
    let (browser, _server, _dir) = page().await;
    let run = "const { load } = await import('./starsight.js');
        const rater = await load();
        const heard = [];
        const rows = await rater.bench(texts.slice(0, 64), { repeats: 3, onRow: (row) => heard.push(row.batch) });
        const wrong = await rater.bench(texts, { batches: [0] }).catch((error) => `${error.name}: ${error.message}`);
        const none = await rater.bench([]).catch((error) => error.name);
        const stop = new AbortController();
        stop.abort();
        const stopped = await rater.bench(texts, { signal: stop.signal }).catch((error) => error.name);
        // A benchmark computes what repeats, which rating does once: in how many packed batches?
        let batches = 0;
        workers.at(-1).addEventListener('message', ({ data }) => { if (data.type === 'ratings') batches += 1; });
        const same = Array(600).fill(texts[0]);
        const { stats } = await rater.rate(same);
        const rated = { batches, samples: stats.samples, tokens: stats.tokens };
        batches = 0;
        await rater.bench(same, { batches: ['all'], lags: [], repeats: 1 });
        rater.free();
        return { rows, heard, wrong, none, stopped, rated, measured: batches }";
    let found = browser.call(run, Value::Null).await;
    let rows = found["rows"].as_array().expect("rows");
    let ways: Vec<_> = rows
        .iter()
        .map(|row| (row["batch"].clone(), row["lag"].clone()))
        .collect();
    let wanted = [
        (json!(1), json!(0)),
        (json!(32), json!(0)),
        (json!(64), json!(0)),
        (json!("all"), json!(0)),
        (json!(1), json!(20)),
        (json!(32), json!(500)),
    ];
    assert_eq!(ways, wanted);
    for row in rows {
        let rate = |name: &str| row[name].as_f64().expect("a rate");
        assert!(
            0.0 < rate("slowest")
                && rate("slowest") <= rate("samplesPerSecond")
                && rate("samplesPerSecond") <= rate("fastest"),
            "{row}"
        );
        assert!(rate("tokensPerSecond") > rate("samplesPerSecond"), "{row}");
        let lag = rate("lag");
        // The rate is not above what the lag allows.
        assert!(
            lag == 0.0
                || rate("fastest") <= row["batch"].as_f64().expect("a number") * 1000.0 / lag,
            "{row}"
        );
    }
    assert_eq!(found["heard"], json!([1, 32, 64, "all", 1, 32]));
    assert!(
        found["wrong"]
            .as_str()
            .is_some_and(|error| error.starts_with("RangeError") && error.contains('0')),
        "{found}"
    );
    assert_eq!(
        (&found["none"], &found["stopped"]),
        (&json!("RangeError"), &json!("AbortError"))
    );
    let number = |value: &Value| value.as_u64().expect("a number");
    let (rated, tokens) = (&found["rated"], number(&found["rated"]["tokens"]));
    // Rating packs each portion of the texts into one batch. The benchmark computes every text, in
    // batches of 512 tokens.
    assert_eq!(
        (&rated["samples"], tokens % 600),
        (&json!(600), 0),
        "{found}"
    );
    assert!(
        number(&rated["batches"]) < tokens / 1024 && number(&found["measured"]) >= tokens / 512,
        "{found}"
    );
    browser.close().await;
}
