//! Queries in stages: checked, planned, run.

use std::sync::Arc;
use std::time::Instant;

use engram_index::payload::Scalar;
use engram_storage::point::PointId;
use uuid::Uuid;

use super::batch::spread;
use super::{Database, Page, check_selection, checked_filter};
use crate::coordinator::{self, Fan};
use crate::error::{QueryError, Result};
use crate::limits::{
    MAX_FACET_LIMIT, MAX_GROUP_HITS, MAX_GROUP_SIZE, MAX_GROUPS, MAX_MATRIX_SAMPLE, MAX_SEARCH_BATCH,
    MAX_SEARCH_BATCH_RESULTS, at_most, check_k, check_offset, check_page,
};
use crate::request::query::{
    FacetRequest, FacetValue, Group, GroupsRequest, Matrix, MatrixRequest, OrderBy, Query, QueryAnswer,
    QueryRequest, Scored, Stage, VectorInput,
};
use crate::request::{
    Principal, QueryVector, ReadOptions, ScrollRequest, SearchRequest, Selection, StoredPoint,
};
use crate::stages::answer::{answer, scored};
use crate::stages::budget::{Budget, expected_bytes};
use crate::stages::examples::Library;
use crate::stages::groups::{Grouper, Grouping, Members};
use crate::stages::plan::{Planner, StagePlan};
use crate::stages::rank_by::RankBy;
use crate::stages::run::{Runner, rank};
use crate::stages::{facet, matrix, order};
use crate::write::vector_field;

impl Database {
    /// The results of a query of one or more stages, best first, ties by id.
    ///
    /// # Errors
    /// As [`Database::search`], and `invalid_argument`, `invalid_formula` and `unsupported` for stages that cannot be.
    pub async fn query(&self, principal: Principal, request: QueryRequest) -> Result<QueryAnswer> {
        let deadline = self.deadline(Instant::now(), &request.read)?;
        self.query_until(principal, request, deadline).await
    }

    async fn query_until(
        &self,
        principal: Principal,
        request: QueryRequest,
        deadline: Instant,
    ) -> Result<QueryAnswer> {
        if let Some(search) = as_search(&request) {
            let found = self.search_until(principal, search, deadline).await?;
            let hits = found.hits.into_iter();
            let hits =
                hits.map(|hit| Scored { point: hit.point, score: hit.score, order_value: None }).collect();
            return Ok(QueryAnswer { hits, partial: found.partial });
        }
        check_offset(request.offset)?;
        let mut fan = self.fan_until(principal, &request.collection, &request.read, deadline)?;
        check_selection(&fan.schema, &request.selection)?;
        let (plan, held) = self.stages(principal, &request, &request.stage, deadline).await?;
        if plan.counts_words() {
            fan = fan.counting(&request.read);
        }
        let runner = self.runner(request.allow_partial, held);
        answer(&runner, fan, &plan, (request.offset, Arc::new(request.selection))).await
    }

    /// Many queries over the processor's cores; answers in the order of the requests. The time of each counts from now, not
    /// from its turn.
    ///
    /// # Errors
    /// That of the first query that failed, and limits over all of them.
    pub async fn query_batch(
        &self,
        principal: Principal,
        requests: Vec<QueryRequest>,
    ) -> Result<Vec<QueryAnswer>> {
        let split = "split the batch";
        at_most("the number of queries", requests.len(), MAX_SEARCH_BATCH, split)?;
        let results = requests.iter().map(|r| r.stage.limit).fold(0, usize::saturating_add);
        at_most("the number of results of all queries", results, MAX_SEARCH_BATCH_RESULTS, split)?;
        let started = Instant::now();
        let until = |request: QueryRequest| Ok((self.deadline(started, &request.read)?, request));
        let requests = requests.into_iter().map(until).collect::<Result<Vec<_>>>()?;
        let database = self.clone();
        let run = move |(deadline, request)| {
            let database = database.clone();
            async move { database.query_until(principal, request, deadline).await }
        };
        spread(requests, self.inner.options.search_threads, run).await
    }

