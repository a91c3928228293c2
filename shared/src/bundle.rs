//! The bundle: the published folder, described by its manifest.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::rating::{Decoding, RatingSettings};
use crate::{Error, LABELS};

/// The manifest's file name.
pub const MANIFEST: &str = "starsight.json";
/// Hugging Face's description of the encoder.
pub const CONFIG: &str = "config.json";
/// The weights, f32, under Hugging Face's tensor names.
pub const WEIGHTS: &str = "model.safetensors";
/// The weights of the int8 engine.
pub const INT8_WEIGHTS: &str = "web/weights.safetensors";
/// The tokeniser as the tokenizers library reads it.
pub const TOKENIZER: &str = "tokenizer.json";
/// The tokeniser's settings as transformers reads them.
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// The vocabulary, one piece per line.
pub const VOCAB: &str = "vocab.txt";
/// The model card.
pub const CARD: &str = "README.md";

/// The format version that this crate writes and reads.
pub const FORMAT: u32 = 1;

/// `starsight.json`: what the bundle holds and where it comes from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this description, [`FORMAT`].
    pub format: u32,
    /// The model's display name.
    pub name: String,
    /// Every file of the bundle except the manifest itself.
    pub files: Vec<FileEntry>,
    /// Texts with the logits that the trainer computed. A loader uses them to check that it
    /// computes the same logits.
    pub probes: Vec<Probe>,
    /// Metrics on the test split.
    pub metrics: Option<serde_json::Value>,
    /// Calibration temperature by which logits are divided; 1 means no calibration.
    pub temperature: f32,
    /// How the probabilities are turned into stars.
    #[serde(default)]
    pub decoding: Decoding,
    /// Shares of one to five stars among the training reviews, after weighting, all above 0.
    /// Without them no rating is marked as a guess.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior: Option<[f32; LABELS]>,
    /// Base model, data, split seed, hyperparameters, code version.
    pub provenance: serde_json::Value,
}

/// A file of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Path within the bundle, with `/`.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the bytes, in lower-case hexadecimal.
    pub sha256: String,
}

/// A text and the logits that the trainer computed for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// The text.
    pub text: String,
    /// Its logits, labels 0 to 4.
    pub logits: [f32; LABELS],
    /// The logits of the int8 engine, which are identical on every machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub int8_logits: Option<[f32; LABELS]>,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// [`Error::Bundle`] for broken JSON, a missing field, another format version, a path that
    /// is outside the bundle, a temperature that is not above 0, or a prior that is not five
    /// shares above 0 which add up to 1.
    pub fn from_json(json: &[u8]) -> Result<Manifest, Error> {
        let manifest: Manifest = serde_json::from_slice(json)
            .map_err(|e| Error::Bundle(format!("{MANIFEST}: not a manifest: {e}")))?;
        if manifest.format != FORMAT {
            return Err(Error::Bundle(format!(
                "{MANIFEST}: format {}; this version reads format {FORMAT}",
                manifest.format
            )));
        }
        let leads_out = |path: &str| {
            path.contains('\\') || path.split('/').any(|part| matches!(part, "" | "." | ".."))
        };
        if let Some(file) = manifest.files.iter().find(|f| leads_out(&f.path)) {
            return Err(Error::Bundle(format!(
                "{MANIFEST}: the file path {:?} is outside the bundle",
                file.path
            )));
        }
        if !(manifest.temperature > 0.0 && manifest.temperature.is_finite()) {
            return Err(Error::Bundle(format!(
                "{MANIFEST}: temperature is {}; wanted a number above 0",
                manifest.temperature
            )));
        }
        if let Some(prior) = manifest.prior
            && !(prior.iter().all(|share| *share > 0.0)
                && (prior.iter().sum::<f32>() - 1.0).abs() < 1e-3)
        {
            return Err(Error::Bundle(format!(
                "{MANIFEST}: prior is {prior:?}; wanted five shares above 0 that add up to 1"
            )));
        }
        Ok(manifest)
    }

    /// How the model's logits are turned into ratings.
    pub fn settings(&self) -> RatingSettings {
        RatingSettings {
            temperature: self.temperature,
            decoding: self.decoding,
            prior: self.prior,
        }
    }

    /// The entry of the file at `path`.
    ///
    /// # Errors
    /// [`Error::Bundle`] when the manifest lists no such file.
    pub fn file(&self, path: &str) -> Result<&FileEntry, Error> {
        self.files
            .iter()
            .find(|f| f.path == path)
            .ok_or_else(|| Error::Bundle(format!("{MANIFEST}: does not list {path}")))
    }
}

