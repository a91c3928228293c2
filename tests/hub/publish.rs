//! Publishing: one commit or none.

use std::{
    fs,
    net::TcpListener,
    sync::{Arc, Mutex},
};

use starsight::hub::{Event, FileState, Hub, Publication, Settings, Token, UploadMethod};
use starsight_model::bundle::{self, MANIFEST};

use crate::loopback_hub::{Fault, Kind};
use crate::scene::{REPO, Scene, assert_same_files, assert_says, message, repo, to};

#[test]
fn a_bundle_is_published_in_one_commit_and_fetched_back() {
    let scene = Scene::new();
    let published = scene.publish().unwrap();
    assert_eq!(
        published.url,
        format!("{}/{REPO}", scene.loopback.endpoint())
    );
    assert_eq!(published.files, 7);
    assert_eq!(
        scene.loopback.commits(Kind::Model, REPO),
        2,
        "the first, empty one, and ours"
    );
    assert_eq!(
        scene.loopback.paths(Kind::Model, REPO).len(),
        8,
        "seven files and .gitattributes"
    );

    let snapshot = scene.hub().fetch_model(&repo(REPO)).unwrap();
    assert_eq!(snapshot.commit, published.commit);
    assert_eq!(snapshot.files.len(), 7);
    assert_same_files(scene.bundle(), &snapshot.folder);
    assert_says(&scene.said(), &["Transfer"]);

    // A second version is a second commit; the first stays available.
    scene.write_bundle(b"better weights");
    let second = scene.publish().unwrap();
    assert_eq!(scene.loopback.commits(Kind::Model, REPO), 3);
    assert_same_files(
        scene.bundle(),
        &scene.hub().fetch_model(&repo(REPO)).unwrap().folder,
    );
    let first = scene
        .hub()
        .fetch_model(&repo(&format!("{REPO}@{}", published.commit)))
        .unwrap();
    assert_eq!(
        fs::read(first.folder.join(bundle::WEIGHTS)).unwrap(),
        b"these are weights"
    );
    assert_ne!(first.commit, second.commit);
}

#[test]
fn only_what_changed_goes() {
    let scene = Scene::new();
    let first = scene.publish().unwrap();
    // Nothing changed: nothing is sent, and no commit is made.
    scene.loopback.take_traffic();
    let again = scene.publish().unwrap();
    assert_eq!(
        (again.commit, again.files, again.bytes),
        (first.commit, 0, 0)
    );
    let traffic = scene.loopback.take_traffic();
    assert!(
        traffic
            .iter()
            .all(|request| request.method == "GET" || request.path.contains("/paths-info/")),
        "{traffic:?}"
    );
    // Change a file that git itself stores, and the manifest that lists it.
    fs::write(
        scene.bundle().join(bundle::CONFIG),
        br#"{"model_type":"bert"}"#,
    )
    .unwrap();
    let manifest = fs::read_to_string(scene.bundle().join(MANIFEST)).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    manifest["files"][0] = serde_json::to_value(bundle::FileEntry::of(
        bundle::CONFIG,
        br#"{"model_type":"bert"}"#,
    ))
    .unwrap();
    fs::write(scene.bundle().join(MANIFEST), manifest.to_string()).unwrap();
    let second = scene.publish().unwrap();
    assert_eq!(second.files, 2);
    let traffic = scene.loopback.take_traffic();
    assert_eq!(
        to(&traffic, "PUT", "").len(),
        0,
        "the weights stay where they are"
    );
    assert!(to(&traffic, "POST", "/commit/")[0].received < 4000);
    assert_same_files(
        scene.bundle(),
        &scene.hub().fetch_model(&repo(REPO)).unwrap().folder,
    );
}

