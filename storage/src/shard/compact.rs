//! Background rewriting: merging segments, dropping dead rows, building graphs and payload indexes.
//!
//! Inputs are read as the manifest knows them (with the dead rows of the checkpoint, not later ones), so that a
//! replay from the checkpoint meets every row it may need; rows that died since are carried over when the result is
//! installed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use engram_index::payload::FieldIndex;
use engram_index::vector::engine::{EarlierGraph, build_graph, merge_graph};
use engram_index::vector::graph::build::change::GONE;
use engram_index::vector::graph::merge::Origin;
use engram_index::vector::hnsw::HnswParams;
use roaring::RoaringBitmap;

use super::Shard;
use super::state::{Place, RunState, ShardState};
use crate::catalog::FileChange;
use crate::compaction::{self, SegmentSummary};
use crate::error::{ErrorKind, Result, StorageError};
use crate::manifest::{GcOptions, SegmentEntry, SegmentId};
use crate::point::FieldId;
use crate::schema::{CollectionSchema, VectorField};
use crate::segment::run::Run;
use crate::segment::{Remap, Segment};

/// A graph build waits until the shard was not written to for this long ...
const QUIET_MS: i64 = 1_000;
/// ... but not longer than this.
const PATIENCE_MS: i64 = 30_000;
/// Pause after the first failure; it doubles ...
const RETRY: Duration = Duration::from_secs(1);
/// ... up to this.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Something to do for the segments of a shard.
#[derive(Debug, PartialEq)]
pub(super) enum Job {
    /// Write these segments anew as one.
    Rewrite(Vec<SegmentId>),
    /// Build what this segment lacks.
    Index(SegmentId),
}

/// A segment that is written but not in the manifest yet.
struct Output {
    entry: SegmentEntry,
    run: Run,
}

impl Shard {
    /// Asks for compaction and index builds in the background; asking twice is one run.
    pub(crate) fn want_compaction(self: &Arc<Self>) {
        if self.has_work() && !self.compact_wanted.swap(true, Ordering::AcqRel) {
            tokio::spawn(self.clone().rewrite_until_done());
        }
    }

    fn has_work(&self) -> bool {
        !self.is_closed() && self.poisoned().is_none() && self.next_job().is_some()
    }

