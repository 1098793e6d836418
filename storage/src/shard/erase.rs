//! Physical erasure: after [`Shard::erase`] no live file of the shard holds the bytes of what it selected.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::state::Place;
use super::{EraseReport, Shard};
use crate::error::Result;
use crate::manifest::SegmentId;
use crate::op::{ConditionalOp, Op, OpBatch, OpOutcome};
use crate::point::FieldId;

/// What an erasure of one shard would reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErasePlan {
    /// Points that would go.
    pub points: u64,
    /// Segments that would be rewritten or dropped.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Shard {
    /// Counts what [`Shard::erase`] would reach; changes nothing.
    pub fn plan_erase(&self, created_before: i64, now: i64) -> ErasePlan {
        let state = self.state.lock();
        let mut plan = ErasePlan::default();
        for run in &state.runs {
            let hidden = run.run.hidden(Some(created_before), now).unwrap_or_default();
            let points = (&hidden - &*run.dead).len();
            plan.points += points;
            if let Place::Segment(id) = &run.place
                && points + run.dead.len() > 0
            {
                plan.segments += 1;
                plan.bytes += state.manifest.segment(id).map_or(0, |s| s.bytes());
            }
        }
        plan
    }

    /// Deletes the points created before `created_before` or expired at `now`. From the return on no path shows them;
    /// their bytes are still in files until [`Shard::scrub`]. Returns live points before, and points deleted.
    ///
    /// # Errors
    /// Those of a write.
    pub async fn delete_older(self: &Arc<Self>, created_before: i64, now: i64) -> Result<(u64, u64)> {
        let before = self.state.lock().points();
        let op = Op::DeleteOlderThan { created_before, now };
        let batch = OpBatch { ops: vec![ConditionalOp { op, if_version: None }], idempotency: None };
        let ack = self.write(batch, true).await?;
        let outcomes = ack.outcomes.unwrap_or_default();
        let erased = match outcomes.first() {
            Some(OpOutcome::Applied { points, .. }) => *points,
            _ => 0,
        };
        Ok((before, erased))
    }

    /// Rewrites every segment with dead rows, drops the old files and trims the log: afterwards no live file holds
    /// bytes of deleted or replaced points. Graphs of rewritten segments, and those that were repaired around points
    /// deleted earlier, are built from nothing in the background.
    ///
    /// # Errors
    /// Those of the object store and the log; calling again goes on where it stopped.
    pub async fn scrub(self: &Arc<Self>) -> Result<EraseReport> {
        // A running graph build may hold the bytes for minutes; it is started again afterwards.
        self.cancel_builds.store(true, Ordering::Release);
        let rewriting = self.rewriting.lock().await;
        self.cancel_builds.store(self.is_closed(), Ordering::Release);
        self.check_not_closed()?;

        let log_before = self.log.extent().await?.bytes;
        let segments_before = self.segment_files();
        // Writes go on meanwhile: the file that holds the deleted points must end before them to be removable, and the
        // flush must reach its end.
        let tail = self.log.rotate().await?;
        self.wait_applied(tail, Instant::now() + self.parts.options.write_timeout).await?;
        self.flush().await?;
        for id in self.segments_with_dead_rows() {
            self.rewrite(&[id], false).await?;
        }
        self.drop_repaired_graphs().await?;
        self.set_activity("erasing");
        // Every manifest up to here may name files that hold the bytes: only the newest stays.
        let removed = self.collect_garbage(true).await;
        let checkpoint = self.state.lock().manifest.checkpoint;
        self.log.trim(checkpoint).await?;
        self.set_activity("idle");

        let log_after = self.log.extent().await?.bytes;
        let mut report = EraseReport {
            points_after: self.state.lock().points(),
            log_bytes_removed: log_before.saturating_sub(log_after),
            ..EraseReport::default()
        };
        report.removed = removed?;
        for path in self.segment_files() {
            if !segments_before.contains(&path) {
                report.created.push(self.parts.store.digest(&path).await?);
            }
        }
        // Not before: a compaction could remove what is digested.
        drop(rewriting);
        self.want_compaction();
        Ok(report)
    }

    /// [`Shard::delete_older`] and [`Shard::scrub`] in one.
    ///
    /// # Errors
    /// Those of both.
    pub async fn erase(self: &Arc<Self>, created_before: i64, now: i64) -> Result<EraseReport> {
        let (before, erased) = self.delete_older(created_before, now).await?;
        let mut report = self.scrub().await?;
        report.points_before = before;
        report.points_erased = erased;
        Ok(report)
    }

    /// Takes out the graphs that went on from one with points that are gone now: how the points beside those are linked,
    /// and what the codes are centred on, tells of them. So may those that cannot be read. The caller holds `rewriting`.
    async fn drop_repaired_graphs(&self) -> Result<()> {
        let _publishing = self.publishing.lock().await;
        let (mut next, dropped) = {
            let state = self.state.lock();
            let mut dropped: Vec<(SegmentId, FieldId)> = Vec::new();
            for run in &state.runs {
                let Place::Segment(id) = &run.place else { continue };
                let Some(entry) = state.manifest.segments.iter().find(|s| s.id == *id) else { continue };
                let named =
                    entry.blobs.keys().filter_map(|n| n.strip_prefix("graph.")?.parse::<FieldId>().ok());
                dropped.extend(named.filter(|&f| !run.run.has_clean_graph(f)).map(|f| (id.clone(), f)));
            }
            (state.manifest.clone(), dropped)
        };
        if dropped.is_empty() {
            return Ok(());
        }
        for (id, field) in &dropped {
            for entry in next.segments.iter_mut().filter(|s| s.id == *id) {
                entry.blobs.remove(&format!("graph.{field}"));
            }
        }
        let manifest = self.publish_manifest(next).await?;
        let mut state = self.state.lock();
        state.manifest = manifest;
        for (id, field) in &dropped {
            if let Some(run) = state.segment_mut(id) {
                run.run = run.run.without_graph(*field);
            }
        }
        self.publish_view(&state);
        Ok(())
    }

    fn segment_files(&self) -> Vec<String> {
        let state = self.state.lock();
        let entries = state.manifest.segments.iter();
        entries.flat_map(|e| e.objects().map(|o| o.path.clone()).collect::<Vec<_>>()).collect()
    }
}