#[test]
fn a_dry_run_shows_what_would_go() {
    let scene = Scene::new();
    let states = |plan: &starsight::hub::Plan| {
        plan.files
            .iter()
            .map(|file| (file.entry.path.clone(), file.state, file.method))
            .collect::<Vec<_>>()
    };
    let plan = scene.plan().unwrap();
    assert!(!plan.repository_exists && !plan.revision_exists && plan.parent.is_none());
    assert!(
        states(&plan)
            .iter()
            .all(|(_, state, way)| (*state, *way) == (FileState::New, Some(UploadMethod::Commit))),
        "{plan:?}"
    );
    assert_eq!(
        scene.loopback.commits(Kind::Model, REPO),
        0,
        "and none is made"
    );

    let published = scene.publish().unwrap();
    assert_eq!(scene.plan().unwrap().going().count(), 0);
    scene.write_bundle(b"better weights");
    let plan = scene.plan().unwrap();
    assert_eq!(plan.parent, Some(published.commit));
    let changed = states(&plan)
        .into_iter()
        .filter(|(_, state, _)| *state != FileState::Same)
        .collect::<Vec<_>>();
    let wanted = [
        (bundle::WEIGHTS, UploadMethod::Lfs),
        (MANIFEST, UploadMethod::Commit),
    ]
    .map(|(path, way)| (path.to_owned(), FileState::Changed, Some(way)));
    assert_eq!(changed, wanted);
    assert_eq!(
        scene.loopback.commits(Kind::Model, REPO),
        2,
        "and none is made"
    );
    assert_eq!(
        to(&scene.loopback.traffic(), "PUT", "").len(),
        1,
        "the first weights"
    );
}

#[test]
fn a_branch_is_made_where_main_is() {
    let scene = Scene::new();
    scene.publish().unwrap();
    scene.write_bundle(b"better weights");
    let name = format!("{REPO}@next/try");
    let published = scene.publish_to(&scene.hub(), &name).unwrap();
    assert_eq!(
        (published.files, published.url),
        (
            2,
            format!("{}/{REPO}/tree/next/try", scene.loopback.endpoint())
        )
    );
    assert_eq!(
        scene
            .loopback
            .read(Kind::Model, REPO, bundle::WEIGHTS)
            .unwrap(),
        b"these are weights"
    );
    assert_same_files(
        scene.bundle(),
        &scene.hub().fetch_model(&repo(&name)).unwrap().folder,
    );
    // A new branch in a repository that does not exist yet.
    scene.publish_to(&scene.hub(), "someone/new@next").unwrap();
    assert_eq!(
        scene.loopback.paths(Kind::Model, "someone/new").len(),
        1,
        "main has .gitattributes alone"
    );
    assert_same_files(
        scene.bundle(),
        &scene
            .hub()
            .fetch_model(&repo("someone/new@next"))
            .unwrap()
            .folder,
    );
    // A new branch whose main has no bundle gets all files.
    let same = scene.publish_to(&scene.hub(), "someone/new@other").unwrap();
    assert_eq!(same.files, 7);
}

#[test]
fn a_pull_request_leaves_the_branch_alone() {
    let scene = Scene::new();
    let (hub, repo_id) = (scene.hub(), repo(REPO));
    let propose = || {
        hub.publish(&Publication {
            pull_request: true,
            ..scene.publication(&repo_id)
        })
    };
    assert_says(
        &message(propose()),
        &["branch main does not exist", "--pull-request"],
    );
    let first = scene.publish().unwrap();
    scene.write_bundle(b"better weights");
    let proposed = propose().unwrap();
    assert_eq!(
        proposed.pull_request,
        Some(format!(
            "{}/{REPO}/discussions/1",
            scene.loopback.endpoint()
        ))
    );
    assert_eq!(
        scene.hub().fetch_model(&repo(REPO)).unwrap().commit,
        first.commit
    );
    assert_same_files(
        scene.bundle(),
        &scene
            .hub()
            .fetch_model(&repo(&format!("{REPO}@refs/pr/1")))
            .unwrap()
            .folder,
    );
    // The answer is lost: the pull request is found, and not made again.
    scene.write_bundle(b"the best weights");
    scene.loopback.spoil(1, "POST", "/commit/", Fault::Cut(0));
    let second = propose().unwrap();
    assert_eq!(
        second.pull_request,
        Some(format!(
            "{}/{REPO}/discussions/2",
            scene.loopback.endpoint()
        ))
    );
    assert!(
        scene
            .loopback
            .read_at(Kind::Model, REPO, "refs/pr/3", bundle::WEIGHTS)
            .is_none()
    );
}

