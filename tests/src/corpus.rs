//! Points made from a seed: clustered vectors, payloads of every kind a filter knows.

use engram_proto::v1::{BulkUpsertRequest, Point, VectorColumn};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::{random, wire};

/// A point as the test knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Doc {
    /// Identity.
    pub id: u64,
    /// Default vector.
    pub vector: Vec<f32>,
    /// Payload.
    pub payload: Value,
    /// Region.
    pub region: String,
    /// Milliseconds since the epoch.
    pub created_at_ms: Option<i64>,
}

impl Doc {
    /// As the API takes it.
    pub fn point(&self) -> Point {
        Point {
            region: self.region.clone(),
            created_at_ms: self.created_at_ms,
            ..wire::point(self.id, &self.vector, &self.payload)
        }
    }
}

/// Makes points.
#[derive(Debug)]
pub struct Corpus {
    rng: StdRng,
    dimension: usize,
    centers: Vec<Vec<f32>>,
    regions: Vec<String>,
}

impl Corpus {
    /// Points of `dimension` around 16 centers, in turn in `regions`.
    pub fn new(seed: u64, dimension: usize, regions: &[&str]) -> Self {
        let mut rng = random::generator(seed, 0xC0);
        let centers = (0..16).map(|_| floats(&mut rng, dimension)).collect();
        Self { rng, dimension, centers, regions: regions.iter().map(ToString::to_string).collect() }
    }

    /// A vector near one of the centers.
    pub fn vector(&mut self) -> Vec<f32> {
        let center = self.rng.random_range(0..self.centers.len());
        let noise = floats(&mut self.rng, self.dimension);
        self.centers[center].iter().zip(noise).map(|(c, n)| c + 0.4 * n).collect()
    }

    /// The point `id`.
    pub fn doc(&mut self, id: u64) -> Doc {
        let vector = self.vector();
        let rng = &mut self.rng;
        let tags: Vec<String> =
            (0..rng.random_range(0..4)).map(|_| format!("t{}", rng.random_range(0..8))).collect();
        let mut payload = json!({
            "n": id,
            "group": format!("g{}", rng.random_range(0..10)),
            "price": f64::from(rng.random_range(0..10_000)) / 100.0,
            "level": rng.random_range(-50..50),
            "flag": rng.random_bool(0.3),
            "at": format!("2026-{:02}-{:02}T12:00:00Z", rng.random_range(1..13), rng.random_range(1..29)),
            "tags": tags,
            "place": {"lon": rng.random_range(-180.0..180.0), "lat": rng.random_range(-85.0..85.0)},
            "nested": [{"a": rng.random_range(0..3), "b": rng.random_range(0..3)},
                       {"a": rng.random_range(0..3), "b": rng.random_range(0..3)}],
        });
        if rng.random_bool(0.2) {
            payload["note"] = Value::Null;
        } else if rng.random_bool(0.5) {
            payload["note"] = json!(format!("note {}", rng.random::<u32>()));
        }
        let region = match self.regions.len() {
            0 => String::new(),
            n => self.regions[rng.random_range(0..n)].clone(),
        };
        Doc { id, vector, payload, region, created_at_ms: None }
    }

    /// The points of `ids`.
    pub fn docs(&mut self, ids: std::ops::Range<u64>) -> Vec<Doc> {
        ids.map(|id| self.doc(id)).collect()
    }
}

/// Uniform floats of -1 to 1 with full mantissas.
pub fn floats(rng: &mut StdRng, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.random_range(-1.0f32..1.0)).collect()
}

/// A bulk batch of these points.
pub fn bulk_batch(collection: &str, batch: u64, docs: &[Doc]) -> BulkUpsertRequest {
    let f32le: Vec<u8> = docs.iter().flat_map(|d| wire::f32le(&d.vector)).collect();
    let same_region = docs.iter().all(|d| d.region.is_empty());
    BulkUpsertRequest {
        collection: collection.into(),
        batch,
        count: u32::try_from(docs.len()).unwrap(),
        num_ids: docs.iter().map(|d| d.id).collect(),
        vectors: vec![VectorColumn { field: String::new(), f32le: f32le.into(), ..Default::default() }],
        payload_json: docs.iter().map(|d| d.payload.to_string().into_bytes().into()).collect(),
        regions: if same_region { vec![] } else { docs.iter().map(|d| d.region.clone()).collect() },
        created_at_ms: if docs.iter().all(|d| d.created_at_ms.is_none()) {
            vec![]
        } else {
            docs.iter().map(|d| d.created_at_ms.unwrap_or(0)).collect()
        },
        ..Default::default()
    }
}
