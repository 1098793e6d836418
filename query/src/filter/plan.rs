//! A filter over a whole run of rows.
//!
//! Every condition is given two bitmaps: the rows that surely fulfil it and those that may. Indexes make them; a
//! condition without an index leaves everything open. Both are carried through the tree (what surely fulfils a
//! `must_not` surely does not match, and so on), the cheapest conditions first, and each one only looks at rows that
//! the earlier ones left. What is open at the end is read: each such row's JSON once, and only for conditions that are
//! open for that row.

use engram_index::Pace;
use engram_index::payload::{FieldIndex, FieldPredicate, PayloadPath};
use engram_storage::PointId;
use engram_storage::point::FieldId;
use roaring::RoaringBitmap;
use serde_json::Value;

use super::ast::{Condition, Filter};
use super::estimate::at_most;
use super::eval::Test;

/// A run of rows that filters are asked about: a segment or a memtable. Ordinals are `0..rows`.
pub trait FilterSource {
    /// Number of rows, dead ones included.
    fn rows(&self) -> u32;
    /// The index over the field at `path`, given as [`PayloadPath`] prints it. It must cover all rows.
    fn index(&self, path: &str) -> Option<&FieldIndex>;
    /// The live row of a point.
    fn find(&self, id: &PointId) -> Option<u32>;
    /// The point of a row.
    fn id(&self, ordinal: u32) -> PointId;
    /// The payload of a row, as JSON; empty bytes are an empty payload. Never asked for a dead row.
    fn payload(&self, ordinal: u32) -> &[u8];
    /// Those rows of `within` that have a value in a vector field.
    fn with_vector(&self, field: FieldId, within: &RoaringBitmap) -> RoaringBitmap;
    /// Dead rows: deleted, superseded or expired.
    fn deleted(&self) -> &RoaringBitmap;
    /// Whether whoever asked no longer waits; looked at now and then.
    fn is_late(&self) -> bool {
        false
    }
}

/// The rows that a filter matches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolution {
    /// Exactly the live rows that match.
    pub matches: RoaringBitmap,
    /// How many rows were read to know that.
    pub rows_read: u64,
}

/// What reading one row costs, and each byte of its payload, in nanoseconds or so.
const ROW_WORK: usize = 200;
const BYTE_WORK: usize = 4;
/// What finding one id costs, and looking for the vector of one row.
const FIND_WORK: usize = 200;
const VECTOR_WORK: usize = 10;

/// Failures of resolving a filter; the filter is not to blame.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ResolveError {
    /// [`FilterSource::is_late`] said so.
    #[error("nobody waits for the rows any more")]
    Late,
    /// A stored payload is no JSON. Treat the run as corrupt: leaving the row out would be a wrong answer.
    #[error("the payload of row {ordinal} is no JSON: {why}")]
    Payload {
        /// Row of the run.
        ordinal: u32,
        /// What the parser said.
        why: String,
    },
}

/// About as many entries of an index can be gathered in the time that one row is read.
const ENTRIES_PER_READ: u64 = 100;

/// The live rows of `source` that fulfil `filter`: the same rows as [`Filter::matches`] on each.
///
/// # Errors
/// [`ResolveError`] for a payload that cannot be read.
pub fn resolve<S: FilterSource + ?Sized>(filter: &Filter, source: &S) -> Result<Resolution, ResolveError> {
    let mut live = RoaringBitmap::new();
    live.insert_range(0..source.rows());
    live -= source.deleted();
    let is_late = || source.is_late();
    let pace = Pace::new(&is_late);
    let within = Within { source, pace: &pace };
    let group = Group::new(filter, &live, within);
    let mut matches = group.bounds.sure;
    let mut rows_read = 0;
    let open = group.bounds.possible.unwrap_or(live) - &matches;
    let mut found = Vec::new();
    for ordinal in open {
        if !pace.go_on(ROW_WORK) {
            break;
        }
        let mut row = Row { ordinal, within, payload: None };
        if group.parts.holds(&mut row)? {
            found.push(ordinal);
        }
        rows_read += u64::from(row.payload.is_some());
    }
    if pace.is_late() {
        return Err(ResolveError::Late);
    }
    matches.extend(found);
    Ok(Resolution { matches, rows_read })
}

