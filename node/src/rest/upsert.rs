//! `PUT /collections/{collection_name}/points`: points as a list, or in columns.

use axum::body::Bytes;
use engram_index::vector::VectorValue;
use engram_query::filter::Filter;
use engram_query::limits::MAX_BATCH;
use engram_query::request::{NewPoint, Reach, WriteAnswer, WriteCondition, WriteOptions};
use engram_storage::schema::CollectionSchema;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::Answer;
use super::call::{Call, finish};
use super::error::RestError;
use super::filter;
use super::given::Given;
use super::metadata::PointFields;
use super::point_id::Id;
use super::shard_key::NoShardKey;
use super::up_to::UpTo;
use super::update_result::UpdateResult;
use super::vector::{self, JsonVectors, VectorColumns};
use super::weight::Shape;

/// Points to write.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpsertPoints {
    /// Points; this or `batch`.
    #[serde(default)]
    #[schema(value_type = Option<Vec<PointStruct>>)]
    points: Option<UpTo<PointStruct, MAX_BATCH>>,
    /// The same in columns.
    #[serde(default)]
    #[schema(value_type = Option<PointColumns>)]
    batch: Option<PointColumns>,
    /// Null or absent: points are spread by their ids, so one that names a shard is refused.
    #[serde(default, rename = "shard_key")]
    #[schema(value_type = Option<Object>)]
    _shard_key: NoShardKey,
    /// Points that are there are left alone where they do not match.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    update_filter: Option<Given<Filter>>,
    /// `upsert`, `insert_only` to leave points alone that are there, or `update_only` to make none.
    #[serde(default)]
    update_mode: Option<UpdateMode>,
}

/// What to do with points that are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UpdateMode {
    #[default]
    Upsert,
    InsertOnly,
    UpdateOnly,
}

/// One point.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PointStruct {
    /// Unsigned number or UUID.
    #[schema(value_type = super::openapi::PointIdSchema)]
    id: Id,
    /// A vector, or vectors by name.
    #[serde(alias = "vectors")]
    #[schema(value_type = super::openapi::VectorsSchema)]
    vector: JsonVectors,
    /// Any JSON object.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    payload: Option<Box<RawValue>>,
}

/// Points in columns of one length.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PointColumns {
    #[schema(value_type = Vec<super::openapi::PointIdSchema>)]
    ids: UpTo<Id, MAX_BATCH>,
    #[schema(value_type = Object)]
    vectors: VectorColumns,
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    payloads: Option<UpTo<Option<Box<RawValue>>, MAX_BATCH>>,
}

impl UpsertPoints {
    fn inserts_only(&self) -> bool {
        self.update_mode == Some(UpdateMode::InsertOnly)
    }

    /// What is to be looked up before the write.
    fn condition(&mut self) -> Result<Option<WriteCondition>, RestError> {
        let filter = filter::filter(self.update_filter.take())?;
        Ok(match self.update_mode.unwrap_or_default() {
            UpdateMode::InsertOnly => None,
            UpdateMode::Upsert if filter.is_none() => None,
            UpdateMode::Upsert => Some(WriteCondition { filter, reach: Reach::All }),
            UpdateMode::UpdateOnly => Some(WriteCondition { filter, reach: Reach::Present }),
        })
    }
}

pub(crate) async fn upsert(call: Call) -> Result<Answer, RestError> {
    let body: UpsertPoints = call.json(Shape::Points).await?;
    let options = call.write_options()?;
    let wait = options.wait;
    let answer = write(&call, body, options).await?;
    call.answer(&UpdateResult::of(&answer, wait)?).map(|a| a.with_token(&answer.token))
}

/// Writes points and counts them.
pub(crate) async fn write(
    call: &Call,
    mut body: UpsertPoints,
    options: WriteOptions,
) -> Result<WriteAnswer, RestError> {
    let (condition, schema) = (body.condition()?, call.schema()?);
    let points = call.aside(move || new_points(&schema, body)).await?;
    let (context, principal) = (call.context.clone(), call.principal);
    let collection = call.collection().to_owned();
    finish(async move {
        let database = &context.database;
        let answer = match condition {
            None => database.upsert(principal, &collection, points, options).await?,
            Some(condition) => {
                database.upsert_where(principal, &collection, (points, condition), options).await?
            }
        };
        context.metrics.points_written.inc_by(answer.affected);
        Ok(answer)
    })
    .await
}

fn new_points(schema: &CollectionSchema, body: UpsertPoints) -> Result<Vec<NewPoint>, RestError> {
    // Without a look at what is there, so that such a write can be repeated under a key.
    let if_version = body.inserts_only().then_some(0);
    let points = match (body.points, body.batch) {
        (Some(points), None) => points.list("points")?.into_iter().map(row).collect::<Result<Vec<_>, _>>()?,
        (None, Some(columns)) => rows(columns)?,
        (None, None) => return Err(RestError::format("give `points`, or `batch`")),
        (Some(_), Some(_)) => {
            return Err(RestError::format("`batch` is given beside `points`: give one of them"));
        }
    };
    if points.is_empty() {
        return Err(RestError::validation("there is no point to write: give at least one"));
    }
    let fields = PointFields::of(schema);
    points
        .into_iter()
        .map(|(id, vectors, payload)| {
            let mut point = NewPoint { id: Some(id.0), vectors, if_version, ..NewPoint::default() };
            if let Some(payload) = payload.filter(|json| json.get() != "null") {
                fields.read(payload.get(), &mut point)?;
                point.payload = Bytes::from(String::from(Box::<str>::from(payload)));
            }
            Ok(point)
        })
        .collect()
}

type Row = (Id, Vec<(String, VectorValue)>, Option<Box<RawValue>>);

fn row(point: PointStruct) -> Result<Row, RestError> {
    Ok((point.id, vector::all_checked(point.vector)?, point.payload))
}

fn rows(columns: PointColumns) -> Result<Vec<Row>, RestError> {
    let ids = columns.ids.list("points")?;
    let count = ids.len();
    let fits = |what: &str, len: usize| match len == count {
        true => Ok(()),
        false => {
            Err(RestError::validation(format!("batch: {count} ids and {len} {what}: give as many of both")))
        }
    };
    let payloads = match columns.payloads {
        Some(payloads) => {
            let payloads = payloads.list("payloads")?;
            fits("payloads", payloads.len())?;
            payloads
        }
        None => {
            let mut none = Vec::new();
            none.resize_with(count, || None);
            none
        }
    };
    let named = match columns.vectors {
        VectorColumns::Default(list) => vec![(String::new(), list)],
        VectorColumns::Named(named) => named,
    };
    let mut rows: Vec<Row> =
        ids.into_iter().zip(payloads).map(|(id, payload)| (id, Vec::new(), payload)).collect();
    for (name, list) in named {
        let list = list.list("vectors")?;
        fits("vectors", list.len())?;
        for (row, one) in rows.iter_mut().zip(list) {
            row.1.push((name.clone(), vector::checked(one.0)?));
        }
    }
    Ok(rows)
}