    /// The results of a query by the values of a field: groups in the order of their best results. A result with several
    /// values is in several groups, one without a keyword or a whole number in none. Never partial; the query's offset
    /// must be 0.
    ///
    /// # Errors
    /// As [`Database::query`].
    pub async fn query_groups(&self, principal: Principal, request: GroupsRequest) -> Result<Vec<Group>> {
        let GroupsRequest { query, group_by, group_size, lookup } = request;
        let groups = query.stage.limit;
        check_k(groups)?;
        check_k(group_size)?;
        at_most("the number of groups", groups, MAX_GROUPS, "ask for fewer groups")?;
        at_most("the size of a group", group_size, MAX_GROUP_SIZE, "ask for smaller groups")?;
        let hits = groups.saturating_mul(group_size);
        at_most(
            "the number of results of all groups",
            hits,
            MAX_GROUP_HITS,
            "ask for fewer or smaller groups",
        )?;
        if query.offset > 0 {
            let message = "groups have no offset: ask for more groups, or leave some out with a filter";
            return Err(QueryError::invalid("invalid_argument", message));
        }
        let path = Arc::new(order::path("group_by", &group_by)?);
        let fan = self.fan(principal, &query.collection, &query.read)?;
        check_selection(&fan.schema, &query.selection)?;
        let stage = Stage { limit: hits, ..query.stage.clone() };
        let (plan, held) = self.stages(principal, &query, &stage, fan.deadline).await?;
        let fan = if plan.counts_words() { fan.counting(&query.read) } else { fan };
        let fan = fan.hold().await?;
        let grouping = Grouping { path, groups, size: group_size };
        let grouper = Grouper { runner: self.runner(false, held), fan: &fan, plan: &plan, grouping };
        let found = grouper.run().await?;
        let groups = filled(&fan, found, query.selection).await?;
        match lookup {
            None => Ok(groups),
            Some(lookup) => self.look_groups_up(principal, groups, lookup, fan.deadline).await,
        }
    }

    /// How many matching points have each value of a field, the most frequent values first, then by value. Keywords, whole
    /// numbers and truth values count; a point counts once for each of its values. Always exact.
    ///
    /// # Errors
    /// As [`Database::count`], limits, and `invalid_argument` for what is no path.
    pub async fn facet(&self, principal: Principal, request: FacetRequest) -> Result<Vec<FacetValue>> {
        check_k(request.limit)?;
        at_most("the limit of the facet", request.limit, MAX_FACET_LIMIT, "ask for fewer values")?;
        let path = Arc::new(order::path("key", &request.key)?);
        let fan = self.fan(principal, &request.collection, &request.read)?;
        let filter = checked_filter(request.filter, &fan.schema)?;
        facet::facet(&fan, path, filter, request.limit).await
    }

    /// The nearest neighbours of each of a random sample of points within the sample. Empty where fewer than two points
    /// match.
    ///
    /// # Errors
    /// As [`Database::search`].
    pub async fn matrix(&self, principal: Principal, request: MatrixRequest) -> Result<Matrix> {
        check_k(request.limit)?;
        check_k(request.sample)?;
        at_most("the sample of the matrix", request.sample, MAX_MATRIX_SAMPLE, "sample fewer points")?;
        let fan = self.fan(principal, &request.collection, &request.read)?;
        let filter = checked_filter(request.filter, &fan.schema)?;
        let field = vector_field(&fan.schema, &request.field)?.clone();
        let fan = fan.hold().await?;
        let sample = (self.inner.seeds.next(), request.sample);
        let sampled = matrix::sample(&fan, &field, filter, sample).await?;
        matrix::matrix(self.inner.local.compute(), field.metric, sampled, (request.limit, fan.deadline)).await
    }

    /// One page in the order of a field's values, ties by id; points without a number or a date there are left out. The next
    /// page starts from the last value and leaves out what was seen by a filter.
    pub(super) async fn scroll_by_value(
        &self,
        principal: Principal,
        request: ScrollRequest,
        order_by: &OrderBy,
    ) -> Result<Page> {
        check_page(request.limit)?;
        if request.from.is_some() {
            let message =
                "a page ordered by a field has no first id: start from a value with order_by.start_from";
            return Err(QueryError::invalid("invalid_argument", message));
        }
        let by = Arc::new(RankBy::Order(order::Order::new(order_by)?));
        let fan = self.fan(principal, &request.collection, &request.read)?;
        check_selection(&fan.schema, &request.selection)?;
        let filter = checked_filter(request.filter, &fan.schema)?;
        let fan = fan.hold().await?;
        let found = rank(&fan, &by, vec![filter; fan.scopes.len()], request.limit).await?;
        let wanted = found.list.len();
        let (hits, late) = scored(&fan, found.list, &Arc::new(request.selection)).await?;
        coordinator::settle(false, wanted - hits.len(), found.late.or(late))?;
        let mut page = Page::default();
        for hit in hits {
            page.points.push(hit.point);
            page.order_values.extend(hit.order_value);
        }
        Ok(page)
    }

