//! A batch as the wire carries it.

use std::sync::Arc;

use bytes::Bytes;
use engram_datasets::{Ids, RowBatch, VectorBlock};
use engram_proto::v1::{BulkUpsertRequest, VectorColumn};

use super::files::LoadFile;

/// Largest message that is aimed at; the server takes 32 MiB.
pub const MAX_BATCH_BYTES: usize = 8 << 20;

/// One batch, ready to be sent, and what its acknowledgement means.
#[derive(Clone)]
pub struct Prepared {
    /// The message; `None` where every row was rejected while decoding.
    pub request: Option<BulkUpsertRequest>,
    /// File of the rows.
    pub file: Arc<LoadFile>,
    /// Rows of the file that are done with this batch.
    pub end_row: u64,
    /// File row of each row of the message.
    pub rows: Vec<u64>,
    /// Rows that decoding rejected: file row and reason.
    pub rejects: Vec<(u64, String)>,
    /// Set on the last batch of a file.
    pub last: bool,
}

impl Prepared {
    /// Bytes of the message, about.
    pub fn bytes(&self) -> usize {
        let Some(request) = &self.request else { return 0 };
        let vectors: usize = request.vectors.iter().map(|v| v.f32le.len()).sum();
        let payload: usize = request.payload_json.iter().map(Bytes::len).sum();
        vectors + payload + self.rows.len() * 16
    }

    /// Makes the key that of one load: the same rows in another load are another write.
    ///
    /// Once, before the first send: what is sent again keeps its key.
    pub fn belong_to(&mut self, load_id: &str) {
        if let Some(request) = &mut self.request {
            let parts = [load_id, request.idempotency_key.as_str()];
            request.idempotency_key = name(&hash_of(parts));
        }
    }
}

/// Settings that change what a row becomes.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Collection to write to.
    pub collection: String,
    /// Region of all rows, in place of what the file says.
    pub region: Option<String>,
    /// Fingerprint of the settings, part of every idempotency key.
    pub settings: String,
}

/// Turns decoded rows into messages, splitting batches that are too large for one.
pub fn prepare(batch: RowBatch, file: &Arc<LoadFile>, shape: &Shape) -> Vec<Prepared> {
    let parts = batch.bytes().div_ceil(MAX_BATCH_BYTES).clamp(1, batch.len().max(1));
    if parts == 1 {
        return vec![one(batch, file, shape)];
    }
    let rows = batch.len().div_ceil(parts);
    let starts = (0..batch.len()).step_by(rows);
    starts.flat_map(|from| prepare(batch.part(from, from + rows), file, shape)).collect()
}

fn one(batch: RowBatch, file: &Arc<LoadFile>, shape: &Shape) -> Prepared {
    let rows: Vec<u64> = (0..batch.len()).map(|i| batch.file_row(i)).collect();
    let end_row = batch.first_row + batch.span;
    let rejects = batch.rejects.iter().map(|r| (r.row, r.reason.clone())).collect();
    let request = (!batch.is_empty()).then(|| message(batch, file, shape));
    Prepared { request, file: file.clone(), end_row, rows, rejects, last: false }
}

fn message(batch: RowBatch, file: &LoadFile, shape: &Shape) -> BulkUpsertRequest {
    let idempotency_key = key(&batch, file, shape);
    let (num_ids, uuid_ids) = match &batch.ids {
        Ids::Num(ids) => (ids.clone(), Bytes::new()),
        Ids::Uuid(ids) => (Vec::new(), ids.iter().flat_map(|u| *u.as_bytes()).collect::<Vec<u8>>().into()),
    };
    BulkUpsertRequest {
        collection: shape.collection.clone(),
        batch: 0,
        count: u32::try_from(batch.ids.len()).unwrap_or(u32::MAX),
        num_ids,
        uuid_ids,
        vectors: batch.vectors.into_iter().map(column).collect(),
        payload_json: batch.payload_json,
        regions: shape.region.clone().map_or(batch.regions, |region| vec![region]),
        created_at_ms: batch.created_at_ms,
        expires_at_ms: batch.expires_at_ms,
        idempotency_key,
    }
}

fn column(block: VectorBlock) -> VectorColumn {
    let present = block.present.map(|p| p.into_iter().map(u8::from).collect::<Vec<u8>>()).unwrap_or_default();
    let f32le = little_endian(block.components);
    VectorColumn { field: block.field, f32le, present: present.into(), ..Default::default() }
}

