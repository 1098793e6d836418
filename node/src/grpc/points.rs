//! `engram.v1.Points`.

use std::sync::Arc;
use std::time::Instant;

use engram_proto::v1;
use engram_proto::v1::points_server::Points;
use engram_query::error::QueryError;
use engram_query::request::{
    Change, PointSelector, Principal, SearchRequest, Selection, WriteAnswer, WriteOptions,
};
use tonic::{Request, Response, Status, Streaming};

use super::{Context, answer_room, bulk, call_timeout, principal, to_the_end};
use crate::convert::point::{new_points, payload_change, selector, vector_updates};
use crate::convert::search::{scroll, search, search_text, wire_points, wire_search_answer};
use crate::convert::{filter, point_id, read_options, selection, wire_answer, wire_id, write_options};
use crate::serve::answer_room::{AnswerRoom, Charged, Expected, expected_bytes};
use crate::status::from_query;

/// No read returns more: one that asks for more is refused, and must not take all room before that.
const MAX_EXPECTED: usize = 10_000;

/// What a search may return.
fn wanted(search: &SearchRequest) -> (&str, &Selection, usize) {
    (&search.collection, &search.selection, search.k.min(MAX_EXPECTED))
}

pub(crate) struct PointsService(pub(crate) Arc<Context>);

impl PointsService {
    /// Counts a write and puts it into wire form.
    fn written(&self, answer: Result<WriteAnswer, QueryError>) -> Result<v1::WriteResponse, Status> {
        let answer = answer.map_err(|e| from_query(&e))?;
        self.0.metrics.points_written.inc_by(answer.affected);
        Ok(wire_answer(&answer))
    }

    /// Room for an answer of up to `count` points.
    async fn room<'a>(
        &self,
        room: Option<AnswerRoom>,
        principal: Principal,
        parts: impl Iterator<Item = (&'a str, &'a Selection, usize)>,
    ) -> Result<Charged, Status> {
        let part = |(collection, selection, count): (&str, &Selection, usize)| {
            // One that is not there is told by the read itself.
            let schema = self.0.database.collection(principal, collection).ok()?;
            Some(expected_bytes(&schema, selection, count))
        };
        Charged::take(room, parts.filter_map(part).fold(Expected::default(), Expected::and)).await
    }

    async fn change(
        &self,
        principal: Principal,
        collection: String,
        points: PointSelector,
        change: (Change, WriteOptions),
    ) -> Result<Response<v1::WriteResponse>, Status> {
        let service = Self(self.0.clone());
        to_the_end(async move {
            let (change, options) = change;
            let answer = service.0.database.change(principal, &collection, (points, change), options).await;
            service.written(answer).map(Response::new)
        })
        .await
    }
}

#[tonic::async_trait]
impl Points for PointsService {
    async fn upsert(
        &self,
        request: Request<v1::UpsertRequest>,
    ) -> Result<Response<v1::WriteResponse>, Status> {
        let principal = principal(&request)?;
        let wire = request.into_inner();
        let points = new_points(wire.points, &wire.if_versions)?;
        let options = write_options(wire.idempotency_key, wire.wait);
        let service = Self(self.0.clone());
        to_the_end(async move {
            let answer = service.0.database.upsert(principal, &wire.collection, points, options).await;
            service.written(answer).map(Response::new)
        })
        .await
    }

    type BulkUpsertStream = bulk::Acknowledgements;

