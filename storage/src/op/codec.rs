//! Bytes of an [`OpBatch`], as a record of the log holds them.
//!
//! ```text
//! batch   = version(1) flags(1) [idempotency: key(16) content(8) at(8)] count(varint) op*
//! op      = tag(1; bit 7: conditional) [if_version(8)] content
//! point id = kind(1) 8 or 16 bytes
//! vector  = field(2) dimension(varint) f32 *                          in version 1: all are dense
//! vector  = field(2) kind(1) value                                    from version 2 on
//! value   = dimension(varint) f32 *                                   kind 0: dense
//!         | components(varint) u32 * f32 *                            kind 1: sparse
//!         | dimension(varint) vectors(varint) f32 *                   kind 2: multi
//! bytes, text, list = length(varint) content
//! ```
//! Integers and floats are little-endian. A batch is of version 1
//! unless it has a vector that is not dense, of version 3 where it changed a payload at a path, and of version 4 where it
//! merges payloads, which are held to all limits from then on, or deletes keys, which leaves the text of the others alone
//! from then on. Vectors are copied as blocks, so coding runs at the speed of memory. A decoder checks
//! every length against the bytes that are left before it takes memory for it.

/// Changes of payloads.
mod payload_change;

use bytes::Bytes;
use engram_index::vector::{MultiVector, SparseVector, VectorValue};

use super::{ConditionalOp, Idempotency, Op, OpBatch, PayloadChange};
use crate::error::{Result, StorageError};
use crate::point::{FieldId, Point, PointId};

/// Most operations of one batch.
pub const MAX_OPS: usize = 1 << 20;

/// All vectors are dense and carry no kind.
const DENSE_VERSION: u8 = 1;
/// Vectors carry their kind.
const KINDS_VERSION: u8 = 2;
/// As that, and payloads are changed at paths.
const PATHS_VERSION: u8 = 3;
/// As that, merged payloads are held to all limits, and what a change does not touch keeps its text.
const VERSION: u8 = 4;
const HAS_IDEMPOTENCY: u8 = 1;
const CONDITIONAL: u8 = 0x80;

const UPSERT: u8 = 1;
const DELETE: u8 = 2;
const SET_PAYLOAD: u8 = 3;
const UPDATE_VECTORS: u8 = 4;
const DELETE_OLDER: u8 = 5;

const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const MULTI: u8 = 2;

/// The shortest operation is the delete of a number: tag, kind and eight bytes.
const MIN_OP: usize = 10;

impl OpBatch {
    /// The bytes of this batch. `Point::version` is left out: the offset of the record becomes it.
    pub fn encode(&self) -> Bytes {
        let version = self.version();
        let kinds = version != DENSE_VERSION;
        let mut out = Writer { out: Vec::with_capacity(self.encoded_len_hint()), kinds };
        out.out.push(version);
        out.out.push(if self.idempotency.is_some() { HAS_IDEMPOTENCY } else { 0 });
        if let Some(i) = &self.idempotency {
            out.out.extend_from_slice(&i.key);
            out.out.extend_from_slice(&i.content);
            out.out.extend_from_slice(&i.at.to_le_bytes());
        }
        out.varint(self.ops.len());
        for op in &self.ops {
            out.op(op);
        }
        Bytes::from(out.out)
    }

    /// The batch whose bytes these are; points come back with version 0.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] for anything [`OpBatch::encode`] does not write.
    pub fn decode(bytes: Bytes) -> Result<Self> {
        let mut r = Reader { all: &bytes, at: 0, kinds: false };
        r.kinds = match r.u8()? {
            DENSE_VERSION => false,
            KINDS_VERSION | PATHS_VERSION | VERSION => true,
            _ => return Err(r.corrupt("unknown version of the batch")),
        };
        let idempotency = match r.u8()? {
            0 => None,
            HAS_IDEMPOTENCY => {
                Some(Idempotency { key: r.array()?, content: r.array()?, at: i64::from_le_bytes(r.array()?) })
            }
            _ => return Err(r.corrupt("unknown flags of the batch")),
        };
        let count = r.count(MIN_OP)?;
        if count > MAX_OPS {
            return Err(r.corrupt("too many operations"));
        }
        let mut ops = Vec::with_capacity(count);
        for _ in 0..count {
            ops.push(r.op()?);
        }
        if r.at != bytes.len() {
            return Err(r.corrupt("bytes after the last operation"));
        }
        Ok(Self { ops, idempotency })
    }

