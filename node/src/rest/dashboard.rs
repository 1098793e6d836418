//! The web page at `/dashboard`: files inside the binary, no request to anywhere else. What it shows comes from the REST
//! interface, with the key that its user gives; the files themselves tell nothing and need none.

use axum::Router;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// A file of the page.
struct Asset {
    name: &'static str,
    text: &'static str,
}

macro_rules! asset {
    ($name:literal) => {
        Asset { name: $name, text: include_str!(concat!("dashboard/", $name)) }
    };
}

static ASSETS: &[Asset] = &[
    asset!("index.html"),
    asset!("style.css"),
    asset!("parts.css"),
    asset!("app.js"),
    asset!("api.js"),
    asset!("chart.js"),
    asset!("collection.js"),
    asset!("collections.js"),
    asset!("colour.js"),
    asset!("credential.js"),
    asset!("definition.js"),
    asset!("dom.js"),
    asset!("erasure.js"),
    asset!("exposition.js"),
    asset!("filter.js"),
    asset!("format.js"),
    asset!("json.js"),
    asset!("metrics.js"),
    asset!("neighbourhoods.js"),
    asset!("picture.js"),
    asset!("place.js"),
    asset!("point_detail.js"),
    asset!("point_table.js"),
    asset!("points.js"),
    asset!("projection.js"),
    asset!("readings.js"),
    asset!("receipts.js"),
    asset!("scatter.js"),
    asset!("search.js"),
    asset!("shards.js"),
];

/// Nothing but the server's own files: a payload that is shown cannot make the page run or fetch anything.
const POLICY: &str =
    "default-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The routes of the page.
pub(super) fn router() -> Router {
    Router::new()
        .route("/dashboard", get(|| async { file("index.html") }))
        .route("/dashboard/{file}", get(|Path(name): Path<String>| async move { file(&name) }))
}

fn file(name: &str) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return (StatusCode::NOT_FOUND, "there is no such file; the page is at /dashboard\n").into_response();
    };
    let kind = match name.rsplit_once('.').map(|(_, end)| end) {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        _ => "text/html; charset=utf-8",
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, asset.text).into_response()
}
