//! The state of one shard in a snapshot.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::ShardSummary;
use super::error::SnapshotError;
use crate::error::Result;
use crate::log::Offset;
use crate::manifest::{Manifest, SegmentEntry};
use crate::object::ObjectRef;
use crate::schema::{RegionName, ShardKey};

/// No log is this long; beyond it arithmetic with offsets could overflow.
const MAX_OFFSET: Offset = 1 << 56;
/// Longest name of an object below its shard.
const MAX_NAME: usize = 160;

/// What a manifest says, with the paths of objects below the shard instead of whole ones. Remembered writes stay behind:
/// they are told by the collection, which gets a new identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShardContent {
    pub region: RegionName,
    pub bucket: u32,
    /// The log goes on after this offset: versions of points must not be given twice.
    pub checkpoint: Offset,
    pub segments: Vec<SegmentEntry>,
}

/// Gives every object of `entry` the path that `path` makes of its own.
fn move_objects(entry: &mut SegmentEntry, path: impl Fn(&str) -> String) {
    let objects = std::iter::once(&mut entry.parquet).chain(entry.blobs.values_mut());
    objects.for_each(|object| object.path = path(&object.path));
}

impl ShardContent {
    /// What `manifest` of shard `key` says.
    pub fn of(key: &ShardKey, manifest: &Manifest) -> Self {
        let prefix = format!("{key}/");
        let mut segments = manifest.segments.clone();
        for entry in &mut segments {
            move_objects(entry, |path| path.strip_prefix(&prefix).unwrap_or(path).to_owned());
        }
        Self { region: key.region.clone(), bucket: key.bucket, checkpoint: manifest.checkpoint, segments }
    }

    /// The segments of shard `key`, with whole paths.
    pub fn segments_at(&self, key: &ShardKey) -> Vec<SegmentEntry> {
        let mut segments = self.segments.clone();
        for entry in &mut segments {
            move_objects(entry, |path| format!("{key}/{path}"));
        }
        segments
    }

    /// All objects, in the order of the file.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectRef> {
        self.segments.iter().flat_map(SegmentEntry::objects)
    }

    /// What the header says of it.
    pub fn summary(&self) -> ShardSummary {
        ShardSummary {
            region: self.region.clone(),
            bucket: self.bucket,
            points: self.segments.iter().map(SegmentEntry::live).fold(0, u64::saturating_add),
            objects: self.objects().count() as u64,
            bytes: self.objects().map(|o| o.bytes).fold(0, u64::saturating_add),
        }
    }

    /// Refuses what no server writes. Paths above all: objects are written under them.
    pub fn check(&self) -> Result<()> {
        let at = format!("shard {}/{}", self.region, self.bucket);
        let misfit = |why: String| Err(SnapshotError::misfit(format!("{at}: {why}")));
        if self.checkpoint > MAX_OFFSET {
            return misfit(format!("offset {} is beyond any log", self.checkpoint));
        }
        let mut paths = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for entry in &self.segments {
            let id = entry.id.as_str();
            let plain = (1..=64).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || b == b'-');
            if !plain || !ids.insert(id) {
                return misfit(format!("segment {id:?} is no segment, or is there twice"));
            }
            if entry.rows == 0 || entry.rows > u64::from(u32::MAX) {
                return misfit(format!("segment {id} has {} rows", entry.rows));
            }
            if entry.deletes.max().is_some_and(|max| u64::from(max) >= entry.rows) {
                return misfit(format!("segment {id} deletes rows it does not have"));
            }
            if let Some(bad) = entry.objects().find(|o| !is_object_of(id, &o.path) || !paths.insert(&o.path))
            {
                return misfit(format!("{:?} is no object of segment {id}, or is there twice", bad.path));
            }
        }
        Ok(())
    }
}

/// Whether `path` is one that the server gives to objects of this segment: `seg/{id}.{name}` or `idx/{id}.{name}`.
fn is_object_of(id: &str, path: &str) -> bool {
    let file = path.strip_prefix("seg/").or_else(|| path.strip_prefix("idx/"));
    let name = file.and_then(|file| file.strip_prefix(id)?.strip_prefix('.'));
    name.is_some_and(|name| {
        (1..=MAX_NAME).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_servers_own_paths_are_taken() {
        let id = "0198c0de-00000001";
        for good in ["seg/0198c0de-00000001.parquet", "idx/0198c0de-00000001.graph.0.17"] {
            assert!(is_object_of(id, good), "{good}");
        }
        for bad in [
            "",
            "seg/",
            "/seg/0198c0de-00000001.parquet",
            "seg/../0198c0de-00000001.parquet",
            "seg/0198c0de-00000001.",
            "seg/0198c0de-00000001./x",
            "seg/0198c0de-00000001.a#1",
            "seg/0198c0de-00000001.a\\b",
            "seg/0198c0de-00000001.a%2e",
            "seg/0198c0de-00000002.parquet",
            "manifest/0198c0de-00000001.parquet",
            "idx/0198c0de-00000001.\0",
        ] {
            assert!(!is_object_of(id, bad), "{bad}");
        }
    }
}
