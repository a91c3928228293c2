//! Several workers: shared work, one that dies, others that come when there is much to do, and calls that are cancelled.

use serde_json::{Value, json};

use crate::common::{good, trained};
use crate::scene::{Browser, Process, serve};

/// The page of a small model, with `workers`: all that were started.
async fn page() -> (Browser, Process, tempfile::TempDir) {
    let dir = trained();
    good(dir.path(), &["site", "--model", "model", "--out", "site"]);
    let (server, address) = serve(&dir.path().join("site"));
    let browser = Browser::open().await;
    browser.client.goto(&address).await.expect("the page");
    browser.ready().await;
    let watch = "const Real = Worker; window.workers = [];
        globalThis.Worker = class extends Real {
            constructor(...all) { super(...all); window.workers.push(this); this.live = true; }
            terminate() { this.live = false; super.terminate(); }
        };
        window.texts = Array.from({ length: 6000 }, (_, i) => ['great app, love it', 'terrible, crashes all day', 'it is okay'][i % 3] + ' really'.repeat(i % 7))";
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
    assert_eq!((&found["same"], &found["once"], &found["killed"]), (&json!(true), &json!(true), &json!(true)), "{found}");
    assert_eq!((&found["started"], &found["workers"], &found["live"]), (&json!(3), &json!(2), &json!(0)), "{found}");
    assert!(found["notices"][0].as_str().is_some_and(|notice| notice.contains("replaced") && notice.contains("killed by the test")), "{found}");

    // What breaks every worker that rates it is given up, with an error, and not tried for ever.
    let run = "const { load } = await import('./starsight.js');
        const rater = await load({ workers: 1 });
        const Real = globalThis.Worker;
        const break_ = (worker) => setTimeout(() => { worker.terminate(); worker.dispatchEvent(new ErrorEvent('error', { message: 'broken again' })); });
        globalThis.Worker = class extends Real {
            postMessage(message) { super.postMessage(message); if (message.type === 'rate') break_(this); }
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
async fn one_worker_begins_and_others_come_when_there_is_much_to_do() {
    let (browser, _server, _dir) = page().await;
    let run = "Object.defineProperty(navigator, 'hardwareConcurrency', { value: args.cores, configurable: true });
        Object.defineProperty(navigator, 'userAgentData', { value: { mobile: args.phone }, configurable: true });
        const { load } = await import('./starsight.js');
        const before = workers.length;
        const rater = await load();
        const loaded = workers.length - before;
        const stop = new AbortController();
        const long = 'good but needs work, really really '.repeat(30);
        const rated = rater.rate(Array(40_000).fill(long), { signal: stop.signal }).catch((error) => error.name);
        for (let i = 0; i < 60 && workers.length - before < 2; i += 1) await new Promise((resolve) => setTimeout(resolve, 100));
        const working = workers.length - before;
        stop.abort();
        const ended = await rated;
        const after = (await rater.rate(['great app, love it'])).ratings[0].stars;
        rater.free();
        return { loaded, working, ended, after }";
    let found = browser.call(run, json!({ "cores": 3, "phone": false })).await;
    assert_eq!(found, json!({ "loaded": 1, "working": 2, "ended": "AbortError", "after": found["after"] }));
    // Not on two cores, of which the page has one; nor on a phone.
    for (cores, phone) in [(2, false), (8, true)] {
        let found = browser.call(run, json!({ "cores": cores, "phone": phone })).await;
        assert_eq!((&found["loaded"], &found["working"]), (&json!(1), &json!(1)), "{cores} cores: {found}");
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
        rater.free();
        return { rows, heard, wrong, none, stopped }";
    let found = browser.call(run, Value::Null).await;
    let rows = found["rows"].as_array().expect("rows");
    let ways: Vec<_> = rows.iter().map(|row| (row["batch"].clone(), row["lag"].clone())).collect();
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
        assert!(0.0 < rate("slowest") && rate("slowest") <= rate("samplesPerSecond") && rate("samplesPerSecond") <= rate("fastest"), "{row}");
        assert!(rate("tokensPerSecond") > rate("samplesPerSecond"), "{row}");
        let lag = rate("lag");
        // No more than the lag leaves room for.
        assert!(lag == 0.0 || rate("fastest") <= row["batch"].as_f64().expect("a number") * 1000.0 / lag, "{row}");
    }
    assert_eq!(found["heard"], json!([1, 32, 64, "all", 1, 32]));
    assert!(found["wrong"].as_str().is_some_and(|error| error.starts_with("RangeError") && error.contains("0")), "{found}");
    assert_eq!((&found["none"], &found["stopped"]), (&json!("RangeError"), &json!("AbortError")));
    browser.close().await;
}
