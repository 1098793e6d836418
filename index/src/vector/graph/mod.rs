//! Our own graph: one layer of fixed degree over quantized codes, one file that is searched where it is mapped.
//!
//! Design: [`space`] turns vectors into codes, [`build`] links them, [`rows`] lays out what a hop reads, [`walk`] searches,
//! [`search`] re-scores with the vectors themselves, [`calibration`] knows what a recall costs.

use std::{
    io::Write,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use rayon::ThreadPool;
use serde::{Deserialize, Serialize};

use self::{
    buffer::Buffer,
    build::{Builder, Links, Plan},
    calibration::Calibration,
    rows::{Rows, Shape, Width},
    search::{Answer, Effort, Search, Walked, Way},
    space::Space,
    walk::{Bounds, Counts, End},
};
use crate::{
    Column, IndexError, Mask, Result,
    vector::{
        Neighbor, SearchParams, VectorIndex, VectorSet, codes::int8::Codes, exact, metric::check_dimension,
    },
};

pub mod buffer;
pub mod build;
pub mod calibration;
mod compact;
mod fast;
mod file;
pub use file::is_graph;
pub mod merge;
mod pool;
pub mod rows;
pub mod search;
pub mod space;
pub mod walk;

/// Recall of searches that ask for none and for no number of candidates.
pub const DEFAULT_RECALL: f32 = 0.98;
/// Recall that 4-bit codes must reach with the vectors of a set, each left out of its own search, or it gets 8 bits.
pub const HELD_RECALL: f32 = 0.99;
/// Vectors whose codes are compared in the time of one hop, about; a hop estimates 32 neighbours.
const SCANNED_PER_HOP: usize = 6;
/// Rows that a walk visits on its way for each that a random mask refuses beside one it allows, as a share of those it would
/// visit without a mask: 0.23 measured with WordNet, under masks of 20 and 10 %.
const DETOUR: f32 = 0.25;
/// Allowed vectors so few that comparing with themselves takes less time than making codes of the query.
const FEW: usize = 32;

/// How to build a graph.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GraphParams {
    /// How to build the links.
    pub plan: Plan,
    /// Components that 1-bit codes have: a multiple of 64; 0 for a share of the dimension that suits most data.
    pub head: usize,
    /// What the rows hold.
    pub layout: Layout,
    /// Bits of a component of the rows' own codes. Where nobody says, those of the fast layout have 8 and those of the compact one
    /// the fewest that reach [`HELD_RECALL`].
    pub width: Option<Width>,
}

/// What to trade: see [`rows`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Fewest reads a search.
    #[default]
    Fast,
    /// A third of the memory.
    Compact,
}

/// A graph over a vector set. Immutable; searches take no lock and, in steady state, no memory but their answer.
#[derive(Clone, Debug)]
pub struct GraphIndex {
    vectors: Arc<VectorSet>,
    space: Space,
    rows: Rows,
    /// Row of each position.
    slots: Column<u32>,
    /// Ordinal of each slot, for walks with a mask: made by the first of them.
    ordinals: Arc<OnceLock<Vec<u32>>>,
    /// Row that walks start from.
    entry: u32,
    /// See [`VectorIndex::repaired`].
    repaired: bool,
    calibration: Calibration,
}

impl GraphIndex {
    /// Builds the graph of a set with the threads of `pool`.
    ///
    /// # Errors
    /// [`IndexError::InvalidParameter`] for a metric or parameters it cannot have; [`IndexError::Cancelled`] soon after
    /// `cancel` is raised.
    pub fn build(
        vectors: Arc<VectorSet>,
        params: &GraphParams,
        pool: &ThreadPool,
        cancel: &AtomicBool,
    ) -> Result<Self> {
        space::check_metric(vectors.metric())?;
        params.plan.check()?;
        pool.install(|| {
            let space = Space::learn(&vectors, params.head, cancel)?;
            let (codes, heads) = space.encode_all(&vectors, cancel)?;
            let builder = Builder { codes: &codes, heads: &heads, plan: params.plan, cancel };
            let links = builder.links(space.shape(params.plan.degree))?;
            // Codes of neighbours make the searches of a build fast; a compact graph goes without from here on.
            let (space, widths) = match params.layout {
                Layout::Fast => (space, [Width::Eight].as_slice()),
                Layout::Compact => (space.without_head(), [Width::Four, Width::Eight].as_slice()),
            };
            let widths = params.width.as_ref().map_or(widths, std::slice::from_ref);
            Self::seal(vectors, space, (codes, heads, links), widths, cancel)
        })
    }

