//! Fetching: every named file in the cache is complete, and no file is fetched twice.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use starsight::hub::{Hub, RetryPolicy, Settings};
use starsight_model::bundle::{self, sha256_hex};

use crate::loopback_hub::{Fault, Kind, Traffic};
use crate::scene::{
    REPO, RETRY_POLICY, Scene, assert_same_files, assert_says, is_hubs, message, repo, to,
};

/// Size of the weights that these tests fetch, in bytes.
const SIZE: usize = 3 << 20;

/// A Hub with a bundle of large weights, and those weights.
fn published() -> (Scene, Vec<u8>) {
    let scene = Scene::new();
    let weights = scene.write_large_bundle(SIZE);
    scene.publish().unwrap();
    scene.loopback.take_traffic();
    (scene, weights)
}

/// The requests for large files: the range of each, and the bytes it sent.
fn large(traffic: &[Traffic]) -> Vec<(Option<&str>, u64)> {
    to(traffic, "GET", "/lfs/")
        .iter()
        .map(|request| (request.range.as_deref(), request.sent))
        .collect()
}

fn folder_of_blobs(scene: &Scene) -> PathBuf {
    scene.cache().join("models--someone--reviews/blobs")
}

/// The names of incomplete files in the cache.
fn unfinished(scene: &Scene) -> Vec<String> {
    let names = fs::read_dir(folder_of_blobs(scene))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.len() != 40 && name.len() != 64)
        .collect()
}

#[track_caller]
fn assert_fetched(scene: &Scene) {
    assert_same_files(
        scene.bundle(),
        &scene.hub().fetch_model(&repo(REPO)).unwrap().folder,
    );
    assert_eq!(unfinished(scene), Vec::<String>::new());
}

#[test]
fn what_is_in_the_cache_is_not_fetched_again() {
    let (scene, weights) = published();
    let snapshot = scene.hub().fetch_model(&repo(REPO)).unwrap();
    let traffic = scene.loopback.take_traffic();
    assert_eq!(large(&traffic), [(None, SIZE as u64)]);
    assert!(
        to(&traffic, "GET", "/lfs/")
            .iter()
            .all(|request| !request.authorized && !is_hubs(&scene, request)),
        "{traffic:?}"
    );
    assert!(
        to(&traffic, "GET", "/resolve/")
            .iter()
            .all(|request| request.authorized && is_hubs(&scene, request)),
        "{traffic:?}"
    );
    // The layout is that of Python's huggingface_hub.
    let blob = folder_of_blobs(&scene).join(sha256_hex(&weights));
    assert_eq!(
        fs::canonicalize(snapshot.folder.join(bundle::WEIGHTS)).unwrap(),
        fs::canonicalize(blob).unwrap()
    );
    assert_eq!(
        fs::read_to_string(scene.cache().join("models--someone--reviews/refs/main")).unwrap(),
        snapshot.commit
    );

    let again = scene
        .hub()
        .fetch_model(&repo(&format!("{REPO}@{}", snapshot.commit)))
        .unwrap();
    assert_eq!(again.folder, snapshot.folder);
    assert_eq!(
        to(&scene.loopback.take_traffic(), "GET", "/resolve/").len(),
        0
    );
    // Another commit with the same weights.
    scene
        .loopback
        .commit(Kind::Model, REPO, &[("notes.txt", b"by someone else")]);
    assert_ne!(
        scene.hub().fetch_model(&repo(REPO)).unwrap().commit,
        snapshot.commit
    );
    let traffic = scene.loopback.take_traffic();
    assert_eq!(to(&traffic, "GET", "/resolve/").len(), 0, "{traffic:?}");
}

#[test]
fn a_download_that_is_cut_goes_on_where_it_was() {
    let (scene, _) = published();
    let (first, second) = (SIZE as u64 * 3 / 10, SIZE as u64 * 4 / 10);
    scene.loopback.spoil(1, "GET", "/lfs/", Fault::Cut(first));
    scene.loopback.spoil(1, "GET", "/lfs/", Fault::Cut(second));
    assert_fetched(&scene);
    let ranges = [
        None,
        Some(format!("bytes={first}-")),
        Some(format!("bytes={}-", first + second)),
    ];
    let wanted: Vec<_> = ranges
        .iter()
        .map(Option::as_deref)
        .zip([first, second, SIZE as u64 - first - second])
        .collect();
    assert_eq!(large(&scene.loopback.take_traffic()), wanted);
    assert_says(&scene.said(), &["the connection broke", "trying again in"]);
}

