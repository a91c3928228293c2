//! Uploading large files to the Hub.

use std::{fs, time::Duration};

use starsight::{
    hub::{Hub, RetryPolicy, Settings},
    model::verify,
};
use starsight_model::bundle::{self, FileEntry, MANIFEST};

use crate::loopback_hub::{Fault, Kind, Uploads};
use crate::scene::{
    REPO, RETRY_POLICY, Scene, assert_same_files, assert_says, is_hubs, message, repo, to,
};

const MIB: usize = 1 << 20;

/// Asserts that the published files equal the local ones.
#[track_caller]
fn assert_published(scene: &Scene) {
    assert_same_files(
        scene.bundle(),
        &scene.hub().fetch_model(&repo(REPO)).unwrap().folder,
    );
}

#[test]
fn large_weights_go_by_lfs_and_not_in_the_commit() {
    let scene = Scene::new();
    scene.write_large_bundle(24 * MIB);
    scene.publish().unwrap();
    let traffic = scene.loopback.take_traffic();
    let [put] = to(&traffic, "PUT", "/lfs/")[..] else {
        panic!("{traffic:?}")
    };
    assert!(
        put.received == 24 * MIB as u64 && !put.authorized && !is_hubs(&scene, put),
        "to another host, without our token: {put:?}"
    );
    assert_eq!(to(&traffic, "POST", "/info/lfs/verify").len(), 1);
    assert!(to(&traffic, "POST", "/commit/")[0].received < MIB as u64);
    assert_says(
        &scene.said(),
        &["Transfer { done: 25165824, total: 25165824 }"],
    );
    assert_published(&scene);
    // The Hub already has this content, so it is not uploaded for another repository either.
    scene.publish_to(&scene.hub(), "someone/else").unwrap();
    assert_eq!(to(&scene.loopback.take_traffic(), "PUT", "").len(), 0);
}

#[test]
fn in_parts_only_the_part_that_failed_goes_again() {
    let scene = Scene::new();
    scene.loopback.take_uploads(Uploads::Parts(MIB as u64));
    scene.write_large_bundle(3 * MIB + 100);
    scene.loopback.fail(1, "PUT", "/parts/2", 500);
    scene
        .loopback
        .spoil(1, "PUT", "/parts/3", Fault::HangUp(1000));
    scene.loopback.fail(1, "POST", "/complete", 503);
    scene.publish().unwrap();
    let traffic = scene.loopback.take_traffic();
    let sent: Vec<_> = to(&traffic, "PUT", "/parts/")
        .iter()
        .map(|put| put.path.rsplit('/').next().unwrap().to_owned())
        .collect();
    assert_eq!(sent, ["1", "2", "2", "3", "3", "4"]);
    assert_eq!(to(&traffic, "PUT", "/parts/4")[0].received, 100);
    assert!(
        to(&traffic, "PUT", "/parts/")
            .iter()
            .all(|put| !put.authorized)
    );
    assert_says(
        &scene.said(),
        &["Transfer { done: 3145828, total: 3145828 }"],
    );
    assert_published(&scene);
}

#[test]
fn an_upload_that_breaks_is_tried_again() {
    let scene = Scene::new();
    scene.publish().unwrap();
    // A temporary refusal; an expired address; a broken connection; an upload that arrived but
    // whose answer was lost, or that the Hub did not confirm at first.
    let faults = [
        ("PUT", "/lfs/", Fault::Refuse(500), 2),
        ("PUT", "/lfs/", Fault::Refuse(403), 2),
        ("PUT", "/lfs/", Fault::HangUp(10), 2),
        ("PUT", "/lfs/", Fault::Cut(0), 1),
        ("PUT", "/lfs/", Fault::Lose(500), 1),
        ("POST", "/verify", Fault::Refuse(404), 1),
    ];
    for (method, path, fault, puts) in faults {
        scene.write_bundle(format!("weights after {fault:?}").as_bytes());
        scene.loopback.take_traffic();
        scene.loopback.spoil(1, method, path, fault);
        scene
            .publish()
            .unwrap_or_else(|error| panic!("{fault:?}: {error:#}"));
        assert_eq!(
            to(&scene.loopback.take_traffic(), "PUT", "/lfs/").len(),
            puts,
            "{fault:?}"
        );
        assert_published(&scene);
    }
}

