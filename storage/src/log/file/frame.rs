//! The envelope of one record.
//!
//! ```text
//! magic(4) version(1) flags(1) reserved(2) tag(8) epoch(8) seq(8) prev(8) appended_at(8)
//! batch_at(4) batch_len(4) key_id(4) body_len(4) raw_len(4) body_crc(4) chain(16) header_crc(4) | body
//! ```
//! Little-endian. `seq` is the offset and `prev` the one before it. `tag` binds a frame to its file (see
//! [`super::header`]), so that frames of another shard or stale blocks of a deleted file are never taken for records.
//! `chain` is the first 16 bytes of BLAKE3 over the chain of the record before and the body: a missing or swapped
//! record shows even where all checksums fit. `batch_at` and `batch_len` say which records were appended together:
//! they are in one write, and recovery keeps all of them or none.

use bytes::Bytes;
use parking_lot::Mutex;
use zstd::bulk::{Compressor, Decompressor};

/// Largest body of a record.
pub const MAX_RECORD: usize = 64 << 20;
/// Bytes before the body.
pub const FRAME_HEADER: usize = 96;

pub(super) const MAGIC: [u8; 4] = *b"EGFR";
const VERSION: u8 = 1;
/// The body is stored as it came: it is short, or zstd does not make it smaller.
const STORED: u8 = 1;
/// Bytes that are tried before a large body is compressed as a whole.
const SAMPLE: usize = 16 << 10;
/// Shorter bodies are not compressed.
const MIN_COMPRESS: usize = 64;
/// Embeddings have no repeats: all the gain is entropy coding of single bytes, which the negative levels leave out.
/// Measured on 384 numbers that came from 16-bit floats: level 1 leaves 63 % at 250 MB/s, -3 leaves 96 % at 540 MB/s
/// and 3 leaves 57 % at 66 MB/s.
pub(super) const ZSTD_LEVEL: i32 = 1;

/// Running hash over all bodies.
pub(super) type Chain = [u8; 16];

/// What the envelope says about its body.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FrameHeader {
    pub stored: bool,
    pub tag: u64,
    pub epoch: u64,
    pub seq: u64,
    pub appended_at: i64,
    pub batch_at: u32,
    pub batch_len: u32,
    pub body_len: u32,
    pub raw_len: u32,
    pub body_crc: u32,
    pub chain: Chain,
}

/// Why a header is not taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum BadHeader {
    /// Magic or checksum do not fit: an append that was cut short leaves this.
    Damaged(&'static str),
    /// It is intact but not for this reader: a torn write never looks so.
    Refused(&'static str),
}

impl BadHeader {
    pub fn why(&self) -> &'static str {
        match self {
            Self::Damaged(why) | Self::Refused(why) => why,
        }
    }
}

/// Reads fixed-width fields one after the other from a block of known length.
pub(super) struct Fields<'a>(pub &'a [u8]);

impl Fields<'_> {
    /// The next `N` bytes, zeros past the end (callers pass whole headers, so there is no past).
    pub fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        if let Some((head, rest)) = self.0.split_at_checked(N) {
            out.copy_from_slice(head);
            self.0 = rest;
        }
        out
    }

    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

impl FrameHeader {
    /// Offset of the first record of the batch this one belongs to.
    pub fn batch_first(&self) -> u64 {
        self.seq.saturating_sub(u64::from(self.batch_at))
    }

    pub fn is_last_of_batch(&self) -> bool {
        self.batch_at + 1 == self.batch_len
    }

    pub fn encode(&self) -> [u8; FRAME_HEADER] {
        let mut out = Vec::with_capacity(FRAME_HEADER);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[VERSION, if self.stored { STORED } else { 0 }, 0, 0]);
        for n in [self.tag, self.epoch, self.seq, self.seq.wrapping_sub(1)] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out.extend_from_slice(&self.appended_at.to_le_bytes());
        // The zero is the key id: not encrypted.
        for n in [self.batch_at, self.batch_len, 0, self.body_len, self.raw_len, self.body_crc] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out.extend_from_slice(&self.chain);
        // Four bytes of padding keep the length a multiple of eight.
        out.resize(FRAME_HEADER - 4, 0);
        let crc = crc_fast::crc32_iscsi(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        let mut block = [0; FRAME_HEADER];
        block.copy_from_slice(&out);
        block
    }

    /// The header in this block.
    ///
    /// # Errors
    /// What does not fit.
    pub fn parse(block: &[u8; FRAME_HEADER]) -> Result<Self, BadHeader> {
        let mut f = Fields(block);
        if f.take() != MAGIC {
            return Err(BadHeader::Damaged("no record begins here"));
        }
        let crc = u32::from_le_bytes(Fields(&block[FRAME_HEADER - 4..]).take());
        if crc_fast::crc32_iscsi(&block[..FRAME_HEADER - 4]) != crc {
            return Err(BadHeader::Damaged("the checksum of the record header does not fit"));
        }
        let [version, flags, reserved @ ..] = f.take::<4>();
        if version != VERSION || flags & !STORED != 0 || reserved != [0, 0] {
            return Err(BadHeader::Refused("the record was written by a newer version"));
        }
        let (tag, epoch, seq, prev) = (f.u64(), f.u64(), f.u64(), f.u64());
        let appended_at = i64::from_le_bytes(f.take());
        let (batch_at, batch_len, key_id) = (f.u32(), f.u32(), f.u32());
        let (body_len, raw_len, body_crc) = (f.u32(), f.u32(), f.u32());
        let chain = f.take();
        let stored = flags & STORED != 0;
        if key_id != 0 {
            return Err(BadHeader::Refused("the record is encrypted, which this version cannot read"));
        }
        if seq == 0 || prev != seq - 1 || batch_at >= batch_len || u64::from(batch_at) >= seq {
            return Err(BadHeader::Refused("the record header contradicts itself"));
        }
        if raw_len as usize > MAX_RECORD || body_len > raw_len || (stored && body_len != raw_len) {
            return Err(BadHeader::Refused("a length of the record is out of bounds"));
        }
        Ok(Self {
            stored,
            tag,
            epoch,
            seq,
            appended_at,
            batch_at,
            batch_len,
            body_len,
            raw_len,
            body_crc,
            chain,
        })
    }

