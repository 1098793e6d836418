//! The description of the interface, made of the table of routes, and a page that shows it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::{Method, header};
use axum::response::{Html, IntoResponse};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn, Paths, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ComponentsBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, RefOr, Required, ResponseBuilder,
    SecurityRequirement,
};

use super::route::{Route, Schemas};
use super::routes::ROUTES;
use super::update_result::UpdateResult;
use crate::VERSION;

/// The page; all it needs is in it.
const PAGE: &str = include_str!("docs.html");

/// Any JSON.
#[derive(ToSchema)]
#[schema(value_type = Value)]
#[allow(dead_code, reason = "only its schema is used")]
pub(crate) struct AnyJson(Value);

/// An unsigned number or a UUID.
#[derive(serde::Serialize, ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
#[serde(untagged)]
#[schema(as = PointId)]
pub(crate) enum PointIdSchema {
    #[schema(value_type = u64)]
    Number(u64),
    #[schema(value_type = String)]
    Uuid(String),
}

/// A vector of the default field, or vectors by name: `[..]`, `[[..], ..]` or `{"indices": [..], "values": [..]}` each.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
#[schema(as = Vectors, value_type = Value)]
pub(crate) struct VectorsSchema(Value);

/// A point.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
pub(crate) struct Record {
    id: PointIdSchema,
    #[schema(value_type = Option<Object>)]
    payload: Option<Map<String, Value>>,
    vector: Option<VectorsSchema>,
}

/// A page of points.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
pub(crate) struct RecordPage {
    points: Vec<Record>,
    /// `offset` of the next page.
    next_page_offset: Option<PointIdSchema>,
}

/// A point that was found.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
pub(crate) struct ScoredPoint {
    id: PointIdSchema,
    version: u64,
    score: f32,
    #[schema(value_type = Option<Object>)]
    payload: Option<Map<String, Value>>,
    vector: Option<VectorsSchema>,
}

/// Points that were found.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
pub(crate) struct QueryResult {
    points: Vec<ScoredPoint>,
}

/// Points that were found, by a value of theirs.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
pub(crate) struct GroupsResult {
    groups: Vec<PointGroup>,
}

/// Points with one value.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
pub(crate) struct PointGroup {
    hits: Vec<ScoredPoint>,
    id: AnyJson,
    lookup: Option<Record>,
}

/// Definition and figures of a collection.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
pub(crate) struct CollectionInfo {
    /// `green`; `yellow` while graphs are built; `red` where a disk failed.
    status: String,
    optimizer_status: String,
    points_count: u64,
    indexed_vectors_count: u64,
    segments_count: u64,
    #[schema(value_type = Object)]
    config: Value,
    #[schema(value_type = Object)]
    payload_schema: BTreeMap<String, Value>,
}

static JSON: LazyLock<Result<Bytes, String>> =
    LazyLock::new(|| describe().to_json().map(Bytes::from).map_err(|e| e.to_string()));

pub(super) async fn json() -> impl IntoResponse {
    match &*JSON {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json.clone()).into_response(),
        Err(why) => super::front::bare(&super::error::RestError::internal(why)),
    }
}

pub(super) async fn page() -> impl IntoResponse {
    // Nothing is loaded from elsewhere, and nothing may be.
    let policy =
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(PAGE))
}

fn describe() -> OpenApi {
    let mut schemas = Schemas::new();
    let mut paths = PathsBuilder::new();
    let mut by_path: BTreeMap<&str, Vec<(HttpMethod, Operation)>> = BTreeMap::new();
    for route in ROUTES {
        by_path.entry(route.path).or_default().push((method(&route.method), operation(route, &mut schemas)));
    }
    let open = [
        ("/", "root", "Name and version"),
        ("/healthz", "healthz", "Alive"),
        ("/livez", "livez", "Alive"),
        ("/readyz", "readyz", "Ready for requests"),
        ("/metrics", "metrics", "Metrics in the text form of Prometheus"),
    ];
    for (path, name, summary) in open {
        let operation =
            OperationBuilder::new().tag("Service").operation_id(Some(name)).summary(Some(summary));
        let operation = operation.response("200", ResponseBuilder::new().description("Success"));
        by_path.entry(path).or_default().push((HttpMethod::Get, operation.build()));
    }
    for (path, operations) in by_path {
        let mut item = utoipa::openapi::path::PathItemBuilder::new();
        for (method, operation) in operations {
            item = item.operation(method, operation);
        }
        paths = paths.path(path, item.build());
    }
    let paths: Paths = paths.build();
    super::route::schema_of::<UpdateResult>(&mut schemas);
    let key = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("api-key")));
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .security_scheme("api-key", key)
        .security_scheme("bearer", bearer);
    let info = InfoBuilder::new().title("Engram").version(VERSION).description(Some(
        "The REST interface of Engram: Qdrant's dialect, and paths of its own under /engram/v1.",
    ));
    OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components.build()))
        .security(Some([
            SecurityRequirement::new("api-key", Vec::<String>::new()),
            SecurityRequirement::new("bearer", Vec::<String>::new()),
        ]))
        .build()
}

