//! Filters over the rows of a run.

use std::borrow::Cow;
use std::time::Instant;

use engram_index::payload::FieldIndex;
use engram_storage::StorageError;
use engram_storage::point::{FieldId, PointId};
use engram_storage::segment::run::Run;
use roaring::RoaringBitmap;

use super::compared::Compared;
use crate::error::{QueryError, Result};
use crate::filter::{Filter, FilterSource, ResolveError, resolve};

/// A run as filters see it, without the rows that are gone.
struct Source<'a> {
    run: &'a Run,
    rows: u32,
    gone: Cow<'a, RoaringBitmap>,
    deadline: Instant,
}

impl FilterSource for Source<'_> {
    fn rows(&self) -> u32 {
        self.rows
    }

    fn index(&self, path: &str) -> Option<&FieldIndex> {
        self.run.payload_index(path)
    }

    fn find(&self, id: &PointId) -> Option<u32> {
        self.run.find(id).filter(|ordinal| !self.gone.contains(*ordinal))
    }

    fn id(&self, ordinal: u32) -> PointId {
        self.run.id(ordinal)
    }

    fn payload(&self, ordinal: u32) -> &[u8] {
        self.run.payload(ordinal)
    }

    fn with_vector(&self, field: FieldId, within: &RoaringBitmap) -> RoaringBitmap {
        match Compared::of(self.run, field) {
            Some(column) => within.iter().filter(|ordinal| column.has(*ordinal)).collect(),
            None => RoaringBitmap::new(),
        }
    }

    fn deleted(&self) -> &RoaringBitmap {
        &self.gone
    }

    fn is_late(&self) -> bool {
        Instant::now() >= self.deadline
    }
}

/// Rows of `run` that are not `gone` and fulfil `filter`.
pub(super) fn matching<'a>(
    run: &'a Run,
    gone: Cow<'a, RoaringBitmap>,
    filter: &Filter,
    deadline: Instant,
) -> Result<RoaringBitmap> {
    let rows = u32::try_from(run.len()).unwrap_or(u32::MAX);
    match resolve(filter, &Source { run, rows, gone, deadline }) {
        Ok(resolution) => Ok(resolution.matches),
        Err(ResolveError::Late) => Err(QueryError::DeadlineExceeded(
            "the deadline passed while payloads were read for the filter; allow more time, or create a payload index \
             for its fields"
                .to_owned(),
        )),
        Err(e @ ResolveError::Payload { .. }) => {
            Err(StorageError::corrupt("payload", e.to_string()).into())
        }
    }
}
