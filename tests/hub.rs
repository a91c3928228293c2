//! Publishing to a Hub and fetching back, and what goes wrong on the way. The Hub is small, but real: it runs on loopback, and hf-hub talks to it.

mod loopback_hub;

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use loopback_hub::{Kind, LoopbackHub};
use starsight::{
    hub::{Event, Hub, RepoId, Settings, Token},
    verify,
};
use starsight_model::bundle::{self, FileEntry, MANIFEST, Manifest, Probe};

const TOKEN: &str = "hf_loopbackSecret";
const REPO: &str = "someone/reviews";

/// A Hub, a bundle to publish, and a cache to fetch into.
struct Scene {
    home: tempfile::TempDir,
    loopback: LoopbackHub,
    events: Arc<Mutex<Vec<String>>>,
}

impl Scene {
    fn new() -> Scene {
        let home = tempfile::tempdir().unwrap();
        let loopback = LoopbackHub::start(&home.path().join("hub"), 0, TOKEN).unwrap();
        let scene = Scene { home, loopback, events: Arc::default() };
        scene.write_bundle(b"these are weights");
        scene
    }

    fn bundle(&self) -> PathBuf {
        self.home.path().join("bundle")
    }

    fn cache(&self) -> PathBuf {
        self.home.path().join("cache")
    }

