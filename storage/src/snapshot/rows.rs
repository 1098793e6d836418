//! The rows of a snapshot, before anyone sees them: each where it belongs, and no point twice.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::error::SnapshotError;
use super::row_payload;
use crate::error::Result;
use crate::log::Offset;
use crate::manifest::SegmentEntry;
use crate::op::MAX_PAYLOAD_BYTES;
use crate::point::PointId;
use crate::schema::ShardKey;
use crate::segment::run::Run;

/// A segment of a shard, opened.
pub(crate) struct OpenedSegment {
    pub shard: ShardKey,
    pub checkpoint: Offset,
    pub entry: SegmentEntry,
    pub run: Run,
}

/// Checks the rows of all segments of a collection with so many buckets a region.
pub(crate) fn check_rows(segments: &[OpenedSegment], buckets: u32) -> Result<()> {
    let mut of_bucket: BTreeMap<u32, Vec<&OpenedSegment>> = BTreeMap::new();
    for segment in segments {
        check_segment(segment, buckets)?;
        of_bucket.entry(segment.shard.bucket).or_default().push(segment);
    }
    of_bucket.values().try_for_each(|segments| check_ids(segments))
}

fn check_segment(segment: &OpenedSegment, buckets: u32) -> Result<()> {
    let (entry, run, bucket) = (&segment.entry, &segment.run, segment.shard.bucket);
    let misfit = |why: String| Err(SnapshotError::misfit(format!("segment {}: {why}", entry.id)));
    let (mut oldest, mut newest, mut expiry) = (i64::MAX, i64::MIN, None);
    for ord in 0..u32::try_from(run.len()).unwrap_or(u32::MAX) {
        let (id, meta, payload) = (run.id(ord), run.meta(ord), run.payload(ord));
        if id.bucket(buckets) != bucket {
            return misfit(format!("point {id} belongs to another shard"));
        }
        if meta.version == 0 || meta.version > segment.checkpoint {
            return misfit(format!("point {id} is of version {}, later than its log", meta.version));
        }
        if payload.len() > MAX_PAYLOAD_BYTES {
            return misfit(format!("the payload of point {id} has more than {MAX_PAYLOAD_BYTES} bytes"));
        }
        if !payload.is_empty()
            && let Err(e) = row_payload::check(payload)
        {
            return misfit(format!("the payload of point {id} is none: {e}"));
        }
        (oldest, newest) = (oldest.min(meta.created_at), newest.max(meta.created_at));
        expiry = [expiry, meta.expires_at].into_iter().flatten().min();
    }
    // Whole segments are passed over on the strength of these.
    if (oldest, newest, expiry) != (entry.min_created_at, entry.max_created_at, entry.min_expires_at) {
        return misfit("its times are not those of its rows".to_owned());
    }
    Ok(())
}

/// A point is alive once, also over regions. The rows of a segment ascend by id, so they are merged.
fn check_ids(segments: &[&OpenedSegment]) -> Result<()> {
    let next_live = |segment: &OpenedSegment, from: u32| {
        let mut rest = from..u32::try_from(segment.run.len()).unwrap_or(u32::MAX);
        rest.find(|ord| !segment.entry.deletes.contains(*ord))
    };
    let mut heads: BinaryHeap<Reverse<(PointId, usize, u32)>> = BinaryHeap::with_capacity(segments.len());
    for (number, segment) in segments.iter().enumerate() {
        heads.extend(next_live(segment, 0).map(|ord| Reverse((segment.run.id(ord), number, ord))));
    }
    let mut last = None;
    while let Some(Reverse((id, number, ord))) = heads.pop() {
        if last.replace(id) == Some(id) {
            return Err(SnapshotError::misfit(format!("point {id} is alive twice")));
        }
        let segment = segments[number];
        heads.extend(next_live(segment, ord + 1).map(|ord| Reverse((segment.run.id(ord), number, ord))));
    }
    Ok(())
}
