//! The searches that `points/query` took the place of; older clients still send them.

use engram_query::filter::Filter;
use engram_query::limits::MAX_SEARCH_BATCH;
use engram_query::request::ReadOptions;
use engram_query::request::query::{Query, QueryRequest, Stage, VectorInput};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::answer::Answer;
use super::call::Call;
use super::error::RestError;
use super::filter;
use super::given::Given;
use super::point::{ScoredOut, scored};
use super::query::{DEFAULT_LIMIT, SearchParams, limit, run, run_all};
use super::selection::{WithPayload, WithVector, selection};
use super::shard_key::NoShardKey;
use super::up_to::UpTo;
use super::vector::{self, JsonVector, from_list};
use super::weight::Shape;

/// A search for the nearest points.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchBody {
    /// A vector, or `{"name": .., "vector": ..}`.
    #[schema(value_type = super::openapi::AnyJson)]
    vector: Named,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    filter: Option<Given<Filter>>,
    #[serde(default)]
    params: Option<SearchParams>,
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    offset: Option<usize>,
    #[serde(default, alias = "with_vectors")]
    #[schema(value_type = Option<super::openapi::AnyJson>)]
    with_vector: Option<WithVector>,
    #[serde(default)]
    #[schema(value_type = Option<super::openapi::AnyJson>)]
    with_payload: Option<WithPayload>,
    #[serde(default)]
    score_threshold: Option<f32>,
    #[serde(default, rename = "shard_key")]
    #[schema(value_type = Option<Object>)]
    _shard_key: NoShardKey,
}

/// Searches that are answered together.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchBatch {
    #[schema(value_type = Vec<SearchBody>)]
    searches: UpTo<SearchBody, MAX_SEARCH_BATCH>,
}

/// A vector and the field it is for.
struct Named {
    name: String,
    vector: JsonVector,
}

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Parts {
            name: String,
            vector: JsonVector,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Named;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a vector, or {\"name\": .., \"vector\": ..}")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Named, A::Error> {
                Ok(Named { name: String::new(), vector: JsonVector(from_list(seq)?) })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Named, A::Error> {
                let parts = Parts::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Named { name: parts.name, vector: parts.vector })
            }
        }
        from.deserialize_any(Either)
    }
}

impl SearchBody {
    fn request(self, collection: &str, read: ReadOptions) -> Result<QueryRequest, RestError> {
        let nearest = Query::Nearest(VectorInput::Value(vector::checked(self.vector.vector.0)?));
        let stage = Stage {
            query: Some(nearest),
            field: self.vector.name,
            filter: filter::filter(self.filter)?,
            params: self.params.unwrap_or_default().stage()?,
            score_threshold: self.score_threshold,
            limit: limit(self.limit, DEFAULT_LIMIT)?,
            ..Stage::default()
        };
        Ok(QueryRequest {
            collection: collection.to_owned(),
            stage,
            offset: self.offset.unwrap_or(0),
            selection: selection(self.with_payload, self.with_vector, false),
            read,
            allow_partial: false,
        })
    }
}

pub(crate) async fn search(call: Call) -> Result<Answer, RestError> {
    let body: SearchBody = call.json(Shape::Query).await?;
    let request = body.request(call.collection(), call.read_options()?)?;
    let (hits, selection) = run(&call, request).await?;
    call.answer(&scored(&hits, &selection))
}

pub(crate) async fn batch(call: Call) -> Result<Answer, RestError> {
    let body: SearchBatch = call.json(Shape::Query).await?;
    let (searches, read) = (body.searches.list("searches")?, call.read_options()?);
    let requests = searches.into_iter().map(|search| search.request(call.collection(), read.clone()));
    let results = run_all(&call, requests.collect::<Result<_, _>>()?).await?;
    let lists: Vec<Vec<ScoredOut<'_>>> =
        results.iter().map(|(hits, selection)| scored(hits, selection)).collect();
    call.answer(&lists)
}
