//! TensorBoard events: the numbers of the log, in TensorBoard's format.
//!
//! A file is a sequence of TFRecords, each a length (u64), its masked CRC-32C (u32), that many
//! bytes, and their masked CRC-32C, all little-endian. The bytes are a protobuf message `Event`
//! (tensorflow/core/util/event.proto). Scalars need only a few of its fields, so they are encoded
//! by hand. Of the existing crates, tensorboard-rs (2022) panics when the disk is full and depends
//! on an image library, and tboard (2023) needs `protoc` to build.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::system::files;

const PREFIX: &str = "events.out.tfevents.";

/// The scalars of a step.
const STEP_SCALARS: [&str; 3] = ["loss", "learning_rate", "grad_norm"];

/// The events of a run, written as it goes.
pub struct Events {
    path: PathBuf,
    file: File,
    clock: Clock,
}

/// Computes the time of events from the seconds of training in the log, so that a pause between a
/// run and its resumption takes no space on TensorBoard's time axis.
struct Clock {
    /// Time at which training would have started without pauses, in seconds since 1970.
    began: f64,
    /// Seconds of training at the last line that had them.
    seconds: f64,
    /// Whether the time since then was spent on one step only.
    stepping: bool,
}

impl Events {
    /// Opens the events in `out`/tensorboard. The lines in `kept` are written again and earlier
    /// files are removed, so that a resumed run has no duplicate points.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn open(out: &Path, kept: &[Value]) -> Result<Events> {
        let folder = out.join("tensorboard");
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0.0, |t| t.as_secs_f64());
        let seconds = kept
            .iter()
            .rev()
            .find_map(|line| line["seconds"].as_f64())
            .unwrap_or(0.0);
        let mut clock = Clock {
            began: now - seconds,
            seconds: 0.0,
            stepping: true,
        };
        let mut content = record(&version_event(clock.began));
        kept.iter()
            .filter_map(|line| clock.event(line))
            .for_each(|event| content.extend(record(&event)));

        let earlier = match folder.is_dir() {
            true => event_files(&folder)?,
            false => Vec::new(),
        };
        // TensorBoard's own writer puts the host's name here, which is private.
        let path = folder.join(format!("{PREFIX}{:010}.starsight", now as u64));
        files::write_bytes(&path, &content)?;
        for old in earlier.into_iter().filter(|old| *old != path) {
            fs::remove_file(&old).with_context(|| format!("removing {}", old.display()))?;
        }
        let file = OpenOptions::new()
            .append(true)
            .open(&path)
            .with_context(|| format!("opening {}", path.display()))?;
        Ok(Events { path, file, clock })
    }

    /// Adds the scalars of a log line.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn add(&mut self, line: &Value) -> Result<()> {
        let Some(event) = self.clock.event(line) else {
            return Ok(());
        };
        self.file
            .write_all(&record(&event))
            .with_context(|| format!("writing {}", self.path.display()))
    }
}

/// The event files in `folder`.
fn event_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let is_ours = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(PREFIX))
    };
    Ok(entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(is_ours)
        .collect())
}

impl Clock {
    /// The event of a log line, if it has scalars.
    fn event(&mut self, line: &Value) -> Option<Vec<u8>> {
        let scalars = self.scalars(line);
        (!scalars.is_empty()).then(|| {
            scalar_event(
                self.began + self.seconds,
                line["step"].as_u64().unwrap_or(0),
                &scalars,
            )
        })
    }

    fn scalars(&mut self, line: &Value) -> Vec<(String, f32)> {
        let number = |value: &Value| value.as_f64().map(|x| x as f32);
        if let Some(metrics) = line["validation"].as_object() {
            self.stepping = false;
            // All metrics except the confusion matrix and the number of reviews, which is constant.
            return metrics
                .iter()
                .filter(|(name, _)| *name != "samples")
                .filter_map(|(name, x)| Some((format!("eval/{name}"), number(x)?)))
                .collect();
        }
        let mut scalars: Vec<_> = STEP_SCALARS
            .iter()
            .filter_map(|name| Some((format!("train/{name}"), number(&line[name])?)))
            .collect();
        if let (Some(samples), Some(seconds)) = (line["samples"].as_f64(), line["seconds"].as_f64())
        {
            // After an evaluation, the elapsed time is not that of the step alone.
            if self.stepping && seconds > self.seconds {
                scalars.push((
                    "train/samples_per_second".into(),
                    (samples / (seconds - self.seconds)) as f32,
                ));
            }
            (self.seconds, self.stepping) = (seconds, true);
        }
        scalars
    }
}