/// The wire is little-endian, and so is every machine this is built for: nothing is copied there.
fn little_endian(components: Vec<f32>) -> Bytes {
    struct Components(Vec<f32>);
    impl AsRef<[u8]> for Components {
        fn as_ref(&self) -> &[u8] {
            bytemuck::cast_slice(&self.0)
        }
    }
    if cfg!(target_endian = "little") {
        Bytes::from_owner(Components(components))
    } else {
        components.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into()
    }
}

/// The same rows of the same file under the same settings have the same key; [`Prepared::belong_to`] adds which load.
fn key(batch: &RowBatch, file: &LoadFile, shape: &Shape) -> String {
    let mut hash = hash_of([&file.identity, &shape.collection, &shape.settings].map(String::as_str));
    for number in [batch.first_row, batch.span, batch.len() as u64] {
        hash.update(&number.to_le_bytes());
    }
    name(&hash)
}

/// Lengths go in too, so that no two lists of texts run together to the same bytes.
fn hash_of<const N: usize>(texts: [&str; N]) -> blake3::Hasher {
    let mut hash = blake3::Hasher::new();
    for text in texts {
        hash.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    hash
}

fn name(hash: &blake3::Hasher) -> String {
    format!("load-{}", &hash.finalize().to_hex()[..32])
}

#[cfg(test)]
mod tests {
    use super::super::journal::Journal;
    use super::*;

    fn file() -> Arc<LoadFile> {
        Arc::new(LoadFile { path: "f".into(), identity: "f".into() })
    }

    fn shape() -> Shape {
        Shape { collection: "c".into(), region: None, settings: String::new() }
    }

    fn rows(n: u64, dimension: usize) -> RowBatch {
        let mut batch = RowBatch::new(std::path::Path::new("f").into(), 10, Ids::Num((0..n).collect()));
        batch.vectors = vec![VectorBlock {
            field: "t".into(),
            dimension,
            components: (0..n as usize * dimension).map(|i| i as f32).collect(),
            present: None,
        }];
        batch
    }

    #[test]
    fn messages_are_columns() {
        let mut batch = rows(3, 2);
        batch.reject(vec![(1, "bad".into())]);
        let prepared = prepare(batch, &file(), &shape());
        let request = prepared[0].request.as_ref().unwrap();
        assert_eq!((request.count, &request.num_ids[..]), (2, &[0, 2][..]));
        assert_eq!(request.vectors[0].f32le[..], [0f32, 1., 4., 5.].map(f32::to_le_bytes).concat());
        assert_eq!((prepared[0].end_row, &prepared[0].rows[..]), (13, &[10, 12][..]));
        assert_eq!(prepared[0].rejects, [(11, "bad".to_owned())]);
        let again = prepare(rows(3, 2), &file(), &shape());
        let third = prepare(rows(3, 2), &file(), &Shape { settings: "x".into(), ..shape() });
        let key = |p: &[Prepared]| p[0].request.as_ref().unwrap().idempotency_key.clone();
        assert_ne!(key(&again), key(&third));
        assert_eq!(key(&again), key(&prepare(rows(3, 2), &file(), &shape())));
    }

    #[test]
    fn keys_are_those_of_one_load() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.json");
        let open = || Journal::open(path.clone(), "a").unwrap();
        let key = |journal: &Journal| {
            let mut prepared = prepare(rows(3, 2), &file(), &shape()).remove(0);
            prepared.belong_to(journal.load_id());
            prepared.request.unwrap().idempotency_key
        };
        let mut journal = open();
        journal.begin(None).unwrap();
        let first = key(&journal);
        // Killed before anything was acknowledged: the next run is the same load.
        drop(journal);
        let resumed = open();
        assert_eq!(key(&resumed), first);
        // Done: the same command is another load.
        resumed.remove().unwrap();
        assert_ne!(key(&open()), first);
    }

    #[test]
    fn large_batches_are_split_without_gaps() {
        let prepared = prepare(rows(2000, 4096), &file(), &shape());
        assert!(prepared.len() > 3);
        assert!(prepared.iter().all(|p| p.bytes() <= MAX_BATCH_BYTES * 2));
        let all: Vec<u64> = prepared.iter().flat_map(|p| p.rows.clone()).collect();
        assert_eq!(all, (10..2010).collect::<Vec<_>>());
        assert_eq!(prepared.last().unwrap().end_row, 2010);
    }

    #[test]
    fn a_batch_of_rejects_has_no_message() {
        let mut batch = rows(1, 2);
        batch.reject(vec![(0, "bad".into())]);
        let prepared = prepare(batch, &file(), &shape());
        assert!(prepared[0].request.is_none());
        assert_eq!((prepared[0].end_row, prepared[0].rejects.len(), prepared[0].bytes()), (11, 1, 0));
    }
}