/// The index over `path`, if it covers the rows.
pub(super) fn usable_index<'a, S: FilterSource + ?Sized>(
    source: &'a S,
    path: &PayloadPath,
) -> Option<&'a FieldIndex> {
    source.index(&path.to_string()).filter(|index| index.rows() == source.rows())
}

/// Rows that are asked, for as long as somebody waits.
struct Within<'a, S: ?Sized> {
    source: &'a S,
    pace: &'a Pace<'a>,
}

impl<S: ?Sized> Clone for Within<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: ?Sized> Copy for Within<'_, S> {}

/// A row that is being decided.
struct Row<'a, S: ?Sized> {
    ordinal: u32,
    within: Within<'a, S>,
    payload: Option<Value>,
}

impl<S: FilterSource + ?Sized> Row<'_, S> {
    fn test(&mut self, test: &Test<'_>) -> Result<bool, ResolveError> {
        let payload = match self.payload.take() {
            Some(payload) => payload,
            None => self.read()?,
        };
        let Within { source, pace } = self.within;
        let holds = test.matches(source.id(self.ordinal), &payload, pace);
        self.payload = Some(payload);
        Ok(holds)
    }

    fn read(&self) -> Result<Value, ResolveError> {
        let bytes = self.within.source.payload(self.ordinal);
        if bytes.is_empty() || !self.within.pace.go_on(bytes.len().saturating_mul(BYTE_WORK)) {
            return Ok(Value::Object(serde_json::Map::new()));
        }
        serde_json::from_slice(bytes)
            .map_err(|e| ResolveError::Payload { ordinal: self.ordinal, why: e.to_string() })
    }
}

/// What is known of a condition about the rows it was asked for.
#[derive(Debug, Default)]
struct Bounds {
    /// Rows that fulfil it.
    sure: RoaringBitmap,
    /// Rows that may, the sure ones included; `None` for all.
    possible: Option<RoaringBitmap>,
}

/// A condition with what is known of it.
struct Node<'a> {
    bounds: Bounds,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Test(Test<'a>),
    Group(Box<Parts<'a>>),
}

/// The conditions of a filter.
#[derive(Default)]
struct Parts<'a> {
    must: Vec<Node<'a>>,
    should: Vec<Node<'a>>,
    must_not: Vec<Node<'a>>,
    min_should: Option<(Vec<Node<'a>>, usize)>,
}

/// A filter with what is known of it.
struct Group<'a> {
    bounds: Bounds,
    parts: Parts<'a>,
}

impl<'a> Node<'a> {
    /// Finds out about the rows of `within` what indexes tell.
    fn new<S: FilterSource + ?Sized>(
        condition: &'a Condition,
        within: &RoaringBitmap,
        of: Within<'_, S>,
    ) -> Self {
        let Within { source, pace } = of;
        let work = match condition {
            Condition::HasId(ids) => ids.len().saturating_mul(FIND_WORK),
            Condition::HasVector { .. } => (within.len() as usize).saturating_mul(VECTOR_WORK),
            // An index may have to gather anything.
            _ => usize::MAX,
        };
        if !pace.go_on(work) {
            return Self { bounds: Bounds::default(), kind: Kind::Group(Box::default()) };
        }
        let bounds = match condition {
            Condition::Field { path, predicate } => field_bounds(path, predicate, within, source),
            Condition::HasId(ids) => {
                let rows: RoaringBitmap = ids.iter().filter_map(|id| source.find(id)).collect();
                let rows = rows & within;
                Bounds { sure: rows.clone(), possible: Some(rows) }
            }
            Condition::HasVector { field, .. } => {
                let rows = field.map(|field| source.with_vector(field, within)).unwrap_or_default();
                Bounds { sure: rows.clone(), possible: Some(rows) }
            }
            Condition::Nested { .. } => Bounds::default(),
            Condition::Filter(filter) => {
                let group = Group::new(filter, within, of);
                return Self { bounds: group.bounds, kind: Kind::Group(Box::new(group.parts)) };
            }
        };
        Self { bounds, kind: Kind::Test(Test::new(condition)) }
    }

