//! Identity of a write that a client may repeat: hashes of its key and of its content as the client sent it.

use bytes::Bytes;
use engram_index::vector::VectorValue;
use engram_storage::op::{Idempotency, PayloadChange};
use engram_storage::point::PointId;
use engram_storage::schema::CollectionSchema;
use xxhash_rust::xxh3::Xxh3;

use crate::request::{Change, NewPoint, VectorUpdate};

/// Hashes the content of one write; parts are framed, so that no two contents run together.
///
/// XXH3 rather than a cryptographic hash: it tells a repeat from a mistake, and whoever builds a collision deceives
/// only himself, under his own key. It sees every byte of a bulk load, where BLAKE3 took a quarter of the time.
pub(super) struct Content(Xxh3);

impl Content {
    /// Content of an operation of this kind.
    pub fn new(kind: &str) -> Self {
        let mut content = Self(Xxh3::new());
        content.bytes(kind.as_bytes());
        content
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    fn optional(&mut self, number: Option<u64>) {
        self.0.update(&[u8::from(number.is_some())]);
        self.number(number.unwrap_or(0));
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn vectors(&mut self, vectors: &[(String, VectorValue)]) {
        self.number(vectors.len() as u64);
        for (name, value) in vectors {
            self.text(name);
            match value {
                VectorValue::Dense(vector) => self.floats(vector),
                VectorValue::Sparse(sparse) => {
                    self.text("sparse");
                    self.number(sparse.indices.len() as u64);
                    sparse.indices.iter().for_each(|index| self.0.update(&index.to_le_bytes()));
                    self.floats(&sparse.values);
                }
                VectorValue::Multi(multi) => {
                    self.text("multi");
                    self.number(multi.dimension as u64);
                    self.floats(&multi.components);
                }
            }
        }
    }

    fn floats(&mut self, floats: &[f32]) {
        self.number(floats.len() as u64);
        if cfg!(target_endian = "little") {
            self.0.update(bytemuck::cast_slice(floats));
        } else {
            floats.iter().for_each(|x| self.0.update(&x.to_le_bytes()));
        }
    }

    /// Adds a point of an upsert, as the client wrote it: defaults are filled in later and may differ in a repeat.
    pub fn point(&mut self, point: &NewPoint) {
        self.0.update(&point.id.map(|id| id.canonical()).unwrap_or([0xff; 17]));
        self.vectors(&point.vectors);
        self.bytes(&point.payload);
        self.bytes(point.region.as_deref().unwrap_or_default().as_bytes());
        self.optional(point.created_at.map(i64::cast_unsigned));
        self.optional(point.expires_at.map(i64::cast_unsigned));
        self.optional(point.if_version);
    }

    /// Adds a selected id.
    pub fn id(&mut self, id: &PointId, if_version: Option<u64>) {
        self.0.update(&id.canonical());
        self.optional(if_version);
    }

    /// Adds a change.
    pub fn change(&mut self, change: &Change) {
        let mut add = |kind: &str, json: &Bytes| {
            self.text(kind);
            self.bytes(json);
        };
        match change {
            Change::Delete => self.text("delete"),
            Change::Payload(PayloadChange::Merge(json)) => add("merge", json),
            Change::Payload(PayloadChange::Overwrite(json)) => add("overwrite", json),
            Change::Payload(PayloadChange::MergeAt { path, update }) => {
                self.text("merge at");
                self.text(path);
                self.bytes(update);
            }
            Change::Payload(PayloadChange::Clear) => self.text("clear"),
            Change::RemoveVectors(names) => {
                self.text("remove vectors");
                self.number(names.len() as u64);
                names.iter().for_each(|name| self.text(name));
            }
            Change::Payload(PayloadChange::DeleteKeys(paths)) => {
                self.text("delete keys");
                self.number(paths.len() as u64);
                paths.iter().for_each(|path| self.text(path));
            }
        }
    }

    /// Adds new vectors of a point.
    pub fn update(&mut self, update: &VectorUpdate) {
        self.id(&update.id, update.if_version);
        self.vectors(&update.set);
        self.number(update.remove.len() as u64);
        update.remove.iter().for_each(|name| self.text(name));
    }

    /// The identity under the client's `key`, which belongs to one collection of one tenant.
    pub fn under(self, key: &str, schema: &CollectionSchema, now: i64) -> Idempotency {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&schema.tenant.0.to_le_bytes());
        hasher.update(schema.id.0.as_bytes());
        hasher.update(key.as_bytes());
        let mut short = [0; 16];
        hasher.finalize_xof().fill(&mut short);
        Idempotency { key: short, content: self.0.digest().to_le_bytes(), at: now }
    }
}