#[test]
fn another_run_goes_on_where_the_last_one_gave_up() {
    let (scene, weights) = published();
    // Every connection breaks before it sends anything more.
    scene
        .loopback
        .spoil(1, "GET", "/lfs/", Fault::Cut(1_000_000));
    scene.loopback.spoil(20, "GET", "/lfs/", Fault::Cut(0));
    assert_says(
        &message(scene.hub().fetch_model(&repo(REPO))),
        &[
            "fetching someone/reviews",
            "the connection broke",
            "try again",
        ],
    );
    assert_eq!(
        unfinished(&scene),
        [format!("{}.incomplete", sha256_hex(&weights))]
    );
    assert!(
        !scene
            .cache()
            .join("models--someone--reviews/refs/main")
            .exists(),
        "offline, it is not taken for whole"
    );
    scene.loopback.forget_faults();
    scene.loopback.take_traffic();
    assert_fetched(&scene);
    assert_eq!(
        large(&scene.loopback.take_traffic()),
        [(Some("bytes=1000000-"), SIZE as u64 - 1_000_000)]
    );
    assert_says(
        &scene.said(),
        &["model.safetensors: resuming at 1000000 of 3145728 bytes"],
    );
}

#[test]
fn a_connection_that_breaks_often_brings_it_all_the_same() {
    let (scene, _) = published();
    scene.loopback.spoil(9, "GET", "/lfs/", Fault::Cut(300_000));
    assert_fetched(&scene);
    let sent: u64 = large(&scene.loopback.take_traffic())
        .iter()
        .map(|(_, sent)| sent)
        .sum();
    assert_eq!(sent, SIZE as u64);
}

#[test]
fn a_server_without_ranges_sends_it_from_the_beginning() {
    let (scene, _) = published();
    scene
        .loopback
        .spoil(1, "GET", "/lfs/", Fault::Cut(1_000_000));
    scene.loopback.spoil(1, "GET", "/lfs/", Fault::WholeOnly);
    assert_fetched(&scene);
    assert_eq!(
        large(&scene.loopback.take_traffic()),
        [(None, 1_000_000), (Some("bytes=1000000-"), SIZE as u64)]
    );
    assert_says(&scene.said(), &["the server does not support ranges"]);
}

#[test]
fn a_stall_is_noticed_and_a_slow_server_is_not_one() {
    let (scene, _) = published();
    let retry_policy = RetryPolicy {
        stall: Duration::from_secs(2),
        ..RETRY_POLICY
    };
    let hub = Hub::with(Settings {
        retry_policy,
        ..scene.settings()
    })
    .unwrap();
    scene
        .loopback
        .spoil(1, "GET", "/lfs/", Fault::Stall(500_000));
    let started = Instant::now();
    assert_same_files(
        scene.bundle(),
        &hub.fetch_model(&repo(REPO)).unwrap().folder,
    );
    assert!(started.elapsed() >= retry_policy.stall);
    assert_says(&scene.said(), &["no data for 2 s"]);
    assert_eq!(
        large(&scene.loopback.take_traffic())[1].0,
        Some("bytes=500000-")
    );

    fs::remove_dir_all(scene.cache()).unwrap();
    scene
        .loopback
        .spoil(1, "GET", "/lfs/", Fault::Slow(Duration::from_millis(700)));
    let started = Instant::now();
    assert_same_files(
        scene.bundle(),
        &hub.fetch_model(&repo(REPO)).unwrap().folder,
    );
    assert!(
        started.elapsed() > retry_policy.stall,
        "longer in all than it may stand still"
    );
    assert_eq!(large(&scene.loopback.take_traffic()), [(None, SIZE as u64)]);
}

#[test]
fn what_arrives_damaged_gets_no_name() {
    let (scene, _) = published();
    // One flipped bit in a large file, and one in a file that git itself stores.
    scene
        .loopback
        .spoil(1, "GET", "/lfs/", Fault::Flip(2_000_000));
    scene.loopback.spoil(1, "GET", "/vocab.txt", Fault::Flip(7));
    assert_fetched(&scene);
    assert_says(
        &scene.said(),
        &[
            "model.safetensors arrived damaged (SHA-256",
            "vocab.txt arrived damaged (git object id",
        ],
    );

    // Damaged every time: an error, and nothing is kept.
    fs::remove_dir_all(scene.cache()).unwrap();
    scene.loopback.spoil(9, "GET", "/lfs/", Fault::Flip(7));
    assert_says(
        &message(scene.hub().fetch_model(&repo(REPO))),
        &[
            "model.safetensors arrived damaged twice",
            "SHA-256",
            "the Hub lists",
        ],
    );
    assert_eq!(unfinished(&scene), Vec::<String>::new());
    scene.loopback.forget_faults();
    assert_fetched(&scene);
}

