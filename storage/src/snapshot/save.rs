//! Writing a snapshot: states of shards, then the bytes of their objects as they are.

use std::io::Write;

use super::content::ShardContent;
use super::format::{ContainerWriter, ENTRY_FRAME, EntryKind, MAX_CONTENTS};
use super::{Folder, SnapshotHeader};
use crate::error::{Result, StorageError};
use crate::object::{DurableStore, ObjectRef};
use crate::schema::ShardKey;

/// A shard of a snapshot, with the state that is saved.
pub(crate) struct SavedShard {
    pub key: ShardKey,
    pub content: ShardContent,
}

/// Writes a snapshot of `shards` into `folder`, under the name in `header`, whose sums are filled in here. It is there
/// when this returns, whole and durable, or nothing of it is. `check` is asked all along and may stop it. For threads
/// that may block.
///
/// # Errors
/// `Corrupt` for an object that does not fit its reference, `Exhausted` for too many deleted rows, those of the store
/// and of `check`.
pub(crate) fn save(
    (store, folder): (&DurableStore, &Folder),
    mut header: SnapshotHeader,
    shards: &[SavedShard],
    check: &dyn Fn() -> Result<()>,
) -> Result<SnapshotHeader> {
    let mut contents = Vec::with_capacity(shards.len());
    let mut total = 0u64;
    for shard in shards {
        let json = serde_json::to_vec(&shard.content).map_err(|e| StorageError::Internal(e.to_string()))?;
        total = total.saturating_add(json.len() as u64);
        contents.push(json);
    }
    if total > MAX_CONTENTS {
        return Err(StorageError::Exhausted(format!(
            "the states of the shards have {total} bytes, at most {MAX_CONTENTS} fit into a snapshot: compact the \
             collection first, which lets go of deleted rows"
        )));
    }
    header.shards = shards.iter().map(|shard| shard.content.summary()).collect();
    let framed = |bytes: u64| bytes.saturating_add(ENTRY_FRAME);
    let objects = shards.iter().flat_map(|s| s.content.objects()).map(|o| framed(o.bytes));
    header.body_bytes =
        contents.iter().map(|json| framed(json.len() as u64)).chain(objects).fold(0, u64::saturating_add);
    store.write_blocking(&folder.path(&header.name), |sink| {
        let mut out = ContainerWriter::begin(sink, &header)?;
        for json in &contents {
            out.entry(EntryKind::Shard, json, |_| check())?;
        }
        for shard in shards {
            for object in shard.content.objects() {
                save_object(store, &mut out, &shard.key, object, check)?;
            }
        }
        out.finish().map(drop)
    })?;
    Ok(header)
}

fn save_object<W: Write>(
    store: &DurableStore,
    out: &mut ContainerWriter<W>,
    key: &ShardKey,
    object: &ObjectRef,
    check: &dyn Fn() -> Result<()>,
) -> Result<()> {
    let object = ObjectRef { path: format!("{key}/{}", object.path), ..object.clone() };
    let content = futures::executor::block_on(store.map(&object.path))?;
    object.verify_length(&content)?;
    let mut crc = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    out.entry(EntryKind::Object, &content, |part| {
        crc.update(part);
        check()
    })?;
    // The algorithm has 32 bits.
    let found = crc.finalize() as u32;
    if found == object.crc32c {
        return Ok(());
    }
    let why = format!("checksum is {found:08x}, should be {:08x}; no snapshot was made", object.crc32c);
    Err(StorageError::corrupt(&object.path, why))
}
