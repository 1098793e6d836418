//! Results grouped by the values of a field.
//!
//! The groups are those of the complete ranking: in the order of their best points, each with its best ones. A point with
//! several values is in several groups; one without a keyword or a whole number is in none.
//!
//! A diverse ranking (MMR) has as many candidates as the request says, or as its groups have results; where these do not make
//! all groups full, more are chosen from the nearest points that may.
//!
//! The complete ranking is never made. *Collecting*: the first results give the first groups; while there are too few, the
//! next results among points that have a value not seen yet give the next ones. *Filling*: the groups that lack points are
//! ranked again alone. A query with prefetch stages is ranked once, over all its stages find, each taking as many times more
//! as a group has results: what narrower filters would make its stages find has other scores.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use engram_index::payload::{FieldPredicate, PayloadPath, Scalar};
use engram_index::vector::VectorValue;
use engram_storage::point::PointId;

use super::list::Candidate;
use super::plan::{By, StagePlan};
use super::run::Runner;
use crate::coordinator::{Fan, scatter};
use crate::error::Result;
use crate::filter::{Bound, Condition, Filter};
use crate::limits::{MAX_COMPARED_COMPONENTS, MAX_K};
use crate::local::canonical;
use crate::searcher::ShardKeysRequest;

/// Rankings that fill several groups at once, before the rest is done group by group.
const ROUNDS: usize = 6;

/// Most candidates of a diverse ranking, where the request does not ask for more: their number counts twice in its work.
const DIVERSE_ROUND: usize = 1_000;

/// Diverse rankings of a plan, and the components of the longest vector that one compares. Those of sparse and multi
/// vectors are counted when they are there.
fn diverse(plan: &StagePlan) -> (usize, usize) {
    let own = match &plan.by {
        By::Diverse { like, .. } => match like.as_ref() {
            VectorValue::Dense(vector) => (1, vector.len()),
            VectorValue::Sparse(_) | VectorValue::Multi(_) => (1, 0),
        },
        _ => (0, 0),
    };
    plan.prefetch.iter().map(diverse).fold(own, |all, one| (all.0 + one.0, all.1.max(one.1)))
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Grouping {
    pub path: Arc<PayloadPath>,
    /// Most groups.
    pub groups: usize,
    /// Most results of each.
    pub size: usize,
}

/// One group.
#[derive(Clone, Debug)]
pub(crate) struct Members {
    pub key: Scalar,
    /// The value as its best point has it stored.
    pub told: Scalar,
    /// Best first.
    pub list: Vec<Candidate>,
    /// No other point belongs here.
    complete: bool,
}

/// Points with their values.
type Keyed = Vec<(PointId, Vec<Scalar>)>;

/// A ranking with the values of its points.
struct Round {
    list: Vec<(Candidate, Vec<Scalar>)>,
    /// Nothing comes after it.
    exhausted: bool,
}

/// A query that is being grouped.
pub(crate) struct Grouper<'a> {
    pub runner: Runner<'a>,
    pub fan: &'a Fan,
    pub plan: &'a StagePlan,
    pub grouping: Grouping,
}