    /// Bytes of stored vectors that these queries hold at once to compare points with each other, about: what a server
    /// sets aside before it runs them. 0 for most, and for collections that are not there.
    pub fn compared_bytes<'a>(
        &self,
        principal: Principal,
        requests: impl IntoIterator<Item = (&'a QueryRequest, usize)>,
    ) -> usize {
        let (mut largest, mut count) = (0, 0usize);
        for (request, results) in requests {
            count += 1;
            // One that is not there is told by the query itself.
            let schema = self.schema(principal, &request.collection).ok();
            let bytes = schema.map_or(0, |schema| expected_bytes(&schema, &request.stage, results));
            largest = largest.max(bytes);
        }
        largest.saturating_mul(count.min(self.inner.options.search_threads))
    }

    fn runner(&self, allow_partial: bool, held: usize) -> Runner<'_> {
        Runner { compute: self.inner.local.compute(), allow_partial, held }
    }

    /// A plan, and the components of stored vectors that were read for it.
    async fn stages(
        &self,
        principal: Principal,
        request: &QueryRequest,
        stage: &Stage,
        deadline: Instant,
    ) -> Result<(StagePlan, usize)> {
        let library = Library::new(self, principal, &request.collection, (&request.read, deadline))?;
        let default_recall = self.inner.options.default_recall;
        let allow_partial = request.allow_partial;
        let (seeds, budget) = (&self.inner.seeds, &Budget::default());
        let planner = Planner { library, seeds, default_recall, allow_partial, budget };
        let plan = planner.plan(stage, request.offset).await?;
        Ok((plan, budget.read()))
    }

    /// Adds to each group the point whose id is the group's value.
    async fn look_groups_up(
        &self,
        principal: Principal,
        groups: Vec<Group>,
        (collection, selection): (String, Selection),
        deadline: Instant,
    ) -> Result<Vec<Group>> {
        let fan = self.fan_until(principal, &collection, &ReadOptions::default(), deadline)?;
        check_selection(&fan.schema, &selection)?;
        let ids: Vec<PointId> = groups.iter().filter_map(|group| point_id(&group.id)).collect();
        let points = coordinator::get(&fan, &ids, Arc::new(selection)).await?;
        let find = |id: PointId| -> Option<StoredPoint> { points.iter().find(|p| p.id == id).cloned() };
        let looked_up = |group: Group| Group { lookup: point_id(&group.id).and_then(find), ..group };
        Ok(groups.into_iter().map(looked_up).collect())
    }
}

/// The point id that a group's value is.
fn point_id(value: &serde_json::Value) -> Option<PointId> {
    match value {
        serde_json::Value::String(text) => Uuid::parse_str(text).ok().map(PointId::Uuid),
        other => other.as_u64().map(PointId::Num),
    }
}

/// The groups with their points.
async fn filled(fan: &Fan, found: Vec<Members>, selection: Selection) -> Result<Vec<Group>> {
    let sizes: Vec<(Scalar, usize)> = found.iter().map(|g| (g.told.clone(), g.list.len())).collect();
    let all: Vec<_> = found.into_iter().flat_map(|group| group.list).collect();
    let wanted = all.len();
    let (hits, late) = scored(fan, all, &Arc::new(selection)).await?;
    coordinator::settle(false, wanted - hits.len(), late)?;
    let mut hits = hits.into_iter();
    let group = |(key, size): (Scalar, usize)| Group {
        id: facet::json(key),
        hits: hits.by_ref().take(size).collect(),
        lookup: None,
    };
    Ok(sizes.into_iter().map(group).collect())
}

/// A query that is a search: of one stage, for the neighbours of one vector. Searches are sampled for their recall, and find
/// their winners again without looking.
fn as_search(request: &QueryRequest) -> Option<SearchRequest> {
    let stage = &request.stage;
    let Some(Query::Nearest(input)) = &stage.query else { return None };
    if !stage.prefetch.is_empty() || stage.lookup.is_some() || stage.params.indexed_only {
        return None;
    }
    let query = match input {
        VectorInput::Value(value) => QueryVector::Vector(value.clone()),
        VectorInput::Point(id) => QueryVector::Like(*id),
    };
    Some(SearchRequest {
        collection: request.collection.clone(),
        query,
        field: stage.field.clone(),
        filter: stage.filter.clone(),
        k: stage.limit,
        offset: request.offset,
        ef: stage.params.ef,
        recall: stage.params.recall,
        exact: stage.params.exact,
        score_threshold: stage.score_threshold,
        selection: request.selection.clone(),
        read: request.read.clone(),
        allow_partial: request.allow_partial,
    })
}
