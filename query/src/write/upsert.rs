//! Upserts.

use std::collections::HashMap;

use engram_storage::point::PointId;

use super::admit::{Admitted, admit_point, at_point};
use super::identity::Content;
use super::region::{self, Home};
use super::{Routed, Writer, check_options};
use crate::error::{QueryError, Result};
use crate::limits::check_batch;
use crate::request::{NewPoint, WriteAnswer, WriteOptions};

/// Writes `points`.
pub(crate) async fn upsert(
    writer: Writer,
    points: Vec<NewPoint>,
    options: WriteOptions,
) -> Result<WriteAnswer> {
    check_batch("points", points.len())?;
    check_options(&options)?;
    let now = writer.now();
    let idempotency = options.idempotency_key.as_deref().map(|key| {
        let mut content = Content::new("upsert");
        points.iter().for_each(|point| content.point(point));
        content.under(key, &writer.schema, now)
    });
    let mut answer = WriteAnswer { outcomes: vec![None; points.len()], ..WriteAnswer::default() };
    let mut admitted = admit_all(&writer, points, now, options.skip_invalid, &mut answer)?;
    if !writer.many_regions() {
        let routed = route(&writer, last_wins(admitted));
        routed.write(&writer, idempotency, options.wait, &mut answer).await?;
        return Ok(answer);
    }
    // In a task of its own: a caller that goes away must not free the ids while their write is under way.
    let task = tokio::spawn(async move {
        let ids: Vec<PointId> = admitted.iter().map(|(_, point)| point.id).collect();
        let _held = writer.stripes.hold(&writer, &ids).await?;
        let moved = check_regions(&writer, &admitted).await?;
        admitted.retain(|(position, _)| !moved.rejected.iter().any(|(at, _)| at == position));
        reject(moved.rejected, options.skip_invalid, &mut answer)?;
        region::bury(&writer, moved.expired).await?;
        let routed = route(&writer, last_wins(admitted));
        routed.write(&writer, idempotency, options.wait, &mut answer).await?;
        Ok(answer)
    });
    task.await.map_err(|e| QueryError::Internal(format!("a write was stopped: {e}")))?
}

fn admit_all(
    writer: &Writer,
    points: Vec<NewPoint>,
    now: i64,
    skip_invalid: bool,
    answer: &mut WriteAnswer,
) -> Result<Vec<(usize, Admitted)>> {
    let mut admitted = Vec::with_capacity(points.len());
    let mut rejected = Vec::new();
    for (position, point) in points.into_iter().enumerate() {
        let (id, if_version) = (point.id, point.if_version);
        match admit_point(&writer.schema, point, now) {
            Ok(mut point) => {
                point.op.if_version = if_version;
                admitted.push((position, point));
            }
            Err(e) if skip_invalid => rejected.push((position, e)),
            Err(e) => return Err(at_point(e, position, id)),
        }
    }
    reject(rejected, true, answer)?;
    Ok(admitted)
}

/// Notes refused points, or fails with the first of them.
fn reject(rejected: Vec<(usize, QueryError)>, skip_invalid: bool, answer: &mut WriteAnswer) -> Result<()> {
    for (position, e) in rejected {
        if !skip_invalid {
            return Err(e);
        }
        answer.rejected.push((position, e.code(), e.to_string()));
    }
    answer.rejected.sort_by_key(|(position, ..)| *position);
    Ok(())
}

/// Keeps the last occurrence of each id, at its place, with the positions of all.
fn last_wins(points: Vec<(usize, Admitted)>) -> Vec<(Vec<usize>, Admitted)> {
    let mut places: HashMap<PointId, Vec<usize>> = HashMap::with_capacity(points.len());
    for (position, point) in &points {
        places.entry(point.id).or_default().push(*position);
    }
    let last = |(position, point): (usize, Admitted)| {
        let is_last = places.get(&point.id)?.last() == Some(&position);
        is_last.then(|| (places.remove(&point.id).unwrap_or_default(), point))
    };
    points.into_iter().filter_map(last).collect()
}

fn route(writer: &Writer, points: Vec<(Vec<usize>, Admitted)>) -> Routed {
    let mut routed = Routed::default();
    for (slots, point) in points {
        let bucket = point.id.bucket(writer.schema.shards_per_region);
        routed.push(writer.schema.shard(&point.region, bucket), point.op, slots);
    }
    routed
}

/// Points whose id is taken in another region.
#[derive(Default)]
struct Moved {
    /// It is: the region of a point never changes.
    rejected: Vec<(usize, QueryError)>,
    /// Only an expired point has it; it goes first.
    expired: Vec<Home>,
}

async fn check_regions(writer: &Writer, points: &[(usize, Admitted)]) -> Result<Moved> {
    let ids: Vec<PointId> = points.iter().map(|(_, point)| point.id).collect();
    let homes = region::homes(writer, &ids).await?;
    let mut moved = Moved::default();
    let mut wanted: HashMap<PointId, &Admitted> = HashMap::new();
    for (position, point) in points {
        let elsewhere =
            homes.get(&point.id).into_iter().flatten().find(|h| h.shard.region != point.region && h.shown);
        let before = wanted.get(&point.id).filter(|before| before.region != point.region);
        let other = elsewhere.map(|h| &h.shard.region).or(before.map(|b| &b.region));
        if let Some(other) = other {
            let message = format!(
                "the point is in region {other} and cannot move to {}: delete it first, or use another id",
                point.region
            );
            let e = QueryError::Conflict { code: "region_change", message };
            moved.rejected.push((*position, at_point(e, *position, Some(point.id))));
        } else if wanted.insert(point.id, point).is_none() {
            let expired =
                homes.get(&point.id).into_iter().flatten().filter(|h| h.shard.region != point.region);
            moved.expired.extend(expired.cloned());
        }
    }
    Ok(moved)
}