impl FileEntry {
    /// Describes `bytes` under `path`.
    pub fn of(path: &str, bytes: &[u8]) -> FileEntry {
        FileEntry {
            path: path.into(),
            size: bytes.len() as u64,
            sha256: sha256_hex(bytes),
        }
    }

    /// Compares `bytes` with the entry.
    ///
    /// # Errors
    /// [`Error::Bundle`] when the size or the SHA-256 differs.
    pub fn verify(&self, bytes: &[u8]) -> Result<(), Error> {
        self.check(bytes.len() as u64, || sha256_hex(bytes))
    }

    /// Compares a size and a SHA-256 that were computed while streaming. The hash is requested only
    /// if the size matches.
    ///
    /// # Errors
    /// [`Error::Bundle`] when one of them differs.
    pub fn check(&self, size: u64, sha256: impl FnOnce() -> String) -> Result<(), Error> {
        if size != self.size {
            let how = if size < self.size {
                "it is truncated"
            } else {
                "it is another file"
            };
            return Err(Error::Bundle(format!(
                "{}: {size} bytes, but {MANIFEST} says {}: {how}",
                self.path, self.size
            )));
        }
        let found = sha256();
        if found != self.sha256 {
            return Err(Error::Bundle(format!(
                "{}: SHA-256 {found}, but {MANIFEST} says {}: it is damaged or another file",
                self.path, self.sha256
            )));
        }
        Ok(())
    }
}

/// SHA-256 in lower-case hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            format: FORMAT,
            name: "test".into(),
            files: vec![FileEntry::of("a.txt", b"abc")],
            probes: vec![],
            metrics: None,
            temperature: 1.0,
            decoding: Decoding::Likeliest,
            prior: None,
            provenance: serde_json::Value::Null,
        }
    }

    fn read(manifest: &Manifest) -> Result<Manifest, Error> {
        Manifest::from_json(&serde_json::to_vec(manifest).expect("JSON"))
    }

    #[test]
    fn a_file_is_held_to_its_entry() {
        let manifest = read(&manifest()).expect("a good manifest");
        let entry = manifest.file("a.txt").expect("listed");
        assert_eq!(
            entry.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(entry.verify(b"abc").is_ok());
        assert!(
            entry
                .verify(b"ab")
                .expect_err("short")
                .to_string()
                .contains("a.txt: 2 bytes, but starsight.json says 3: it is truncated")
        );
        assert!(
            entry
                .verify(b"abd")
                .expect_err("other")
                .to_string()
                .contains("damaged")
        );
        assert!(manifest.file("b.txt").is_err());
    }

    #[test]
    fn a_bad_manifest_is_refused() {
        for path in ["../secret", "/etc/passwd", "a//b", "a\\b", "./a"] {
            let mut bad = manifest();
            bad.files[0].path = path.into();
            assert!(
                read(&bad)
                    .expect_err(path)
                    .to_string()
                    .contains("is outside"),
                "{path}"
            );
        }
        assert!(
            read(&Manifest {
                format: 2,
                ..manifest()
            })
            .expect_err("format")
            .to_string()
            .contains("format 2")
        );
        assert!(
            read(&Manifest {
                temperature: 0.0,
                ..manifest()
            })
            .is_err()
        );
        for prior in [[0.5, 0.5, 0.0, 0.0, 0.0], [0.1; 5]] {
            assert!(
                read(&Manifest {
                    prior: Some(prior),
                    ..manifest()
                })
                .expect_err("prior")
                .to_string()
                .contains("add up to 1"),
                "{prior:?}"
            );
        }
        assert_eq!(
            read(&Manifest {
                prior: Some([0.2; 5]),
                ..manifest()
            })
            .expect("a good prior")
            .settings()
            .prior,
            Some([0.2; 5])
        );
        assert!(Manifest::from_json(b"{").is_err());
    }
}
