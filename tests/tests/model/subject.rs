//! The real thing beside the truth: an engine and a database on a directory, with a clock that stands still.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use engram_index::payload::PayloadIndexKind;
use engram_index::vector::Metric;
use engram_query::database::PurgeScope;
use engram_query::filter::Filter;
use engram_query::request::{
    Change, NewPoint, PointSelector, Principal, QueryVector, ReadOptions, ScrollRequest, SearchRequest,
    Selection, StoredPoint, VectorUpdate, WriteAnswer, WriteOptions,
};
use engram_query::{Database, DatabaseOptions};
use engram_storage::catalog::redb::RedbCatalog;
use engram_storage::engine::{Engine, EngineOptions, EngineParts, NewCollection};
use engram_storage::log::file::{FileLogOptions, FileLogProvider};
use engram_storage::object::DurableStore;
use engram_storage::op::{OpOutcome, PayloadChange};
use engram_storage::schema::{DEFAULT_TENANT, PayloadIndexSpec, RegionName, VectorField};
use engram_storage::{ManualClock, PointId};
use engram_tests::oracle;
use rand::rngs::StdRng;
use serde_json::json;
use tempfile::TempDir;

use super::truth::{DIMENSION, Held, REGIONS, Step, Truth, region};

const NAME: &str = "model";
const WHO: Principal = Principal::root(DEFAULT_TENANT);
/// Where the clock starts.
const START_MS: i64 = 1_790_000_000_000;

/// The database under test and what it should hold.
pub struct Subject {
    /// What it should hold.
    pub truth: Truth,
    dir: TempDir,
    clock: ManualClock,
    database: Option<Database>,
}

