//! Searches: checked, planned, run.

use std::sync::Arc;
use std::time::Instant;

use engram_index::vector::VectorValue;
use engram_storage::point::PointId;
use engram_storage::schema::VectorField;

use super::batch::spread;
use super::{Database, check_selection, checked_filter};
use crate::coordinator::{self, Fan, SearchPlan};
use crate::error::{QueryError, Result};
use crate::limits::{
    MAX_SEARCH_BATCH, MAX_SEARCH_BATCH_RESULTS, at_most, check_effort, check_k, check_offset,
};
use crate::request::{Principal, QueryVector, ReadOptions, SearchAnswer, SearchRequest};
use crate::stages::examples;
use crate::write::{admit_query, vector_field};

impl Database {
    /// The nearest points, closest first, ties by id.
    ///
    /// # Errors
    /// Limits, `unknown_field`, `wrong_vector_kind`, `wrong_dimension`, `not_finite`, `invalid_vector`, `invalid_filter`,
    /// `point_not_found` for [`QueryVector::Like`], and `DeadlineExceeded` unless partial answers are allowed.
    pub async fn search(&self, principal: Principal, request: SearchRequest) -> Result<SearchAnswer> {
        let deadline = self.deadline(Instant::now(), &request.read)?;
        self.search_until(principal, request, deadline).await
    }

    pub(super) async fn search_until(
        &self,
        principal: Principal,
        request: SearchRequest,
        deadline: Instant,
    ) -> Result<SearchAnswer> {
        let fan = self.fan_until(principal, &request.collection, &request.read, deadline)?;
        let regions = request.read.regions.clone();
        let plan = self.plan(principal, &fan, request).await?;
        let (answer, searched) = coordinator::search(&fan, &plan).await?;
        self.sample(&fan.schema, &plan, &searched, regions);
        Ok(answer)
    }

    /// Many searches over the processor's cores; answers in the order of the requests. The time of each counts from now, not
    /// from its turn.
    ///
    /// # Errors
    /// That of the first request that failed, and limits over all of them.
    pub async fn batch_search(
        &self,
        principal: Principal,
        requests: Vec<SearchRequest>,
    ) -> Result<Vec<SearchAnswer>> {
        let split = "split the batch";
        at_most("the number of searches", requests.len(), MAX_SEARCH_BATCH, split)?;
        let results = requests.iter().map(|r| r.k).fold(0, usize::saturating_add);
        at_most("the number of results of all searches", results, MAX_SEARCH_BATCH_RESULTS, split)?;
        let started = Instant::now();
        let until = |request: SearchRequest| Ok((self.deadline(started, &request.read)?, request));
        let requests = requests.into_iter().map(until).collect::<Result<Vec<_>>>()?;
        let database = self.clone();
        let run = move |(deadline, request)| {
            let database = database.clone();
            async move { database.search_until(principal, request, deadline).await }
        };
        spread(requests, self.inner.options.search_threads, run).await
    }

    async fn plan(&self, principal: Principal, fan: &Fan, request: SearchRequest) -> Result<SearchPlan> {
        check_k(request.k)?;
        check_offset(request.offset)?;
        let asked = (request.ef, request.recall);
        let effort = check_effort(asked, self.inner.options.default_recall, (request.k, request.offset))?;
        if request.score_threshold.is_some_and(|t| !t.is_finite()) {
            let message = "the score threshold is not a finite number: give one, or leave it out";
            return Err(QueryError::invalid("not_finite", message));
        }
        check_selection(&fan.schema, &request.selection)?;
        let filter = checked_filter(request.filter, &fan.schema)?;
        let field = vector_field(&fan.schema, &request.field)?;
        // The regions of a request say where to search, not where an example lives or what the frequencies of words are.
        let everywhere = || {
            let read = ReadOptions { regions: Vec::new(), ..request.read.clone() };
            self.fan_until(principal, &request.collection, &read, fan.deadline)
        };
        let (mut vector, without) = match request.query {
            QueryVector::Vector(value) => (admit_query(field, value)?, None),
            QueryVector::Like(id) => (vector_of(&everywhere()?, field, id).await?, Some(id)),
        };
        if matches!(vector, VectorValue::Sparse(_)) {
            vector = coordinator::weighed(&everywhere()?, field, vector, request.allow_partial).await?;
        }
        Ok(SearchPlan {
            field: field.id,
            metric: field.metric,
            vector: Arc::new(vector),
            filter,
            k: request.k,
            offset: request.offset,
            effort,
            exact: request.exact,
            without,
            score_threshold: request.score_threshold,
            selection: Arc::new(request.selection),
            allow_partial: request.allow_partial,
        })
    }
}

/// The stored vector of point `id`.
async fn vector_of(fan: &Fan, field: &VectorField, id: PointId) -> Result<VectorValue> {
    let point = coordinator::get(fan, &[id], examples::only_vector(&field.name)).await?.into_iter().next();
    let Some(point) = point else { return Err(examples::no_point(&fan.schema, id)) };
    examples::vector_of(point).ok_or_else(|| examples::no_vector(id, &field.name))
}