    fn holds<S: FilterSource + ?Sized>(&self, row: &mut Row<'_, S>) -> Result<bool, ResolveError> {
        if self.bounds.sure.contains(row.ordinal) {
            return Ok(true);
        }
        if self.bounds.possible.as_ref().is_some_and(|p| !p.contains(row.ordinal)) {
            return Ok(false);
        }
        match &self.kind {
            Kind::Test(test) => row.test(test),
            Kind::Group(parts) => parts.holds(row),
        }
    }
}

fn field_bounds<S: FilterSource + ?Sized>(
    path: &PayloadPath,
    predicate: &FieldPredicate,
    within: &RoaringBitmap,
    source: &S,
) -> Bounds {
    let Some(index) = usable_index(source, path) else { return Bounds::default() };
    // Reading the few rows that are left is less work than gathering a large part of the index.
    if index.estimate(predicate).1 > within.len().saturating_mul(ENTRIES_PER_READ) {
        return Bounds::default();
    }
    let probe = index.probe(predicate);
    let sure = probe.sure & within;
    let possible = (probe.maybe & within) | &sure;
    Bounds { sure, possible: Some(possible) }
}

impl<'a> Group<'a> {
    fn new<S: FilterSource + ?Sized>(filter: &'a Filter, within: &RoaringBitmap, of: Within<'_, S>) -> Self {
        let source = of.source;
        let mut group = Self { bounds: Bounds::default(), parts: Parts::default() };
        // Rows that are left, and among them those that fulfil everything so far.
        let mut left = Left { possible: within.clone(), sure: within.clone() };
        let mut must: Vec<&Condition> = filter.must.iter().collect();
        must.sort_by_cached_key(|c| cost(c, of));
        for condition in must {
            let node = Node::new(condition, &left.possible, of);
            left.must(&node.bounds);
            group.parts.must.push(node);
        }
        if !filter.should.is_empty() {
            let nodes = Self::nodes(&filter.should, &left.possible, of);
            left.at_least(&nodes, 1, source.rows());
            group.parts.should = nodes;
        }
        for condition in &filter.must_not {
            let node = Node::new(condition, &left.possible, of);
            left.must_not(&node.bounds);
            group.parts.must_not.push(node);
        }
        if let Some(counted) = &filter.min_should {
            let nodes = Self::nodes(&counted.conditions, &left.possible, of);
            left.at_least(&nodes, counted.min_count, source.rows());
            group.parts.min_should = Some((nodes, counted.min_count));
        }
        group.bounds = Bounds { sure: left.sure, possible: Some(left.possible) };
        group
    }

    fn nodes<S: FilterSource + ?Sized>(
        conditions: &'a [Condition],
        within: &RoaringBitmap,
        of: Within<'_, S>,
    ) -> Vec<Node<'a>> {
        let mut sorted: Vec<&Condition> = conditions.iter().collect();
        // The order is that in which open rows are asked, too: what an index has decided comes before what is read.
        sorted.sort_by_cached_key(|c| cost(c, of));
        sorted.into_iter().map(|c| Node::new(c, within, of)).collect()
    }
}

