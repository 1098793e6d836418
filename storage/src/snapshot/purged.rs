//! Snapshots and purges: what was erased must not come back.
//!
//! Every purge has a receipt, which names the collections it visited and those that they were recovered from. A snapshot
//! names the purges that were complete when it was begun. Any other that visited its collection may have erased points that
//! it holds, unless the receipt says that the snapshot was kept, since the purge looked into it.

use std::collections::BTreeSet;

use super::SnapshotHeader;
use crate::catalog::Receipt;
use crate::schema::{CollectionId, CollectionSchema};

/// Receipts that a snapshot of `schema` has seen, when these are all there are.
pub(crate) fn seen_purges(schema: &CollectionSchema, receipts: &[Receipt]) -> Vec<String> {
    let line = line(schema);
    let seen = receipts.iter().filter(|r| r.is_complete() && visited(r).any(|id| line.contains(id)));
    seen.map(|r| r.id.clone()).collect()
}

/// The purge among `receipts` that this snapshot must not undo. `is_alive` tells whether a collection exists: while the
/// one that the snapshot was made of does, and the purge passed it by, its points were not erased, whatever went from a
/// copy of it.
pub(crate) fn is_reached_by<'r>(
    header: &SnapshotHeader,
    receipts: &'r [Receipt],
    is_alive: impl Fn(CollectionId) -> bool,
) -> Option<&'r Receipt> {
    let (own, line) = (header.schema.id, line(&header.schema));
    let seen: BTreeSet<&str> = header.purges.iter().map(String::as_str).collect();
    let alive = is_alive(own);
    receipts.iter().find(|receipt| {
        let of_line = !alive && visited(receipt).any(|id| line.contains(id));
        let visits = receipt.collection_ids.contains(&own) || of_line;
        let held = |shard: &super::ShardSummary| {
            shard.objects > 0 && (receipt.region.is_empty() || receipt.region == shard.region.as_str())
        };
        visits
            && header.shards.iter().any(held)
            && !seen.contains(receipt.id.as_str())
            && !receipt.kept_snapshots.contains(&header.name)
    })
}

/// The collection and those that its points came from.
fn line(schema: &CollectionSchema) -> BTreeSet<CollectionId> {
    std::iter::once(schema.id).chain(schema.lineage.origins.iter().copied()).collect()
}

fn visited(receipt: &Receipt) -> impl Iterator<Item = &CollectionId> {
    receipt.collection_ids.iter().chain(&receipt.lineage)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::catalog::conformance::{receipt, schema};
    use crate::snapshot::ShardSummary;

    fn id() -> CollectionId {
        CollectionId(Uuid::new_v4())
    }

    fn header() -> SnapshotHeader {
        let shard = |region: &str, objects| ShardSummary {
            region: region.try_into().unwrap(),
            bucket: 0,
            points: objects,
            objects,
            bytes: objects,
        };
        SnapshotHeader {
            name: "s".into(),
            created_at: 0,
            server_version: String::new(),
            schema: schema(1, "c"),
            purges: vec![],
            shards: vec![shard("eu", 2), shard("us", 0)],
            body_bytes: 0,
        }
    }

    fn of(ids: &[CollectionId], lineage: &[CollectionId]) -> Receipt {
        Receipt { collection_ids: ids.to_vec(), lineage: lineage.to_vec(), ..receipt(1, 1, "complete") }
    }

    #[test]
    fn a_later_purge_reaches_a_snapshot() {
        let snapshot = header();
        let own = snapshot.schema.id;
        let purge = of(&[own], &[]);
        let reached = |s: &SnapshotHeader, r: &Receipt, alive: bool| {
            is_reached_by(s, std::slice::from_ref(r), |_| alive).is_some()
        };
        assert!(reached(&snapshot, &purge, true) && reached(&snapshot, &purge, false));
        assert!(reached(&snapshot, &Receipt { state: "running".into(), ..purge.clone() }, true));
        assert!(reached(&snapshot, &Receipt { region: "eu".into(), ..purge.clone() }, true));
        assert!(
            !reached(&snapshot, &Receipt { region: "us".into(), ..purge.clone() }, true),
            "holds none of it"
        );
        assert!(!reached(&snapshot, &of(&[id()], &[]), false), "another collection");
        let kept = Receipt { kept_snapshots: vec!["s".into()], ..purge.clone() };
        assert!(!reached(&snapshot, &kept, true));
        let seen = seen_purges(&snapshot.schema, &[purge.clone(), of(&[id()], &[])]);
        assert_eq!(seen, std::slice::from_ref(&purge.id));
        for state in [Receipt::RUNNING, Receipt::FAILED] {
            let unfinished = Receipt { state: state.into(), ..purge.clone() };
            assert!(
                seen_purges(&snapshot.schema, &[unfinished]).is_empty(),
                "{state}: its bytes may be there"
            );
        }
        assert!(!reached(&SnapshotHeader { purges: seen, ..snapshot }, &purge, true));
    }

    #[test]
    fn a_purge_of_a_copy_counts_once_the_original_is_gone() {
        let mut snapshot = header();
        let (own, ancestor) = (snapshot.schema.id, id());
        snapshot.schema.lineage.origins = vec![ancestor];
        for purge in [of(&[id()], &[own]), of(&[id()], &[ancestor]), of(&[ancestor], &[])] {
            assert!(is_reached_by(&snapshot, std::slice::from_ref(&purge), |_| false).is_some());
            assert!(is_reached_by(&snapshot, &[purge], |id| id == own).is_none());
        }
    }
}
