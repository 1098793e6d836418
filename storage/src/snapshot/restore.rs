//! Reading a snapshot: the states of its shards, then the objects into the shards of a collection that nobody sees yet.

use std::io::Read;

use super::content::ShardContent;
use super::error::SnapshotError;
use super::format::{ContainerReader, EntryKind, MAX_CONTENTS};
use super::{ShardSummary, SnapshotHeader};
use crate::error::{Result, StorageError};
use crate::manifest::SegmentEntry;
use crate::object::DurableStore;
use crate::schema::{CollectionSchema, ShardKey};

/// Compares the number of shards in the header with that of its definition, which all work with shards goes by.
pub(crate) fn check_count(header: &SnapshotHeader) -> Result<()> {
    let schema = &header.schema;
    let due = u64::from(schema.shards_per_region).saturating_mul(schema.regions.len() as u64);
    if due == header.shards.len() as u64 {
        return Ok(());
    }
    Err(SnapshotError::misfit(format!("it has {} shards, its collection has {due}", header.shards.len())))
}

/// The states of all shards, which must be those of the definition in the header: a snapshot with a shard missing would
/// bring back a part of the points and say nothing.
pub(crate) fn segments_of<R: Read>(
    header: &SnapshotHeader,
    reader: &mut ContainerReader<R>,
) -> Result<Vec<ShardContent>> {
    check_count(header)?;
    let mut left = MAX_CONTENTS;
    let mut contents = Vec::new();
    for (key, summary) in header.schema.shards().zip(&header.shards) {
        let part = format!("the state of shard {}/{}", key.region, key.bucket);
        let json = reader.entry(EntryKind::Shard, &part, left)?;
        left -= json.len() as u64;
        let content: ShardContent = serde_json::from_slice(&json)
            .map_err(|e| SnapshotError::misfit(format!("{part} cannot be read ({e})")))?;
        content.check()?;
        check_summary(&key, summary, &content)?;
        contents.push(content);
    }
    Ok(contents)
}

fn check_summary(key: &ShardKey, summary: &ShardSummary, content: &ShardContent) -> Result<()> {
    let named = (&content.region, content.bucket) == (&key.region, key.bucket);
    if named && content.summary() == *summary {
        return Ok(());
    }
    Err(SnapshotError::misfit(format!("shard {}/{} is not what the header says", key.region, key.bucket)))
}

/// Writes all objects to the shards of `schema` and reads the snapshot to its end. Gives back the segments of each shard
/// with the paths they have now. For threads that may block.
pub(crate) fn restore_objects<R: Read>(
    store: &DurableStore,
    schema: &CollectionSchema,
    contents: &[ShardContent],
    mut reader: ContainerReader<R>,
) -> Result<Vec<(ShardKey, Vec<SegmentEntry>)>> {
    let mut shards = Vec::with_capacity(contents.len());
    for content in contents {
        let key = schema.shard(&content.region, content.bucket);
        let segments = content.segments_at(&key);
        for object in segments.iter().flat_map(SegmentEntry::objects) {
            let mut fault = None;
            let written = store.write_blocking(&object.path, |sink| {
                // A failed read is told as such, not as the write that it cut short.
                let copied = reader.copy_entry(EntryKind::Object, "an object", object.bytes, sink);
                copied.inspect_err(|e| fault = Some(e.clone()))
            });
            let written = written.map_err(|e| match fault {
                Some(read @ StorageError::Snapshot(_)) => read,
                _ => e,
            })?;
            if written.crc32c != object.crc32c {
                return Err(SnapshotError::misfit(format!("{} is not what its segment says", object.path)));
            }
        }
        shards.push((key, segments));
    }
    reader.finish()?;
    Ok(shards)
}
