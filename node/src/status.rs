//! The only map from the kind of an error to gRPC and HTTP codes.

use axum::http::StatusCode;
use engram_proto::v1::ErrorDetail;
use engram_query::error::QueryError;
use engram_storage::{ErrorKind, StorageError};
use prost::Message;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

/// Trailer that carries an encoded [`ErrorDetail`].
pub const ERROR_TRAILER: &str = "engram-error-bin";

/// gRPC code of a kind.
pub fn grpc_code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Conflict => Code::AlreadyExists,
        ErrorKind::Fenced => Code::Aborted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorKind::Exhausted => Code::ResourceExhausted,
        ErrorKind::Unauthenticated => Code::Unauthenticated,
        ErrorKind::Forbidden => Code::PermissionDenied,
        ErrorKind::Corrupt => Code::DataLoss,
        ErrorKind::Internal => Code::Internal,
    }
}

/// HTTP code of a kind.
pub fn http_code(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Fenced | ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Exhausted => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::Corrupt | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Seconds after which a retry makes sense; 0 where it does not.
fn retry_after(kind: ErrorKind) -> u32 {
    match kind {
        ErrorKind::Exhausted | ErrorKind::Unavailable => 1,
        _ => 0,
    }
}

/// A status with its details in the trailers.
pub fn status(kind: ErrorKind, code: &str, message: impl Into<String>) -> Status {
    let message = message.into();
    let retry_after_s = retry_after(kind);
    let detail = ErrorDetail { code: code.to_owned(), message: message.clone(), retry_after_s };
    let mut metadata = MetadataMap::with_capacity(2);
    metadata.insert_bin(ERROR_TRAILER, MetadataValue::from_bytes(&detail.encode_to_vec()));
    if retry_after_s > 0 {
        metadata.insert("retry-after", MetadataValue::from(retry_after_s));
    }
    Status::with_metadata(grpc_code(kind), message, metadata)
}

/// A request that is wrong: the field and what to write.
pub fn invalid(field: &str, why: impl std::fmt::Display) -> Status {
    status(ErrorKind::Invalid, ErrorKind::Invalid.code(), format!("{field}: {why}"))
}

/// Too much at once: try later.
pub fn exhausted(why: &str) -> Status {
    let seconds = retry_after(ErrorKind::Exhausted);
    status(ErrorKind::Exhausted, "overloaded", format!("{why}; try again in {seconds} s"))
}

/// A call of a method that does not exist, in the code that gRPC has for that alone.
pub(crate) fn unknown_method(code: &str, message: &str) -> Status {
    let known = status(ErrorKind::NotFound, code, message);
    Status::with_metadata(Code::Unimplemented, message, known.metadata().clone())
}

/// Status of a failed request.
pub fn from_query(error: &QueryError) -> Status {
    log_defect(error.kind(), error);
    status(error.kind(), error.code(), error.to_string())
}

/// Status of a storage error, in the same words as through [`QueryError`].
pub fn from_storage(error: StorageError) -> Status {
    from_query(&QueryError::from(error))
}

/// Details carried by a status of this server; for clients and tests.
pub fn detail_of(status: &Status) -> Option<ErrorDetail> {
    let bytes = status.metadata().get_bin(ERROR_TRAILER)?.to_bytes().ok()?;
    ErrorDetail::decode(bytes).ok()
}

/// Errors that an operator must see are logged where they are answered.
pub(crate) fn log_defect(kind: ErrorKind, error: &dyn std::fmt::Display) {
    match kind {
        ErrorKind::Corrupt | ErrorKind::Internal => tracing::error!(%error, "request failed"),
        ErrorKind::Unavailable | ErrorKind::Fenced => tracing::warn!(%error, "request failed"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_travel_in_the_trailers() {
        let status = exhausted("too many requests");
        assert_eq!(status.code(), Code::ResourceExhausted);
        let detail = detail_of(&status).unwrap();
        assert_eq!(detail.code, "overloaded");
        assert_eq!(detail.retry_after_s, 1);
        assert_eq!(detail.message, "too many requests; try again in 1 s");
        assert_eq!(status.metadata().get("retry-after").unwrap(), "1");
        assert!(invalid("k", "is 0").metadata().get("retry-after").is_none());
    }
}