#[test]
fn an_answer_that_was_lost_makes_no_second_pull_request() {
    let scene = Scene::new();
    let (hub, repo_id) = (scene.hub(), repo(REPO));
    let propose = || {
        hub.publish(&Publication {
            pull_request: true,
            ..scene.publication(&repo_id)
        })
    };
    let posts = || to(&scene.loopback.take_traffic(), "POST", "/commit/").len();
    scene.publish().unwrap();
    scene.loopback.take_traffic();
    // The commit was made, and is found.
    scene.write_bundle(b"better weights");
    scene.loopback.lose_answer("POST", "/commit/", 503);
    assert!(
        propose()
            .unwrap()
            .pull_request
            .unwrap()
            .ends_with("/discussions/1")
    );
    assert_eq!(posts(), 1);
    // The commit was not made, but the client cannot know: it does not send it again, and says so.
    scene.write_bundle(b"the best weights");
    let discussions = format!(
        "check {}/{REPO}/discussions before publishing again",
        scene.loopback.endpoint()
    );
    for (fault, words) in [
        (Fault::HangUp(10), "the connection broke"),
        (Fault::Refuse(502), "the Hub answered 502"),
    ] {
        scene.loopback.spoil(1, "POST", "/commit/", fault);
        assert_says(
            &message(propose()),
            &[
                "publishing to someone/reviews",
                words,
                "it is unknown whether a pull request was created",
                &discussions,
            ],
        );
        assert_eq!(posts(), 1, "{fault:?}");
    }
    assert!(
        scene
            .loopback
            .read_at(Kind::Model, REPO, "refs/pr/2", bundle::WEIGHTS)
            .is_none()
    );
    // Refused before anything was done, so it may be sent again.
    scene.loopback.fail(1, "POST", "/commit/", 429);
    assert!(
        propose()
            .unwrap()
            .pull_request
            .unwrap()
            .ends_with("/discussions/2")
    );
    assert_eq!(posts(), 2);
}

#[test]
fn what_only_the_version_before_had_is_deleted() {
    let scene = Scene::new();
    scene.publish().unwrap();
    scene
        .loopback
        .commit(Kind::Model, REPO, &[("notes.txt", b"by someone else")]);
    fs::remove_file(scene.bundle().join(bundle::WEIGHTS)).unwrap();
    scene.write_bundle_with((bundle::INT8_WEIGHTS, b"integers"));
    assert_eq!(scene.plan().unwrap().stale, [bundle::WEIGHTS]);
    // The answer is lost: the commit is found by the files that are gone, too.
    scene.loopback.lose_answer("POST", "/commit/", 504);
    let published = scene.publish().unwrap();
    assert_eq!(
        (published.files, published.deleted),
        (2, vec![bundle::WEIGHTS.to_owned()])
    );
    assert_eq!(scene.loopback.commits(Kind::Model, REPO), 4);
    let paths = scene.loopback.paths(Kind::Model, REPO);
    assert!(!paths.contains(&bundle::WEIGHTS.to_owned()), "{paths:?}");
    for stays in [bundle::INT8_WEIGHTS, "notes.txt", ".gitattributes"] {
        assert!(
            paths.contains(&stays.to_owned()),
            "{stays}: no manifest named it: {paths:?}"
        );
    }
    assert_same_files(
        scene.bundle(),
        &scene.hub().fetch_model(&repo(REPO)).unwrap().folder,
    );
    assert_eq!(scene.publish().unwrap().deleted, Vec::<String>::new());
    // A manifest that cannot be read causes no deletions.
    scene.loopback.commit(
        Kind::Model,
        REPO,
        &[(MANIFEST, b"{ \"files\": [{ \"path\": \"notes.txt\" }] }")],
    );
    assert_eq!(scene.publish().unwrap().deleted, Vec::<String>::new());
    assert_says(
        &scene.said(),
        &["cannot be read", "no file of that version is deleted"],
    );
}