impl Grouper<'_> {
    /// The groups.
    ///
    /// # Errors
    /// Those of queries; an answer is never partial.
    pub async fn run(&self) -> Result<Vec<Members>> {
        let mut groups = Vec::new();
        if !self.plan.prefetch.is_empty() {
            let round = self.round(&self.widened(self.plan, MAX_K)).await?;
            self.collect(round, &mut groups, &mut HashSet::new());
            return Ok(groups);
        }
        let mut seen: HashSet<Scalar> = HashSet::new();
        let most = self.most();
        let mut limit = self.first().min(most);
        // At first over all: most collections have a value in every point, and asking each point for one may cost a look
        // at its payload.
        let (mut plan, mut narrowed) = (self.plan.of_length(limit, self.diverse_round()), false);
        loop {
            let before = groups.len();
            let round = self.round(&plan).await?;
            let exhausted = round.exhausted;
            self.collect(round, &mut groups, &mut seen);
            // Points whose only values make no groups, such as fractions, may fill a list; not the longest one for ever.
            let stuck = narrowed && groups.len() == before && limit == most;
            if exhausted || stuck || groups.len() >= self.grouping.groups {
                break;
            }
            limit = if groups.is_empty() { most } else { limit.saturating_mul(4).min(most) };
            (plan, narrowed) = (self.without_groups(&seen)?.of_length(limit, self.diverse_round()), true);
        }
        self.fill(&mut groups).await?;
        Ok(groups)
    }

    /// Results of the first ranking. Of a diverse one all candidates: their order is what groups are chosen by.
    fn first(&self) -> usize {
        let hits = self.grouping.groups.saturating_mul(self.grouping.size);
        match self.plan.by {
            By::Diverse { candidates, .. } => hits.max(candidates),
            _ => hits,
        }
    }

    /// Most results of one ranking. Each of a diverse one is compared with all others, and all of them are held.
    fn most(&self) -> usize {
        let By::Diverse { candidates, .. } = self.plan.by else { return MAX_K };
        self.diverse_round().max(candidates)
    }

    /// Most candidates that grouping adds to a diverse ranking: no query is refused for what it did not ask for.
    fn diverse_round(&self) -> usize {
        let (stages, components) = diverse(self.plan);
        let free = MAX_COMPARED_COMPONENTS.saturating_sub(self.runner.held);
        DIVERSE_ROUND.min(free / (stages * components).max(1))
    }

    /// Takes the groups of a ranking, and the points of those groups that it found first.
    fn collect(&self, round: Round, groups: &mut Vec<Members>, seen: &mut HashSet<Scalar>) {
        let older = groups.len();
        let mut number: HashMap<Scalar, usize> = HashMap::new();
        for (candidate, keys) in round.list {
            for told in keys {
                let key = canonical(&told);
                if !number.contains_key(&key)
                    && groups.len() < self.grouping.groups
                    && seen.insert(key.clone())
                {
                    number.insert(key.clone(), groups.len());
                    groups.push(Members { key: key.clone(), told, list: Vec::new(), complete: false });
                }
                if let Some(group) = number.get(&key).and_then(|at| groups.get_mut(*at)) {
                    self.add(group, candidate);
                }
            }
        }
        for group in groups.iter_mut().skip(older) {
            group.complete |= round.exhausted || group.list.len() >= self.grouping.size;
        }
    }

    fn add(&self, group: &mut Members, candidate: Candidate) {
        // Ordered by a field with several values, a point comes more than once: the first time counts.
        if group.list.len() < self.grouping.size && group.list.iter().all(|c| c.id != candidate.id) {
            group.list.push(candidate);
        }
    }

    /// Ranks the groups that lack points, together first and then one by one.
    async fn fill(&self, groups: &mut [Members]) -> Result<()> {
        for _ in 0..ROUNDS {
            let open: Vec<usize> = (0..groups.len()).filter(|at| !groups[*at].complete).collect();
            if open.len() < 2 {
                break;
            }
            let limit = open.len().saturating_mul(self.grouping.size).saturating_mul(2).min(self.most());
            self.fill_some(groups, &open, limit).await?;
        }
        for at in 0..groups.len() {
            if !groups[at].complete {
                // Twice, since an order has a point once for each of its values.
                self.fill_some(groups, &[at], self.grouping.size.saturating_mul(2).min(self.most())).await?;
            }
        }
        Ok(())
    }

    async fn fill_some(&self, groups: &mut [Members], open: &[usize], limit: usize) -> Result<()> {
        let number: HashMap<Scalar, usize> = open.iter().map(|at| (groups[*at].key.clone(), *at)).collect();
        let filter = self.having(FieldPredicate::Any(number.keys().cloned().collect()))?;
        let plan = self.plan.narrowed(&filter).of_length(limit, self.diverse_round());
        let round = self.round(&plan).await?;
        for at in open {
            groups[*at].list.clear();
        }
        for (candidate, keys) in round.list {
            for at in keys.iter().filter_map(|told| number.get(&canonical(told))) {
                self.add(&mut groups[*at], candidate);
            }
        }
        for at in open {
            let group = &mut groups[*at];
            group.complete = round.exhausted || group.list.len() >= self.grouping.size || open.len() == 1;
        }
        Ok(())
    }

    /// The plan over points that have a value which is not `seen` and may make a group.
    fn without_groups(&self, seen: &HashSet<Scalar>) -> Result<StagePlan> {
        let others = [Scalar::Bool(false), Scalar::Bool(true)];
        let known = seen.iter().cloned().chain(others).collect();
        Ok(self.plan.narrowed(&self.having(FieldPredicate::Except(known))?))
    }

    /// Points whose values in the field are as `predicate` wants them.
    fn having(&self, predicate: FieldPredicate) -> Result<Bound> {
        let filter = Filter::only(Condition::Field { path: self.grouping.path.as_ref().clone(), predicate });
        Ok(Bound::new(Arc::new(filter), &self.fan.schema)?)
    }

    /// The plan with longer lists.
    fn widened(&self, plan: &StagePlan, limit: usize) -> StagePlan {
        let times = |inner: &StagePlan| inner.limit.saturating_mul(self.grouping.size).min(MAX_K);
        let prefetch = plan.prefetch.iter().map(|inner| self.widened(inner, times(inner))).collect();
        StagePlan { prefetch, ..plan.of_length(limit, self.diverse_round()) }
    }

    async fn round(&self, plan: &StagePlan) -> Result<Round> {
        let found = self.runner.run(self.fan, plan).await?;
        if let Some(e) = found.late {
            return Err(e);
        }
        let exhausted = found.list.len() < plan.limit;
        let keys = self.keys(&found.list).await?;
        let none = Vec::new;
        let with_keys = |c: Candidate| (c, keys.get(&c.id).cloned().unwrap_or_else(none));
        Ok(Round { list: found.list.into_iter().map(with_keys).collect(), exhausted })
    }

    /// The values of the candidates.
    async fn keys(&self, list: &[Candidate]) -> Result<HashMap<PointId, Vec<Scalar>>> {
        let mut ids: Vec<Vec<PointId>> = vec![Vec::new(); self.fan.scopes.len()];
        for candidate in list {
            ids[candidate.shard].push(candidate.id);
        }
        let call = |number: usize, scope| {
            let (ids, path) = (ids[number].clone(), self.grouping.path.clone());
            self.fan.searcher.keys(ShardKeysRequest { scope, ids, path })
        };
        let (shards, late): (Vec<Keyed>, _) = scatter(self.fan, call).await?;
        match late {
            Some(e) => Err(e),
            None => Ok(shards.into_iter().flatten().collect()),
        }
    }
}
