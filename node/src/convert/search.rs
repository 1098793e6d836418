//! Searches, scrolls and their answers.

use std::time::Duration;

use engram_proto::v1;
use engram_query::request::query::{TextQuery, TextSearchRequest};
use engram_query::request::{Hit, QueryVector, ScrollRequest, SearchAnswer, SearchRequest, StoredPoint};
use tonic::Status;

use super::{filter, point_id, read_options, selection, vector, wire_point};
use crate::status::invalid;

/// Page of a scroll that names no limit.
const DEFAULT_PAGE: usize = 10;

pub(crate) fn search(wire: v1::SearchRequest, call: Option<Duration>) -> Result<SearchRequest, Status> {
    let query = match (wire.vector, &wire.like) {
        (Some(v), None) => QueryVector::Vector(vector::value("vector", v)?),
        (None, Some(id)) => QueryVector::Like(point_id("like", Some(id))?),
        (None, None) => {
            return Err(invalid("vector", "is missing; give a vector, or the id of a point in `like`"));
        }
        (Some(_), Some(_)) => return Err(invalid("like", "is given beside vector; give one of them")),
    };
    let params = wire.params.unwrap_or_default();
    if params.ef > 0 && params.recall.is_some() {
        return Err(invalid("params.recall", "is given beside ef; give one of them"));
    }
    if params.recall.is_some_and(|recall| !(recall > 0.0 && recall <= 1.0)) {
        return Err(invalid(
            "params.recall",
            "is no share; give the share of the true neighbours that is wanted, above 0 and at most 1, such as 0.95",
        ));
    }
    if wire.score_threshold.is_some_and(|t| !t.is_finite()) {
        return Err(invalid("score_threshold", "is no finite number"));
    }
    Ok(SearchRequest {
        collection: wire.collection,
        query,
        field: wire.field,
        filter: wire.filter.map(filter::filter).transpose()?,
        k: wire.k as usize,
        offset: wire.offset as usize,
        ef: (params.ef > 0).then_some(params.ef as usize),
        recall: params.recall,
        exact: params.exact,
        score_threshold: wire.score_threshold,
        selection: selection(wire.selection),
        read: read_options(wire.token.as_ref(), wire.timeout_ms, call, wire.regions)?,
        allow_partial: wire.allow_partial,
    })
}

pub(crate) fn search_text(
    wire: v1::SearchTextRequest,
    call: Option<Duration>,
) -> Result<TextSearchRequest, Status> {
    if wire.score_threshold.is_some_and(|t| !t.is_finite()) {
        return Err(invalid("score_threshold", "is no finite number"));
    }
    Ok(TextSearchRequest {
        collection: wire.collection,
        query: TextQuery { field: wire.field, text: wire.text },
        filter: wire.filter.map(filter::filter).transpose()?,
        limit: wire.limit as usize,
        offset: wire.offset as usize,
        score_threshold: wire.score_threshold,
        selection: selection(wire.selection),
        read: read_options(wire.token.as_ref(), wire.timeout_ms, call, wire.regions)?,
        allow_partial: wire.allow_partial,
    })
}

pub(crate) fn wire_search_answer(answer: SearchAnswer, took: Duration) -> v1::SearchResponse {
    let hit = |hit: Hit| v1::ScoredPoint { point: Some(wire_point(hit.point)), score: hit.score };
    v1::SearchResponse {
        hits: answer.hits.into_iter().map(hit).collect(),
        partial: answer.partial,
        took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        expected_recall: answer.expected_recall,
    }
}

pub(crate) fn scroll(wire: v1::ScrollRequest, call: Option<Duration>) -> Result<ScrollRequest, Status> {
    Ok(ScrollRequest {
        collection: wire.collection,
        filter: wire.filter.map(filter::filter).transpose()?,
        from: wire.from.as_ref().map(|id| point_id("from", Some(id))).transpose()?,
        order_by: None,
        limit: if wire.limit == 0 { DEFAULT_PAGE } else { wire.limit as usize },
        selection: selection(wire.selection),
        read: read_options(wire.token.as_ref(), 0, call, wire.regions)?,
    })
}

pub(crate) fn wire_points(points: Vec<StoredPoint>) -> Vec<v1::Point> {
    points.into_iter().map(wire_point).collect()
}
