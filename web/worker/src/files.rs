//! Reads a bundle's files from streams into their final memory, and checks size and SHA-256 against
//! the manifest while the bytes arrive.

use js_sys::{Date, Function, Promise, Uint8Array};
use sha2::{Digest, Sha256};
use starsight_model::bundle::{FileEntry, hex};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{ReadableStream, ReadableStreamDefaultReader, ReadableStreamReadResult};

use crate::worker_error::WorkerError;

/// Milliseconds between two reports of progress.
const REPORT_INTERVAL: f64 = 50.0;

#[wasm_bindgen]
extern "C" {
    /// The memory of a piece that was read. It is released explicitly, because the garbage
    /// collector would let pieces accumulate up to the size of the model.
    type Buffer;

    /// Moves the first `length` bytes to a new buffer and releases the old one at once.
    #[wasm_bindgen(method, catch)]
    fn transfer(this: &Buffer, length: u32) -> Result<Buffer, JsValue>;
}

/// The source of a bundle's files.
pub struct Files {
    base: String,
    open: Function,
}

impl Files {
    /// The files of the bundle at the address `base`. `open` is called with a path and whether the
    /// file must be fetched again from its source. It returns a stream of the file's bytes.
    pub fn new(base: String, open: Function) -> Files {
        Files { base, open }
    }

    /// Reads the file that `entry` describes, and checks its size and SHA-256. A damaged file is
    /// fetched once more.
    pub async fn read(
        &self,
        entry: &FileEntry,
        progress: &mut Progress,
    ) -> Result<Vec<u8>, JsValue> {
        let mut bytes = Vec::new();
        let fits =
            usize::try_from(entry.size).is_ok_and(|size| bytes.try_reserve_exact(size).is_ok());
        if !fits {
            return Err(WorkerError::Engine(format!(
                "not enough memory in this browser for the {} bytes of {}",
                entry.size, entry.path
            ))
            .into());
        }
        let before = progress.loaded;
        if self.fill(&mut bytes, entry, false, progress).await?.is_ok() {
            return Ok(bytes);
        }
        progress.loaded = before;
        let checked = self.fill(&mut bytes, entry, true, progress).await?;
        checked
            .map_err(|e| WorkerError::File(entry.path.clone(), format!("{}: {e}", self.base)))?;
        Ok(bytes)
    }

    /// Reads a stream into `bytes`, at most as many as the entry says, and checks them against the
    /// entry.
    async fn fill(
        &self,
        bytes: &mut Vec<u8>,
        entry: &FileEntry,
        anew: bool,
        progress: &mut Progress,
    ) -> Result<Result<(), starsight_model::Error>, JsValue> {
        bytes.clear();
        let mut sha256 = Sha256::new();
        let mut size = 0;
        let stream = self
            .open
            .call2(&JsValue::NULL, &entry.path.as_str().into(), &anew.into())?
            .unchecked_into::<ReadableStream>();
        let reader: ReadableStreamDefaultReader = stream.get_reader().unchecked_into();
        // If there are more bytes than the manifest says, the file is wrong, and the rest is not
        // read.
        while size <= entry.size {
            let read: ReadableStreamReadResult =
                JsFuture::from(reader.read()).await?.unchecked_into();
            if read.get_done().unwrap_or(false) {
                break;
            }
            let piece: Uint8Array = read.get_value().unchecked_into();
            size += u64::from(piece.length());
            if size <= entry.size {
                let start = bytes.len();
                bytes.resize(start + piece.length() as usize, 0);
                piece.copy_to(&mut bytes[start..]);
                sha256.update(&bytes[start..]);
                progress.add(u64::from(piece.length()));
            }
            // Browsers without `transfer` leave this to the garbage collector.
            let _ = piece.buffer().unchecked_into::<Buffer>().transfer(0);
        }
        let cancelled: Promise = reader.cancel();
        drop(cancelled);
        Ok(entry.check(size, || hex(&sha256.finalize())))
    }
}

/// Reports how many bytes have arrived, at a limited rate.
pub struct Progress {
    listener: Function,
    loaded: u64,
    total: u64,
    said_at: f64,
}

impl Progress {
    /// Progress of 0 of `total` bytes.
    pub fn new(listener: Function, total: u64) -> Progress {
        Progress {
            listener,
            loaded: 0,
            total,
            said_at: 0.0,
        }
    }

    fn add(&mut self, bytes: u64) {
        self.loaded += bytes;
        if Date::now() - self.said_at >= REPORT_INTERVAL {
            self.say("download");
        }
    }

    /// Reports the progress in `phase`. Exceptions of the listener are ignored.
    pub fn say(&mut self, phase: &str) {
        self.said_at = Date::now();
        let _ = self.listener.call3(
            &JsValue::NULL,
            &phase.into(),
            &(self.loaded as f64).into(),
            &(self.total as f64).into(),
        );
    }
}
