//! A request body read as a whole: charged before memory is taken for it, and unpacked within bounds.

use std::io::Read;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use bytes::BytesMut;
use http_body_util::BodyExt;
use tonic::Status;

use super::admission::{Admission, InFlight};

/// A peer gets this long to send its body; a stalled one must not keep its room.
const BODY_TIME: Duration = Duration::from_secs(60);
/// A peer gets this long to send the rest of a body that is refused.
const DISCARD_TIME: Duration = Duration::from_secs(5);
/// Bodies that do not say their length are charged in steps of at least this many bytes.
const STEP: usize = 64 << 10;
/// A packed body may hold this many times its own length.
const MAX_RATIO: usize = 50;
/// Packed bodies below it may hold that much all the same.
const SMALL: usize = 64 << 10;
/// Smaller bodies are unpacked where they are.
const INLINE: usize = 16 << 10;
/// Bytes of a body that are in memory while it is read as it comes.
const PASSING: usize = 256 << 10;
/// Largest window of zstd: 8 MiB.
const ZSTD_WINDOW_LOG: u32 = 23;

/// Why a body is not taken.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// Longer than a message may be.
    TooLarge { limit: usize },
    /// Holds more than its length makes plausible.
    Ratio,
    /// Packed in a way that is not known.
    Encoding(String),
    /// Cannot be unpacked.
    Broken(String),
    /// Did not arrive in time.
    Stalled(Duration),
    /// No room for it.
    Busy(Box<Status>),
}

impl From<Status> for BodyError {
    fn from(status: Status) -> Self {
        Self::Busy(Box::new(status))
    }
}

/// Where a body is charged, and how long it may be.
pub(crate) struct Collector<'a> {
    pub(crate) admission: &'a Admission,
    pub(crate) in_flight: &'a InFlight,
    pub(crate) max: usize,
}

