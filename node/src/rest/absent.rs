//! Routes of the dialect that this server has not, answered as what they are.

use axum::http::StatusCode;

use super::answer::Answer;
use super::call::Call;
use super::error::RestError;

/// Not built.
pub(crate) async fn not_implemented(_: Call) -> Result<Answer, RestError> {
    Err(RestError::not_supported("this operation"))
}

/// Of no use on one node.
pub(crate) async fn only_in_a_cluster(_: Call) -> Result<Answer, RestError> {
    Err(RestError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "Method not allowed: this is an operation of a cluster, and this server runs alone",
    ))
}