    /// Checks a stored body against this header and the chain before it.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check_body(&self, before: &Chain, body: &[u8]) -> Result<(), &'static str> {
        if crc_fast::crc32_iscsi(body) != self.body_crc {
            return Err("the checksum of the record does not fit");
        }
        if next_chain(before, body) != self.chain {
            return Err("the record does not follow the one before it");
        }
        Ok(())
    }

    /// The body that was appended, from the stored one (which was checked).
    ///
    /// # Errors
    /// What does not fit.
    pub fn open_body(&self, body: Vec<u8>, zstd: &mut Decompressor<'_>) -> Result<Bytes, &'static str> {
        if self.stored {
            return Ok(body.into());
        }
        let raw = zstd.decompress(&body, self.raw_len as usize).map_err(|_| "the record does not unpack")?;
        if raw.len() != self.raw_len as usize {
            return Err("the record unpacks to another length");
        }
        Ok(raw.into())
    }
}

pub(super) fn next_chain(before: &Chain, body: &[u8]) -> Chain {
    let mut hash = blake3::Hasher::new();
    hash.update(before).update(body);
    Fields(hash.finalize().as_bytes()).take()
}

/// Compressors that are not in use: making one costs about as much as compressing a small record.
#[derive(Default)]
pub(super) struct Compressors(Mutex<Vec<Compressor<'static>>>);

impl Compressors {
    const KEEP: usize = 4;

    fn take(&self) -> Option<Compressor<'static>> {
        let idle = self.0.lock().pop();
        idle.or_else(|| Compressor::new(ZSTD_LEVEL).ok())
    }

    fn give(&self, c: Compressor<'static>) {
        let mut idle = self.0.lock();
        if idle.len() < Self::KEEP {
            idle.push(c);
        }
    }
}

/// What all frames of one append share.
pub(super) struct BatchInfo {
    pub tag: u64,
    pub epoch: u64,
    pub appended_at: i64,
    /// Offset of its first record.
    pub first: u64,
}

/// Appends the frames of `bodies` to `out` and returns the chain after the last.
pub(super) fn encode_batch(
    out: &mut Vec<u8>,
    info: &BatchInfo,
    mut chain: Chain,
    bodies: &[Bytes],
    compressors: &Compressors,
) -> Chain {
    let mut zstd = compressors.take();
    out.reserve(bodies.iter().map(|b| FRAME_HEADER + b.len()).sum());
    let batch_len = u32::try_from(bodies.len()).unwrap_or(u32::MAX);
    for (batch_at, (body, seq)) in (0u32..).zip(bodies.iter().zip(info.first..)) {
        let start = out.len();
        out.resize(start + FRAME_HEADER, 0);
        let stored = !compress_onto(out, body, zstd.as_mut());
        if stored {
            out.extend_from_slice(body);
        }
        let content = &out[start + FRAME_HEADER..];
        chain = next_chain(&chain, content);
        let header = FrameHeader {
            stored,
            tag: info.tag,
            epoch: info.epoch,
            seq,
            appended_at: info.appended_at,
            batch_at,
            batch_len,
            // Bodies are at most MAX_RECORD long: the caller has checked it.
            body_len: u32::try_from(content.len()).unwrap_or(u32::MAX),
            raw_len: u32::try_from(body.len()).unwrap_or(u32::MAX),
            body_crc: crc_fast::crc32_iscsi(content),
            chain,
        };
        out[start..start + FRAME_HEADER].copy_from_slice(&header.encode());
    }
    if let Some(c) = zstd {
        compressors.give(c);
    }
    chain
}

/// Puts the compressed body at the end of `out` if that saves at least a sixteenth; otherwise leaves `out` alone.
fn compress_onto(out: &mut Vec<u8>, body: &[u8], zstd: Option<&mut Compressor<'static>>) -> bool {
    let Some(zstd) = zstd.filter(|_| body.len() >= MIN_COMPRESS) else { return false };
    if body.len() > 2 * SAMPLE && !is_worth_it(body, zstd) {
        return false;
    }
    let start = out.len();
    let room = body.len() - body.len() / 16;
    out.resize(start + room, 0);
    // A target that is too small is an error of zstd: then storing is the better choice anyway.
    let done = zstd.compress_to_buffer(body, &mut out[start..]);
    out.truncate(start + done.as_ref().map_or(0, |n| *n));
    done.is_ok()
}

/// Whether a sample from the middle of a large body shrinks by a quarter. Most embeddings do not: on WordNet's, zstd
/// saves an eighth of the log and costs a quarter of the server's time of a load.
fn is_worth_it(body: &[u8], zstd: &mut Compressor<'static>) -> bool {
    let middle = (body.len() - SAMPLE) / 2;
    let mut out = [0; SAMPLE - SAMPLE / 4];
    zstd.compress_to_buffer(&body[middle..middle + SAMPLE], &mut out[..]).is_ok()
}