    /// Lays out the rows of links that are made, with codes of the first of `widths` that holds the recall or of the last,
    /// and measures what recall costs.
    fn seal(
        vectors: Arc<VectorSet>,
        space: Space,
        (codes, heads, mut links): (Codes, Buffer<f32>, Links),
        widths: &[Width],
        cancel: &AtomicBool,
    ) -> Result<Self> {
        let order = build::finish(&codes, &mut links, cancel)?;
        let mut slots = vec![0u32; order.len()];
        order.iter().enumerate().for_each(|(slot, &p)| slots[p as usize] = slot as u32);
        let entry = slots.get(build::entry(&codes) as usize).copied().unwrap_or(0);
        let shape = space.shape(links.degree);
        let write =
            |width| Rows::write(Shape { width, ..shape }, &codes, &heads, &links.flat, &order, cancel);
        let (slots, ordinals, calibration) = (slots.into(), Arc::default(), Calibration::default());
        let (width, others) = widths.split_first().map_or((Width::default(), widths), |(&w, rest)| (w, rest));
        let rows = write(width)?;
        let mut index = Self { vectors, space, rows, slots, entry, repaired: false, calibration, ordinals };
        index.calibration = Calibration::measure(&index, cancel)?;
        for &width in others {
            if index.calibration.slack_for(HELD_RECALL).recall >= HELD_RECALL || index.calibration.is_empty()
            {
                break;
            }
            index.rows = write(width)?;
            index.calibration = Calibration::measure(&index, cancel)?;
        }
        Ok(index)
    }

    /// Opens what [`VectorIndex::encode_to`] wrote for these vectors, without copying it. Reads the header and small
    /// tables; a row is compared with its checksum when it is used for the first time.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] where the file is damaged or belongs to other vectors: build the graph again.
    pub fn open(vectors: Arc<VectorSet>, blob: &Bytes) -> Result<Self> {
        let parts = file::open(blob)?;
        let fits = parts.count == vectors.len()
            && parts.dimension == vectors.dimension()
            && parts.metric == vectors.metric();
        if !fits {
            let why = format!("made for {} vectors of {} x {:?}", parts.count, parts.dimension, parts.metric);
            return Err(IndexError::corrupt("graph", why));
        }
        let file::Parts { entry, repaired, rows, slots, space, calibration, .. } = parts;
        Ok(Self { vectors, space, rows, slots, entry, repaired, calibration, ordinals: Arc::default() })
    }

    /// Sizes of a row.
    pub fn shape(&self) -> Shape {
        self.rows.shape()
    }

    /// Bytes of the rows.
    pub fn row_bytes(&self) -> usize {
        self.rows.bytes().len()
    }

    /// What recall costs.
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// Number of vectors that no walk can come to: 0 after every build. Reads the whole graph.
    pub fn unreachable(&self) -> usize {
        let mut reached = vec![false; self.rows.len()];
        let mut stack = vec![self.entry];
        // Any slot past the end is skipped, also the entry of an empty graph.
        while let Some(slot) = stack.pop() {
            match reached.get_mut(slot as usize) {
                Some(r) if !*r => *r = true,
                _ => continue,
            }
            stack
                .extend(self.rows.row(slot).neighbors().filter(|&n| reached.get(n as usize) == Some(&false)));
        }
        reached.iter().filter(|&&r| !r).count()
    }

    /// The nearest by a walk alone, without a mask and without `without`, and what the walk did. `query` is admitted and
    /// has the dimension of the set.
    pub fn walk(&self, query: &[f32], k: usize, effort: Effort, without: Option<usize>) -> Walked {
        Search { index: self, query, k, mask: Mask::All, without }.walk(self.bounds(k, effort))
    }

    /// What [`VectorIndex::search`] gives, and how it was found.
    ///
    /// # Errors
    /// Those of [`VectorIndex::search`].
    pub fn answer(&self, query: &[f32], params: &SearchParams, mask: Mask<'_>) -> Result<Answer> {
        check_dimension(self.vectors.dimension(), query)?;
        let allowed = self.vectors.allowed(mask);
        let k = params.k.min(allowed);
        let search = Search { index: self, query, k, mask, without: None };
        let mut work = Counts::default();
        if allowed > FEW.max(2 * k) && k > 0 && !params.exact && !self.rows.damaged() {
            let hops = self.hops_worth(allowed, k, effort(params));
            if let Some(hops) = hops {
                let walked = search.walk(Bounds { hops, ..self.bounds(k, effort(params)) });
                work = walked.work;
                if walked.end == End::Done && walked.found.len() == k {
                    return Ok(Answer { found: walked.found, way: Way::Walk, work });
                }
            }
            let scanned = search.scan();
            if scanned.end == End::Done && scanned.found.len() == k {
                let way = if hops.is_some() { Way::WalkThenScan } else { Way::Scan };
                return Ok(Answer { found: scanned.found, way, work });
            }
        }
        Ok(Answer { found: exact::scan(&self.vectors, query, k, mask)?, way: Way::Exact, work })
    }

