//! What is compared after a restart.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use engram_proto::v1::{SearchParams, SearchRequest};
use engram_tests::journal::{self, Verdict};
use engram_tests::{Client, wait, wire};

use crate::load::{Load, MIXED, PURGED};

/// Longest time in which an interrupted purge completes by itself.
const PURGE_LIMIT: Duration = Duration::from_secs(60);

/// Compares every path with the journals.
pub async fn after_restart(client: &Client, load: &Load) -> Result<Verdict> {
    settle_purge(client, load).await?;
    let mut verdict = compare(client, load, MIXED).await?;
    let purged = compare(client, load, PURGED).await?;
    verdict.keys += purged.keys;
    verdict.happened += purged.happened;
    verdict.vanished += purged.vanished;
    verdict.violations.extend(purged.violations);
    Ok(verdict)
}

/// Waits until no receipt is running; a purge that was accepted has happened then.
async fn settle_purge(client: &Client, load: &Load) -> Result<()> {
    let receipts = wait::until_some("interrupted purges to complete", PURGE_LIMIT, || async {
        let receipts = client.receipts(20).await?;
        for r in &receipts {
            ensure!(r.state != "failed", "receipt {} failed: {}", r.id, r.error);
        }
        Ok(receipts.iter().all(|r| r.state == "complete").then_some(receipts))
    })
    .await?;
    let mut purge = load.purge.lock().unwrap();
    if purge.unanswered && receipts.first().is_some_and(|newest| newest.id != purge.last_receipt) {
        let due = std::mem::take(&mut purge.due);
        load.journal(PURGED).lock().unwrap().certainly_happened(due.into_iter());
    }
    if let Some(newest) = receipts.first() {
        purge.last_receipt.clone_from(&newest.id);
    }
    purge.unanswered = false;
    Ok(())
}

async fn compare(client: &Client, load: &Load, collection: &str) -> Result<Verdict> {
    let held = client.scroll_all(collection, 500).await.context("scroll")?;
    let (mut verdict, absent) = {
        let mut journal = load.journal(collection).lock().unwrap();
        let verdict = journal.check(&held);
        let absent: Vec<u64> = load.keys(collection).filter(|id| journal.state(*id).is_none()).collect();
        (verdict, absent)
    };
    let violations = &mut verdict.violations;
    let count = client.count(collection).await.context("count")?;
    if count != held.len() as u64 {
        violations.push(format!("{collection}: count says {count}, the scroll gives {}", held.len()));
    }
    let ids: BTreeSet<Option<u64>> = held.iter().map(|p| wire::number(p.id.as_ref())).collect();
    let ghosts = client.get_nums(collection, &absent).await.context("get of absent points")?;
    if !ghosts.is_empty() {
        violations
            .push(format!("{collection}: get returns {} points that the scroll does not", ghosts.len()));
    }
    let some: Vec<u64> = ids.iter().flatten().copied().step_by(3).collect();
    let found = client.get_nums(collection, &some).await.context("get")?;
    if found.len() != some.len() {
        violations.push(format!(
            "{collection}: get returns {} of {} points of the scroll",
            found.len(),
            some.len()
        ));
    }
    for exact in [true, false] {
        let request = SearchRequest {
            collection: collection.into(),
            vector: Some(wire::vector(&wire::default_vector(&journal::point(1, 1)).unwrap())),
            k: 50,
            params: Some(SearchParams { exact, ..Default::default() }),
            ..Default::default()
        };
        let hits = client.search(request).await.context("search")?;
        let unknown = hits.iter().filter(|h| {
            let id = h.point.as_ref().and_then(|p| wire::number(p.id.as_ref()));
            !ids.contains(&id)
        });
        let unknown = unknown.count();
        if unknown > 0 {
            violations.push(format!("{collection}: search returns {unknown} points that are not there"));
        }
        if hits.len() != held.len().min(50) {
            violations.push(format!(
                "{collection}: search (exact: {exact}) returns {} of {}",
                hits.len(),
                held.len()
            ));
        }
    }
    Ok(verdict)
}