#[test]
fn what_is_damaged_in_the_cache_is_fetched_again() {
    let (scene, mut weights) = published();
    let snapshot = scene.hub().fetch_model(&repo(REPO)).unwrap();
    weights[1000] ^= 1;
    fs::write(
        fs::canonicalize(snapshot.folder.join(bundle::WEIGHTS)).unwrap(),
        weights,
    )
    .unwrap();
    scene.loopback.take_traffic();
    assert_fetched(&scene);
    assert_says(
        &scene.said(),
        &["model.safetensors was damaged in the cache (SHA-256"],
    );
    assert_eq!(
        to(&scene.loopback.take_traffic(), "GET", "/resolve/").len(),
        1,
        "and nothing else"
    );
}

#[test]
fn what_lies_beside_it_cannot_spoil_it() {
    let (scene, weights) = published();
    let part = folder_of_blobs(&scene).join(format!("{}.incomplete", sha256_hex(&weights)));
    // The file holds other bytes; more bytes than the whole; all of the right ones.
    for (content, requests) in [
        (vec![7; 1000], 2),
        (vec![7; SIZE + 1], 1),
        (weights.clone(), 0),
    ] {
        let _ = fs::remove_dir_all(scene.cache());
        fs::create_dir_all(folder_of_blobs(&scene)).unwrap();
        fs::write(&part, content).unwrap();
        scene.loopback.take_traffic();
        assert_fetched(&scene);
        assert_eq!(large(&scene.loopback.take_traffic()).len(), requests);
    }
}

#[test]
fn two_at_once_fetch_it_once() {
    let (scene, _) = published();
    scene
        .loopback
        .spoil(1, "GET", "/lfs/", Fault::Slow(Duration::from_millis(200)));
    std::thread::scope(|scope| {
        let fetches: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| scene.hub().fetch_model(&repo(REPO)).unwrap().folder))
            .collect();
        fetches
            .into_iter()
            .for_each(|fetch| assert_same_files(scene.bundle(), &fetch.join().unwrap()));
    });
    let traffic = scene.loopback.take_traffic();
    assert_eq!(large(&traffic), [(None, SIZE as u64)]);
    assert_eq!(to(&traffic, "GET", "/resolve/").len(), 7, "{traffic:?}");
    assert_says(&scene.said(), &["another program is fetching it"]);
}

#[test]
fn a_fetch_that_is_refused_says_why() {
    let scene = Scene::new();
    assert_says(
        &message(scene.hub().fetch_model(&repo("someone/nothing"))),
        &["fetching someone/nothing", "404", "no such repository"],
    );
    scene.publish().unwrap();
    assert_says(
        &message(scene.hub().fetch_model(&repo(&format!("{REPO}@v9")))),
        &["404", "v9"],
    );
    for path in ["/revision/", "/lfs/", "/resolve/"] {
        for (code, advice) in [
            (403, "accept the repository's terms"),
            (404, "no such repository"),
            (429, "wait"),
            (500, "try again later"),
        ] {
            scene.loopback.fail(20, "GET", path, code);
            assert_says(
                &message(scene.hub().fetch_model(&repo(REPO))),
                &["fetching someone/reviews", &code.to_string(), advice],
            );
            scene.loopback.forget_faults();
        }
    }
    let blobs = fs::read_dir(folder_of_blobs(&scene)).unwrap().count();
    assert_eq!(
        blobs, 2,
        "no error page became a file: the manifest and the first file came"
    );
    scene.loopback.fail(1, "GET", "/resolve/", 503);
    scene.loopback.fail(1, "GET", "/lfs/", 500);
    assert_fetched(&scene);
}

