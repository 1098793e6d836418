//! `GET /`: who this is. Clients compare the version with their own and look at nothing else.

use axum::Json;
use axum::response::IntoResponse;
use serde_json::json;

/// Version of the dialect that is spoken.
const DIALECT_VERSION: &str = "1.20.0";
/// What some clients look for to know that a server is there.
const QDRANT_TITLE: &str = "qdrant - vector search engine";

/// The commit this was built from, where the build said so.
const COMMIT: &str = match option_env!("ENGRAM_COMMIT") {
    Some(commit) if commit.len() == 40 => commit,
    _ => "0000000000000000000000000000000000000000",
};

pub(crate) fn title(qdrant: bool) -> impl IntoResponse {
    let title = if qdrant { QDRANT_TITLE } else { "engram" };
    Json(json!({ "title": title, "version": DIALECT_VERSION, "commit": COMMIT }))
}