#[test]
fn what_was_made_for_a_bundle_that_did_not_come_is_named() {
    let scene = Scene::new();
    let (main, next) = (REPO.to_owned(), format!("{REPO}@next"));
    scene.loopback.fail(9, "POST", "/commit/", 500);
    let made = format!(
        "created at {}: the repository {REPO}; publish again",
        scene.loopback.endpoint()
    );
    assert_says(
        &message(scene.publish_to(&scene.hub(), &main)),
        &[&made, "delete it there", "the Hub answered 500"],
    );
    // Now the repository exists.
    let text = message(scene.publish_to(&scene.hub(), &main));
    assert!(!text.contains("created at"), "{text}");
    assert_says(
        &message(scene.publish_to(&scene.hub(), &next)),
        &["the branch next; publish again", "500"],
    );
    scene.loopback.fail(9, "POST", "/branch/", 403);
    assert_says(
        &message(scene.publish_to(&scene.hub(), "someone/new@next")),
        &["the repository someone/new; publish again", "403"],
    );
    scene.loopback.forget_faults();
    scene.publish().expect("and it goes well when the Hub does");
}

#[test]
fn a_branch_whose_answer_was_lost_is_there() {
    let scene = Scene::new();
    scene.publish().unwrap();
    scene.write_bundle(b"better weights");
    scene.loopback.lose_answer("POST", "/branch/", 503);
    let name = format!("{REPO}@next");
    assert_eq!(scene.publish_to(&scene.hub(), &name).unwrap().files, 2);
    assert_same_files(
        scene.bundle(),
        &scene.hub().fetch_model(&repo(&name)).unwrap().folder,
    );
}

#[test]
fn a_bundle_that_is_not_what_it_says_is_not_published() {
    let scene = Scene::new();
    fs::write(scene.bundle().join(bundle::WEIGHTS), b"these are").unwrap();
    assert_says(
        &message(scene.publish()),
        &["model.safetensors: 9 bytes, but starsight.json says 17"],
    );
    assert_eq!(
        scene.loopback.requests(),
        Vec::<String>::new(),
        "the Hub was not asked"
    );
    fs::remove_file(scene.bundle().join(MANIFEST)).unwrap();
    assert_says(
        &message(scene.publish()),
        &["is not a bundle: it has no starsight.json"],
    );
}

#[test]
fn a_hub_that_refuses_is_quoted_and_left_as_it_was() {
    let scene = Scene::new();
    scene.publish().unwrap();
    scene.write_bundle(b"better weights");
    for (code, method, path, advice) in [
        (401, "POST", "/commit/", "pass one with write permission"),
        (403, "POST", "/commit/", "lacks write permission"),
        (403, "GET", "/api/models/", "someone"),
        (404, "POST", "/preupload/", "no such repository"),
        (
            409,
            "POST",
            "/commit/",
            "someone else committed to the branch meanwhile",
        ),
        (
            412,
            "POST",
            "/commit/",
            "someone else committed to the branch meanwhile",
        ),
        (418, "POST", "/commit/", "an unexpected status"),
        (500, "POST", "/commit/", "try again later"),
        (503, "GET", "/revision/", "try again later"),
        (500, "POST", "/paths-info/", "try again later"),
    ] {
        scene.loopback.fail(9, method, path, code);
        let text = message(scene.publish());
        assert_says(
            &text,
            &[
                "publishing to someone/reviews",
                &scene.loopback.endpoint(),
                &code.to_string(),
                "was told to answer so",
                advice,
            ],
        );
        scene.loopback.forget_faults();
        assert_eq!(scene.loopback.commits(Kind::Model, REPO), 2, "{code}");
        assert_eq!(
            scene
                .loopback
                .read(Kind::Model, REPO, bundle::WEIGHTS)
                .unwrap(),
            b"these are weights"
        );
    }
    scene.publish().expect("and it goes well when the Hub does");
}