    /// Works until nothing is left to do. `compact_wanted` is set.
    async fn rewrite_until_done(self: Arc<Self>) {
        let mut pause = RETRY;
        while self.has_work() {
            self.wait_until_quiet().await;
            let permit = self.parts.rewriting.acquire().await;
            let result = self.run_jobs().await;
            drop(permit);
            let Err(e) = result else { continue };
            if self.is_closed() {
                break;
            }
            if matches!(e.kind(), ErrorKind::Unavailable) {
                // An erasure needed the files; the build begins anew.
                tracing::debug!(shard = %self.key, error = %e, "background work was cancelled");
                continue;
            }
            self.parts.work.failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(shard = %self.key, error = %e, "background work failed; it is tried again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_RETRY);
        }
        self.compact_wanted.store(false, Ordering::Release);
        // Somebody may have asked between the last look and the line above.
        self.want_compaction();
    }

    async fn wait_until_quiet(&self) {
        let start = self.parts.clock.now_ms();
        loop {
            let now = self.parts.clock.now_ms();
            if self.is_closed() || now - self.last_written() >= QUIET_MS || now - start >= PATIENCE_MS {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Flushes, then merges, drops dead rows and builds indexes until nothing is left to do. Returns the number of
    /// segments before and after.
    ///
    /// # Errors
    /// Those of the object store and the index; what was published stays.
    pub async fn compact(self: &Arc<Self>) -> Result<(usize, usize)> {
        let before = self.segment_count();
        self.flush().await?;
        let _rewriting = self.rewriting.lock().await;
        let dead = self.segments_with_dead_rows();
        if !dead.is_empty() {
            self.rewrite(&dead, true).await?;
        }
        self.jobs().await?;
        Ok((before, self.segment_count()))
    }

    async fn run_jobs(self: &Arc<Self>) -> Result<()> {
        let _rewriting = self.rewriting.lock().await;
        self.check_not_closed()?;
        self.jobs().await
    }

    /// The caller holds `rewriting`.
    async fn jobs(self: &Arc<Self>) -> Result<()> {
        let mut worked = false;
        while let Some(job) = self.next_job() {
            worked = true;
            match job {
                Job::Rewrite(ids) => self.rewrite(&ids, true).await?,
                Job::Index(id) => self.index(&id).await?,
            }
        }
        if worked {
            self.collect_garbage(false).await?;
        }
        Ok(())
    }

    /// Has graphs that met damaged bytes built anew.
    pub(crate) fn mend(self: &Arc<Self>) {
        let is_damaged = self.state.lock().runs.iter().any(|r| r.run.damaged_graphs().next().is_some());
        if is_damaged {
            self.want_compaction();
        }
    }

    fn segment_count(&self) -> usize {
        self.state.lock().manifest.segments.len()
    }

    pub(super) fn segments_with_dead_rows(&self) -> Vec<SegmentId> {
        let state = self.state.lock();
        let segments = state.manifest.segments.iter();
        segments.filter(|s| !s.deletes.is_empty()).map(|s| s.id.clone()).collect()
    }

    fn next_job(&self) -> Option<Job> {
        let schema = self.schema.load();
        let state = self.state.lock();
        next_job(&state, &schema, &self.parts.options.compaction)
    }

    /// Writes `ids` anew as one segment, with graphs if `with_graphs`, and publishes it in their place.
    /// The caller holds `rewriting`.
    pub(super) async fn rewrite(self: &Arc<Self>, ids: &[SegmentId], with_graphs: bool) -> Result<()> {
        self.set_activity("compacting");
        let start = Instant::now();
        let result = self.rewrite_inner(ids, with_graphs).await;
        if result.is_ok() {
            self.parts.work.rewrites.add(start);
        }
        self.set_activity("idle");
        result
    }

    async fn rewrite_inner(self: &Arc<Self>, ids: &[SegmentId], with_graphs: bool) -> Result<()> {
        let schema = self.schema.load_full();
        let inputs = self.inputs(ids);
        let runs: Vec<Run> = inputs.iter().map(|(run, _)| run.clone()).collect();
        let damaged: u64 = ids.iter().zip(&runs).map(|(id, run)| self.tell_damage(id, run)).sum();
        let written = self.segment_writer(&schema).write(&SegmentId::new(self.epoch), inputs).await?;
        let mut output = None;
        if let Some(entry) = written.entry {
            let run = Segment::open(&self.parts.store, &entry, &schema).await?;
            let mut segment = Output { entry, run };
            if with_graphs {
                for field in missing_graphs(&segment.run, &schema) {
                    let earlier = earlier_graph(&runs, &written.remap, &segment.run, field.id);
                    if let Err(e) = self.add_graph(&mut segment, field, earlier).await {
                        self.segment_writer(&schema).discard_segment(&segment.entry).await;
                        return Err(e);
                    }
                }
            }
            output = Some(segment);
        }
        self.publish_rewrite(ids, output, &written.remap).await?;
        self.parts.work.damaged_graphs.fetch_add(damaged, Ordering::Relaxed);
        Ok(())
    }

    /// The runs of these segments with their dead rows at the checkpoint.
    fn inputs(&self, ids: &[SegmentId]) -> Vec<(Run, RoaringBitmap)> {
        let mut state = self.state.lock();
        let mut inputs = Vec::with_capacity(ids.len());
        for id in ids {
            let dead = state.manifest.segments.iter().find(|s| s.id == *id).map(|s| s.deletes.clone());
            if let (Some(dead), Some(run)) = (dead, state.segment_mut(id)) {
                inputs.push((run.run.clone(), dead));
            }
        }
        inputs
    }

    async fn publish_rewrite(&self, ids: &[SegmentId], output: Option<Output>, remap: &Remap) -> Result<()> {
        let _publishing = self.publishing.lock().await;
        let mut next = self.state.lock().manifest.clone();
        let mut durable_dead = RoaringBitmap::new();
        for (input, id) in ids.iter().enumerate() {
            // A flush may have moved the checkpoint, and dead rows with it, since the inputs were read.
            let entry = next.segments.iter().find(|s| s.id == *id);
            let entry = entry.ok_or_else(|| StorageError::Internal(format!("segment {id} vanished")))?;
            durable_dead |= remap.translate(input, &entry.deletes);
        }
        next.segments.retain(|s| !ids.contains(&s.id));
        let installed = output.map(|mut segment| {
            segment.entry.deletes.clone_from(&durable_dead);
            next.segments.push(segment.entry.clone());
            (segment.entry.id, segment.run)
        });
        let manifest = self.publish_manifest(next).await?;

        let mut state = self.state.lock();
        state.manifest = manifest;
        let mut dead = RoaringBitmap::new();
        for (input, id) in ids.iter().enumerate() {
            if let Some(run) = state.segment_mut(id) {
                dead |= remap.translate(input, &run.dead);
            }
        }
        state.runs.retain(|r| !matches!(&r.place, Place::Segment(s) if ids.contains(s)));
        if let Some((id, run)) = installed {
            state.runs.insert(0, RunState { run, dead: Arc::new(dead), place: Place::Segment(id) });
        }
        self.publish_view(&state);
        Ok(())
    }

    /// Builds what segment `id` lacks and publishes it. The caller holds `rewriting`.
    async fn index(self: &Arc<Self>, id: &SegmentId) -> Result<()> {
        self.set_activity("indexing");
        let result = self.index_inner(id).await;
        self.set_activity("idle");
        result
    }

    async fn index_inner(self: &Arc<Self>, id: &SegmentId) -> Result<()> {
        let schema = self.schema.load_full();
        let found = {
            let mut state = self.state.lock();
            let entry = state.manifest.segments.iter().find(|s| s.id == *id).cloned();
            entry.zip(state.segment_mut(id).map(|r| r.run.clone()))
        };
        let Some((entry, run)) = found else { return Ok(()) };
        let mut segment = Output { entry, run };
        for spec in missing_payload_indexes(&segment.run, &schema) {
            let writer = self.segment_writer(&schema);
            let (name, object, index) = writer.add_payload_index(&segment.entry, &segment.run, &spec).await?;
            segment.run = segment.run.with_payload_index(&spec.field, index);
            segment.entry.blobs.insert(name, object);
        }
        let damaged = self.tell_damage(id, &segment.run);
        for field in missing_graphs(&segment.run, &schema) {
            self.add_graph(&mut segment, field, None).await?;
        }

        let _publishing = self.publishing.lock().await;
        let mut next = self.state.lock().manifest.clone();
        let Some(entry) = next.segments.iter_mut().find(|s| s.id == *id) else { return Ok(()) };
        entry.blobs.clone_from(&segment.entry.blobs);
        let manifest = self.publish_manifest(next).await?;
        let mut state = self.state.lock();
        state.manifest = manifest;
        if let Some(state) = state.segment_mut(id) {
            state.run = segment.run;
        }
        self.publish_view(&state);
        self.parts.work.damaged_graphs.fetch_add(damaged, Ordering::Relaxed);
        Ok(())
    }

    /// Logs damaged graphs of a segment, when what comes in their place is about to be made. Their number.
    fn tell_damage(&self, id: &SegmentId, run: &Run) -> u64 {
        let told = run.damaged_graphs().inspect(|field| {
            tracing::warn!(shard = %self.key, segment = %id, field, "the graph met damaged bytes; searches compare with all vectors until it is built anew");
        });
        told.count() as u64
    }

    /// Makes the graph of a field, from an earlier one where that can be.
    async fn add_graph(
        self: &Arc<Self>,
        segment: &mut Output,
        field: VectorField,
        earlier: Option<EarlierGraph>,
    ) -> Result<()> {
        let Some(set) = segment.run.vector_set(field.id).cloned() else { return Ok(()) };
        let params = HnswParams { m: field.hnsw_m, ef_construction: field.hnsw_ef_construction };
        let shard = self.clone();
        let start = Instant::now();
        let graph = tokio::task::spawn_blocking(move || {
            let (pool, cancel) = (&shard.parts.builders, &shard.cancel_builds);
            match earlier {
                Some(earlier) => merge_graph(set, &earlier, params, field.layout, pool, cancel),
                None => Ok((build_graph(set, params, field.layout, pool, cancel)?, Origin::Built)),
            }
        });
        let (graph, origin) = graph.await.map_err(|e| StorageError::Internal(e.to_string()))??;
        match origin {
            Origin::Built => self.parts.work.graphs.add(start),
            Origin::Merged => self.parts.work.graph_merges.add(start),
        }
        let writer = self.segment_writer(&self.schema.load_full());
        let object = writer.add_graph(&segment.entry, field.id, graph.clone()).await?;
        segment.entry.blobs.insert(format!("graph.{}", field.id), object);
        segment.run = segment.run.with_graph(field.id, graph);
        Ok(())
    }

    /// Removes files that no kept manifest names. The caller holds `rewriting`, so that no half-written output of a
    /// rewrite is there; `publishing` keeps flushes out.
    pub(super) async fn collect_garbage(&self, purge: bool) -> Result<Vec<FileChange>> {
        let _publishing = self.publishing.lock().await;
        // A purge waits until no snapshot is being made.
        let unpublished = if purge { BTreeSet::new() } else { self.pinned() };
        self.manifests.gc(&GcOptions { purge, unpublished, ..GcOptions::default() }).await
    }
}

/// What is due: merges first, so that no graph is built for a segment that is about to go.
fn next_job(
    state: &ShardState,
    schema: &CollectionSchema,
    options: &compaction::CompactionOptions,
) -> Option<Job> {
    let summaries: Vec<SegmentSummary> =
        state.manifest.segments.iter().map(|entry| SegmentSummary::of(entry, 0)).collect();
    if let Some(ids) = compaction::plan(&summaries, options) {
        return Some(Job::Rewrite(ids));
    }
    let lacking: Vec<(&SegmentId, &Run)> = state
        .runs
        .iter()
        .filter_map(|r| match &r.place {
            Place::Segment(id) if !has_any_graph(&r.run, schema) => Some((id, &r.run)),
            _ => None,
        })
        .collect();
    if let Some(ids) = merge_before_graph(&lacking, schema, options) {
        return Some(Job::Rewrite(ids));
    }
    let segments = state.runs.iter().filter_map(|r| match &r.place {
        Place::Segment(id) => Some((id, &r.run)),
        _ => None,
    });
    let mut incomplete = segments.filter(|(_, run)| {
        !missing_graphs(run, schema).is_empty() || !missing_payload_indexes(run, schema).is_empty()
    });
    incomplete.next().map(|(id, _)| Job::Index(id.clone()))
}

/// Segments without a graph that together deserve one are merged before it is built: one walk instead of several.
fn merge_before_graph(
    lacking: &[(&SegmentId, &Run)],
    schema: &CollectionSchema,
    options: &compaction::CompactionOptions,
) -> Option<Vec<SegmentId>> {
    let rows: u64 = lacking.iter().map(|(_, run)| run.len() as u64).sum();
    let deserves = |field: &VectorField| {
        let vectors: usize = lacking.iter().map(|(_, run)| vectors(run, field.id)).sum();
        vectors >= field.graph_threshold
    };
    let due = lacking.len() > 1 && rows <= options.max_rows && schema.vectors.iter().any(deserves);
    due.then(|| lacking.iter().map(|(id, _)| (*id).clone()).collect())
}

/// The largest graph among the inputs of a merge, with where its vectors went.
fn earlier_graph(inputs: &[Run], remap: &Remap, merged: &Run, field: FieldId) -> Option<EarlierGraph> {
    let with_graph = inputs.iter().enumerate().filter(|(_, run)| run.has_graph(field));
    let (input, run) = with_graph.max_by_key(|(_, run)| vectors(run, field))?;
    let (index, now) = (run.vector_index(field)?.clone(), merged.vector_set(field)?);
    let then = index.vectors();
    let position = |p| {
        let row = remap.get(input, then.ordinal(p))?;
        u32::try_from(now.position(row)?).ok()
    };
    let numbering = (0..then.len()).map(|p| position(p).unwrap_or(GONE)).collect();
    Some(EarlierGraph { index, numbering })
}

fn vectors(run: &Run, field: FieldId) -> usize {
    run.vector_set(field).map_or(0, |set| set.len())
}

fn has_any_graph(run: &Run, schema: &CollectionSchema) -> bool {
    schema.vectors.iter().any(|f| run.has_graph(f.id))
}

fn missing_graphs(run: &Run, schema: &CollectionSchema) -> Vec<VectorField> {
    let fields = schema.vectors.iter();
    fields
        .filter(|f| !run.has_graph(f.id) && vectors(run, f.id) >= f.graph_threshold.max(1))
        .cloned()
        .collect()
}

fn missing_payload_indexes(run: &Run, schema: &CollectionSchema) -> Vec<crate::schema::PayloadIndexSpec> {
    let specs = schema.payload_indexes.iter();
    let lacks = |spec: &&crate::schema::PayloadIndexSpec| {
        let other = |index: &FieldIndex| {
            index.kind() != spec.kind || index.text_options() != spec.text_options().as_ref()
        };
        run.payload_index(&spec.field).is_none_or(other)
    };
    specs.filter(lacks).cloned().collect()
}
