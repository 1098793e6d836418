//! Plans of queries: limits, examples made vectors, filters handed down.

use std::sync::Arc;

use engram_index::vector::{Metric, VectorValue};
use engram_storage::point::{FieldId, PointId};
use engram_storage::schema::VectorField;
use futures::future::{BoxFuture, FutureExt};

use super::budget::Budget;
use super::examples::{Examples, Library};
use super::formula::Checked;
use super::order::Order;
use super::rank_by::{Pair, Preference, RankBy};
use super::sample::Seeds;
use super::{diverse, fusion, recommend};
use crate::coordinator::{self, TextWords};
use crate::database::{checked_filter, text_words};
use crate::error::{QueryError, Result};
use crate::filter::Bound;
use crate::limits::{MAX_EXAMPLES, MAX_PREFETCH_DEPTH, MAX_STAGES, at_most, check_effort, check_k};
use crate::recall::Effort;
use crate::request::query::{ContextPair, Fusion, Query, RecommendStrategy, Stage, StageParams, VectorInput};
use crate::write::{admit_query, vector_field};

/// A stage that can run.
#[derive(Clone, Debug)]
pub(crate) struct StagePlan {
    pub prefetch: Vec<StagePlan>,
    pub by: By,
    /// Its own filter and those of the stages above it: what leaves are searched with.
    pub filter: Option<Bound>,
    /// Results wanted, skipped ones included.
    pub limit: usize,
    pub threshold: Option<f32>,
}

/// What a stage ranks by.
#[derive(Clone, Debug)]
pub(crate) enum By {
    /// As its only prefetch stage did.
    Same,
    Nearest(Nearest),
    Diverse {
        nearest: Nearest,
        /// What the points found are compared with: the vector of `nearest` without weights.
        like: Arc<VectorValue>,
        diversity: f32,
        candidates: usize,
    },
    Ranked(Arc<RankBy>),
    Text(TextWords),
    Fusion(Fusion),
    Formula(Arc<Checked>),
}

/// A search for the neighbours of one vector.
#[derive(Clone, Debug)]
pub(crate) struct Nearest {
    pub field: FieldId,
    pub name: String,
    pub metric: Metric,
    /// Admitted.
    pub vector: Arc<VectorValue>,
    pub effort: Effort,
    pub exact: bool,
    pub indexed_only: bool,
}

/// Makes plans.
pub(crate) struct Planner<'a> {
    pub library: Library<'a>,
    pub seeds: &'a Seeds,
    pub default_recall: f32,
    pub allow_partial: bool,
    pub budget: &'a Budget,
}