#[test]
fn a_passing_fault_is_tried_again_and_makes_one_commit() {
    let scene = Scene::new();
    scene.loopback.fail(1, "POST", "/commit/", 503);
    scene.loopback.fail(1, "POST", "/preupload/", 500);
    scene.publish().unwrap();
    assert_says(&scene.said(), &["the Hub answered 503", "trying again in"]);
    // The commit was made but its answer lost, in several ways: it is found, and not made again.
    let faults = [
        Fault::Lose(500),
        Fault::Lose(504),
        Fault::Cut(0),
        Fault::Cut(20),
    ];
    for (fault, commits) in faults.into_iter().zip(3..) {
        scene.write_bundle(format!("weights number {commits}").as_bytes());
        scene.loopback.take_traffic();
        scene.loopback.spoil(1, "POST", "/commit/", fault);
        let published = scene.publish().unwrap();
        assert_eq!(
            scene.loopback.commits(Kind::Model, REPO),
            commits,
            "{fault:?}"
        );
        assert_eq!(
            to(&scene.loopback.take_traffic(), "POST", "/commit/").len(),
            1,
            "{fault:?}"
        );
        assert_eq!(
            scene.hub().fetch_model(&repo(REPO)).unwrap().commit,
            published.commit
        );
    }
    // The request broke off, so no commit was made.
    scene.write_bundle(b"weights at last");
    scene
        .loopback
        .spoil(1, "POST", "/commit/", Fault::HangUp(10));
    scene.publish().unwrap();
    assert_eq!(scene.loopback.commits(Kind::Model, REPO), 7);
}

#[test]
fn a_branch_that_moved_is_not_overwritten() {
    let scene = Arc::new(Scene::new());
    scene.publish().unwrap();
    scene.write_bundle(b"better weights");
    // Someone else commits after the branch was read and before this commit arrives.
    let moved = Mutex::new(false);
    let other = scene.clone();
    let report = move |event: Event<'_>| {
        if matches!(event, Event::Transfer { .. })
            && !std::mem::replace(&mut *moved.lock().unwrap(), true)
        {
            other
                .loopback
                .commit(Kind::Model, REPO, &[("notes.txt", b"by someone else")]);
        }
    };
    let hub = scene.hub().watched_by(Arc::new(report));
    assert_says(
        &message(scene.publish_to(&hub, REPO)),
        &[
            "412",
            "someone else committed to the branch meanwhile",
            "publish again",
        ],
    );
    assert_eq!(scene.loopback.commits(Kind::Model, REPO), 3);
    assert_eq!(
        scene
            .loopback
            .read(Kind::Model, REPO, bundle::WEIGHTS)
            .unwrap(),
        b"these are weights"
    );
}

#[test]
fn who_may_do_what_is_said() {
    let scene = Scene::new();
    let stranger = Hub::with(Settings {
        token: Some(Token::new("hf_other", "test").unwrap()),
        ..scene.settings()
    })
    .unwrap();
    assert_says(
        &message(scene.publish_to(&stranger, REPO)),
        &["401", "token invalid", "write permission"],
    );
    assert_eq!(scene.loopback.commits(Kind::Model, REPO), 0);

    let private = |name| {
        scene.hub().publish(&Publication {
            private: true,
            ..scene.publication(&repo(name))
        })
    };
    private("someone/secret").unwrap();
    assert_says(
        &message(stranger.fetch_model(&repo("someone/secret"))),
        &["fetching someone/secret", "401", "read permission"],
    );
    scene.hub().fetch_model(&repo("someone/secret")).unwrap();

    // A bundle meant to be private is not published to a public repository.
    scene.publish().unwrap();
    assert_says(&message(private(REPO)), &["exists and is public"]);
    assert_eq!(scene.loopback.commits(Kind::Model, REPO), 2);
}

#[test]
fn a_hub_that_is_not_there_is_named() {
    let scene = Scene::new();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let hub = Hub::with(Settings {
        endpoint: Some(endpoint.clone()),
        ..scene.settings()
    })
    .unwrap();
    assert_says(
        &message(scene.publish_to(&hub, REPO)),
        &[&endpoint, "no connection", "refused"],
    );
    assert_says(
        &message(hub.fetch_model(&repo(REPO))),
        &[&endpoint, "no connection", "refused", "HF_HUB_OFFLINE=1"],
    );
}

#[test]
fn what_the_hub_lost_is_noticed() {
    let scene = Scene::new();
    // One digit of the first file's hash is changed when it is read back.
    scene
        .loopback
        .spoil(1, "POST", "/paths-info/", Fault::Flip(40));
    assert_says(
        &message(scene.publish()),
        &[
            "published to someone/reviews",
            "config.json differs from the local file",
            "publish again",
        ],
    );
}