impl Subject {
    /// An empty collection.
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(START_MS);
        let truth = Truth { now: START_MS, ..Truth::default() };
        let mut this = Self { truth, dir, clock, database: None };
        this.database = Some(this.open().await);
        let region = |name: &str| RegionName::try_from(name).unwrap();
        let new = NewCollection {
            tenant: DEFAULT_TENANT,
            name: NAME.into(),
            vectors: vec![VectorField {
                id: 0,
                name: String::new(),
                dimension: DIMENSION,
                metric: Metric::Euclid,
                hnsw_m: 16,
                hnsw_ef_construction: 64,
                graph_threshold: 100,
                layout: Default::default(),
                kind: Default::default(),
            }],
            payload_indexes: vec![PayloadIndexSpec::new("group", PayloadIndexKind::Keyword)],
            regions: REGIONS.iter().map(|r| region(r)).collect(),
            default_region: region(REGIONS[0]),
            shards_per_region: 2,
            retention: vec![],
            metadata: Default::default(),
            client_options: Default::default(),
        };
        this.db().create_collection(WHO, new, false).await.unwrap();
        this
    }

    async fn open(&self) -> Database {
        let clock = Arc::new(self.clock.clone());
        let at = |name: &str| self.dir.path().join(name);
        let parts = EngineParts {
            catalog: RedbCatalog::open(at("catalog.redb")).await.unwrap(),
            logs: Arc::new(FileLogProvider::new(at("log"), clock.clone(), FileLogOptions::default())),
            store: DurableStore::local(&at("objects")).unwrap(),
            clock,
        };
        let mut options = EngineOptions::default();
        options.shard.memtable_bytes = 64 << 10;
        let engine = Engine::open(parts, options).await.unwrap();
        Database::new(engine, DatabaseOptions::default()).unwrap()
    }

    fn db(&self) -> &Database {
        self.database.as_ref().unwrap()
    }

    /// Forgets everything in memory and opens the directory again.
    pub async fn restart(&mut self) {
        let old = self.database.take().unwrap();
        let engine = old.engine().clone();
        engine.shutdown().await;
        drop(old);
        // Background work ends between two steps; the catalog's file can be opened again when the last owner is gone.
        let alone = engram_tests::wait::until_some(
            "the engine to close",
            std::time::Duration::from_secs(30),
            || async { Ok((Arc::strong_count(&engine) == 1).then_some(())) },
        );
        alone.await.unwrap();
        drop(engine);
        self.database = Some(self.open().await);
    }

    /// Does one operation on both, and compares what it answers.
    pub async fn run(&mut self, step: Step, _rng: &mut StdRng) -> Result<()> {
        match step {
            Step::Upsert(points) => self.upsert(points).await,
            Step::Conditional(id, held, wrong) => self.conditional(id, held, wrong).await,
            Step::Delete(ids) => self.delete(ids).await,
            Step::DeleteGroup(group) => self.delete_group(group).await,
            Step::Merge(ids, value) => self.merge(ids, value).await,
            Step::Overwrite(id, payload) => {
                let change = PayloadChange::Overwrite(payload.to_string().into());
                let outcomes = self.change(&[id], Change::Payload(change)).await?;
                self.apply(id, &outcomes[0], |held| held.payload = payload)
            }
            Step::Vector(id, vector) => self.set_vector(id, vector).await,
            Step::Advance(ms) => {
                self.clock.advance(ms);
                self.truth.now += ms;
                Ok(())
            }
            Step::Flush => self.each_shard(true).await,
            Step::Compact => self.each_shard(false).await,
            Step::Purge(region, age) => self.purge(region, age).await,
            Step::Restart => {
                self.restart().await;
                Ok(())
            }
            Step::Search(query, k, exact, group) => self.search(query, k, exact, group).await,
            Step::Get(ids) => self.get(ids).await,
            Step::Count(group) => {
                let counted =
                    self.db().count(WHO, NAME, Some(of_group(group)), &ReadOptions::default()).await?;
                let expected = self.truth.all().filter(|(_, h)| in_group(h, group)).count() as u64;
                ensure!(counted == expected, "count of g{group} is {counted}, expected {expected}");
                Ok(())
            }
        }
    }

    async fn upsert(&mut self, points: Vec<(u64, Held)>) -> Result<()> {
        let new = points.iter().map(|(id, held)| new_point(*id, held, None)).collect();
        let answer = self.db().upsert(WHO, NAME, new, waited()).await?;
        let outcomes = outcomes(&answer, points.len())?;
        for ((id, held), outcome) in points.into_iter().zip(outcomes) {
            let OpOutcome::Applied { version, .. } = outcome else { bail!("upsert of {id}: {outcome:?}") };
            self.truth.points.insert(id, Held { version, ..held });
        }
        Ok(())
    }

    async fn conditional(&mut self, id: u64, held: Held, wrong: bool) -> Result<()> {
        let current = self.truth.visible(id).map_or(0, |h| h.version);
        let expired = self.truth.points.contains_key(&id) && self.truth.visible(id).is_none();
        if expired {
            // Whether an expired point counts as absent is decided at apply time by the log's time; not compared.
            return Ok(());
        }
        let version = if wrong { current + 1_000_000 } else { current };
        let answer = self.db().upsert(WHO, NAME, vec![new_point(id, &held, Some(version))], waited()).await?;
        match (outcomes(&answer, 1)?[0], wrong) {
            (OpOutcome::Applied { version, .. }, false) => {
                ensure!(version > current, "version {version} after {current}");
                self.truth.points.insert(id, Held { version, ..held });
                Ok(())
            }
            (OpOutcome::VersionMismatch { current: told }, true) if told == current => Ok(()),
            (outcome, _) => bail!("if_version {version} with {current}: {outcome:?}"),
        }
    }

    async fn change(&self, ids: &[u64], change: Change) -> Result<Vec<OpOutcome>> {
        let selector = PointSelector::Ids(ids.iter().map(|id| (PointId::Num(*id), None)).collect());
        let answer = self.db().change(WHO, NAME, (selector, change), waited()).await?;
        outcomes(&answer, ids.len())
    }

    /// Takes over a change of an existing point, or checks that there was none.
    fn apply(&mut self, id: u64, outcome: &OpOutcome, change: impl FnOnce(&mut Held)) -> Result<()> {
        let visible = self.truth.visible(id).is_some();
        match (self.truth.points.get_mut(&id), outcome) {
            (Some(held), OpOutcome::Applied { version, .. }) => {
                change(held);
                held.version = *version;
                Ok(())
            }
            (_, OpOutcome::NotFound) if !visible => Ok(()),
            (held, outcome) => bail!("change of {id}, which is {held:?}: {outcome:?}"),
        }
    }

    async fn delete(&mut self, mut ids: Vec<u64>) -> Result<()> {
        ids.sort_unstable();
        ids.dedup();
        let outcomes = self.change(&ids, Change::Delete).await?;
        for (id, outcome) in ids.into_iter().zip(outcomes) {
            let was = self.truth.visible(id).is_some();
            ensure!(!was || matches!(outcome, OpOutcome::Applied { .. }), "delete of {id}: {outcome:?}");
            self.truth.points.remove(&id);
        }
        Ok(())
    }

    async fn delete_group(&mut self, group: u64) -> Result<()> {
        let selector = PointSelector::Filter(of_group(group));
        let answer = self.db().change(WHO, NAME, (selector, Change::Delete), waited()).await?;
        let due: Vec<u64> = self.truth.all().filter(|(_, h)| in_group(h, group)).map(|(id, _)| id).collect();
        ensure!(
            answer.affected == due.len() as u64,
            "delete of g{group} reached {}, expected {}",
            answer.affected,
            due.len()
        );
        for id in due {
            self.truth.points.remove(&id);
        }
        Ok(())
    }

    async fn merge(&mut self, mut ids: Vec<u64>, value: u64) -> Result<()> {
        ids.sort_unstable();
        ids.dedup();
        let change = PayloadChange::Merge(json!({"merged": value}).to_string().into());
        let outcomes = self.change(&ids, Change::Payload(change)).await?;
        for (id, outcome) in ids.iter().zip(&outcomes) {
            self.apply(*id, outcome, |held| held.payload["merged"] = json!(value))?;
        }
        Ok(())
    }

    async fn set_vector(&mut self, id: u64, vector: Option<Vec<f32>>) -> Result<()> {
        let set = vector.clone().map(|v| (String::new(), v.into())).into_iter().collect();
        let remove = if vector.is_none() { vec![String::new()] } else { vec![] };
        let update = VectorUpdate { id: PointId::Num(id), set, remove, if_version: None };
        let answer = self.db().update_vectors(WHO, NAME, vec![update], waited()).await?;
        let outcome = outcomes(&answer, 1)?[0];
        self.apply(id, &outcome, |held| held.vector = vector)
    }

    async fn each_shard(&self, flush: bool) -> Result<()> {
        let engine = self.db().engine();
        let schema = engine.collection(DEFAULT_TENANT, NAME)?;
        for key in schema.shards() {
            if let Some(shard) = engine.existing_shard(&key).await? {
                if flush {
                    shard.flush().await?;
                } else {
                    shard.compact().await?;
                }
            }
        }
        Ok(())
    }

    async fn purge(&mut self, in_region: &str, age: i64) -> Result<()> {
        let before = self.truth.now - age;
        let scope = PurgeScope {
            collection: Some(NAME.into()),
            region: Some(in_region.into()),
            created_before: Some(before),
        };
        let receipt = self.db().purge(WHO, scope).await?;
        ensure!(receipt.state == "complete", "receipt {receipt:?}");
        let now = self.truth.now;
        let due = |id: u64, h: &Held| {
            region(id) == in_region && (h.created_at < before || h.expires_at.is_some_and(|at| at <= now))
        };
        self.truth.points.retain(|id, held| !due(*id, held));
        Ok(())
    }

    async fn search(&self, query: Vec<f32>, k: usize, exact: bool, group: Option<u64>) -> Result<()> {
        let request = SearchRequest {
            collection: NAME.into(),
            query: QueryVector::Vector(query.clone().into()),
            field: String::new(),
            filter: group.map(of_group),
            k,
            offset: 0,
            ef: None,
            recall: None,
            exact,
            score_threshold: None,
            selection: Selection::default(),
            read: ReadOptions::default(),
            allow_partial: false,
        };
        let answer = self.db().search(WHO, request).await?;
        let got: Vec<(u64, f64)> =
            answer.hits.iter().map(|h| (number(h.point.id), f64::from(h.score))).collect();
        let wanted = |h: &Held| group.is_none_or(|g| in_group(h, g));
        let candidates = self
            .truth
            .all()
            .filter(|(_, h)| wanted(h))
            .filter_map(|(id, h)| Some((id, h.vector.as_deref()?)));
        let metric = engram_proto::v1::Metric::Euclid;
        let all = oracle::nearest(metric, &query, usize::MAX, candidates);
        let expected = &all[..all.len().min(k)];
        if exact {
            return oracle::same_answer(expected, &got).map_err(anyhow::Error::msg);
        }
        // A graph may miss a neighbour, but never returns fewer, a stranger, or a wrong distance.
        ensure!(got.len() == expected.len(), "{} results instead of {}", got.len(), expected.len());
        for (id, score) in &got {
            let truth = all
                .iter()
                .find(|(other, _)| other == id)
                .with_context(|| format!("hit {id} does not match"))?;
            ensure!(
                (truth.1 - score).abs() < 1e-3,
                "hit {id} has score {score}, its distance is {}",
                truth.1
            );
        }
        Ok(())
    }

    async fn get(&self, mut ids: Vec<u64>) -> Result<()> {
        ids.sort_unstable();
        ids.dedup();
        let asked = ids.iter().map(|id| PointId::Num(*id)).collect();
        let got = self.db().get(WHO, NAME, (asked, everything()), &ReadOptions::default()).await?;
        let expected: Vec<u64> = ids.into_iter().filter(|id| self.truth.visible(*id).is_some()).collect();
        let ids: Vec<u64> = got.iter().map(|p| number(p.id)).collect();
        ensure!(ids == expected, "get returns {ids:?}, expected {expected:?}");
        got.iter().try_for_each(|p| self.same(p))
    }

    fn same(&self, p: &StoredPoint) -> Result<()> {
        let id = number(p.id);
        let held = self.truth.visible(id).with_context(|| format!("{id} should not be there"))?;
        let payload: serde_json::Value = serde_json::from_slice(&p.payload)?;
        ensure!(payload == held.payload, "payload of {id} is {payload}, expected {}", held.payload);
        let vector = p.vectors.first().and_then(|(_, v)| v.as_dense());
        ensure!(vector == held.vector.as_deref(), "vector of {id} is {vector:?}, expected {:?}", held.vector);
        ensure!(p.region.as_str() == region(id), "region of {id} is {}", p.region);
        ensure!(
            p.created_at == held.created_at,
            "{id} was created at {}, expected {}",
            p.created_at,
            held.created_at
        );
        ensure!(
            p.expires_at == held.expires_at,
            "{id} expires at {:?}, expected {:?}",
            p.expires_at,
            held.expires_at
        );
        ensure!(p.version == held.version, "version of {id} is {}, expected {}", p.version, held.version);
        Ok(())
    }

    /// Compares everything by every path.
    pub async fn check_all(&self, rng: &mut StdRng) -> Result<()> {
        let mut from = None;
        let mut all = Vec::new();
        loop {
            let request = ScrollRequest {
                collection: NAME.into(),
                filter: None,
                from,
                limit: 97,
                selection: everything(),
                read: ReadOptions::default(),
                order_by: None,
            };
            let page = self.db().scroll(WHO, request).await?;
            all.extend(page.points);
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        let expected: Vec<u64> = self.truth.all().map(|(id, _)| id).collect();
        let got: Vec<u64> = all.iter().map(|p| number(p.id)).collect();
        ensure!(got == expected, "scroll returns {got:?}, expected {expected:?}");
        all.iter().try_for_each(|p| self.same(p))?;
        let count = self.db().count(WHO, NAME, None, &ReadOptions::default()).await?;
        ensure!(count == expected.len() as u64, "count is {count}, expected {}", expected.len());
        for exact in [true, false] {
            self.search(engram_tests::corpus::floats(rng, DIMENSION), 50, exact, None).await?;
        }
        Ok(())
    }
}