/// The first event of a file: `Event { wall_time: 1, file_version: 3 }`.
fn version_event(wall_time: f64) -> Vec<u8> {
    let mut event = Vec::new();
    fixed64(&mut event, 1, wall_time);
    bytes(&mut event, 3, b"brain.Event:2");
    event
}

/// `Event { wall_time: 1, step: 2, summary: 5 { value: 1 { tag: 1, simple_value: 2 } … } }`.
fn scalar_event(wall_time: f64, step: u64, scalars: &[(String, f32)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, x) in scalars {
        let mut value = Vec::new();
        bytes(&mut value, 1, tag.as_bytes());
        fixed32(&mut value, 2, *x);
        bytes(&mut summary, 1, &value);
    }
    let mut event = Vec::new();
    fixed64(&mut event, 1, wall_time);
    varint(&mut event, 2 << 3);
    varint(&mut event, step);
    bytes(&mut event, 5, &summary);
    event
}

/// A varint: seven bits per byte, the lowest first.
fn varint(out: &mut Vec<u8>, mut x: u64) {
    while x >= 0x80 {
        out.push(x as u8 | 0x80);
        x >>= 7;
    }
    out.push(x as u8);
}

fn fixed64(out: &mut Vec<u8>, field: u64, x: f64) {
    varint(out, field << 3 | 1);
    out.extend(x.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u64, content: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, content.len() as u64);
    out.extend(content);
}

fn fixed32(out: &mut Vec<u8>, field: u64, x: f32) {
    varint(out, field << 3 | 5);
    out.extend(x.to_le_bytes());
}

/// `data` as a TFRecord.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [
        &length,
        masked_crc(&length).to_le_bytes().as_slice(),
        data,
        &masked_crc(data).to_le_bytes(),
    ]
    .concat()
}

