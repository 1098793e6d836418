//! Makes a run in memory out of points.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use engram_index::payload::{FieldIndex, FieldIndexBuilder, PayloadPath};

use super::run::{NEVER, Rows, Run};
use super::vectors::RunVectors;
use crate::error::{Result, StorageError};
use crate::point::{Point, PointId};
use crate::schema::CollectionSchema;

/// Runs with fewer rows get no payload indexes: evaluating their JSON costs less than building those.
pub const INDEXED_FROM_ROWS: usize = 64;

/// Collects points and makes a run of them.
pub struct RunBuilder<'a> {
    schema: &'a CollectionSchema,
    points: Vec<Point>,
}

impl<'a> RunBuilder<'a> {
    /// A builder for points of this collection.
    pub fn new(schema: &'a CollectionSchema) -> Self {
        Self { schema, points: Vec::new() }
    }

    /// Adds a point. A later point of the same id replaces an earlier one.
    pub fn push(&mut self, point: Point) {
        self.points.push(point);
    }

    /// Number of points pushed.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// True when no point was pushed.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The run: rows sorted by id. Vectors of fields that the schema does not have (any more) are left out.
    ///
    /// # Errors
    /// `Invalid` where a vector does not have its field's kind or dimension or a payload is no JSON.
    pub fn finish(mut self) -> Result<Run> {
        // Pushed in order, as bulk loads are, there is nothing to sort.
        if !self.points.windows(2).all(|w| w[0].id < w[1].id) {
            self.sort();
        }
        let vectors = RunVectors::collect(&self.schema.vectors, &self.points)?;
        let rows = collect_rows(&self.points);
        let indexes = if self.points.len() >= INDEXED_FROM_ROWS {
            index_payloads(self.schema, (0u32..).zip(self.points.iter().map(|p| &p.payload[..])))?
        } else {
            BTreeMap::new()
        };
        Run::assemble(rows, vectors, indexes.into_iter().map(|(k, v)| (k, Arc::new(v))).collect())
    }
}

impl RunBuilder<'_> {
    /// Sorts the points by id and keeps the last pushed of each.
    fn sort(&mut self) {
        // Ids with places are a fifth of the size of points: cheaper to move about.
        let mut order: Vec<(PointId, usize)> = self.points.iter().map(|p| p.id).zip(0..).collect();
        order.sort_unstable();
        let mut points: Vec<Option<Point>> = std::mem::take(&mut self.points).into_iter().map(Some).collect();
        let last = (0..order.len()).filter(|&n| order.get(n + 1).is_none_or(|next| next.0 != order[n].0));
        self.points = last.filter_map(|n| points[order[n].1].take()).collect();
    }
}

fn collect_rows(points: &[Point]) -> Rows {
    let mut nums = Vec::with_capacity(points.len());
    let mut uuids = Vec::new();
    let mut offsets = Vec::with_capacity(points.len() + 1);
    let mut payload = Vec::with_capacity(points.iter().map(|p| p.payload.len()).sum());
    offsets.push(0);
    for point in points {
        match &point.id {
            PointId::Num(n) => nums.push(*n),
            PointId::Uuid(u) => uuids.push(*u.as_bytes()),
        }
        payload.extend_from_slice(&point.payload);
        offsets.push(payload.len() as u64);
    }
    let column = |of: fn(&Point) -> i64| points.iter().map(of).collect::<Vec<_>>().into();
    Rows {
        nums: nums.into(),
        uuids: uuids.into(),
        version: points.iter().map(|p| p.version).collect::<Vec<_>>().into(),
        created_at: column(|p| p.created_at),
        ingested_at: column(|p| p.ingested_at),
        expires_at: column(|p| p.expires_at.unwrap_or(NEVER)),
        payload_offsets: offsets.into(),
        payload: Bytes::from(payload),
        mapped: false,
    }
}

/// Builds every declared payload index over `(ordinal, payload)`; parses nothing when none is declared.
pub(crate) fn index_payloads<'p>(
    schema: &CollectionSchema,
    payloads: impl Iterator<Item = (u32, &'p [u8])>,
) -> Result<BTreeMap<String, FieldIndex>> {
    let mut builders = Vec::with_capacity(schema.payload_indexes.len());
    for spec in &schema.payload_indexes {
        let builder = match spec.text_options() {
            Some(options) => FieldIndexBuilder::text(&options)?,
            None => FieldIndexBuilder::new(spec.kind),
        };
        builders.push((&spec.field, PayloadPath::parse(&spec.field)?, builder));
    }
    if builders.is_empty() {
        return Ok(BTreeMap::new());
    }
    for (ord, payload) in payloads {
        let value = parse_payload(payload)?;
        for (_, path, builder) in &mut builders {
            builder.add(ord, &value, path);
        }
    }
    builders.into_iter().map(|(field, _, builder)| Ok((field.clone(), builder.finish()?))).collect()
}

/// The JSON value of a payload; no bytes stand for `{}`.
pub(crate) fn parse_payload(payload: &[u8]) -> Result<serde_json::Value> {
    if payload.is_empty() {
        return Ok(serde_json::Value::Object(serde_json::Map::new()));
    }
    serde_json::from_slice(payload).map_err(|e| StorageError::Invalid(format!("payload is no JSON: {e}")))
}
