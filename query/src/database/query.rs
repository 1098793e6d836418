//! Queries in stages. Only the nearest points of one stage and the order of ids are answered yet.

use super::Database;
use crate::error::{QueryError, Result};
use crate::request::query::{
    FacetRequest, FacetValue, Group, GroupsRequest, Matrix, MatrixRequest, Query, QueryAnswer, QueryRequest,
    Scored, VectorInput,
};
use crate::request::{Principal, QueryVector, ScrollRequest, SearchRequest};
use engram_index::vector::VectorValue;

fn unsupported(what: &str) -> QueryError {
    QueryError::invalid("not_supported", format!("{what} is not supported yet"))
}

impl Database {
    /// Answers a query.
    ///
    /// # Errors
    /// Those of a search, and `not_supported`.
    pub async fn query(&self, principal: Principal, request: QueryRequest) -> Result<QueryAnswer> {
        let QueryRequest { collection, stage, offset, selection, read, allow_partial } = request;
        if !stage.prefetch.is_empty() {
            return Err(unsupported("a query with prefetch"));
        }
        if stage.lookup.is_some() {
            return Err(unsupported("`lookup_from`"));
        }
        let query = match stage.query {
            Some(Query::Nearest(VectorInput::Value(VectorValue::Dense(vector)))) => {
                QueryVector::Vector(vector)
            }
            Some(Query::Nearest(VectorInput::Point(id))) => QueryVector::Like(id),
            Some(_) => return Err(unsupported("this kind of query")),
            None => {
                let (filter, limit) = (stage.filter, stage.limit + offset);
                let scroll = ScrollRequest { collection, filter, from: None, limit, selection, read };
                let page = self.scroll(principal, scroll).await?;
                let scored = |point| Scored { point, score: 0.0, order_value: None };
                let hits = page.points.into_iter().skip(offset).map(scored).collect();
                return Ok(QueryAnswer { hits, partial: false });
            }
        };
        let search = SearchRequest {
            collection,
            query,
            field: stage.field,
            filter: stage.filter,
            k: stage.limit,
            offset,
            ef: stage.params.ef,
            recall: stage.params.recall,
            exact: stage.params.exact,
            score_threshold: stage.score_threshold,
            selection,
            read,
            allow_partial,
        };
        let answer = self.search(principal, search).await?;
        let scored =
            |hit: crate::request::Hit| Scored { point: hit.point, score: hit.score, order_value: None };
        Ok(QueryAnswer { hits: answer.hits.into_iter().map(scored).collect(), partial: answer.partial })
    }

    /// Answers queries, in their order.
    ///
    /// # Errors
    /// That of the first one that failed.
    pub async fn query_batch(
        &self,
        principal: Principal,
        requests: Vec<QueryRequest>,
    ) -> Result<Vec<QueryAnswer>> {
        let mut answers = Vec::with_capacity(requests.len());
        for request in requests {
            answers.push(self.query(principal, request).await?);
        }
        Ok(answers)
    }

    /// Groups of results.
    ///
    /// # Errors
    /// `not_supported`.
    pub async fn query_groups(&self, _: Principal, _: GroupsRequest) -> Result<Vec<Group>> {
        Err(unsupported("a query in groups"))
    }

    /// How often values occur.
    ///
    /// # Errors
    /// `not_supported`.
    pub async fn facet(&self, _: Principal, _: FacetRequest) -> Result<Vec<FacetValue>> {
        Err(unsupported("a facet"))
    }

    /// A distance matrix.
    ///
    /// # Errors
    /// `not_supported`.
    pub async fn matrix(&self, _: Principal, _: MatrixRequest) -> Result<Matrix> {
        Err(unsupported("a distance matrix"))
    }
}