fn method(method: &Method) -> HttpMethod {
    match *method {
        Method::PUT => HttpMethod::Put,
        Method::POST => HttpMethod::Post,
        Method::PATCH => HttpMethod::Patch,
        Method::DELETE => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

fn operation(route: &'static Route, schemas: &mut Schemas) -> Operation {
    let mut operation =
        OperationBuilder::new().tag(route.tag).operation_id(Some(route.name)).summary(Some(route.summary));
    for name in route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        operation = operation.parameter(
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(ObjectBuilder::new().schema_type(Type::String))),
        );
    }
    let mut query = |name: &str, kind: Type, what: &str| {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some(what))
            .schema(Some(ObjectBuilder::new().schema_type(kind)));
        operation = std::mem::take(&mut operation).parameter(parameter);
    };
    if route.writes {
        query("wait", Type::Boolean, "Answer after the write is applied, not only durable.");
    }
    if route.accepts {
        query("wait", Type::Boolean, "Answer after it is done, which is the default, not at once.");
    }
    query("timeout", Type::Integer, "Seconds the request may take.");
    if route.file_body {
        query("checksum", Type::String, "Checksum of the listing, or SHA-256 of the file.");
        query("priority", Type::String, "`no_sync`, `snapshot` or `replica`: of no meaning on one node.");
    }
    if let Some(body) = route.body {
        let kind = if route.file_body { "multipart/form-data" } else { "application/json" };
        let content = ContentBuilder::new().schema(Some(body(schemas))).build();
        let body = RequestBodyBuilder::new().content(kind, content);
        operation = operation.request_body(Some(body.required(Some(Required::True)).build()));
    }
    for (status, response) in refusals() {
        operation = operation.response(status, response);
    }
    if route.absent {
        return operation.response("501", refusal("Not implemented: absent")).build();
    }
    let content = match route.file_result {
        true => ("application/octet-stream", ContentBuilder::new().schema(Some(binary())).build()),
        false => ("application/json", ContentBuilder::new().schema(Some(envelope(route, schemas))).build()),
    };
    if route.accepts {
        let begun = ResponseBuilder::new().description("Begun, where `wait` is false");
        operation = operation.response("202", begun);
    }
    let done = ResponseBuilder::new().description("Success").content(content.0, content.1);
    operation.response("200", done).build()
}

fn envelope(route: &'static Route, schemas: &mut Schemas) -> RefOr<Schema> {
    let result = match route.result {
        Some(result) => result(schemas),
        None => ObjectBuilder::new().schema_type(Type::Object).into(),
    };
    let time = ObjectBuilder::new().schema_type(Type::Number);
    let status = ObjectBuilder::new().schema_type(Type::String);
    let all =
        ObjectBuilder::new().property("result", result).property("status", status).property("time", time);
    RefOr::T(Schema::Object(
        ["result", "status", "time"].into_iter().fold(all, ObjectBuilder::required).build(),
    ))
}

fn binary() -> Schema {
    let format = utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::Binary);
    Schema::Object(ObjectBuilder::new().schema_type(Type::String).format(Some(format)).build())
}

/// What any request may be refused with.
fn refusals() -> [(&'static str, utoipa::openapi::Response); 5] {
    let text = ContentBuilder::new().schema(Some(ObjectBuilder::new().schema_type(Type::String))).build();
    let nobody = ResponseBuilder::new().description("No valid key").content("text/plain", text).build();
    [
        ("401", nobody),
        ("4XX", refusal("The request cannot be answered as it is")),
        ("501", refusal("An option that is not supported")),
        ("503", refusal("Not now: try again later")),
        ("507", refusal("No space left")),
    ]
}

fn refusal(what: &str) -> utoipa::openapi::Response {
    let error = ObjectBuilder::new().schema_type(Type::String);
    let status = ObjectBuilder::new().property("error", error).required("error");
    let time = ObjectBuilder::new().schema_type(Type::Number);
    let whole = ObjectBuilder::new().property("status", status).property("time", time);
    let whole = whole.required("status").required("time");
    let content = ContentBuilder::new().schema(Some(whole)).build();
    ResponseBuilder::new().description(what).content("application/json", content).build()
}