    /// The smallest version that can say all of it: older servers read what they understand.
    fn version(&self) -> u8 {
        self.ops.iter().map(|op| version_of(&op.op)).max().unwrap_or(DENSE_VERSION)
    }

    /// At least the length of the encoding, close to it: one allocation without growing.
    fn encoded_len_hint(&self) -> usize {
        fn vectors(v: &[(FieldId, VectorValue)]) -> usize {
            10 + v.iter().map(|(_, x)| 24 + x.bytes()).sum::<usize>()
        }
        let of = |op: &Op| match op {
            Op::Upsert(p) => 64 + p.payload.len() + vectors(&p.vectors),
            Op::Delete(_) | Op::DeleteOlderThan { .. } => 32,
            Op::SetPayload { change, .. } => match change {
                PayloadChange::Merge(b) | PayloadChange::Overwrite(b) => 48 + b.len(),
                PayloadChange::MergeAt { path, update } => 58 + path.len() + update.len(),
                PayloadChange::DeleteKeys(keys) => 58 + keys.iter().map(|k| 10 + k.len()).sum::<usize>(),
                PayloadChange::Clear => 48,
            },
            Op::UpdateVectors { set, remove, .. } => 64 + vectors(set) + remove.len() * 2,
        };
        64 + self.ops.iter().map(|o| 8 + of(&o.op)).sum::<usize>()
    }
}

/// The smallest version that can say `op`.
fn version_of(op: &Op) -> u8 {
    let vectors = match op {
        Op::Upsert(point) => &point.vectors,
        Op::UpdateVectors { set, .. } => set,
        Op::SetPayload { change, bytes_only, .. } => {
            return match (change, bytes_only) {
                (
                    PayloadChange::Merge(_) | PayloadChange::MergeAt { .. } | PayloadChange::DeleteKeys(_),
                    false,
                ) => VERSION,
                (PayloadChange::MergeAt { .. }, true) => PATHS_VERSION,
                _ => DENSE_VERSION,
            };
        }
        Op::Delete(_) | Op::DeleteOlderThan { .. } => return DENSE_VERSION,
    };
    let dense = vectors.iter().all(|(_, value)| value.as_dense().is_some());
    if dense { DENSE_VERSION } else { KINDS_VERSION }
}

struct Writer {
    out: Vec<u8>,
    /// Vectors carry their kind.
    kinds: bool,
}

impl Writer {
    fn varint(&mut self, n: usize) {
        let mut n = n as u64;
        while n >= 0x80 {
            self.out.push((n as u8) | 0x80);
            n >>= 7;
        }
        self.out.push(n as u8);
    }

    fn bytes(&mut self, b: &[u8]) {
        self.varint(b.len());
        self.out.extend_from_slice(b);
    }

    fn i64(&mut self, n: i64) {
        self.out.extend_from_slice(&n.to_le_bytes());
    }

    fn id(&mut self, id: &PointId) {
        match id {
            PointId::Num(n) => {
                self.out.push(0);
                self.out.extend_from_slice(&n.to_le_bytes());
            }
            PointId::Uuid(u) => {
                self.out.push(1);
                self.out.extend_from_slice(u.as_bytes());
            }
        }
    }

    fn vectors(&mut self, vectors: &[(FieldId, VectorValue)]) {
        self.varint(vectors.len());
        for (field, value) in vectors {
            self.out.extend_from_slice(&field.to_le_bytes());
            match value {
                VectorValue::Dense(vector) => {
                    if self.kinds {
                        self.out.push(DENSE);
                    }
                    self.varint(vector.len());
                    self.floats(vector);
                }
                VectorValue::Sparse(sparse) => {
                    self.out.push(SPARSE);
                    self.varint(sparse.indices.len());
                    sparse.indices.iter().for_each(|index| self.out.extend_from_slice(&index.to_le_bytes()));
                    self.floats(&sparse.values);
                }
                VectorValue::Multi(multi) => {
                    self.out.push(MULTI);
                    self.varint(multi.dimension);
                    self.varint(multi.components.len() / multi.dimension.max(1));
                    self.floats(&multi.components);
                }
            }
        }
    }