#[test]
fn an_upload_that_stands_still_is_given_up() {
    let scene = Scene::new();
    let retry_policy = RetryPolicy {
        stall: Duration::from_secs(1),
        ..RETRY_POLICY
    };
    let hub = Hub::with(Settings {
        retry_policy,
        ..scene.settings()
    })
    .unwrap();
    scene.loopback.spoil(1, "PUT", "/lfs/", Fault::Stall(0));
    scene.publish_to(&hub, REPO).unwrap();
    assert_says(&scene.said(), &["no data for 1 s"]);
    assert_eq!(
        to(&scene.loopback.take_traffic(), "PUT", "/lfs/").len(),
        1,
        "the Hub has it, and says so when it is asked again"
    );
    assert_published(&scene);
}

#[test]
fn an_upload_that_fails_for_good_makes_no_commit() {
    let scene = Scene::new();
    scene.publish().unwrap();
    for (method, path, code, says) in [
        ("PUT", "/lfs/", 500, "500"),
        ("PUT", "/lfs/", 400, "the Hub answered 400"),
        ("POST", "/objects/batch", 404, "404"),
        ("POST", "/objects/batch", 503, "503"),
    ] {
        scene.write_bundle(format!("weights for {path} {code}").as_bytes());
        scene.loopback.fail(20, method, path, code);
        assert_says(
            &message(scene.publish()),
            &["publishing to someone/reviews", says],
        );
        scene.loopback.forget_faults();
        assert_eq!(
            scene.loopback.commits(Kind::Model, REPO),
            2,
            "{path} {code}"
        );
    }
}

#[test]
fn by_xet_where_the_hub_takes_it() {
    let scene = Scene::new();
    scene
        .loopback
        .take_uploads(Uploads::Xet(scene.home().join("xet")));
    scene.write_large_bundle(24 * MIB);
    let published = scene.publish().unwrap();
    let traffic = scene.loopback.take_traffic();
    assert_eq!(to(&traffic, "PUT", "").len(), 0, "not by git-lfs");
    assert!(
        to(&traffic, "POST", "/commit/")[0].received < MIB as u64,
        "nor in the commit"
    );
    assert_eq!(to(&traffic, "GET", "/xet-write-token/").len(), 1);
    assert!(scene.home().join("xet/xet/xorbs").is_dir());
    assert_says(&scene.said(), &["Transfer"]);
    assert_eq!(
        scene.hub().fetch_model(&repo(REPO)).unwrap().commit,
        published.commit
    );
    assert_published(&scene);

    // A commit whose answer is lost is found here too, and one that failed is made again.
    scene.write_large_bundle(25 * MIB);
    scene.loopback.lose_answer("POST", "/commit/", 504);
    scene.publish().unwrap();
    assert_eq!(scene.loopback.commits(Kind::Model, REPO), 3);
    scene.write_large_bundle(26 * MIB);
    scene.loopback.fail(1, "POST", "/commit/", 503);
    scene.publish().unwrap();
    assert_eq!(scene.loopback.commits(Kind::Model, REPO), 4);
    assert_published(&scene);
}

#[test]
fn a_hub_that_changes_its_mind_about_xet_gets_no_large_file_in_the_commit() {
    let scene = Scene::new();
    scene.publish().unwrap();
    scene.loopback.take_traffic();
    scene
        .loopback
        .take_uploads(Uploads::Xet(scene.home().join("xet")));
    scene.loopback.change_mind(Uploads::Whole);
    scene.write_large_bundle(24 * MIB);
    assert_says(
        &message(scene.publish()),
        &["publishing to someone/reviews", "404"],
    );
    let traffic = scene.loopback.take_traffic();
    assert_eq!(
        (
            to(&traffic, "POST", "/objects/batch").len(),
            to(&traffic, "POST", "/commit/").len()
        ),
        (1, 0),
        "{traffic:?}"
    );
    // The next attempt uploads it in the way the Hub wants now.
    scene.publish().unwrap();
    let traffic = scene.loopback.take_traffic();
    assert!(to(&traffic, "POST", "/commit/")[0].received < MIB as u64);
    assert_eq!(to(&traffic, "PUT", "/lfs/").len(), 1);
    assert_published(&scene);
}

#[test]
fn a_file_without_content_is_no_large_file() {
    let scene = Scene::new();
    let mut manifest = verify::manifest(scene.bundle()).unwrap();
    fs::write(scene.bundle().join("empty.safetensors"), b"").unwrap();
    manifest.files.push(FileEntry::of("empty.safetensors", b""));
    fs::write(
        scene.bundle().join(MANIFEST),
        serde_json::to_vec(&manifest).unwrap(),
    )
    .unwrap();
    scene.publish().unwrap();
    assert_published(&scene);
    assert_eq!(
        fs::read(
            scene
                .hub()
                .fetch_model(&repo(REPO))
                .unwrap()
                .folder
                .join(bundle::WEIGHTS)
        )
        .unwrap(),
        b"these are weights"
    );
}