impl Collector<'_> {
    /// Reads and unpacks a body.
    pub(crate) async fn collect(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, BodyError> {
        let packing = Packing::of(headers)?;
        let read = tokio::time::timeout(BODY_TIME, self.read(headers, body));
        let bytes = read.await.map_err(|_| BodyError::Stalled(BODY_TIME))??;
        let Some(packing) = packing else { return Ok(bytes) };
        let limit = self.max.min(bytes.len().saturating_mul(MAX_RATIO).max(SMALL));
        // What it holds is not known before; all of what it may hold is charged.
        self.charge(limit).await?;
        let max = self.max;
        if bytes.len() < INLINE {
            return packing.unpack(&bytes, limit, max);
        }
        let unpacked = tokio::task::spawn_blocking(move || packing.unpack(&bytes, limit, max)).await;
        unpacked.map_err(|e| BodyError::Broken(e.to_string()))?
    }

    /// A body that is read as it comes: room is taken for its parts, and it must not be packed.
    pub(crate) async fn pass(&self, headers: &HeaderMap, body: Body) -> Result<Body, BodyError> {
        if Packing::of(headers)?.is_some() {
            return Err(BodyError::Encoding("of a file".into()));
        }
        self.charge(PASSING).await?;
        Ok(body)
    }

    async fn read(&self, headers: &HeaderMap, mut body: Body) -> Result<Bytes, BodyError> {
        let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
        let mut charged: usize = announced.unwrap_or(0);
        if charged > self.max {
            self.discard(body).await;
            return Err(BodyError::TooLarge { limit: self.max });
        }
        if charged > 0 {
            self.charge(charged).await?;
        }
        let mut whole = BytesMut::with_capacity(charged);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| BodyError::Broken(e.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            let len = whole.len() + data.len();
            if len > self.max {
                drop(whole);
                self.discard(body).await;
                return Err(BodyError::TooLarge { limit: self.max });
            }
            if len > charged {
                let more = (len - charged).max(charged).max(STEP).min(self.max - charged);
                self.charge(more).await?;
                charged += more;
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    }

    /// Reads on for a while, so that a peer that is still sending gets to read why it is refused.
    async fn discard(&self, mut body: Body) {
        let rest = async {
            let mut left = self.max.saturating_mul(4);
            while let Some(Ok(frame)) = body.frame().await {
                let len = frame.data_ref().map_or(0, Bytes::len);
                match left.checked_sub(len) {
                    Some(less) => left = less,
                    None => return,
                }
            }
        };
        let _ = tokio::time::timeout(DISCARD_TIME, rest).await;
    }

    async fn charge(&self, len: usize) -> Result<(), BodyError> {
        let held = self.in_flight.units();
        let charge = match self.admission.try_beside(held, len) {
            Some(charge) => charge,
            None => self.admission.clone().beside(held, len, None).await?,
        };
        self.in_flight.push(charge);
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Packing {
    Gzip,
    Zstd,
    Brotli,
}

impl Packing {
    fn of(headers: &HeaderMap) -> Result<Option<Self>, BodyError> {
        let mut given = headers.get_all(header::CONTENT_ENCODING).iter();
        let Some(value) = given.next() else { return Ok(None) };
        match (value.as_bytes(), given.next()) {
            (b"identity" | b"", None) => Ok(None),
            (b"gzip" | b"x-gzip", None) => Ok(Some(Self::Gzip)),
            (b"zstd", None) => Ok(Some(Self::Zstd)),
            (b"br", None) => Ok(Some(Self::Brotli)),
            (other, _) => Err(BodyError::Encoding(String::from_utf8_lossy(other).chars().take(64).collect())),
        }
    }

    /// `limit` is what this body may hold, `max` what any may.
    fn unpack(self, packed: &[u8], limit: usize, max: usize) -> Result<Bytes, BodyError> {
        let mut whole = Vec::new();
        let bound = limit as u64 + 1;
        let read = match self {
            Self::Gzip => flate2::read::MultiGzDecoder::new(packed).take(bound).read_to_end(&mut whole),
            Self::Brotli => brotli::Decompressor::new(packed, 4 << 10).take(bound).read_to_end(&mut whole),
            Self::Zstd => zstd::stream::read::Decoder::new(packed).and_then(|mut decoder| {
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                decoder.take(bound).read_to_end(&mut whole)
            }),
        };
        if whole.len() > limit {
            return Err(if limit < max { BodyError::Ratio } else { BodyError::TooLarge { limit } });
        }
        read.map_err(|e| BodyError::Broken(e.to_string()))?;
        Ok(whole.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::config::NodeConfig;

    const MAX: usize = 1 << 20;

    async fn collect(encoding: &'static str, bytes: Vec<u8>) -> Result<Bytes, BodyError> {
        let limits = NodeConfig::for_data_dir("x").unwrap().limits;
        let (admission, in_flight) = (Admission::new(&limits), InFlight::default());
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, encoding.parse().unwrap());
        let collector = Collector { admission: &admission, in_flight: &in_flight, max: MAX };
        let collected = collector.collect(&headers, Body::from(bytes)).await;
        assert!(admission.bytes_held().1 > 0 || collected.is_err(), "what is held is charged");
        collected
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(plain).unwrap();
        packed.finish().unwrap()
    }

    fn brotli(plain: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        brotli::CompressorWriter::new(&mut packed, 4096, 5, 22).write_all(plain).unwrap();
        packed
    }

    #[tokio::test]
    async fn packed_bodies_are_unpacked() {
        let plain: Vec<u8> = (0..100_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for (encoding, packed) in [
            ("gzip", gzip(&plain)),
            ("zstd", zstd::encode_all(&plain[..], 3).unwrap()),
            ("br", brotli(&plain)),
            ("identity", plain.clone()),
        ] {
            assert_eq!(collect(encoding, packed).await.unwrap(), plain, "{encoding}");
        }
    }

    #[tokio::test]
    async fn bombs_and_broken_bodies_are_refused() {
        let bomb = vec![0u8; 64 << 20];
        for (encoding, packed) in
            [("gzip", gzip(&bomb)), ("zstd", zstd::encode_all(&bomb[..], 19).unwrap()), ("br", brotli(&bomb))]
        {
            let refused = collect(encoding, packed.clone()).await.unwrap_err();
            assert!(
                matches!(refused, BodyError::Ratio | BodyError::TooLarge { .. }),
                "{encoding} {refused:?}"
            );
            let cut = collect(encoding, packed[..packed.len() / 2].to_vec()).await.unwrap_err();
            assert!(!matches!(cut, BodyError::Busy(_)), "{encoding} {cut:?}");
        }
        assert!(matches!(collect("deflate", vec![1]).await, Err(BodyError::Encoding(e)) if e == "deflate"));
        assert!(matches!(collect("gzip", b"plain".to_vec()).await, Err(BodyError::Broken(_))));
        assert!(matches!(
            collect("identity", vec![0; MAX + 1]).await,
            Err(BodyError::TooLarge { limit: MAX })
        ));
        assert_eq!(collect("identity", vec![0; MAX]).await.unwrap().len(), MAX);
    }
}