#[test]
fn a_repository_that_is_no_model_says_why() {
    let scene = Scene::new();
    scene.publish().unwrap();
    scene.loopback.commit(
        Kind::Model,
        "someone/pickled",
        &[("config.json", b"{}"), ("pytorch_model.bin", b"\x80\x02")],
    );
    assert_says(
        &message(scene.hub().fetch_model(&repo("someone/pickled"))),
        &["no model.safetensors", "pytorch_model.bin", "pickle"],
    );
    // A file name that leads out of the cache.
    scene.loopback.commit(
        Kind::Model,
        "someone/evil",
        &[("config.json", b"{}"), ("../../../model.safetensors", b"?")],
    );
    assert_says(
        &message(scene.hub().fetch_model(&repo("someone/evil"))),
        &["../../../model.safetensors", "leads out"],
    );
    // A bundle that does not match its own manifest.
    scene.loopback.commit(
        Kind::Model,
        REPO,
        &[(bundle::CONFIG, b"{\"model_type\":\"distilbart\"}")],
    );
    assert_says(
        &message(scene.hub().fetch_model(&repo(REPO))),
        &["differs from its manifest", "config.json: SHA-256"],
    );
}

#[test]
fn offline_the_cache_serves() {
    let scene = Scene::new();
    scene.publish().unwrap();
    assert_says(
        &message(scene.offline().fetch_model(&repo(REPO))),
        &["not in the cache", "HF_HUB_OFFLINE"],
    );
    let online = scene.hub().fetch_model(&repo(REPO)).unwrap();
    let requests = scene.loopback.requests().len();
    for name in [REPO.to_owned(), format!("{REPO}@{}", online.commit)] {
        let snapshot = scene.offline().fetch_model(&repo(&name)).unwrap();
        assert_eq!(
            (&snapshot.folder, &snapshot.commit),
            (&online.folder, &online.commit)
        );
    }
    assert_says(
        &message(scene.publish_to(&scene.offline(), REPO)),
        &["HF_HUB_OFFLINE"],
    );
    fs::remove_file(online.folder.join(bundle::WEIGHTS)).unwrap();
    assert_says(
        &message(scene.offline().fetch_model(&repo(REPO))),
        &["without model.safetensors", "HF_HUB_OFFLINE"],
    );
    assert_eq!(
        scene.loopback.requests().len(),
        requests,
        "the Hub was not asked"
    );
}

#[test]
fn offline_a_bundle_of_integers_alone_serves_too() {
    let scene = Scene::new();
    fs::remove_file(scene.bundle().join(bundle::WEIGHTS)).unwrap();
    scene.write_bundle_with((bundle::INT8_WEIGHTS, b"integers"));
    scene.publish().unwrap();
    let online = scene.hub().fetch_model(&repo(REPO)).unwrap();
    assert_eq!(
        scene.offline().fetch_model(&repo(REPO)).unwrap().files,
        online.files
    );
    fs::remove_file(online.folder.join(bundle::INT8_WEIGHTS)).unwrap();
    assert_says(
        &message(scene.offline().fetch_model(&repo(REPO))),
        &["without web/weights.safetensors", "HF_HUB_OFFLINE"],
    );
    // A repository that is not a bundle has other weights.
    scene.loopback.commit(
        Kind::Model,
        "someone/base",
        &[("config.json", b"{}"), ("model.safetensors", b"weights")],
    );
    let base = scene.hub().fetch_model(&repo("someone/base")).unwrap();
    fs::remove_file(base.folder.join(bundle::WEIGHTS)).unwrap();
    assert_says(
        &message(scene.offline().fetch_model(&repo("someone/base"))),
        &["without model.safetensors", "HF_HUB_OFFLINE"],
    );
}

#[test]
fn a_data_set_gives_its_data_files() {
    let scene = Scene::new();
    let id = "someone/app_reviews";
    scene.loopback.commit(
        Kind::Dataset,
        id,
        &[
            ("README.md", b"# reviews"),
            ("data/b.parquet", b"PAR1b"),
            ("data/a[1] #2.parquet", b"PAR1a"),
            ("extra.csv", b"review,star"),
        ],
    );
    let snapshot = scene.hub().fetch_dataset(&repo(id)).unwrap();
    let contents: Vec<_> = snapshot
        .files
        .iter()
        .map(|file| fs::read(file).unwrap())
        .collect();
    assert_eq!(contents, [b"PAR1a", b"PAR1b"]);
    assert_eq!(
        scene.offline().fetch_dataset(&repo(id)).unwrap().files,
        snapshot.files
    );
    assert_says(&message(scene.hub().fetch_dataset(&repo(REPO))), &["404"]);
}
