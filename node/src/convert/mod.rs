//! Wire messages to requests and answers back. A field that is absent or unknown is named in the error, never a panic.

use std::time::Duration;

use engram_proto::v1;
use engram_query::request::{AnswerBudget, ReadOptions, Selection, StoredPoint, WriteAnswer, WriteOptions};
use engram_query::token::ConsistencyToken;
use engram_storage::op::OpOutcome;
use engram_storage::point::PointId;
use tonic::Status;
use uuid::Uuid;

use crate::status::{from_query, invalid};

pub(crate) mod bulk;
pub(crate) mod collection;
pub(crate) mod filter;
pub(crate) mod key;
pub(crate) mod point;
pub(crate) mod retention;
pub(crate) mod search;
pub(crate) mod text_index;
pub(crate) mod vector;

/// An id that must be there.
pub(crate) fn point_id(field: &str, id: Option<&v1::PointId>) -> Result<PointId, Status> {
    match id.and_then(|id| id.kind.as_ref()) {
        Some(v1::point_id::Kind::Num(n)) => Ok(PointId::Num(*n)),
        Some(v1::point_id::Kind::Uuid(text)) => Uuid::parse_str(text).map(PointId::Uuid).map_err(|_| {
            invalid(field, format!("`{}` is no UUID; write it as 8-4-4-4-12 hex digits", shorten(text)))
        }),
        None => Err(invalid(field, "is missing; give a number or a UUID")),
    }
}

pub(crate) fn wire_id(id: &PointId) -> v1::PointId {
    let kind = match id {
        PointId::Num(n) => v1::point_id::Kind::Num(*n),
        PointId::Uuid(u) => v1::point_id::Kind::Uuid(u.to_string()),
    };
    v1::PointId { kind: Some(kind) }
}

/// Text of a caller in an error: enough to recognise it.
pub(crate) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(64).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short
}

/// An enum value that this server knows.
pub(crate) fn known_enum<E: TryFrom<i32>>(field: &str, value: i32) -> Result<E, Status> {
    E::try_from(value).map_err(|_| invalid(field, format!("{value} is no value that this server knows")))
}

pub(crate) fn token(wire: Option<&v1::ConsistencyToken>) -> Result<Option<ConsistencyToken>, Status> {
    match wire {
        Some(wire) if !wire.token.is_empty() => wire.token.parse().map(Some).map_err(|e| from_query(&e)),
        _ => Ok(None),
    }
}

pub(crate) fn wire_token(token: &ConsistencyToken) -> v1::ConsistencyToken {
    v1::ConsistencyToken { token: token.to_string() }
}

pub(crate) fn selection(wire: Option<v1::Selection>) -> Selection {
    let wire = wire.unwrap_or_default();
    Selection {
        payload: wire.with_payload,
        payload_include: wire.payload_include,
        payload_exclude: wire.payload_exclude,
        vectors: wire.with_vectors,
        vector_names: wire.vector_names,
        budget: AnswerBudget::default(),
    }
}

/// Freshness and time of a read; the time is the smaller of what the body and what the call says.
pub(crate) fn read_options(
    wire_token: Option<&v1::ConsistencyToken>,
    timeout_ms: u32,
    call: Option<Duration>,
    regions: Vec<String>,
) -> Result<ReadOptions, Status> {
    let body = (timeout_ms > 0).then(|| Duration::from_millis(u64::from(timeout_ms)));
    // A caller may wait longer than a request may take: only the body's own wish is checked against that limit.
    let call = call.map(|c| c.min(engram_query::limits::MAX_TIMEOUT)).filter(|c| !c.is_zero());
    let timeout = match (body, call) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (body, call) => body.or(call),
    };
    Ok(ReadOptions { token: token(wire_token)?, timeout, regions })
}

pub(crate) fn write_options(idempotency_key: String, wait: bool) -> WriteOptions {
    WriteOptions {
        idempotency_key: (!idempotency_key.is_empty()).then_some(idempotency_key),
        wait,
        skip_invalid: false,
    }
}

/// Conditions aligned with `len` points: none, or one for each.
pub(crate) fn if_versions(
    versions: &[u64],
    len: usize,
) -> Result<impl Fn(usize) -> Option<u64> + '_, Status> {
    if !versions.is_empty() && versions.len() != len {
        let why = format!("has {} entries for {len} points; give none or one for each", versions.len());
        return Err(invalid("if_versions", why));
    }
    Ok(|i: usize| versions.get(i).copied())
}

pub(crate) fn wire_answer(answer: &WriteAnswer) -> v1::WriteResponse {
    let outcome = |outcome: &Option<OpOutcome>| {
        let (outcome, version) = match outcome {
            None => (v1::WriteOutcome::Accepted, 0),
            Some(OpOutcome::Applied { version, .. }) => (v1::WriteOutcome::Applied, *version),
            Some(OpOutcome::VersionMismatch { current }) => (v1::WriteOutcome::VersionMismatch, *current),
            Some(OpOutcome::NotFound) => (v1::WriteOutcome::NotFound, 0),
            Some(OpOutcome::PayloadTooLarge) => (v1::WriteOutcome::PayloadTooLarge, 0),
        };
        v1::PointOutcome { outcome: outcome.into(), version }
    };
    v1::WriteResponse {
        token: Some(wire_token(&answer.token)),
        outcomes: answer.outcomes.iter().map(outcome).collect(),
        affected: answer.affected,
        repeated: answer.repeated,
        payload_too_large: answer.too_large,
    }
}

pub(crate) fn wire_point(point: StoredPoint) -> v1::Point {
    let vectors = point.vectors.into_iter().map(|(name, vector)| (name, vector::wire_value(vector)));
    v1::Point {
        id: Some(wire_id(&point.id)),
        vectors: vectors.collect(),
        payload_json: point.payload,
        region: point.region.into(),
        created_at_ms: Some(point.created_at),
        expires_at_ms: point.expires_at,
        version: point.version,
        ingested_at_ms: point.ingested_at,
    }
}
