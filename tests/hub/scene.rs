//! A Hub, a bundle to publish, and a cache to fetch into.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use starsight::{
    hub::{Event, Hub, Plan, Publication, Published, RepoId, RetryPolicy, Settings, Token},
    model::verify,
};
use starsight_model::bundle::{self, FileEntry, MANIFEST, Manifest, Probe};
use starsight_model::rating::Decoding;

use crate::loopback_hub::{LoopbackHub, Traffic};

pub const TOKEN: &str = "hf_loopbackSecret";
pub const REPO: &str = "someone/reviews";

/// Short waits, so that tests are quick.
pub const RETRY_POLICY: RetryPolicy = RetryPolicy {
    tries: 3,
    wait: Duration::from_millis(20),
    connect: Duration::from_secs(5),
    stall: Duration::from_secs(20),
};

pub struct Scene {
    home: tempfile::TempDir,
    bundle: PathBuf,
    pub loopback: LoopbackHub,
    events: Arc<Mutex<Vec<String>>>,
}

impl Scene {
    pub fn new() -> Scene {
        let home = tempfile::tempdir().unwrap();
        let loopback = LoopbackHub::start(&home.path().join("hub"), 0, TOKEN).unwrap();
        let scene = Scene {
            bundle: home.path().join("bundle"),
            home,
            loopback,
            events: Arc::default(),
        };
        scene.write_bundle(b"these are weights");
        scene
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn bundle(&self) -> &Path {
        &self.bundle
    }

    pub fn cache(&self) -> PathBuf {
        self.home.path().join("cache")
    }

    pub fn write_bundle(&self, weights: &[u8]) {
        self.write_bundle_with((bundle::WEIGHTS, weights));
    }

    /// Writes a bundle whose weights are in this file.
    pub fn write_bundle_with(&self, weights: (&str, &[u8])) {
        let vocabulary: String = (0..2000).map(|i| format!("piece{i}\n")).collect();
        let files: [(&str, &[u8]); 6] = [
            (bundle::CONFIG, br#"{"model_type":"distilbert"}"#),
            weights,
            (bundle::TOKENIZER, br#"{"version":"1.0"}"#),
            (bundle::TOKENIZER_CONFIG, br#"{"do_lower_case":true}"#),
            (bundle::VOCAB, vocabulary.as_bytes()),
            (
                bundle::CARD,
                "---\nlicense: mit\n---\n# Rates reviews \u{2b50}\n".as_bytes(),
            ),
        ];
        fs::create_dir_all(self.bundle().join("web")).unwrap();
        for (name, content) in files {
            fs::write(self.bundle().join(name), content).unwrap();
        }
        let manifest = Manifest {
            format: bundle::FORMAT,
            name: "test".into(),
            files: files
                .map(|(name, content)| FileEntry::of(name, content))
                .to_vec(),
            probes: vec![Probe {
                text: "great".into(),
                logits: [0.0, 0.0, 0.0, 0.0, 1.0],
                int8_logits: None,
            }],
            metrics: None,
            temperature: 1.0,
            decoding: Decoding::Likeliest,
            prior: None,
            provenance: serde_json::Value::Null,
        };
        fs::write(
            self.bundle().join(MANIFEST),
            serde_json::to_vec_pretty(&manifest).unwrap(),
        )
        .unwrap();
    }

    /// Writes a bundle with this many bytes of weights that do not repeat, and returns the weights.
    pub fn write_large_bundle(&self, bytes: usize) -> Vec<u8> {
        let weights: Vec<u8> = (0..bytes.div_ceil(4) as u32)
            .flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes())
            .take(bytes)
            .collect();
        self.write_bundle(&weights);
        weights
    }

    pub fn settings(&self) -> Settings {
        let events = self.events.clone();
        Settings {
            endpoint: Some(self.loopback.endpoint()),
            token: Some(Token::new(TOKEN, "test").unwrap()),
            cache: Some(self.cache()),
            offline: false,
            retry_policy: RETRY_POLICY,
            report: Some(Arc::new(move |event: Event<'_>| {
                events.lock().unwrap().push(format!("{event:?}"));
            })),
        }
    }

    pub fn hub(&self) -> Hub {
        Hub::with(self.settings()).unwrap()
    }

    pub fn offline(&self) -> Hub {
        Hub::with(Settings {
            offline: true,
            ..self.settings()
        })
        .unwrap()
    }

    pub fn publish(&self) -> anyhow::Result<Published> {
        self.publish_to(&self.hub(), REPO)
    }

    pub fn publish_to(&self, hub: &Hub, name: &str) -> anyhow::Result<Published> {
        hub.publish(&self.publication(&repo(name)))
    }

    pub fn plan(&self) -> anyhow::Result<Plan> {
        self.hub().plan(&self.publication(&repo(REPO)))
    }

    pub fn publication<'a>(&'a self, repo: &'a RepoId) -> Publication<'a> {
        Publication {
            bundle: &self.bundle,
            repo,
            private: false,
            message: "Publish",
            pull_request: false,
        }
    }

    /// All events that were reported, as lines.
    pub fn said(&self) -> String {
        self.events.lock().unwrap().join("\n")
    }
}

impl Drop for Scene {
    /// No test may reveal the token, in an event or in an address, or send it to a host other than
    /// the Hub's.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(!self.said().contains(TOKEN));
            for request in self.loopback.traffic() {
                assert!(!request.path.contains(TOKEN));
                assert!(
                    !request.authorized || is_hubs(self, &request),
                    "the token went elsewhere: {request:?}"
                );
            }
        }
    }
}

/// Whether a request went to the Hub's own host, and not to the host of large files.
pub fn is_hubs(scene: &Scene, request: &Traffic) -> bool {
    scene.loopback.endpoint().ends_with(&request.host)
}

pub fn repo(text: &str) -> RepoId {
    text.parse().unwrap()
}

/// The message of an error as the program prints it.
pub fn message<T>(result: anyhow::Result<T>) -> String {
    let Err(error) = result else {
        panic!("it went well")
    };
    let text = format!("{error:#}");
    assert!(
        !text.contains(TOKEN) && !format!("{error:?}").contains(TOKEN),
        "the token shows"
    );
    text
}

#[track_caller]
pub fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[track_caller]
pub fn assert_same_files(folder: &Path, other: &Path) {
    let manifest = verify::bundle(folder).unwrap();
    for path in manifest
        .files
        .iter()
        .map(|file| file.path.as_str())
        .chain([MANIFEST])
    {
        assert_eq!(
            fs::read(folder.join(path)).unwrap(),
            fs::read(other.join(path)).unwrap(),
            "{path}"
        );
    }
}

/// The requests with this method whose path contains `path_part`.
pub fn to<'a>(traffic: &'a [Traffic], method: &'a str, path_part: &'a str) -> Vec<&'a Traffic> {
    traffic
        .iter()
        .filter(|request| request.method.as_str() == method && request.path.contains(path_part))
        .collect()
}
