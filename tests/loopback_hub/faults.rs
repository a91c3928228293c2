//! Faults that tests ask for.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderValue, Response, header},
};
use futures_util::{StreamExt, stream};

/// A fault.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Answer with this status without doing the request.
    Refuse(u16),
    /// Do the request, then answer with this status instead.
    Lose(u16),
    /// Break the connection after this many bytes of the answer.
    Cut(u64),
    /// Break the connection after this many bytes of the request, without doing it.
    HangUp(u64),
    /// Stop after this many bytes of the answer, and keep the connection open.
    Stall(u64),
    /// Send the answer in four pieces, with this pause between them.
    Slow(Duration),
    /// Send half of the answer, and the rest once the flag is true.
    Held(&'static AtomicBool),
    /// Ignore ranges.
    WholeOnly,
    /// Flip the lowest bit of the byte at this offset of the answer.
    Flip(u64),
}

/// A fault waiting for its requests.
pub struct Coming {
    pub times: usize,
    pub method: &'static str,
    pub path_part: String,
    pub fault: Fault,
}

impl Fault {
    /// Applies the fault to a request.
    pub async fn before(self, mut request: Request) -> Request {
        match self {
            Fault::WholeOnly => {
                request.headers_mut().remove(header::RANGE);
            }
            Fault::HangUp(after) => {
                let (mut body, mut read) =
                    (std::mem::take(request.body_mut()).into_data_stream(), 0);
                while let (true, Some(Ok(bytes))) = (read < after, body.next().await) {
                    read += bytes.len() as u64;
                }
            }
            _ => {}
        }
        request
    }

    /// Applies the fault to an answer.
    pub async fn after(self, response: Response<Body>) -> Response<Body> {
        if matches!(self, Fault::Refuse(_) | Fault::Lose(_) | Fault::WholeOnly) {
            return response;
        }
        let (mut parts, body) = response.into_parts();
        let whole = axum::body::to_bytes(body, usize::MAX)
            .await
            .unwrap_or_default();
        // An empty answer cannot break off, so announce at least one byte.
        parts.headers.insert(
            header::CONTENT_LENGTH,
            HeaderValue::from(whole.len().max(1)),
        );
        let first = |bytes: u64| whole.slice(..whole.len().min(bytes as usize));
        // Wait until the bytes before the break are sent.
        let broken = || {
            stream::once(async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err::<Bytes, _>(io::Error::from(io::ErrorKind::ConnectionReset))
            })
        };
        let some = |bytes: Bytes| stream::iter([Ok::<_, io::Error>(bytes)]);
        let body = match self {
            Fault::Cut(after) => Body::from_stream(some(first(after)).chain(broken())),
            Fault::HangUp(_) => Body::from_stream(stream::iter([Err::<Bytes, _>(
                io::Error::from(io::ErrorKind::ConnectionReset),
            )])),
            Fault::Stall(after) => Body::from_stream(some(first(after)).chain(stream::pending())),
            Fault::Slow(pause) => {
                let pieces: Vec<Bytes> = whole
                    .chunks(whole.len().div_ceil(4).max(1))
                    .map(Bytes::copy_from_slice)
                    .collect();
                Body::from_stream(stream::iter(pieces).then(move |piece| async move {
                    tokio::time::sleep(pause).await;
                    Ok::<_, io::Error>(piece)
                }))
            }
            Fault::Held(go) => {
                let pieces: Vec<Bytes> = whole
                    .chunks(whole.len().div_ceil(2).max(1))
                    .map(Bytes::copy_from_slice)
                    .collect();
                Body::from_stream(stream::iter(pieces.into_iter().enumerate()).then(
                    move |(i, piece)| async move {
                        while i > 0 && !go.load(Ordering::Relaxed) {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                        Ok::<_, io::Error>(piece)
                    },
                ))
            }
            Fault::Flip(at) => {
                let mut bytes = whole.to_vec();
                if let Some(byte) = bytes.get_mut(at as usize) {
                    *byte ^= 1;
                }
                Body::from(bytes)
            }
            Fault::Refuse(_) | Fault::Lose(_) | Fault::WholeOnly => Body::from(whole.clone()),
        };
        Response::from_parts(parts, body)
    }
}