    fn floats(&mut self, floats: &[f32]) {
        if cfg!(target_endian = "little") {
            self.out.extend_from_slice(bytemuck::cast_slice(floats));
        } else {
            self.out.extend(floats.iter().flat_map(|x| x.to_le_bytes()));
        }
    }

    fn op(&mut self, op: &ConditionalOp) {
        let tag = match &op.op {
            Op::Upsert(_) => UPSERT,
            Op::Delete(_) => DELETE,
            Op::SetPayload { .. } => SET_PAYLOAD,
            Op::UpdateVectors { .. } => UPDATE_VECTORS,
            Op::DeleteOlderThan { .. } => DELETE_OLDER,
        };
        self.out.push(if op.if_version.is_some() { tag | CONDITIONAL } else { tag });
        if let Some(v) = op.if_version {
            self.out.extend_from_slice(&v.to_le_bytes());
        }
        match &op.op {
            Op::Upsert(p) => self.point(p),
            Op::Delete(id) => self.id(id),
            Op::SetPayload { id, change, ingested_at, bytes_only } => {
                self.id(id);
                self.i64(*ingested_at);
                self.change(change, *bytes_only);
            }
            Op::UpdateVectors { id, set, remove, ingested_at } => {
                self.id(id);
                self.i64(*ingested_at);
                self.vectors(set);
                self.varint(remove.len());
                for field in remove {
                    self.out.extend_from_slice(&field.to_le_bytes());
                }
            }
            Op::DeleteOlderThan { created_before, now } => {
                self.i64(*created_before);
                self.i64(*now);
            }
        }
    }

    fn point(&mut self, p: &Point) {
        self.id(&p.id);
        self.i64(p.created_at);
        self.i64(p.ingested_at);
        self.out.push(u8::from(p.expires_at.is_some()));
        if let Some(t) = p.expires_at {
            self.i64(t);
        }
        self.bytes(&p.payload);
        self.vectors(&p.vectors);
    }
}

struct Reader<'a> {
    all: &'a [u8],
    at: usize,
    /// Vectors carry their kind.
    kinds: bool,
}

impl<'a> Reader<'a> {
    fn corrupt(&self, why: &str) -> StorageError {
        StorageError::corrupt("operations of a log record", format!("{why}, at byte {}", self.at))
    }

