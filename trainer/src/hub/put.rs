//! Uploads a piece of a file to an address that the Hub gave.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result};
use futures_util::stream;
use reqwest::{Body, Client, header};
use tokio::{runtime, time::sleep};

use super::{Hub, USER_AGENT, failure::Failure, meter::Meter, rest::Action};

/// Bytes read at once.
const BLOCK: u64 = 64 << 10;

/// A piece of a file.
pub(super) struct Piece<'a> {
    pub(super) path: &'a Path,
    pub(super) start: u64,
    pub(super) size: u64,
}

impl Hub {
    /// Uploads a piece and returns the entity tag of the answer. The address may be on another
    /// host, so our token is not sent.
    ///
    /// It does not use reqwest's blocking client, which neither notices a refusal before everything
    /// is sent nor a transfer that stalls.
    pub(super) fn put(
        &self,
        piece: &Piece<'_>,
        to: &Action,
        meter: &Meter,
    ) -> Result<Option<String>, Failure> {
        let sent = Arc::<AtomicU64>::default();
        let body = piece.body(&sent, meter)?;
        let http = Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(self.retry_policy.connect)
            .build()?;
        // With a known length the body is not sent in chunked encoding, which object stores refuse.
        let mut request = http
            .put(&to.href)
            .header(header::CONTENT_LENGTH, piece.size)
            .body(body);
        for (name, value) in &to.header {
            if let Some(value) = value.as_str() {
                request = request.header(name, value);
            }
        }
        let answer = async {
            let response = request.send().await?;
            if !response.status().is_success() {
                return Err(Failure::Status {
                    code: response.status().as_u16(),
                    words: None,
                });
            }
            let tag = response
                .headers()
                .get(header::ETAG)
                .and_then(|tag| tag.to_str().ok())
                .map(str::to_owned);
            // A broken answer counts as a failure.
            response.bytes().await?;
            Ok(tag)
        };
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting an upload")?;
        let outcome = runtime.block_on(async {
            tokio::pin!(answer);
            let mut before = 0;
            loop {
                tokio::select! {
                    outcome = &mut answer => return outcome,
                    () = sleep(self.retry_policy.stall) => {}
                }
                let now = sent.load(Ordering::Relaxed);
                if now == before {
                    return Err(Failure::stalled(self.retry_policy.stall));
                }
                before = now;
            }
        });
        outcome.inspect_err(|_| meter.take_back(sent.load(Ordering::Relaxed)))
    }
}

impl Piece<'_> {
    /// The piece as a stream of blocks, counted as they are read.
    fn body(&self, sent: &Arc<AtomicU64>, meter: &Meter) -> Result<Body> {
        let reading = || format!("reading {}", self.path.display());
        let mut file = File::open(self.path).with_context(reading)?;
        file.seek(SeekFrom::Start(self.start))
            .with_context(reading)?;
        let (sent, meter) = (sent.clone(), meter.clone());
        Ok(Body::wrap_stream(stream::try_unfold(
            (file, self.size),
            move |(mut file, left)| {
                let mut block = vec![0; left.min(BLOCK) as usize];
                let read = file
                    .read_exact(&mut block)
                    .map(|()| (!block.is_empty()).then(|| (block, (file, left - left.min(BLOCK)))));
                if read.is_ok() {
                    sent.fetch_add(left.min(BLOCK), Ordering::Relaxed);
                    meter.add(left.min(BLOCK));
                }
                async { read }
            },
        )))
    }
}