/// The CRC-32C, rotated and shifted, so that CRCs of data that contains CRCs stay reliable
/// (tensorflow/core/lib/hash/crc32c.h).
fn masked_crc(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), bit by bit: a record has some 200 bytes, and a step takes milliseconds.
fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A protobuf message's fields: number and content (of a varint, its value).
    fn fields(mut data: &[u8]) -> Vec<(u64, Vec<u8>)> {
        fn take<'a>(data: &mut &'a [u8], n: usize) -> &'a [u8] {
            let (head, tail) = data.split_at(n);
            *data = tail;
            head
        }
        fn number(data: &mut &[u8]) -> u64 {
            let length = data.iter().position(|b| b & 0x80 == 0).expect("an end") + 1;
            take(data, length)
                .iter()
                .rev()
                .fold(0, |x, b| x << 7 | u64::from(b & 0x7f))
        }
        let mut out = Vec::new();
        while !data.is_empty() {
            let key = number(&mut data);
            let content = match key & 7 {
                0 => number(&mut data).to_le_bytes().to_vec(),
                1 => take(&mut data, 8).to_vec(),
                2 => {
                    let n = number(&mut data) as usize;
                    take(&mut data, n).to_vec()
                }
                5 => take(&mut data, 4).to_vec(),
                other => panic!("wire type {other}"),
            };
            out.push((key >> 3, content));
        }
        out
    }

    /// The file's records, checked against their CRCs.
    fn records(folder: &Path) -> Vec<Vec<u8>> {
        let [path] = &event_files(folder).expect("a folder")[..] else {
            panic!("one file")
        };
        let file = fs::read(path).expect("a file");
        let (mut rest, mut out) = (file.as_slice(), Vec::new());
        while !rest.is_empty() {
            let number =
                |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().expect("4 bytes"));
            let length = u64::from_le_bytes(rest[..8].try_into().expect("8 bytes")) as usize;
            assert_eq!(number(8), masked_crc(&rest[..8]));
            let data = &rest[12..12 + length];
            assert_eq!(number(12 + length), masked_crc(data));
            out.push(data.to_vec());
            rest = &rest[16 + length..];
        }
        out
    }

    /// (step, tag, value) of each scalar.
    fn scalars(folder: &Path) -> Vec<(u64, String, f32)> {
        let mut out = Vec::new();
        for record in &records(folder)[1..] {
            let event = fields(record);
            let [(1, _), (2, step), (5, summary)] = &event[..] else {
                panic!("{event:?}")
            };
            for (_, value) in fields(summary) {
                let value = fields(&value);
                let [(1, tag), (2, x)] = &value[..] else {
                    panic!("{value:?}")
                };
                let step = u64::from_le_bytes(step[..].try_into().expect("8 bytes"));
                out.push((
                    step,
                    String::from_utf8(tag.clone()).expect("a tag"),
                    f32::from_le_bytes(x[..].try_into().expect("4 bytes")),
                ));
            }
        }
        out
    }

    fn step(number: u64, seconds: f64) -> Value {
        json!({ "step": number, "loss": 0.5, "learning_rate": 1e-4, "grad_norm": 2.0, "samples": 10, "tokens": 99, "seconds": seconds })
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        // The check value of the catalogue of parametrised CRC algorithms.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let out = tempfile::tempdir().expect("a folder");
        let mut events = Events::open(out.path(), &[]).expect("events");
        let evaluation = json!({ "step": 300, "epoch": 1, "validation": { "samples": 7, "loss": 0.25, "accuracy": 0.75, "confusion": [[1]] } });
        for line in [step(299, 2.0), evaluation, step(300, 9.0), step(301, 10.0)] {
            events.add(&line).expect("added");
        }
        let folder = out.path().join("tensorboard");
        assert_eq!(
            fields(&records(&folder)[0])[1],
            (3, b"brain.Event:2".to_vec())
        );
        let train = |step, rate: Option<f32>| {
            let mut lines = vec![
                (step, "train/loss".to_string(), 0.5),
                (step, "train/learning_rate".into(), 1e-4),
                (step, "train/grad_norm".into(), 2.0),
            ];
            lines.extend(rate.map(|rate| (step, "train/samples_per_second".into(), rate)));
            lines
        };
        let mut wanted = train(299, Some(5.0));
        wanted.extend([
            (300, "eval/accuracy".into(), 0.75),
            (300, "eval/loss".into(), 0.25),
        ]);
        // The time of step 300 includes the evaluation, so it has no rate.
        wanted.extend(train(300, None));
        wanted.extend(train(301, Some(10.0)));
        assert_eq!(scalars(&folder), wanted);
    }

    #[test]
    fn a_resumed_run_makes_no_point_twice() {
        let out = tempfile::tempdir().expect("a folder");
        let folder = out.path().join("tensorboard");
        fs::create_dir(&folder).expect("a folder");
        fs::write(
            folder.join("events.out.tfevents.0000000001.starsight"),
            b"of the run that was killed",
        )
        .expect("written");
        fs::write(folder.join("notes.txt"), b"mine").expect("written");
        let mut events = Events::open(out.path(), &[step(1, 1.0), step(2, 3.0)]).expect("events");
        events.add(&step(3, 4.0)).expect("added");
        let losses: Vec<u64> = scalars(&folder)
            .iter()
            .filter(|(_, tag, _)| tag == "train/loss")
            .map(|(step, ..)| *step)
            .collect();
        assert_eq!(losses, [1, 2, 3]);
        let rates: Vec<f32> = scalars(&folder)
            .iter()
            .filter(|(_, tag, _)| tag == "train/samples_per_second")
            .map(|(.., rate)| *rate)
            .collect();
        assert_eq!(rates, [10.0, 5.0, 10.0]);
        assert!(folder.join("notes.txt").exists(), "what is not ours stays");
    }
}