/// Order of work: few rows first, what only JSON can tell last.
fn cost<S: FilterSource + ?Sized>(condition: &Condition, of: Within<'_, S>) -> (bool, u64) {
    let source = of.source;
    if !of.pace.look() {
        return (false, 0);
    }
    let unknown = match condition {
        Condition::Field { path, .. } => usable_index(source, path).is_none(),
        Condition::Nested { .. } => true,
        // Looked up once, when its turn comes, and not only to be counted.
        Condition::HasId(ids) => return (false, ids.len() as u64),
        Condition::HasVector { .. } | Condition::Filter(_) => false,
    };
    (unknown, if unknown { u64::MAX } else { at_most(condition, source) })
}

/// Rows of a group that earlier conditions left.
struct Left {
    possible: RoaringBitmap,
    sure: RoaringBitmap,
}

impl Left {
    fn must(&mut self, bounds: &Bounds) {
        if let Some(possible) = &bounds.possible {
            self.possible &= possible;
        }
        self.sure &= &bounds.sure;
    }

    fn must_not(&mut self, bounds: &Bounds) {
        self.possible -= &bounds.sure;
        match &bounds.possible {
            Some(possible) => self.sure -= possible,
            None => self.sure.clear(),
        }
    }

    /// Keeps what fulfils `wanted` of `nodes` or more.
    fn at_least(&mut self, nodes: &[Node<'_>], wanted: usize, rows: u32) {
        if wanted == 0 {
            return;
        }
        if wanted > nodes.len() {
            self.possible.clear();
            self.sure.clear();
            return;
        }
        let sure: Vec<&RoaringBitmap> = nodes.iter().map(|n| &n.bounds.sure).collect();
        self.sure &= reached(&sure, wanted, rows);
        let known: Vec<&RoaringBitmap> = nodes.iter().filter_map(|n| n.bounds.possible.as_ref()).collect();
        // Conditions that nothing is known of may hold for every row.
        let open = nodes.len() - known.len();
        if let Some(wanted) = wanted.checked_sub(open).filter(|w| *w > 0) {
            self.possible &= reached(&known, wanted, rows);
        }
    }
}

/// Rows that are in at least `wanted` of the bitmaps.
fn reached(bitmaps: &[&RoaringBitmap], wanted: usize, rows: u32) -> RoaringBitmap {
    if wanted == 1 {
        return bitmaps.iter().fold(RoaringBitmap::new(), |all, b| all | *b);
    }
    if bitmaps.iter().filter(|b| !b.is_empty()).count() < wanted {
        return RoaringBitmap::new();
    }
    // One counter a row: bitmaps for each count would have to be passed over once per condition and count.
    let mut counts = vec![0u32; rows as usize];
    for row in bitmaps.iter().flat_map(|b| b.iter()) {
        if let Some(count) = counts.get_mut(row as usize) {
            *count += 1;
        }
    }
    (0..rows).zip(counts).filter(|(_, count)| *count as usize >= wanted).map(|(row, _)| row).collect()
}

impl Parts<'_> {
    /// Whether all parts hold for a row: those that indexes decided, and the others by its JSON.
    fn holds<S: FilterSource + ?Sized>(&self, row: &mut Row<'_, S>) -> Result<bool, ResolveError> {
        for node in &self.must {
            if !node.holds(row)? {
                return Ok(false);
            }
        }
        for node in &self.must_not {
            if node.holds(row)? {
                return Ok(false);
            }
        }
        if !self.should.is_empty() && !at_least(&self.should, 1, row)? {
            return Ok(false);
        }
        match &self.min_should {
            Some((nodes, wanted)) => at_least(nodes, *wanted, row),
            None => Ok(true),
        }
    }
}

fn at_least<S: FilterSource + ?Sized>(
    nodes: &[Node<'_>],
    wanted: usize,
    row: &mut Row<'_, S>,
) -> Result<bool, ResolveError> {
    let mut reached = 0;
    for node in nodes {
        if reached >= wanted {
            break;
        }
        reached += usize::from(node.holds(row)?);
    }
    Ok(reached >= wanted)
}