    fn bounds(&self, k: usize, effort: Effort) -> Bounds {
        match effort {
            Effort::Recall(recall) => {
                Bounds { k, slack: self.calibration.slack_for(recall).slack, hops: usize::MAX }
            }
            Effort::Candidates(ef) => Bounds { k: ef.max(k), slack: 1.0, hops: usize::MAX },
            Effort::Slack(slack) => Bounds { k, slack, hops: usize::MAX },
        }
    }

    /// Ordinal of each slot.
    fn ordinals(&self) -> &[u32] {
        self.ordinals.get_or_init(|| {
            let mut ordinals = vec![u32::MAX; self.rows.len()];
            for (position, &slot) in self.slots.iter().enumerate() {
                if let Some(ordinal) = ordinals.get_mut(slot as usize) {
                    *ordinal = self.vectors.ordinal(position);
                }
            }
            ordinals
        })
    }

    /// A row to start from that is not `slot`.
    fn entry_besides(&self, slot: u32) -> u32 {
        if slot != self.entry {
            return self.entry;
        }
        self.rows.row(slot).neighbors().find(|&n| n != slot).unwrap_or(slot)
    }

    /// Hops after which comparing with all `allowed` vectors is taken for the better way; `None` where it is from the start.
    ///
    /// A mask that refuses what is near the query makes a walk several times as long as expected: giving up must leave both
    /// together cheaper than the exact scan, which takes twice as long as one of codes.
    fn hops_worth(&self, allowed: usize, wanted: usize, effort: Effort) -> Option<usize> {
        let len = self.vectors.len();
        let (hops, detour) = match effort {
            Effort::Recall(recall) => (self.calibration.slack_for(recall).hops as usize, DETOUR),
            // Without slack, rows that are not allowed are visited as those that are.
            Effort::Candidates(ef) => (ef, 1.0),
            Effort::Slack(_) => (4 * wanted, DETOUR),
        };
        // Numbers out of a file may be anything.
        let hops = hops.clamp(wanted, len.max(wanted));
        let scan = allowed / SCANNED_PER_HOP;
        let refused = len - allowed;
        // It visits no more than all of those on top: without a mask, or where few are deleted, there is nothing to lose.
        if hops + refused < scan {
            return Some(usize::MAX);
        }
        let expected = hops as f64 * (1.0 + f64::from(detour) * refused as f64 / allowed as f64);
        (3.0 * expected < scan as f64).then(|| (scan / 4).max((1.5 * expected) as usize))
    }
}

fn check(cancel: &AtomicBool) -> Result<()> {
    if cancel.load(Ordering::Relaxed) { Err(IndexError::Cancelled) } else { Ok(()) }
}

fn effort(params: &SearchParams) -> Effort {
    match (params.recall, params.ef) {
        (Some(recall), _) => Effort::Recall(recall),
        (None, 0) => Effort::Recall(DEFAULT_RECALL),
        (None, ef) => Effort::Candidates(ef),
    }
}

impl VectorIndex for GraphIndex {
    fn vectors(&self) -> &Arc<VectorSet> {
        &self.vectors
    }

    fn search(&self, query: &[f32], params: &SearchParams, mask: Mask<'_>) -> Result<Vec<Neighbor>> {
        Ok(self.answer(query, params, mask)?.found)
    }

    fn expected_recall(&self, params: &SearchParams) -> Option<f32> {
        if params.exact || self.rows.damaged() {
            return Some(1.0);
        }
        match effort(params) {
            Effort::Recall(recall) => Some(self.calibration.slack_for(recall).recall),
            _ => None,
        }
    }

    fn encoded_len(&self) -> usize {
        file::encoded_len(self)
    }

    fn encode_to(&self, out: &mut dyn Write) -> std::io::Result<()> {
        file::write(self, out)
    }

    fn memory_bytes(&self) -> usize {
        let ordinals = self.ordinals.get().map_or(0, |o| size_of_val(o.as_slice()));
        self.space.heap_bytes() + self.slots.heap_bytes() + self.rows.heap_bytes() + ordinals
    }

    fn damaged(&self) -> bool {
        self.rows.damaged()
    }

    fn repaired(&self) -> bool {
        self.repaired
    }

    fn as_graph(&self) -> Option<&GraphIndex> {
        Some(self)
    }
}
