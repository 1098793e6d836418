//! Queries in stages, each against a reference that looks at every point.

mod consistency;
mod examples;
mod facets;
mod groups;
mod limits;
mod orders;
mod prefetch;

use std::collections::BTreeMap;

use crate::support::*;
use engram_index::payload::PayloadIndexKind;
use engram_index::vector::Metric;
use engram_query::filter::Filter;
use engram_query::request::query::{Query, QueryAnswer, QueryRequest, Stage, VectorInput};
use engram_query::request::{NewPoint, ReadOptions, Selection};
use engram_query::{DatabaseOptions, QueryError};
use engram_storage::point::PointId;
use engram_storage::schema::PayloadIndexSpec;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

pub const NAME: &str = "c";

/// A point of the reference.
#[derive(Clone, Debug)]
pub struct Row {
    pub vector: Vec<f32>,
    pub payload: Value,
}

/// A database and all that it should hold: four shards, each of several segments and a memtable, with rows that were
/// replaced and deleted in all of them.
pub struct Subject {
    pub world: World,
    pub rows: BTreeMap<u64, Row>,
    pub metric: Metric,
    pub rng: StdRng,
}

pub fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(rand::random);
    println!("SEED={seed}");
    seed
}

impl Subject {
    pub async fn new(metric: Metric, indexes: &[(&str, PayloadIndexKind)]) -> Self {
        let seed = seed();
        let options = DatabaseOptions { sample_seed: Some(seed), ..DatabaseOptions::default() };
        let world = World::with(options).await;
        let mut new = collection(NAME, &["eu", "us"], 2);
        new.vectors[0].metric = metric;
        new.payload_indexes =
            indexes.iter().map(|(field, kind)| PayloadIndexSpec::new(*field, *kind)).collect();
        world.db.create_collection(OWNER, new, false).await.unwrap();
        let rng = StdRng::seed_from_u64(seed);
        let mut subject = Self { world, rows: BTreeMap::new(), metric, rng };
        subject.fill().await;
        subject
    }

    async fn fill(&mut self) {
        for round in 0..4 {
            let ids: Vec<u64> = (0..60).map(|_| self.rng.random_range(0..150)).collect();
            let mut points = BTreeMap::new();
            for id in ids {
                let row = Row { vector: self.vector(), payload: self.payload() };
                self.rows.insert(id, row.clone());
                points.insert(id, row);
            }
            let new = |(id, row): (u64, Row)| NewPoint {
                id: Some(PointId::Num(id)),
                vectors: vec![(String::new(), row.vector.into())],
                payload: row.payload.to_string().into(),
                region: Some(if id.is_multiple_of(3) { "us" } else { "eu" }.into()),
                ..NewPoint::default()
            };
            self.world.put(NAME, points.into_iter().map(new).collect()).await;
            let gone: Vec<u64> = self.rows.keys().copied().filter(|_| self.rng.random_bool(0.08)).collect();
            self.world.delete(NAME, &gone).await;
            self.rows.retain(|id, _| !gone.contains(id));
            if round < 3 {
                self.world.flush().await;
            }
        }
    }

    pub fn vector(&mut self) -> Vec<f32> {
        let vector: Vec<f32> = (0..DIM).map(|_| self.rng.random_range(-1.0..1.0)).collect();
        if self.metric != Metric::Cosine {
            return vector;
        }
        // As it is stored.
        let mut unit = vector;
        engram_index::vector::metric::admit(Metric::Cosine, DIM, &mut unit).unwrap();
        unit
    }

