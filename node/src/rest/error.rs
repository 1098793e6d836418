//! Refusals as the clients of the dialect read them: `status` first, since they show no more than 200 bytes.

use axum::http::StatusCode;
use engram_query::error::QueryError;
use engram_storage::ErrorKind;
use tonic::{Code, Status};

use crate::status::{detail_of, http_code, log_defect};

/// Seconds after which a refused client may try again.
const RETRY_AFTER: u32 = 1;

/// Why a request is not answered.
#[derive(Clone, Debug)]
pub(crate) enum RestError {
    /// The core refused or failed.
    Query(Box<QueryError>),
    /// The front refused.
    Refused {
        status: StatusCode,
        message: String,
        /// Seconds.
        retry_after: Option<u32>,
    },
}

impl RestError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let again = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status);
        Self::Refused { status, message: message.into(), retry_after: again.then_some(RETRY_AFTER) }
    }

    /// A value that makes no sense.
    pub(crate) fn wrong(message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("Wrong input: {message}"))
    }

    /// A value that is out of its bounds.
    pub(crate) fn validation(message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, format!("Validation error in JSON body: [{message}]"))
    }

    /// As [`RestError::validation`], in the path or behind it.
    pub(crate) fn parameter(message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, format!("Validation error in parameters: [{message}]"))
    }

    /// JSON that cannot be read.
    pub(crate) fn format(message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("Format error in JSON body: {message}"))
    }

    pub(crate) fn not_found(message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("Not found: {message}"))
    }

    /// Something of the dialect that this server has not.
    pub(crate) fn not_supported(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            format!("Not implemented: {what} is not supported by this server"),
        )
    }

    /// A defect of ours.
    pub(crate) fn internal(message: impl std::fmt::Display) -> Self {
        log_defect(ErrorKind::Internal, &message);
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("Service internal error: {message}"))
    }

    /// Status, sentence and seconds until a retry makes sense. `collection` is that of the path.
    pub(crate) fn told(&self, collection: &str) -> (StatusCode, String, Option<u32>) {
        match self {
            Self::Refused { status, message, retry_after } => (*status, message.clone(), *retry_after),
            Self::Query(e) => {
                let status = status_of(e);
                let again =
                    [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status);
                (status, sentence(e, status, collection), again.then_some(RETRY_AFTER))
            }
        }
    }
}

fn status_of(e: &QueryError) -> StatusCode {
    match e.code() {
        "not_supported" => StatusCode::NOT_IMPLEMENTED,
        "no_space" => StatusCode::INSUFFICIENT_STORAGE,
        _ => match e.kind() {
            ErrorKind::DeadlineExceeded => StatusCode::REQUEST_TIMEOUT,
            kind => http_code(kind),
        },
    }
}

fn sentence(e: &QueryError, status: StatusCode, collection: &str) -> String {
    let text = e.to_string();
    if e.code() == "collection_not_found" {
        // Another collection may be meant, such as that of a look-up.
        return match text.contains(&format!("{collection:?}")) {
            true => format!("Not found: Collection `{collection}` doesn't exist!"),
            false => format!("Not found: {text}"),
        };
    }
    let class = match status.as_u16() {
        400 | 409 => "Wrong input",
        404 => "Not found",
        408 => "Timeout",
        401 | 403 => "Forbidden",
        429 => "Rate limit exceeded",
        501 => "Not implemented",
        503 => "Service unavailable",
        507 => "No space left",
        _ => "Service internal error",
    };
    format!("{class}: {text}")
}

impl From<QueryError> for RestError {
    fn from(e: QueryError) -> Self {
        log_defect(e.kind(), &e);
        Self::Query(Box::new(e))
    }
}

impl From<engram_storage::StorageError> for RestError {
    fn from(e: engram_storage::StorageError) -> Self {
        QueryError::from(e).into()
    }
}

/// What the parts that both fronts share refuse with.
impl From<Status> for RestError {
    fn from(status: Status) -> Self {
        let code = match status.code() {
            Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition => StatusCode::BAD_REQUEST,
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
            Code::PermissionDenied => StatusCode::FORBIDDEN,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::AlreadyExists => StatusCode::CONFLICT,
            Code::DeadlineExceeded | Code::Cancelled => StatusCode::REQUEST_TIMEOUT,
            Code::ResourceExhausted => match detail_of(&status) {
                Some(detail) if detail.code == "no_space" => StatusCode::INSUFFICIENT_STORAGE,
                _ => StatusCode::TOO_MANY_REQUESTS,
            },
            Code::Unavailable | Code::Aborted => StatusCode::SERVICE_UNAVAILABLE,
            Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let class = match code.as_u16() {
            400 | 409 => "Wrong input: ",
            403 => "Forbidden: ",
            404 => "Not found: ",
            500 => "Service internal error: ",
            _ => "",
        };
        Self::new(code, format!("{class}{}", status.message()))
    }
}

/// The code under which a request is counted, the same words as for gRPC.
pub(crate) fn counted_as(status: StatusCode) -> Code {
    match status.as_u16() {
        200..=399 => Code::Ok,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        405 | 501 => Code::Unimplemented,
        408 => Code::DeadlineExceeded,
        409 => Code::AlreadyExists,
        429 | 507 => Code::ResourceExhausted,
        503 => Code::Unavailable,
        400..=499 => Code::InvalidArgument,
        _ => Code::Internal,
    }
}