    fn left(&self) -> usize {
        self.all.len() - self.at
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        if n > self.left() {
            return Err(self.corrupt("it ends too early"));
        }
        let part = &self.all[self.at..self.at + n];
        self.at += n;
        Ok(part)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    fn varint(&mut self) -> Result<u64> {
        let mut n = 0u64;
        for shift in (0..63).step_by(7) {
            let byte = self.u8()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(self.corrupt("a length is too long"))
    }

    /// A number of things of at least `each` bytes, of which as many can follow.
    fn count(&mut self, each: usize) -> Result<usize> {
        let n = self.varint()?;
        match usize::try_from(n) {
            Ok(n) if n <= self.left() / each => Ok(n),
            _ => Err(self.corrupt("a length goes past the end")),
        }
    }

    /// A copy, since a slice would keep the whole batch in memory as long as one point lives.
    fn bytes(&mut self) -> Result<Bytes> {
        let n = self.count(1)?;
        Ok(Bytes::copy_from_slice(self.take(n)?))
    }

    fn text(&mut self) -> Result<String> {
        let n = self.count(1)?;
        let text = self.take(n)?.to_vec();
        String::from_utf8(text).map_err(|_| self.corrupt("a path is not UTF-8"))
    }

    fn id(&mut self) -> Result<PointId> {
        match self.u8()? {
            0 => Ok(PointId::Num(u64::from_le_bytes(self.array()?))),
            1 => Ok(PointId::Uuid(uuid::Uuid::from_bytes(self.array()?))),
            _ => Err(self.corrupt("unknown kind of point id")),
        }
    }

    fn vectors(&mut self) -> Result<Vec<(FieldId, VectorValue)>> {
        let count = self.count(3)?;
        // One entry takes 64 bytes of memory for at least 3 of input: reserve for the usual few only.
        let mut out = Vec::with_capacity(count.min(4));
        for _ in 0..count {
            let field = self.u16()?;
            let kind = if self.kinds { self.u8()? } else { DENSE };
            out.push((field, self.value(kind)?));
        }
        Ok(out)
    }

    fn value(&mut self, kind: u8) -> Result<VectorValue> {
        match kind {
            DENSE => {
                let dimension = self.count(4)?;
                self.floats(dimension).map(VectorValue::Dense)
            }
            SPARSE => {
                let components = self.count(8)?;
                let indices = self.take(components * 4)?.as_chunks::<4>().0;
                let indices: Vec<u32> = indices.iter().map(|b| u32::from_le_bytes(*b)).collect();
                if !indices.windows(2).all(|w| w[0] < w[1]) {
                    return Err(self.corrupt("indices of a sparse vector do not ascend"));
                }
                let values = self.floats(components)?;
                Ok(VectorValue::Sparse(SparseVector { indices, values }))
            }
            MULTI => {
                let dimension = self.count(1)?;
                if dimension == 0 {
                    return Err(self.corrupt("a multi vector without a dimension"));
                }
                let vectors = self.count(dimension.saturating_mul(4))?;
                let components = self.floats(vectors * dimension)?;
                Ok(VectorValue::Multi(MultiVector { dimension, components }))
            }
            _ => Err(self.corrupt("unknown kind of vector")),
        }
    }

    /// So many floats, which were counted against the bytes that are left.
    fn floats(&mut self, count: usize) -> Result<Vec<f32>> {
        let raw = self.take(count * 4)?;
        let mut floats = vec![0f32; count];
        if cfg!(target_endian = "little") {
            bytemuck::cast_slice_mut(&mut floats).copy_from_slice(raw);
        } else {
            for (x, b) in floats.iter_mut().zip(raw.as_chunks::<4>().0) {
                *x = f32::from_le_bytes(*b);
            }
        }
        Ok(floats)
    }

    fn op(&mut self) -> Result<ConditionalOp> {
        let tag = self.u8()?;
        let if_version = if tag & CONDITIONAL == 0 { None } else { Some(u64::from_le_bytes(self.array()?)) };
        let op = match tag & !CONDITIONAL {
            UPSERT => Op::Upsert(self.point()?),
            DELETE => Op::Delete(self.id()?),
            SET_PAYLOAD => {
                let (id, ingested_at) = (self.id()?, self.i64()?);
                let (change, bytes_only) = self.change()?;
                Op::SetPayload { id, change, ingested_at, bytes_only }
            }
            UPDATE_VECTORS => {
                let (id, ingested_at, set) = (self.id()?, self.i64()?, self.vectors()?);
                let count = self.count(2)?;
                let remove = (0..count).map(|_| self.u16()).collect::<Result<_>>()?;
                Op::UpdateVectors { id, set, remove, ingested_at }
            }
            DELETE_OLDER => Op::DeleteOlderThan { created_before: self.i64()?, now: self.i64()? },
            _ => return Err(self.corrupt("unknown operation")),
        };
        Ok(ConditionalOp { op, if_version })
    }

    fn point(&mut self) -> Result<Point> {
        let (id, created_at, ingested_at) = (self.id()?, self.i64()?, self.i64()?);
        let expires_at = match self.u8()? {
            0 => None,
            1 => Some(self.i64()?),
            _ => return Err(self.corrupt("unknown flags of a point")),
        };
        let (payload, vectors) = (self.bytes()?, self.vectors()?);
        Ok(Point { id, vectors, payload, created_at, ingested_at, expires_at, version: 0 })
    }
}