    fn write_bundle(&self, weights: &[u8]) {
        let vocabulary: String = (0..2000).map(|i| format!("piece{i}\n")).collect();
        let files: [(&str, &[u8]); 6] = [
            (bundle::CONFIG, br#"{"model_type":"distilbert"}"#),
            (bundle::WEIGHTS, weights),
            (bundle::TOKENIZER, br#"{"version":"1.0"}"#),
            (bundle::TOKENIZER_CONFIG, br#"{"do_lower_case":true}"#),
            (bundle::VOCAB, vocabulary.as_bytes()),
            (bundle::CARD, "---\nlicense: mit\n---\n# Rates reviews \u{2b50}\n".as_bytes()),
        ];
        fs::create_dir_all(self.bundle()).unwrap();
        for (name, content) in files {
            fs::write(self.bundle().join(name), content).unwrap();
        }
        let manifest = Manifest {
            format: bundle::FORMAT,
            name: "test".into(),
            files: files.map(|(name, content)| FileEntry::of(name, content)).to_vec(),
            probes: vec![Probe { text: "great".into(), logits: [0.0, 0.0, 0.0, 0.0, 1.0], int8_logits: None }],
            metrics: None,
            temperature: 1.0,
            provenance: serde_json::Value::Null,
        };
        fs::write(self.bundle().join(MANIFEST), serde_json::to_vec_pretty(&manifest).unwrap()).unwrap();
    }

    fn settings(&self) -> Settings {
        let events = self.events.clone();
        Settings {
            endpoint: Some(self.loopback.endpoint()),
            token: Some(Token::new(TOKEN, "test").unwrap()),
            cache: Some(self.cache()),
            offline: false,
            report: Some(Arc::new(move |event: Event<'_>| events.lock().unwrap().push(format!("{event:?}")))),
        }
    }

    fn hub(&self) -> Hub {
        Hub::with(self.settings()).unwrap()
    }

    fn publish(&self) -> anyhow::Result<starsight::hub::Published> {
        self.hub().publish(&self.bundle(), &repo(REPO), false, "Publish")
    }

    /// Everything that was said to whoever watched.
    fn said(&self) -> String {
        self.events.lock().unwrap().join("\n")
    }
}

impl Drop for Scene {
    /// In no test may the token show: not in an event, not in an address.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(!self.said().contains(TOKEN));
            assert!(!self.loopback.requests().iter().any(|request| request.contains(TOKEN)));
        }
    }
}

fn repo(text: &str) -> RepoId {
    text.parse().unwrap()
}

/// The message of an error as the program prints it.
fn message<T>(result: anyhow::Result<T>) -> String {
    let Err(error) = result else { panic!("it went well") };
    let text = format!("{error:#}");
    assert!(!text.contains(TOKEN) && !format!("{error:?}").contains(TOKEN), "the token shows");
    text
}

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

fn assert_same_files(folder: &Path, other: &Path) {
    let manifest = verify::bundle(folder).unwrap();
    for path in manifest.files.iter().map(|file| file.path.as_str()).chain([MANIFEST]) {
        assert_eq!(fs::read(folder.join(path)).unwrap(), fs::read(other.join(path)).unwrap(), "{path}");
    }
}

#[test]
fn a_bundle_is_published_in_one_commit_and_fetched_back() {
    let scene = Scene::new();
    let published = scene.publish().unwrap();
    assert_eq!(published.url, format!("{}/{REPO}", scene.loopback.endpoint()));
    assert_eq!(scene.loopback.commits(Kind::Model, REPO), 2, "the first, empty one, and ours");
    assert_eq!(scene.loopback.paths(Kind::Model, REPO).len(), 8, "seven files and .gitattributes");

    let snapshot = scene.hub().fetch_model(&repo(REPO)).unwrap();
    assert_eq!(snapshot.commit, published.commit);
    assert_eq!(snapshot.files.len(), 7);
    assert_same_files(&scene.bundle(), &snapshot.folder);
    assert_says(&scene.said(), &["Transfer"]);

    // What is in the cache is not fetched again, and a commit can be named.
    let downloads =
        |scene: &Scene| scene.loopback.requests().iter().filter(|request| request.starts_with("GET") && request.contains("/resolve/")).count();
    let before = downloads(&scene);
    let again = scene.hub().fetch_model(&repo(&format!("{REPO}@{}", published.commit))).unwrap();
    assert_eq!((again.folder, downloads(&scene)), (snapshot.folder, before));

    // A second version is a second commit; the first stays to be had.
    scene.write_bundle(b"better weights");
    let second = scene.publish().unwrap();
    assert_eq!(scene.loopback.commits(Kind::Model, REPO), 3);
    assert_same_files(&scene.bundle(), &scene.hub().fetch_model(&repo(REPO)).unwrap().folder);
    let first = scene.hub().fetch_model(&repo(&format!("{REPO}@{}", published.commit))).unwrap();
    assert_eq!(fs::read(first.folder.join(bundle::WEIGHTS)).unwrap(), b"these are weights");
    assert_ne!(first.commit, second.commit);
}

#[test]
fn large_weights_go_inline_where_the_hub_has_no_xet() {
    let scene = Scene::new();
    let weights: Vec<u8> = (0..90u32 << 18).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    scene.write_bundle(&weights);
    scene.publish().unwrap();
    assert_says(&scene.said(), &["does not take large files by Xet", "94.4 MB"]);
    assert_eq!(scene.loopback.commits(Kind::Model, REPO), 2);
    assert_same_files(&scene.bundle(), &scene.hub().fetch_model(&repo(REPO)).unwrap().folder);
}

#[test]
fn weights_too_large_for_that_are_refused_before_anything_is_sent() {
    let scene = Scene::new();
    let weights = fs::File::create(scene.bundle().join(bundle::WEIGHTS)).unwrap();
    weights.set_len((1 << 30) + 1).unwrap();
    let (size, sha256) = verify::hashed(&scene.bundle().join(bundle::WEIGHTS), &mut std::io::sink()).unwrap();
    let mut manifest = verify::manifest(&scene.bundle()).unwrap();
    manifest.files[1] = FileEntry { path: bundle::WEIGHTS.into(), size, sha256 };
    fs::write(scene.bundle().join(MANIFEST), serde_json::to_vec(&manifest).unwrap()).unwrap();
    assert_says(&message(scene.publish()), &["Xet", "1.1 GB", "hf upload"]);
    assert_eq!(scene.loopback.commits(Kind::Model, REPO), 1);
}

#[test]
fn a_bundle_that_is_not_what_it_says_is_not_published() {
    let scene = Scene::new();
    fs::write(scene.bundle().join(bundle::WEIGHTS), b"these are").unwrap();
    assert_says(&message(scene.publish()), &["model.safetensors: 9 bytes, but starsight.json says 17"]);
    assert_eq!(scene.loopback.requests(), Vec::<String>::new(), "the Hub was not asked");
    fs::remove_file(scene.bundle().join(MANIFEST)).unwrap();
    assert_says(&message(scene.publish()), &["is not a bundle: it holds no starsight.json"]);
}

#[test]
fn a_hub_that_refuses_is_quoted_and_left_as_it_was() {
    let scene = Scene::new();
    scene.publish().unwrap();
    scene.write_bundle(b"better weights");
    for (code, path, advice) in [
        (401, "/commit/", "valid one with write permission"),
        (403, "/commit/", "lacks write permission"),
        (403, "/api/models/", "someone"),
        (404, "/preupload/", "no such repository"),
        (409, "/commit/", "the branch moved"),
        (412, "/commit/", "the branch moved"),
        (418, "/commit/", "does not know"),
        (500, "/commit/", "try again later"),
        (503, "/revision/", "try again later"),
    ] {
        scene.loopback.fail(4, if path == "/commit/" || path == "/preupload/" { "POST" } else { "GET" }, path, code);
        let text = message(scene.publish());
        assert_says(&text, &["publishing to someone/reviews", &scene.loopback.endpoint(), &code.to_string(), "was told to answer so", advice]);
        scene.loopback.forget_faults();
        assert_eq!(scene.loopback.commits(Kind::Model, REPO), 2, "{code}");
        assert_eq!(scene.loopback.read(Kind::Model, REPO, bundle::WEIGHTS).unwrap(), b"these are weights");
    }
    scene.publish().expect("and it goes well when the Hub does");
}

#[test]
fn a_passing_fault_is_tried_again() {
    let scene = Scene::new();
    scene.loopback.fail(1, "POST", "/commit/", 503);
    scene.publish().unwrap();
    // Done, though the answer was lost: the second try meets the first one's commit.
    scene.write_bundle(b"better weights");
    scene.loopback.lose_answer("POST", "/commit/", 500);
    let published = scene.publish().unwrap();
    assert_eq!(scene.loopback.commits(Kind::Model, REPO), 3);
    assert_eq!(scene.hub().fetch_model(&repo(REPO)).unwrap().commit, published.commit);
}

#[test]
fn a_branch_that_moved_is_not_overwritten() {
    let scene = Arc::new(Scene::new());
    scene.publish().unwrap();
    scene.write_bundle(b"better weights");
    // Someone else commits after the branch was read, and before our commit arrives.
    let moved = Mutex::new(false);
    let other = scene.clone();
    let report = move |event: Event<'_>| {
        if matches!(event, Event::Transfer { .. }) && !std::mem::replace(&mut *moved.lock().unwrap(), true) {
            other.loopback.commit(Kind::Model, REPO, &[("notes.txt", b"by someone else")]);
        }
    };
    let hub = scene.hub().watched_by(Arc::new(report));
    assert_says(&message(hub.publish(&scene.bundle(), &repo(REPO), false, "Publish")), &["412", "the branch moved", "publish again"]);
    assert_eq!(scene.loopback.commits(Kind::Model, REPO), 3);
    assert_eq!(scene.loopback.read(Kind::Model, REPO, bundle::WEIGHTS).unwrap(), b"these are weights");
}

#[test]
fn who_may_do_what_is_said() {
    let scene = Scene::new();
    let stranger = || Hub::with(Settings { token: Some(Token::new("hf_other", "test").unwrap()), ..scene.settings() }).unwrap();
    assert_says(
        &message(stranger().publish(&scene.bundle(), &repo(REPO), false, "Publish")),
        &["401", "does not know the token", "write permission"],
    );
    assert_eq!(scene.loopback.commits(Kind::Model, REPO), 0);

    scene.hub().publish(&scene.bundle(), &repo("someone/secret"), true, "Publish").unwrap();
    assert_says(&message(stranger().fetch_model(&repo("someone/secret"))), &["fetching someone/secret", "401", "read permission"]);
    scene.hub().fetch_model(&repo("someone/secret")).unwrap();

    // What was to be private does not go to a public repository.
    scene.publish().unwrap();
    assert_says(&message(scene.hub().publish(&scene.bundle(), &repo(REPO), true, "Publish")), &["exists and is public"]);
    assert_eq!(scene.loopback.commits(Kind::Model, REPO), 2);
}

#[test]
fn a_hub_that_is_not_there_is_named() {
    let scene = Scene::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let hub = Hub::with(Settings { endpoint: Some(endpoint.clone()), ..scene.settings() }).unwrap();
    assert_says(&message(hub.publish(&scene.bundle(), &repo(REPO), false, "Publish")), &[&endpoint, "no connection", "refused"]);
    assert_says(&message(hub.fetch_model(&repo(REPO))), &[&endpoint, "no connection", "refused", "HF_HUB_OFFLINE=1"]);
}

#[test]
fn what_arrives_damaged_is_not_used() {
    let scene = Scene::new();
    scene.publish().unwrap();
    // hf-hub takes an error page for the file.
    scene.loopback.fail(1, "GET", "/model.safetensors", 404);
    let snapshot = scene.hub().fetch_model(&repo(REPO)).unwrap();
    assert_same_files(&scene.bundle(), &snapshot.folder);
    assert_says(&scene.said(), &["fetching again what arrived damaged", "model.safetensors"]);

    // A file that was damaged in the cache, at the same size.
    let cached = fs::canonicalize(snapshot.folder.join(bundle::WEIGHTS)).unwrap();
    fs::write(&cached, b"these are weighty").unwrap();
    assert_same_files(&scene.bundle(), &scene.hub().fetch_model(&repo(REPO)).unwrap().folder);

    // Damaged again and again: an error, and no bad file stays.
    fs::remove_dir_all(scene.cache()).unwrap();
    scene.loopback.fail(2, "GET", "/model.safetensors", 404);
    assert_says(&message(scene.hub().fetch_model(&repo(REPO))), &["damaged twice", "model.safetensors", "the Hub lists 17"]);
    assert_same_files(&scene.bundle(), &scene.hub().fetch_model(&repo(REPO)).unwrap().folder);
}

#[test]
fn a_fetch_that_is_refused_says_why() {
    let scene = Scene::new();
    assert_says(&message(scene.hub().fetch_model(&repo("someone/nothing"))), &["fetching someone/nothing", "404", "no such repository"]);
    scene.publish().unwrap();
    assert_says(&message(scene.hub().fetch_model(&repo(&format!("{REPO}@v9")))), &["404", "v9"]);
    for (code, advice) in [(403, "accept the repository's terms"), (429, "wait"), (500, "try again later")] {
        scene.loopback.fail(4, "GET", "/tree/", code);
        assert_says(&message(scene.hub().fetch_model(&repo(REPO))), &[&code.to_string(), advice]);
        scene.loopback.forget_faults();
    }
    scene.loopback.commit(Kind::Model, "someone/pickled", &[("config.json", b"{}"), ("pytorch_model.bin", b"\x80\x02")]);
    assert_says(&message(scene.hub().fetch_model(&repo("someone/pickled"))), &["no model.safetensors", "pytorch_model.bin", "pickle"]);
    // A bundle whose own manifest is wrong.
    scene.loopback.commit(Kind::Model, REPO, &[(bundle::CONFIG, b"{\"model_type\":\"distilbart\"}")]);
    assert_says(&message(scene.hub().fetch_model(&repo(REPO))), &["not what its own manifest says", "config.json: SHA-256"]);
}

#[test]
fn offline_the_cache_serves() {
    let scene = Scene::new();
    scene.publish().unwrap();
    let offline = || Hub::with(Settings { offline: true, ..scene.settings() }).unwrap();
    assert_says(&message(offline().fetch_model(&repo(REPO))), &["not in the cache", "HF_HUB_OFFLINE"]);
    let online = scene.hub().fetch_model(&repo(REPO)).unwrap();
    let requests = scene.loopback.requests().len();
    let snapshot = offline().fetch_model(&repo(REPO)).unwrap();
    assert_eq!((&snapshot.folder, &snapshot.commit), (&online.folder, &online.commit));
    assert_says(&message(offline().publish(&scene.bundle(), &repo(REPO), false, "Publish")), &["HF_HUB_OFFLINE"]);
    fs::remove_file(snapshot.folder.join(bundle::WEIGHTS)).unwrap();
    assert_says(&message(offline().fetch_model(&repo(REPO))), &["model.safetensors"]);
    assert_eq!(scene.loopback.requests().len(), requests, "the Hub was not asked");
}

#[test]
fn a_data_set_gives_its_data_files() {
    let scene = Scene::new();
    let id = "someone/app_reviews";
    scene.loopback.commit(
        Kind::Dataset,
        id,
        &[("README.md", b"# reviews"), ("data/b.parquet", b"PAR1b"), ("data/a[1].parquet", b"PAR1a"), ("extra.csv", b"review,star")],
    );
    let snapshot = scene.hub().fetch_dataset(&repo(id)).unwrap();
    let contents: Vec<_> = snapshot.files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert_eq!(contents, [b"PAR1a", b"PAR1b"]);
    let offline = Hub::with(Settings { offline: true, ..scene.settings() }).unwrap();
    assert_eq!(offline.fetch_dataset(&repo(id)).unwrap().files, snapshot.files);
    assert_says(&message(scene.hub().fetch_dataset(&repo(REPO))), &["404"]);
}
