//! Points by id, pages and counts over all shards.

use std::collections::HashMap;
use std::sync::Arc;

use engram_storage::point::PointId;

use super::{Fan, fetch_by_shard, gather};
use crate::error::Result;
use crate::filter::Bound;
use crate::merge::merge_by_id;
use crate::request::{Selection, StoredPoint};
use crate::searcher::{FetchRequest, Pin, ShardScrollRequest};

/// The points of these ids, in the order of the request; absent ones are left out.
pub(crate) async fn get(fan: &Fan, ids: &[PointId], selection: Arc<Selection>) -> Result<Vec<StoredPoint>> {
    let mut by_bucket: HashMap<u32, Vec<PointId>> = HashMap::new();
    for id in ids {
        by_bucket.entry(id.bucket(fan.schema.shards_per_region)).or_default().push(*id);
    }
    // The same bucket of every region: a point lives in one of them.
    let wanted: Vec<_> =
        fan.scopes.iter().filter_map(|scope| Some((scope, by_bucket.get(&scope.shard.bucket)?))).collect();
    let calls = wanted.into_iter().map(|(scope, ids)| {
        let (scope, ids, selection) = (scope.clone(), ids.clone(), selection.clone());
        fan.searcher.fetch(FetchRequest { scope, ids, selection, pin: Pin::default() })
    });
    let fetched = gather(calls, fan.deadline).await?.complete()?;
    if let [only] = fetched.as_slice()
        && only.len() == ids.len()
    {
        return Ok(fetched.into_iter().flatten().collect());
    }
    let points: HashMap<PointId, StoredPoint> = fetched.into_iter().flatten().map(|p| (p.id, p)).collect();
    // A repeated id gets its point each time.
    Ok(ids.iter().filter_map(|id| points.get(id).cloned()).collect())
}

/// The first `limit` matching points from id `from` on, and the id that the next page starts at.
pub(crate) async fn scroll(
    fan: &Fan,
    filter: Option<Bound>,
    from: Option<PointId>,
    (limit, selection): (usize, Arc<Selection>),
) -> Result<(Vec<StoredPoint>, Option<PointId>)> {
    let whole = fan.scopes.len() == 1 || !(selection.payload || selection.vectors);
    if whole {
        let pages = pages(fan, filter, from, (limit, selection)).await?;
        let mut points = merge_by_id(pages, limit + 1, |point| point.id);
        let next = if points.len() > limit { points.pop().map(|point| point.id) } else { None };
        return Ok((points, next));
    }
    // Most of what many shards find is on no page: what is long is read of the others alone, from the same states.
    let fan = fan.clone().hold().await?;
    let pages = pages(&fan, filter, from, (limit, Arc::default())).await?.into_iter().enumerate();
    let ids = pages.map(|(shard, page)| page.iter().map(|point| (shard, point.id)).collect()).collect();
    let mut ids = merge_by_id(ids, limit + 1, |(_, id)| *id);
    let next = if ids.len() > limit { ids.pop().map(|(_, id)| id) } else { None };
    let (mut points, late) = fetch_by_shard(&fan, ids.iter().copied(), &selection).await?;
    match late {
        Some(e) => Err(e),
        None => Ok((ids.iter().filter_map(|(_, id)| points.remove(id)).collect(), next)),
    }
}

/// The page of each shard, with one point more: it tells where the next page starts.
async fn pages(
    fan: &Fan,
    filter: Option<Bound>,
    from: Option<PointId>,
    (limit, selection): (usize, Arc<Selection>),
) -> Result<Vec<Vec<StoredPoint>>> {
    let calls = fan.scopes.iter().map(|scope| {
        let (scope, filter, selection) = (scope.clone(), filter.clone(), selection.clone());
        fan.searcher.scroll(ShardScrollRequest { scope, filter, from, limit: limit + 1, selection })
    });
    gather(calls, fan.deadline).await?.complete()
}

/// Number of matching points.
pub(crate) async fn count(fan: &Fan, filter: Option<Bound>) -> Result<u64> {
    let calls = fan.scopes.iter().map(|scope| fan.searcher.count(scope.clone(), filter.clone()));
    Ok(gather(calls, fan.deadline).await?.complete()?.into_iter().sum())
}