impl Planner<'_> {
    /// A plan for the first `offset` and as many more results of `stage` as it wants.
    ///
    /// # Errors
    /// Limits, what is wrong with the request, and `point_not_found` for examples.
    pub async fn plan(&self, stage: &Stage, offset: usize) -> Result<StagePlan> {
        let mut counts = Counts::default();
        measure(stage, 0, &mut counts)?;
        let mut plan = self.stage(stage, None, offset).await?;
        plan.limit = stage.limit + offset;
        Ok(plan)
    }

    /// Recursion is as deep as `measure` allows.
    fn stage<'b>(
        &'b self,
        stage: &'b Stage,
        above: Option<Bound>,
        offset: usize,
    ) -> BoxFuture<'b, Result<StagePlan>> {
        async move {
            check_k(stage.limit)?;
            if stage.score_threshold.is_some_and(|t| !t.is_finite()) {
                let message = "the score threshold is not a finite number: give one, or leave it out";
                return Err(QueryError::invalid("not_finite", message));
            }
            let own = checked_filter(stage.filter.clone(), &self.library.own.schema)?;
            let (by, excluded) = self.by(stage, stage.limit + offset).await?;
            let filter = both(above, own);
            let filter = both(filter, without(excluded));
            let mut prefetch = Vec::with_capacity(stage.prefetch.len());
            for inner in &stage.prefetch {
                prefetch.push(self.stage(inner, filter.clone(), 0).await?);
            }
            let (limit, threshold) = (stage.limit, stage.score_threshold);
            Ok(StagePlan { prefetch, by, filter, limit, threshold })
        }
        .boxed()
    }

    /// What a stage ranks by, and the examples that it leaves out.
    async fn by(&self, stage: &Stage, results: usize) -> Result<(By, Vec<PointId>)> {
        let alone = |by| Ok((by, Vec::new()));
        let ranked = |by| Ok((By::Ranked(Arc::new(by)), Vec::new()));
        let Some(query) = &stage.query else {
            return match stage.prefetch.len() {
                0 => ranked(RankBy::Id),
                1 => alone(By::Same),
                n => {
                    let message = format!(
                        "{n} prefetch stages and no query: give a query that ranks their results, such as a fusion"
                    );
                    Err(QueryError::invalid("invalid_argument", message))
                }
            };
        };
        match query {
            Query::OrderBy(order_by) => ranked(RankBy::Order(Order::new(order_by)?)),
            Query::Sample => ranked(RankBy::Sample { seed: self.seeds.next(), field: None }),
            Query::Fusion(fusion) => {
                fusion::check(fusion, stage.prefetch.len())?;
                alone(By::Fusion(fusion.clone()))
            }
            Query::Formula(formula) => {
                let checked = Checked::new(formula, stage.prefetch.len())?;
                alone(By::Formula(Arc::new(checked.bound(&self.library.own.schema)?)))
            }
            Query::Text(text) => alone(By::Text(text_words(&self.library.own.schema, text)?)),
            _ => self.by_vectors(stage, query, results).await,
        }
    }

    async fn by_vectors(&self, stage: &Stage, query: &Query, results: usize) -> Result<(By, Vec<PointId>)> {
        let field = vector_field(&self.library.own.schema, &stage.field)?;
        let examples = self.library.find(&inputs(query), field, (stage.lookup.as_ref(), self.budget)).await?;
        let nearest = |value, results| self.nearest(stage.params, field, value, results);
        let by = match query {
            Query::Nearest(input) => By::Nearest(nearest(examples.value(input, field)?, results).await?),
            Query::NearestDiverse { input, diversity, candidates } => {
                diverse::check(*diversity)?;
                let candidates = candidates.unwrap_or(results);
                check_k(candidates)?;
                self.budget.vectors("the candidates of mmr", candidates, field)?;
                let nearest = nearest(examples.value(input, field)?, candidates).await?;
                let like = Arc::new(examples.admitted(input, field)?);
                By::Diverse { nearest, like, diversity: *diversity, candidates }
            }
            Query::Recommend { positive, negative, strategy } => {
                check_recommended((positive, negative), *strategy)?;
                if *strategy == RecommendStrategy::AverageVector {
                    let all = |inputs: &[VectorInput]| -> Result<Vec<VectorValue>> {
                        inputs.iter().map(|input| examples.value(input, field)).collect()
                    };
                    let average = recommend::average(&all(positive)?, &all(negative)?);
                    By::Nearest(nearest(average, results).await?)
                } else {
                    let mut positive_values = self.compared(query, &examples, field).await?;
                    let negative = positive_values.split_off(positive.len());
                    preferred(field, liking(*strategy, positive_values, negative))
                }
            }
            Query::Discover { context, .. } => {
                let mut values = self.compared(query, &examples, field).await?.into_iter();
                let Some(target) = values.next() else {
                    return Err(QueryError::Internal("a discovery has no target".to_owned()));
                };
                let pairs = pairs(values);
                debug_assert_eq!(pairs.len(), context.len());
                preferred(field, Preference::Discover { target, pairs })
            }
            Query::Context(context) => {
                if context.is_empty() {
                    return Err(QueryError::invalid("invalid_argument", "the context has no pair: give one"));
                }
                let values = self.compared(query, &examples, field).await?;
                preferred(field, Preference::Context(pairs(values.into_iter())))
            }
            _ => return Err(QueryError::Internal("a query without vectors was planned as one".to_owned())),
        };
        Ok((by, examples.excluded))
    }

    /// The examples of a query, in the order of [`inputs`], as points are compared with them.
    async fn compared(
        &self,
        query: &Query,
        examples: &Examples,
        field: &VectorField,
    ) -> Result<Vec<VectorValue>> {
        let values = inputs(query).into_iter().map(|input| examples.admitted(input, field));
        let mut values = values.collect::<Result<Vec<_>>>()?;
        coordinator::weigh_all(&self.library.own, field, &mut values, self.allow_partial).await?;
        Ok(values)
    }

    async fn nearest(
        &self,
        params: StageParams,
        field: &VectorField,
        value: VectorValue,
        results: usize,
    ) -> Result<Nearest> {
        let value = admit_query(field, value)?;
        let value = coordinator::weighed(&self.library.own, field, value, self.allow_partial).await?;
        Ok(Nearest {
            field: field.id,
            name: field.name.clone(),
            metric: field.metric,
            vector: Arc::new(value),
            effort: check_effort((params.ef, params.recall), self.default_recall, (results, 0))?,
            exact: params.exact,
            indexed_only: params.indexed_only,
        })
    }
}

fn preferred(field: &VectorField, preference: Preference) -> By {
    By::Ranked(Arc::new(RankBy::Preference { field: field.id, preference }))
}

