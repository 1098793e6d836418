//! The manifest of a shard: its current segments and the checkpoint of its log.
//!
//! Manifests are numbered objects `{shard}/manifest/{version:020}.manifest`, made put-if-absent and never changed;
//! readers trust the highest number alone. The file is one line `ENGRAM-MANIFEST 1 {crc32c} {length}` and a JSON text.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Result, StorageError};
use crate::log::{Epoch, Offset};
use crate::object::{ObjectRef, crc32c};

mod store;

pub use store::{GcOptions, ManifestStore};

/// Version of the format that this build reads and writes.
pub const FORMAT: u32 = 1;

const MAGIC: &str = "ENGRAM-MANIFEST";

/// Largest manifest that is read: far more than a shard with every row deleted one by one needs.
const MAX_BYTES: usize = 512 << 20;

/// Server-made identity of a segment: a UUID v7 (sorts by time) and the epoch of its maker. Begins its files' names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SegmentId(String);

impl SegmentId {
    /// A new identity.
    pub fn new(epoch: Epoch) -> Self {
        Self(format!("{}-{epoch:08x}", Uuid::now_v7().simple()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A segment as the manifest names it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentEntry {
    /// Identity.
    pub id: SegmentId,
    /// Rows, dead ones too.
    pub rows: u64,
    /// The rows for other tools.
    pub parquet: ObjectRef,
    /// What the server reads: `rows`, `vec.{field}`, `pidx.{n}`, `graph.{field}`.
    pub blobs: BTreeMap<String, ObjectRef>,
    /// Ordinals of dead rows.
    #[serde(with = "bitmap_base64")]
    pub deletes: RoaringBitmap,
    /// Revision of the schema it was written under.
    pub schema_revision: u64,
    /// Smallest `created_at`.
    pub min_created_at: i64,
    /// Largest `created_at`.
    pub max_created_at: i64,
    /// Smallest `expires_at`, `None` when no row ever expires.
    pub min_expires_at: Option<i64>,
}

impl SegmentEntry {
    /// All objects of the segment.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectRef> {
        std::iter::once(&self.parquet).chain(self.blobs.values())
    }

    /// Bytes of all its objects.
    pub fn bytes(&self) -> u64 {
        self.objects().map(|o| o.bytes).sum()
    }

    /// Rows that are not dead.
    pub fn live(&self) -> u64 {
        self.rows - self.deletes.len().min(self.rows)
    }
}

/// A write that may be repeated, remembered so that the repeat changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DedupeEntry {
    /// Identity of the write.
    #[serde(with = "bytes_base64")]
    pub key: [u8; 16],
    /// Digest of its content.
    #[serde(with = "bytes_base64")]
    pub content: [u8; 8],
    /// Server time of its first arrival, milliseconds since the epoch.
    pub at: i64,
    /// Its offset.
    pub offset: Offset,
    /// Points that it left as they were, since their payload would have passed a limit: a repeat tells them again.
    #[serde(default, skip_serializing_if = "is_none_of_them")]
    pub too_large: u64,
}

fn is_none_of_them(count: &u64) -> bool {
    *count == 0
}

/// The state of a shard that its log need not repeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the format.
    pub format: u32,
    /// Number of this manifest; the first has 1.
    pub version: u64,
    /// Epoch of the publisher.
    pub epoch: Epoch,
    /// Node that published it.
    pub writer: String,
    /// Made for every publication: tells a repeat of one's own from another's.
    pub nonce: Uuid,
    /// All records up to this offset are in the segments.
    pub checkpoint: Offset,
    /// Writes that may still be repeated.
    pub dedupe: Vec<DedupeEntry>,
    /// The segments, oldest first.
    pub segments: Vec<SegmentEntry>,
    /// Milliseconds since the epoch.
    pub created_at: i64,
}

impl Manifest {
    /// What a shard begins with: version 0, which is never stored.
    pub fn empty(epoch: Epoch, writer: impl Into<String>) -> Self {
        Self {
            format: FORMAT,
            version: 0,
            epoch,
            writer: writer.into(),
            nonce: Uuid::nil(),
            checkpoint: 0,
            dedupe: Vec::new(),
            segments: Vec::new(),
            created_at: 0,
        }
    }