fn waited() -> WriteOptions {
    WriteOptions { wait: true, ..WriteOptions::default() }
}

fn everything() -> Selection {
    Selection { payload: true, vectors: true, ..Selection::default() }
}

fn number(id: PointId) -> u64 {
    match id {
        PointId::Num(n) => n,
        PointId::Uuid(u) => panic!("an id that nobody wrote: {u}"),
    }
}

fn new_point(id: u64, held: &Held, if_version: Option<u64>) -> NewPoint {
    NewPoint {
        id: Some(PointId::Num(id)),
        vectors: held.vector.clone().map(|v| (String::new(), v.into())).into_iter().collect(),
        payload: Bytes::from(held.payload.to_string()),
        region: Some(region(id).into()),
        created_at: Some(held.created_at),
        expires_at: held.expires_at,
        if_version,
    }
}

fn outcomes(answer: &WriteAnswer, expected: usize) -> Result<Vec<OpOutcome>> {
    ensure!(answer.outcomes.len() == expected, "{} outcomes for {expected}", answer.outcomes.len());
    answer.outcomes.iter().map(|o| o.context("a waited write has no outcome")).collect()
}

fn of_group(group: u64) -> Filter {
    let json = json!({"must": [{"key": "group", "match": {"value": format!("g{group}")}}]});
    Filter::from_json(&json).unwrap()
}

fn in_group(held: &Held, group: u64) -> bool {
    held.payload["group"] == json!(format!("g{group}"))
}