/// Checks that there are the examples that a strategy needs.
fn check_recommended(
    (positive, negative): (&[VectorInput], &[VectorInput]),
    strategy: RecommendStrategy,
) -> Result<()> {
    let refuse = |message: &str| Err(QueryError::invalid("invalid_argument", message));
    if strategy == RecommendStrategy::AverageVector && positive.is_empty() {
        return refuse("recommend: the average needs a positive example: give one, or take another strategy");
    }
    if positive.is_empty() && negative.is_empty() {
        return refuse("recommend: there is no example: give a positive or a negative one");
    }
    Ok(())
}

fn liking(strategy: RecommendStrategy, positive: Vec<VectorValue>, negative: Vec<VectorValue>) -> Preference {
    match strategy {
        RecommendStrategy::SumScores => Preference::SumScores { positive, negative },
        RecommendStrategy::BestScore | RecommendStrategy::AverageVector => {
            Preference::BestScore { positive, negative }
        }
    }
}

/// Each value with the one after it.
fn pairs(mut values: impl Iterator<Item = VectorValue>) -> Vec<Pair> {
    let mut pairs = Vec::new();
    while let (Some(positive), Some(negative)) = (values.next(), values.next()) {
        pairs.push((positive, negative));
    }
    pairs
}

fn of_pairs(pairs: &[ContextPair]) -> impl Iterator<Item = &VectorInput> {
    pairs.iter().flat_map(|pair| [&pair.positive, &pair.negative])
}

/// Every example of a query.
pub(super) fn inputs(query: &Query) -> Vec<&VectorInput> {
    match query {
        Query::Nearest(input) | Query::NearestDiverse { input, .. } => vec![input],
        Query::Recommend { positive, negative, .. } => positive.iter().chain(negative).collect(),
        Query::Discover { target, context } => std::iter::once(target).chain(of_pairs(context)).collect(),
        Query::Context(context) => of_pairs(context).collect(),
        _ => Vec::new(),
    }
}

/// What a query has so far.
#[derive(Default)]
struct Counts {
    stages: usize,
    examples: usize,
}

/// Checks the size of a query before anything is done for it.
fn measure(stage: &Stage, depth: usize, counts: &mut Counts) -> Result<()> {
    counts.stages += 1;
    counts.examples += stage.query.as_ref().map_or(0, |query| inputs(query).len());
    let advice = "ask several queries instead";
    at_most("the depth of prefetch stages", depth, MAX_PREFETCH_DEPTH, advice)?;
    at_most("the number of stages", counts.stages, MAX_STAGES, advice)?;
    at_most("the number of examples", counts.examples, MAX_EXAMPLES, "give fewer")?;
    stage.prefetch.iter().try_for_each(|inner| measure(inner, depth + 1, counts))
}

/// A filter that holds where both do.
pub(crate) fn both(a: Option<Bound>, b: Option<Bound>) -> Option<Bound> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.and(&b)),
        (a, b) => a.or(b),
    }
}

/// A filter that leaves points out.
fn without(ids: Vec<PointId>) -> Option<Bound> {
    (!ids.is_empty()).then(|| Bound::without_ids(ids))
}

impl StagePlan {
    /// Whether a score is good enough.
    pub fn passes(&self, score: f32) -> bool {
        self.threshold.is_none_or(|threshold| self.reaches(score, threshold))
    }

    fn reaches(&self, score: f32, threshold: f32) -> bool {
        match &self.by {
            By::Nearest(nearest) | By::Diverse { nearest, .. } if !nearest.metric.larger_is_closer() => {
                score <= threshold
            }
            // The others have no scores.
            By::Ranked(by) if !matches!(by.as_ref(), RankBy::Preference { .. }) => true,
            By::Same => self.prefetch.first().is_none_or(|inner| inner.reaches(score, threshold)),
            _ => score >= threshold,
        }
    }

    /// Whether words are counted for it.
    pub fn counts_words(&self) -> bool {
        matches!(self.by, By::Text(_)) || self.prefetch.iter().any(Self::counts_words)
    }

    /// The same with so many results, of no fewer candidates as long as these are not more than `most` or were asked for.
    pub fn of_length(&self, limit: usize, most: usize) -> Self {
        let mut plan = Self { limit, ..self.clone() };
        if let By::Diverse { candidates, .. } = &mut plan.by {
            *candidates = limit.min(most).max(*candidates);
        }
        plan
    }

    /// The same over fewer points.
    pub fn narrowed(&self, filter: &Bound) -> Self {
        Self {
            prefetch: self.prefetch.iter().map(|inner| inner.narrowed(filter)).collect(),
            filter: both(self.filter.clone(), Some(filter.clone())),
            ..self.clone()
        }
    }
}