    fn payload(&mut self) -> Value {
        let rng = &mut self.rng;
        let mut payload = json!({"odd": rng.random_bool(0.5), "price": rng.random_range(1..100)});
        let n = rng.random_range(-5..20);
        let day = rng.random_range(1..28);
        match rng.random_range(0..8) {
            0 => {}
            1 => payload["n"] = json!([n, n + 1, n]),
            2 => payload["n"] = json!(f64::from(n) + 0.5),
            3 => payload["n"] = json!("no number"),
            4 => payload["n"] = json!(format!("2024-05-{day:02}T00:00:00Z")),
            _ => payload["n"] = json!(n),
        }
        let word = ["red", "green", "blue"][rng.random_range(0..3)];
        match rng.random_range(0..8) {
            0 => {}
            1 => payload["g"] = json!([word, "green", 7, word]),
            2 => payload["g"] = json!(rng.random_range(0..3)),
            3 => payload["g"] = json!(true),
            4 => payload["g"] = json!(1.5),
            5 => {
                payload["g"] =
                    json!(["67E5504410B1426F9247BB680E5FE0C8", "67e55044-10b1-426f-9247-bb680e5fe0c8"])
            }
            _ => payload["g"] = json!(word),
        }
        payload
    }

    /// A stored id.
    pub fn id(&mut self) -> u64 {
        let at = self.rng.random_range(0..self.rows.len());
        *self.rows.keys().nth(at).unwrap()
    }

    pub async fn query(&self, stage: Stage) -> QueryAnswer {
        self.try_query(request(stage)).await.unwrap()
    }

    pub async fn try_query(&self, request: QueryRequest) -> Result<QueryAnswer, QueryError> {
        self.world.db.query(OWNER, request).await
    }

    /// Ids with the scores that `score` gives, largest first, ties by id.
    pub fn by_score(
        &self,
        filter: Option<&Filter>,
        score: impl Fn(u64, &Row) -> Option<f32>,
    ) -> Vec<(u64, f32)> {
        let matches = |id: u64, row: &Row| filter.is_none_or(|f| f.matches(PointId::Num(id), &row.payload));
        let rows = self.rows.iter().filter(|(id, row)| matches(**id, row));
        let mut all: Vec<(u64, f32)> = rows.filter_map(|(id, row)| Some((*id, score(*id, row)?))).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        all
    }

    /// Ids by distance, with scores.
    pub fn nearest(&self, query: &[f32], filter: Option<&Filter>) -> Vec<(u64, f32)> {
        let all = self.by_score(filter, |_, row| Some(-self.metric.distance(query, &row.vector)));
        all.into_iter().map(|(id, negated)| (id, self.metric.score(-negated))).collect()
    }

    /// Similarity as strategies with examples take it.
    pub fn like(&self, a: &[f32], b: &[f32]) -> f32 {
        let distance = self.metric.distance(a, b);
        match self.metric {
            Metric::Cosine => 1.0 - distance,
            _ => -distance,
        }
    }
}

pub fn request(stage: Stage) -> QueryRequest {
    QueryRequest {
        collection: NAME.into(),
        stage,
        offset: 0,
        selection: Selection { payload: true, ..Selection::default() },
        read: ReadOptions::default(),
        allow_partial: false,
    }
}

pub fn stage(query: Query, limit: usize) -> Stage {
    Stage { query: Some(query), limit, ..Stage::default() }
}

pub fn value(vector: &[f32]) -> VectorInput {
    VectorInput::Value(vector.to_vec().into())
}

pub fn example(id: u64) -> VectorInput {
    VectorInput::Point(PointId::Num(id))
}

pub fn found(answer: &QueryAnswer) -> Vec<(u64, f32)> {
    assert!(!answer.partial);
    answer.hits.iter().map(|hit| (number(hit.point.id), hit.score)).collect()
}

pub fn number(id: PointId) -> u64 {
    match id {
        PointId::Num(n) => n,
        PointId::Uuid(_) => panic!("all ids are numbers"),
    }
}

pub fn ids(list: &[(u64, f32)]) -> Vec<u64> {
    list.iter().map(|(id, _)| *id).collect()
}

/// The same points in the same order with the same scores, but for the last bits.
#[track_caller]
pub fn same(got: &[(u64, f32)], wanted: &[(u64, f32)]) {
    assert_eq!(ids(got), ids(wanted));
    for (got, wanted) in got.iter().zip(wanted) {
        assert!((got.1 - wanted.1).abs() <= 1e-5 * wanted.1.abs().max(1.0), "{got:?} {wanted:?}");
    }
}

pub fn cheap() -> Filter {
    filter(r#"{"must":[{"key":"price","range":{"lt":60}}]}"#)
}