    async fn bulk_upsert(
        &self,
        request: Request<Streaming<v1::BulkUpsertRequest>>,
    ) -> Result<Response<Self::BulkUpsertStream>, Status> {
        bulk::run(self.0.clone(), request).map(Response::new)
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        let (principal, call, room) = (principal(&request)?, call_timeout(&request), answer_room(&request));
        let wire = request.into_inner();
        let id = |(i, id)| point_id(&format!("ids[{i}]"), Some(id));
        let ids = wire.ids.iter().enumerate().map(id).collect::<Result<Vec<_>, _>>()?;
        let read = read_options(wire.token.as_ref(), 0, call, Vec::new())?;
        let wanted = (ids, selection(wire.selection));
        let part = (wire.collection.as_str(), &wanted.1, wanted.0.len());
        let charged = self.room(room, principal, std::iter::once(part)).await?;
        let found = self.0.database.get(principal, &wire.collection, wanted, &read).await;
        let points = found.map_err(|e| from_query(&e))?;
        charged.settle(points.iter())?;
        Ok(Response::new(v1::GetResponse { points: wire_points(points) }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::WriteResponse>, Status> {
        let principal = principal(&request)?;
        let wire = request.into_inner();
        let points = selector(&wire.ids, wire.filter, &wire.if_versions)?;
        let options = write_options(wire.idempotency_key, wire.wait);
        self.change(principal, wire.collection, points, (Change::Delete, options)).await
    }

    async fn set_payload(
        &self,
        request: Request<v1::SetPayloadRequest>,
    ) -> Result<Response<v1::WriteResponse>, Status> {
        let principal = principal(&request)?;
        let mut wire = request.into_inner();
        let change = payload_change(&mut wire)?;
        let points = selector(&wire.ids, wire.filter, &wire.if_versions)?;
        let options = write_options(wire.idempotency_key, wire.wait);
        self.change(principal, wire.collection, points, (change, options)).await
    }

    async fn update_vectors(
        &self,
        request: Request<v1::UpdateVectorsRequest>,
    ) -> Result<Response<v1::WriteResponse>, Status> {
        let principal = principal(&request)?;
        let wire = request.into_inner();
        let updates = vector_updates(wire.points, &wire.if_versions)?;
        let options = write_options(wire.idempotency_key, wire.wait);
        let service = Self(self.0.clone());
        to_the_end(async move {
            let answer =
                service.0.database.update_vectors(principal, &wire.collection, updates, options).await;
            service.written(answer).map(Response::new)
        })
        .await
    }

    async fn search(
        &self,
        request: Request<v1::SearchRequest>,
    ) -> Result<Response<v1::SearchResponse>, Status> {
        let started = Instant::now();
        let (principal, call, room) = (principal(&request)?, call_timeout(&request), answer_room(&request));
        let search = search(request.into_inner(), call)?;
        let charged = self.room(room, principal, std::iter::once(wanted(&search))).await?;
        let answer = self.0.database.search(principal, search).await.map_err(|e| from_query(&e))?;
        charged.settle(answer.hits.iter().map(|hit| &hit.point))?;
        self.0.metrics.searches.inc();
        Ok(Response::new(wire_search_answer(answer, started.elapsed())))
    }

    async fn batch_search(
        &self,
        request: Request<v1::BatchSearchRequest>,
    ) -> Result<Response<v1::BatchSearchResponse>, Status> {
        let started = Instant::now();
        let (principal, call, room) = (principal(&request)?, call_timeout(&request), answer_room(&request));
        let searches = request.into_inner().searches.into_iter().map(|wire| search(wire, call));
        let searches = searches.collect::<Result<Vec<_>, _>>()?;
        let charged = self.room(room, principal, searches.iter().map(wanted)).await?;
        let answers = self.0.database.batch_search(principal, searches).await.map_err(|e| from_query(&e))?;
        charged.settle(answers.iter().flat_map(|answer| &answer.hits).map(|hit| &hit.point))?;
        self.0.metrics.searches.inc_by(answers.len() as u64);
        let took = started.elapsed();
        let results = answers.into_iter().map(|answer| wire_search_answer(answer, took)).collect();
        Ok(Response::new(v1::BatchSearchResponse { results }))
    }

    async fn search_text(
        &self,
        request: Request<v1::SearchTextRequest>,
    ) -> Result<Response<v1::SearchResponse>, Status> {
        let started = Instant::now();
        let (principal, call, room) = (principal(&request)?, call_timeout(&request), answer_room(&request));
        let search = search_text(request.into_inner(), call)?;
        let part = (search.collection.as_str(), &search.selection, search.limit.min(MAX_EXPECTED));
        let charged = self.room(room, principal, std::iter::once(part)).await?;
        let answer = self.0.database.search_text(principal, search).await.map_err(|e| from_query(&e))?;
        charged.settle(answer.hits.iter().map(|hit| &hit.point))?;
        self.0.metrics.searches.inc();
        Ok(Response::new(wire_search_answer(answer, started.elapsed())))
    }

    async fn scroll(
        &self,
        request: Request<v1::ScrollRequest>,
    ) -> Result<Response<v1::ScrollResponse>, Status> {
        let (principal, call, room) = (principal(&request)?, call_timeout(&request), answer_room(&request));
        let scroll = scroll(request.into_inner(), call)?;
        let part = (scroll.collection.as_str(), &scroll.selection, scroll.limit.min(MAX_EXPECTED));
        let charged = self.room(room, principal, std::iter::once(part)).await?;
        let page = self.0.database.scroll(principal, scroll).await.map_err(|e| from_query(&e))?;
        charged.settle(page.points.iter())?;
        let (points, next) = (wire_points(page.points), page.next.as_ref().map(wire_id));
        Ok(Response::new(v1::ScrollResponse { points, next }))
    }

    async fn count(&self, request: Request<v1::CountRequest>) -> Result<Response<v1::CountResponse>, Status> {
        let (principal, call) = (principal(&request)?, call_timeout(&request));
        let wire = request.into_inner();
        let filter = wire.filter.map(filter::filter).transpose()?;
        let read = read_options(wire.token.as_ref(), 0, call, wire.regions)?;
        let count = self.0.database.count(principal, &wire.collection, filter, &read).await;
        Ok(Response::new(v1::CountResponse { count: count.map_err(|e| from_query(&e))? }))
    }
}