    /// The segment with this identity.
    pub fn segment(&self, id: &SegmentId) -> Option<&SegmentEntry> {
        self.segments.iter().find(|s| s.id == *id)
    }

    /// Paths of all objects it refers to.
    pub fn objects(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().flat_map(SegmentEntry::objects).map(|o| o.path.as_str())
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// `Internal`.
    pub fn encode(&self) -> Result<Bytes> {
        let json = serde_json::to_vec(self).map_err(|e| StorageError::Internal(format!("manifest: {e}")))?;
        let mut file = format!("{MAGIC} {FORMAT} {:08x} {}\n", crc32c(&json), json.len()).into_bytes();
        file.extend_from_slice(&json);
        Ok(file.into())
    }

    /// Reads the bytes of the file at `path`.
    ///
    /// # Errors
    /// `Corrupt`, naming `path`.
    pub fn decode(path: &str, file: &[u8]) -> Result<Self> {
        Self::parse(file).map_err(|why| StorageError::corrupt(path, why))
    }

    fn parse(file: &[u8]) -> Result<Self, String> {
        if file.len() > MAX_BYTES {
            return Err(format!("{} bytes are more than a manifest can have", file.len()));
        }
        // The line is short: where it does not end soon there is none.
        let end = file.iter().take(80).position(|&b| b == b'\n').ok_or("no header")?;
        let header = std::str::from_utf8(&file[..end]).map_err(|_| "the header is no text")?;
        let json = &file[end + 1..];
        let format = header.strip_prefix(MAGIC).and_then(|rest| rest.trim_start().split(' ').next());
        let format: u32 = format.and_then(|f| f.parse().ok()).ok_or("the header is no manifest's")?;
        if format != FORMAT {
            return Err(format!("format {format}; this build reads format {FORMAT}"));
        }
        if header != format!("{MAGIC} {FORMAT} {:08x} {}", crc32c(json), json.len()) {
            return Err("length or checksum differ".to_owned());
        }
        let manifest: Self = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        manifest.misfit().map_or(Ok(manifest), Err)
    }

    fn misfit(&self) -> Option<String> {
        let dead = |s: &&SegmentEntry| s.deletes.max().is_some_and(|max| u64::from(max) >= s.rows);
        if let Some(s) = self.segments.iter().find(dead) {
            return Some(format!("segment {} deletes rows it does not have", s.id));
        }
        (self.format != FORMAT).then(|| format!("format {} inside", self.format))
    }
}

/// Bitmaps in the portable Roaring format, base64.
mod bitmap_base64 {
    use super::*;
    use serde::{Deserializer, Serializer, de, ser};

    pub(super) fn serialize<S: Serializer>(bitmap: &RoaringBitmap, s: S) -> Result<S::Ok, S::Error> {
        if bitmap.is_empty() {
            return s.serialize_str("");
        }
        let mut bytes = Vec::with_capacity(bitmap.serialized_size());
        bitmap.serialize_into(&mut bytes).map_err(ser::Error::custom)?;
        s.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<RoaringBitmap, D::Error> {
        let text = String::deserialize(d)?;
        if text.is_empty() {
            return Ok(RoaringBitmap::new());
        }
        let bytes = BASE64.decode(text).map_err(de::Error::custom)?;
        RoaringBitmap::deserialize_from(bytes.as_slice()).map_err(de::Error::custom)
    }
}

/// Short fixed byte strings, base64.
mod bytes_base64 {
    use super::*;
    use serde::{Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer, const N: usize>(bytes: &[u8; N], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(d: D) -> Result<[u8; N], D::Error> {
        let bytes = BASE64.decode(String::deserialize(d)?).map_err(de::Error::custom)?;
        bytes.try_into().map_err(|_| de::Error::custom("wrong length"))
    }
}
