//! Searches: checked, planned, run.

use std::sync::Arc;

use engram_index::vector::VectorValue;
use engram_storage::point::PointId;
use engram_storage::schema::{CollectionSchema, VectorField};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::{Database, check_selection, checked_filter};
use crate::coordinator::{self, Fan, SearchPlan};
use crate::error::{QueryError, Result};
use crate::limits::{
    MAX_SEARCH_BATCH, MAX_SEARCH_BATCH_RESULTS, at_most, check_effort, check_k, check_offset, check_timeout,
};
use crate::request::{Principal, QueryVector, ReadOptions, SearchAnswer, SearchRequest, Selection};
use crate::write::{admit_query, vector_field};

/// Searches of a batch with their numbers.
type Numbered = std::iter::Enumerate<std::vec::IntoIter<SearchRequest>>;

impl Database {
    /// The nearest points, closest first, ties by id.
    ///
    /// # Errors
    /// Limits, `unknown_field`, `wrong_vector_kind`, `wrong_dimension`, `not_finite`, `invalid_vector`, `invalid_filter`,
    /// `point_not_found` for [`QueryVector::Like`], and `DeadlineExceeded` unless partial answers are allowed.
    pub async fn search(&self, principal: Principal, request: SearchRequest) -> Result<SearchAnswer> {
        let fan = self.fan(principal, &request.collection, &request.read)?;
        let regions = request.read.regions.clone();
        let plan = self.plan(principal, &fan, request).await?;
        let (answer, searched) = coordinator::search(&fan, &plan).await?;
        self.sample(&fan.schema, &plan, &searched, regions);
        Ok(answer)
    }

    /// Many searches over the processor's cores; answers in the order of the requests.
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
        for request in &requests {
            check_timeout(request.read.timeout, self.inner.options.default_timeout)?;
        }
        let total = requests.len();
        let workers = self.inner.options.search_threads.clamp(1, total.max(1));
        let mut answers: Vec<Option<Result<SearchAnswer>>> = Vec::new();
        answers.resize_with(total, || None);
        if workers <= 1 {
            for (place, request) in answers.iter_mut().zip(requests) {
                *place = Some(self.search(principal, request).await);
            }
        } else {
            for (number, answer) in self.run_many(principal, requests, workers).await? {
                answers[number] = Some(answer);
            }
        }
        let missing = || Err(QueryError::Internal("a search of the batch was lost".to_owned()));
        answers.into_iter().map(|answer| answer.unwrap_or_else(missing)).collect()
    }

    /// Runs `requests` on so many tasks, this one among them; each takes the next one when it is free. Dropped with the
    /// caller.
    async fn run_many(
        &self,
        principal: Principal,
        requests: Vec<SearchRequest>,
        workers: usize,
    ) -> Result<Vec<(usize, Result<SearchAnswer>)>> {
        let queue = Arc::new(Mutex::new(requests.into_iter().enumerate()));
        let work = |database: Self, queue: Arc<Mutex<Numbered>>| async move {
            let mut answers = Vec::new();
            loop {
                let Some((number, request)) = next(&queue) else { return answers };
                answers.push((number, database.search(principal, request).await));
            }
        };
        let mut tasks = JoinSet::new();
        for _ in 1..workers {
            tasks.spawn(work(self.clone(), queue.clone()));
        }
        let mut answers = work(self.clone(), queue).await;
        while let Some(done) = tasks.join_next().await {
            answers.extend(done.map_err(|e| QueryError::Internal(format!("a search was stopped: {e}")))?);
        }
        Ok(answers)
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
        let filter = checked_filter(request.filter)?;
        let field = vector_field(&fan.schema, &request.field)?;
        // The regions of a request say where to search, not where an example lives or what the frequencies of words are.
        let everywhere = || {
            let read = ReadOptions { regions: Vec::new(), ..request.read.clone() };
            self.fan(principal, &request.collection, &read)
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

/// The lock is held for no longer than this.
fn next(queue: &Mutex<Numbered>) -> Option<(usize, SearchRequest)> {
    queue.lock().next()
}

/// The stored vector of point `id`.
async fn vector_of(fan: &Fan, field: &VectorField, id: PointId) -> Result<VectorValue> {
    let selection =
        Selection { vectors: true, vector_names: vec![field.name.clone()], ..Selection::default() };
    let point = coordinator::get(fan, &[id], Arc::new(selection)).await?.into_iter().next();
    let Some(point) = point else { return Err(no_point(&fan.schema, id)) };
    let vector = point.vectors.into_iter().next();
    vector.map(|(_, vector)| vector).ok_or_else(|| {
        let message =
            format!("point {id} has no vector in field {:?}: search with another field or point", field.name);
        QueryError::invalid("no_vector", message)
    })
}

fn no_point(schema: &CollectionSchema, id: PointId) -> QueryError {
    let message =
        format!("there is no point {id} in collection {:?}: give the id of a stored point", schema.name);
    QueryError::NotFound { code: "point_not_found", message }
}
