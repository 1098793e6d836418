//! Which rows of a run a request may see.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Instant;

use engram_index::Mask;
use engram_storage::point::PointId;
use engram_storage::segment::run::RowMeta;
use engram_storage::shard::{RunView, ShardSnapshot};
use roaring::RoaringBitmap;

use super::filtered::matching;
use crate::error::Result;
use crate::filter::Filter;
use crate::searcher::ShardScope;

/// What hides points at one moment, and how long a request may look for them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visibility {
    /// Points created before are hidden by a retention rule.
    pub created_before: Option<i64>,
    /// Points that expire at or before are hidden.
    pub now: i64,
    /// When a filter gives up.
    pub deadline: Instant,
}

impl Visibility {
    /// What hides points of the scope's shard at `now`.
    pub fn new(scope: &ShardScope, now: i64) -> Self {
        let created_before = scope.schema.retention_cutoff(&scope.shard.region, now);
        Self { created_before, now, deadline: scope.deadline }
    }

    /// Whether a row with this meta is shown; the same rule as `Run::hidden`.
    pub fn shows(&self, meta: &RowMeta) -> bool {
        self.created_before.is_none_or(|cutoff| meta.created_at >= cutoff)
            && meta.expires_at.is_none_or(|at| at > self.now)
    }
}

/// Rows of one run that a request may see.
pub(super) enum Rows<'a> {
    /// Every row.
    All,
    /// All but these.
    Without(Cow<'a, RoaringBitmap>),
    /// These.
    Only(RoaringBitmap),
}

impl<'a> Rows<'a> {
    /// Rows of `view` that are alive, shown and match.
    pub fn of(view: &'a RunView, shown: &Visibility, filter: Option<&Filter>) -> Result<Self> {
        let gone = gone(view, shown);
        Ok(match filter {
            Some(filter) => Self::Only(matching(&view.run, gone, filter, shown.deadline)?),
            None if gone.is_empty() => Self::All,
            None => Self::Without(gone),
        })
    }

    /// The same rows without row `ordinal`.
    pub fn without(self, ordinal: u32) -> Self {
        match self {
            Self::All => Self::Without(Cow::Owned(RoaringBitmap::from_iter([ordinal]))),
            Self::Without(mut rows) => {
                rows.to_mut().insert(ordinal);
                Self::Without(rows)
            }
            Self::Only(mut rows) => {
                rows.remove(ordinal);
                Self::Only(rows)
            }
        }
    }

    /// As the index wants it.
    pub fn mask(&self) -> Mask<'_> {
        match self {
            Self::All => Mask::All,
            Self::Without(rows) => Mask::Deny(rows),
            Self::Only(rows) => Mask::Allow(rows),
        }
    }

    /// Those of these rows that lie in `range`.
    pub fn part(&self, range: Range<u32>) -> RoaringBitmap {
        let mut part = RoaringBitmap::new();
        part.insert_range(range);
        match self {
            Self::All => {}
            Self::Without(rows) => part -= rows.as_ref(),
            Self::Only(rows) => part &= rows,
        }
        part
    }

    /// These rows, out of `total`.
    pub fn all(&self, total: usize) -> RoaringBitmap {
        self.part(0..u32::try_from(total).unwrap_or(u32::MAX))
    }

    /// Number of rows, out of `total`.
    pub fn count(&self, total: usize) -> u64 {
        match self {
            Self::All => total as u64,
            Self::Without(rows) => (total as u64).saturating_sub(rows.len()),
            Self::Only(rows) => rows.len(),
        }
    }
}

/// Rows that are dead or hidden.
pub(super) fn gone<'a>(view: &'a RunView, shown: &Visibility) -> Cow<'a, RoaringBitmap> {
    match view.run.hidden(shown.created_before, shown.now) {
        Some(hidden) => Cow::Owned(hidden | &*view.dead),
        None => Cow::Borrowed(&*view.dead),
    }
}

/// Rows that a page looks at first.
const FIRST_WINDOW: u32 = 1_024;

/// The first `limit` rows of `view` from id `from` on that are alive, shown and match, ascending.
pub(super) fn page(
    view: &RunView,
    shown: &Visibility,
    filter: Option<&Filter>,
    (from, limit): (Option<PointId>, usize),
) -> Result<Vec<u32>> {
    let total = u32::try_from(view.run.len()).unwrap_or(u32::MAX);
    let mut first = from.map_or(0, |id| view.run.lower_bound(&id));
    let gone = gone(view, shown);
    let Some(filter) = filter else {
        return Ok((first..total).filter(|ordinal| !gone.contains(*ordinal)).take(limit).collect());
    };
    // In growing windows: where much matches a page reads few rows, where little matches the indexes see many at once.
    let mut window = FIRST_WINDOW;
    let mut rows = Vec::new();
    while first < total && rows.len() < limit {
        let end = first.saturating_add(window).min(total);
        let mut outside = gone.clone().into_owned();
        outside.insert_range(..first);
        outside.insert_range(end..total);
        let rest = limit - rows.len();
        rows.extend(matching(&view.run, Cow::Owned(outside), filter, shown.deadline)?.iter().take(rest));
        first = end;
        window = window.saturating_mul(4);
    }
    Ok(rows)
}

/// A row of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Position of its run.
    pub run: usize,
    /// Row of that run.
    pub ordinal: u32,
}

/// Where `id` is alive in a snapshot, shown or not; `None` where it is not alive.
pub(crate) fn locate(snapshot: &ShardSnapshot, id: &PointId) -> Option<Place> {
    // Newest first: recent points are the ones that are asked for.
    snapshot.runs.iter().enumerate().rev().find_map(|(at, view)| {
        let ordinal = view.run.find(id)?;
        (!view.dead.contains(ordinal)).then_some(Place { run: at, ordinal })
    })
}
