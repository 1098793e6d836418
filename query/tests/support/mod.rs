//! A database over a real engine in a directory that goes with the test.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;

use bytes::Bytes;
use engram_index::vector::Metric;
use engram_query::filter::Filter;
use engram_query::request::{
    Change, NewPoint, PointSelector, Principal, QueryVector, ReadOptions, SearchAnswer, SearchRequest,
    Selection, WriteAnswer, WriteOptions,
};
use engram_query::{Database, DatabaseOptions, QueryError};
use engram_storage::catalog::redb::RedbCatalog;
use engram_storage::engine::{Engine, EngineOptions, EngineParts, NewCollection};
use engram_storage::log::file::{FileLogOptions, FileLogProvider};
use engram_storage::object::DurableStore;
use engram_storage::op::OpOutcome;
use engram_storage::point::PointId;
use engram_storage::schema::{DEFAULT_TENANT, RegionName, TenantId, VectorField};
use engram_storage::{Clock, ManualClock};

pub const NOW: i64 = 1_800_000_000_000;
pub const OWNER: Principal = Principal::root(DEFAULT_TENANT);
pub const STRANGER: Principal = Principal::root(TenantId(2));
pub const DIM: usize = 8;

pub struct World {
    pub db: Database,
    pub clock: ManualClock,
    _dir: tempfile::TempDir,
}

impl World {
    pub async fn new() -> Self {
        Self::with(DatabaseOptions::default()).await
    }

    pub async fn with(options: DatabaseOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(NOW);
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let parts = EngineParts {
            catalog: RedbCatalog::open(&dir.path().join("catalog.redb")).await.unwrap(),
            logs: Arc::new(FileLogProvider::new(
                dir.path().join("log"),
                shared.clone(),
                FileLogOptions::default(),
            )),
            store: DurableStore::local(&dir.path().join("objects")).unwrap(),
            clock: shared,
        };
        let engine = Engine::open(parts, EngineOptions::default()).await.unwrap();
        let stranger = engine.create_tenant("stranger").await.unwrap();
        assert_eq!(stranger.id, STRANGER.tenant);
        let db = Database::new(engine, options).unwrap();
        Self { db, clock, _dir: dir }
    }

    pub async fn create(&self, name: &str, regions: &[&str], shards: u32) {
        self.db.create_collection(OWNER, collection(name, regions, shards), false).await.unwrap();
    }

    pub async fn put(&self, name: &str, points: Vec<NewPoint>) -> WriteAnswer {
        self.try_put(name, points).await.unwrap()
    }

    pub async fn try_put(&self, name: &str, points: Vec<NewPoint>) -> Result<WriteAnswer, QueryError> {
        self.db.upsert(OWNER, name, points, waiting()).await
    }

    pub async fn delete(&self, name: &str, ids: &[u64]) -> WriteAnswer {
        let ids = ids.iter().map(|id| (PointId::Num(*id), None)).collect();
        self.db.change(OWNER, name, (PointSelector::Ids(ids), Change::Delete), waiting()).await.unwrap()
    }

    pub async fn search(&self, request: SearchRequest) -> SearchAnswer {
        self.db.search(OWNER, request).await.unwrap()
    }

    pub async fn count(&self, name: &str) -> u64 {
        self.db.count(OWNER, name, None, &ReadOptions::default()).await.unwrap()
    }

    /// Writes memtables of all shards to segments, merges them and builds the graphs that are due.
    pub async fn compact(&self) {
        for shard in self.db.engine().open_shards() {
            shard.compact().await.unwrap();
        }
    }

    /// Writes memtables of all shards to segments.
    pub async fn flush(&self) {
        for shard in self.db.engine().open_shards() {
            shard.flush().await.unwrap();
        }
    }
}

pub fn region(name: &str) -> RegionName {
    RegionName::try_from(name).unwrap()
}

pub fn collection(name: &str, regions: &[&str], shards: u32) -> NewCollection {
    let regions: Vec<_> = regions.iter().map(|r| region(r)).collect();
    NewCollection {
        tenant: DEFAULT_TENANT,
        name: name.into(),
        vectors: vec![VectorField {
            id: 0,
            name: String::new(),
            dimension: DIM,
            metric: Metric::Euclid,
            hnsw_m: 16,
            hnsw_ef_construction: 100,
            graph_threshold: 20_000,
            layout: Default::default(),
            kind: Default::default(),
        }],
        payload_indexes: vec![],
        default_region: regions[0].clone(),
        regions,
        shards_per_region: shards,
        retention: vec![],
        metadata: Default::default(),
        client_options: Default::default(),
    }
}

pub fn waiting() -> WriteOptions {
    WriteOptions { wait: true, ..WriteOptions::default() }
}

pub fn vector(seed: u64) -> Vec<f32> {
    use rand::{Rng, SeedableRng};
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    (0..DIM).map(|_| rng.random_range(-1.0..1.0)).collect()
}

pub fn point(id: u64) -> NewPoint {
    NewPoint {
        id: Some(PointId::Num(id)),
        vectors: vec![(String::new(), vector(id).into())],
        payload: Bytes::from(format!("{{\"n\":{id},\"odd\":{}}}", id % 2 == 1)),
        ..NewPoint::default()
    }
}

pub fn point_in(id: u64, region: &str) -> NewPoint {
    NewPoint { region: Some(region.into()), ..point(id) }
}

pub fn filter(json: &str) -> Filter {
    Filter::from_json(&serde_json::from_str(json).unwrap()).unwrap()
}

pub fn odd() -> Filter {
    filter(r#"{"must":[{"key":"odd","match":{"value":true}}]}"#)
}

pub fn near(name: &str, query: Vec<f32>, k: usize) -> SearchRequest {
    SearchRequest {
        collection: name.into(),
        query: QueryVector::Vector(query.into()),
        field: String::new(),
        filter: None,
        k,
        offset: 0,
        ef: None,
        recall: None,
        exact: true,
        score_threshold: None,
        selection: Selection { payload: true, ..Selection::default() },
        read: ReadOptions::default(),
        allow_partial: false,
    }
}

/// What must be equal between two answers: ids and scores, in order.
pub fn ranking(answer: &SearchAnswer) -> Vec<(PointId, f32)> {
    assert!(!answer.partial);
    answer.hits.iter().map(|hit| (hit.point.id, hit.score)).collect()
}

pub fn version(outcome: &Option<OpOutcome>) -> u64 {
    match outcome {
        Some(OpOutcome::Applied { version, .. }) => *version,
        other => panic!("{other:?}"),
    }
}
