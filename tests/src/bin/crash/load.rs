//! The mixed load: several clients, each with keys of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use engram_proto::v1::{
    BulkUpsertRequest, ConsistencyToken, CreateCollectionRequest, DeleteRequest, GetRequest, HnswParams,
    Metric, PayloadIndex, PayloadIndexKind, PayloadMode, Point, PurgeRequest, SetPayloadRequest,
    UpsertRequest, VectorColumn, VectorField, WriteOutcome, WriteResponse,
};
use engram_storage::PointId;
use engram_tests::journal::{self, Content, DIMENSION, Journal, State};
use engram_tests::{Client, Server, random, wire};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use tokio::task::JoinHandle;
use tonic::Status;

use crate::phase::{Phase, Watch};

/// Collection of the mixed writes.
pub const MIXED: &str = "mixed";
/// Collection of the purges.
pub const PURGED: &str = "purged";
/// Buckets of each region of [`MIXED`].
const SHARDS: u32 = 2;
const CLIENTS: u64 = 5;
const KEYS_OF_A_CLIENT: u64 = 150;
const PURGE_KEYS: u64 = 120;
const DAY_MS: i64 = 86_400_000;

/// What is known about purges.
#[derive(Default)]
pub struct PurgeState {
    /// A purge was sent and not answered.
    pub unanswered: bool,
    /// Keys it reaches.
    pub due: Vec<u64>,
    /// Newest receipt known.
    pub last_receipt: String,
}

/// Journals of both collections.
#[derive(Clone)]
pub struct Load {
    mixed: Arc<Mutex<Journal>>,
    purged: Arc<Mutex<Journal>>,
    /// Purges.
    pub purge: Arc<Mutex<PurgeState>>,
    seed: u64,
}

/// Tasks of one round.
pub struct Tasks(Vec<JoinHandle<Result<()>>>, JoinHandle<()>);

impl Tasks {
    /// Waits until all have seen the crash.
    pub async fn finish(self) -> Result<()> {
        self.1.abort();
        for task in self.0 {
            task.await??;
        }
        Ok(())
    }
}

impl Load {
    /// Makes the collections.
    pub async fn prepare(client: &Client, seed: u64) -> Result<Self> {
        for (name, shards_per_region) in [(MIXED, SHARDS), (PURGED, 1)] {
            let hnsw = Some(HnswParams { graph_threshold: 64, ..Default::default() });
            let dimension = u32::try_from(DIMENSION)?;
            let field = VectorField { dimension, metric: Metric::Euclid.into(), hnsw, ..Default::default() };
            let index =
                PayloadIndex { field: "key".into(), kind: PayloadIndexKind::Integer.into(), text: None };
            let request = CreateCollectionRequest {
                name: name.into(),
                vectors: vec![field],
                payload_indexes: vec![index],
                regions: vec!["eu".into(), "us".into()],
                shards_per_region,
                ..Default::default()
            };
            client.create(request).await?;
        }
        Ok(Self { mixed: Arc::default(), purged: Arc::default(), purge: Arc::default(), seed })
    }

    /// The journal of a collection.
    pub fn journal(&self, collection: &str) -> &Mutex<Journal> {
        if collection == MIXED { &self.mixed } else { &self.purged }
    }

    /// Every key that may hold something.
    pub fn keys(&self, collection: &str) -> std::ops::Range<u64> {
        if collection == MIXED { 0..CLIENTS * KEYS_OF_A_CLIENT } else { 0..PURGE_KEYS }
    }

    /// Acknowledged writes, and deletes among them.
    pub fn acknowledged(&self) -> (u64, u64) {
        let (a, b) = (self.mixed.lock().unwrap(), self.purged.lock().unwrap());
        (a.acked + b.acked, a.acked_deletes + b.acked_deletes)
    }

    /// Makes every shard answer once.
    pub async fn touch_all(&self, client: &Client) -> Result<()> {
        client.count(MIXED).await?;
        client.count(PURGED).await?;
        Ok(())
    }

    /// Starts all tasks of one round; they end when the server is gone.
    pub async fn start(&self, server: &Server, watch: &Watch, round: u64) -> Result<Tasks> {
        let mut tasks = Vec::new();
        for n in 0..CLIENTS {
            let client = server.client().await?;
            let rng = random::generator(self.seed, 1_000 * (round + 1) + n);
            let writer = Writer {
                load: self.clone(),
                client,
                watch: watch.clone(),
                rng,
                n,
                doubtful: BTreeSet::new(),
                tokens: BTreeMap::new(),
            };
            tasks.push(tokio::spawn(writer.run()));
        }
        let rng = |n| random::generator(self.seed, 1_000 * (round + 1) + 500 + n);
        let client = server.client().await?;
        match watch.target {
            Phase::Flush => tasks.push(tokio::spawn(flusher(client, watch.clone(), rng(1)))),
            Phase::Compaction => tasks.push(tokio::spawn(compactor(client, watch.clone(), rng(2)))),
            Phase::Purge => tasks.push(tokio::spawn(purger(self.clone(), client, watch.clone(), rng(3)))),
            Phase::Write | Phase::Recovery => {}
        }
        let follow = tokio::spawn(watch.clone().follow(server.client().await?));
        Ok(Tasks(tasks, follow))
    }
}

/// Region of a key: a point never changes it.
fn region(id: u64) -> &'static str {
    if id.is_multiple_of(2) { "eu" } else { "us" }
}

fn placed(p: Point, id: u64) -> Point {
    Point { region: region(id).into(), ..p }
}

/// True where the server is gone; an error where it answered something it should not have.
fn gone(e: &Status) -> Result<bool> {
    use tonic::Code;
    match e.code() {
        Code::Unavailable | Code::Cancelled | Code::Unknown => Ok(true),
        // Too much at once: told before anything was written, so going on is right.
        Code::ResourceExhausted => Ok(false),
        // The connection broke in the middle of an answer.
        Code::Internal if e.message().contains("h2 protocol error") || e.message().contains("stream") => {
            Ok(true)
        }
        code => bail!("the server answered {code:?}: {}", e.message()),
    }
}

struct Writer {
    load: Load,
    client: Client,
    watch: Watch,
    rng: StdRng,
    n: u64,
    /// Keys with an unanswered write: not written again before the next check.
    doubtful: BTreeSet<u64>,
    /// Token of the last answered write of each key: a read with it sees that write, applied or not.
    tokens: BTreeMap<u64, ConsistencyToken>,
}

impl Writer {
    async fn run(mut self) -> Result<()> {
        // Numbers of writes are never used twice for one key.
        loop {
            let go_on = match self.rng.random_range(0..100) {
                0..40 => self.upsert().await?,
                40..55 => self.conditional().await?,
                55..73 => self.delete().await?,
                73..88 => self.set_payload().await?,
                _ => self.bulk().await?,
            };
            if !go_on {
                return Ok(());
            }
            self.watch.answered();
        }
    }

    fn keys(&mut self, most: usize) -> Vec<u64> {
        let count = self.rng.random_range(1..=most);
        let first = self.n * KEYS_OF_A_CLIENT;
        let free = (first..first + KEYS_OF_A_CLIENT).filter(|id| !self.doubtful.contains(id));
        free.choose_multiple(&mut self.rng, count)
    }

    fn seq(&mut self) -> u64 {
        self.rng.random_range(1..u64::MAX >> 1)
    }

    /// Notes the writes, shard by shard: each shard takes its part as a whole.
    fn begin(&self, writes: &[(u64, State)]) {
        let mut journal = self.load.mixed.lock().unwrap();
        let mut rest = writes.to_vec();
        while let Some((first, _)) = rest.first().copied() {
            let shard = |id: u64| (region(id), PointId::Num(id).bucket(SHARDS));
            let (part, others): (Vec<_>, Vec<_>) =
                rest.into_iter().partition(|(id, _)| shard(*id) == shard(first));
            journal.begin(&part);
            rest = others;
        }
    }

    /// Takes the answer of a write of these keys; false where the server is gone.
    fn settle(&mut self, ids: &[u64], answer: Result<WriteResponse, Status>) -> Result<bool> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(e) => {
                self.doubtful.extend(ids);
                return Ok(!gone(&e)?);
            }
        };
        ensure!(
            answer.outcomes.len() == ids.len(),
            "{} outcomes for {} keys",
            answer.outcomes.len(),
            ids.len()
        );
        let token = answer.token.as_ref();
        self.tokens.extend(ids.iter().filter_map(|id| Some((*id, token?.clone()))));
        let mut journal = self.load.mixed.lock().unwrap();
        for (id, outcome) in ids.iter().zip(&answer.outcomes) {
            match outcome.outcome() {
                WriteOutcome::VersionMismatch => journal.refused(*id),
                WriteOutcome::Applied => {
                    journal.acknowledged(*id, outcome.version).map_err(anyhow::Error::msg)?;
                }
                _ => journal.acknowledged(*id, 0).map_err(anyhow::Error::msg)?,
            }
        }
        Ok(true)
    }

    async fn upsert(&mut self) -> Result<bool> {
        let (ids, seq, wait) = (self.keys(20), self.seq(), self.rng.random_bool(0.5));
        self.begin(&ids.iter().map(|id| (*id, Some(Content { seq, set: 0 }))).collect::<Vec<_>>());
        let points = ids.iter().map(|id| placed(journal::point(*id, seq), *id)).collect();
        let idempotency_key = if self.rng.random_bool(0.3) { format!("k{seq}") } else { String::new() };
        let request =
            UpsertRequest { collection: MIXED.into(), points, wait, idempotency_key, ..Default::default() };
        let _busy = self.watch.busy(Phase::Write);
        let answer = self.client.upsert_with(request).await;
        self.settle(&ids, answer)
    }

    /// With the right version, or with one that is surely wrong.
    async fn conditional(&mut self) -> Result<bool> {
        let (ids, seq) = (self.keys(1), self.seq());
        let Some(id) = ids.first().copied() else { return Ok(true) };
        let wrong = self.rng.random_bool(0.3);
        let read = GetRequest {
            collection: MIXED.into(),
            ids: vec![wire::num(id)],
            selection: None,
            token: self.tokens.get(&id).cloned(),
        };
        let current = match self.client.points.get(read).await {
            Ok(answer) => answer.into_inner().points.first().map_or(0, |p| p.version),
            Err(e) => return Ok(!gone(&e)?),
        };
        let version = if wrong { current + 1_000_000 } else { current };
        let state =
            if wrong { self.load.mixed.lock().unwrap().state(id) } else { Some(Content { seq, set: 0 }) };
        self.begin(&[(id, state)]);
        let request = UpsertRequest {
            collection: MIXED.into(),
            points: vec![placed(journal::point(id, seq), id)],
            if_versions: vec![version],
            wait: true,
            ..Default::default()
        };
        let _busy = self.watch.busy(Phase::Write);
        let answer = self.client.upsert_with(request).await;
        if let Ok(answer) = &answer {
            let mismatch =
                answer.outcomes.first().is_some_and(|o| o.outcome() == WriteOutcome::VersionMismatch);
            ensure!(
                mismatch == wrong,
                "key {id}: if_version {version}, current {current}: {:?}",
                answer.outcomes
            );
        }
        self.settle(&ids, answer)
    }

    async fn delete(&mut self) -> Result<bool> {
        let ids = self.keys(5);
        self.begin(&ids.iter().map(|id| (*id, None)).collect::<Vec<_>>());
        let request = DeleteRequest {
            collection: MIXED.into(),
            ids: ids.iter().map(|id| wire::num(*id)).collect(),
            wait: self.rng.random_bool(0.5),
            ..Default::default()
        };
        let _busy = self.watch.busy(Phase::Write);
        let answer = self.client.delete_with(request).await;
        self.settle(&ids, answer)
    }

    async fn set_payload(&mut self) -> Result<bool> {
        let (mut ids, set) = (self.keys(4), self.seq());
        let writes: Vec<(u64, State)> = {
            let journal = self.load.mixed.lock().unwrap();
            let present = ids.iter().filter_map(|id| Some((*id, journal.state(*id)?)));
            present.map(|(id, c)| (id, Some(Content { set, ..c }))).collect()
        };
        if writes.is_empty() {
            return Ok(true);
        }
        ids = writes.iter().map(|w| w.0).collect();
        self.begin(&writes);
        let request = SetPayloadRequest {
            collection: MIXED.into(),
            ids: ids.iter().map(|id| wire::num(*id)).collect(),
            mode: PayloadMode::Merge.into(),
            payload_json: format!("{{\"set\":{set}}}").into_bytes().into(),
            wait: self.rng.random_bool(0.5),
            ..Default::default()
        };
        let _busy = self.watch.busy(Phase::Write);
        let answer = self.client.set_payload(request).await;
        self.settle(&ids, answer)
    }

    /// One batch through a stream of its own.
    async fn bulk(&mut self) -> Result<bool> {
        let (ids, seq) = (self.keys(40), self.seq());
        self.begin(&ids.iter().map(|id| (*id, Some(Content { seq, set: 0 }))).collect::<Vec<_>>());
        let points: Vec<Point> = ids.iter().map(|id| journal::point(*id, seq)).collect();
        let f32le: Vec<u8> = points.iter().flat_map(|p| p.vectors[""].f32le.to_vec()).collect();
        let batch = BulkUpsertRequest {
            collection: MIXED.into(),
            batch: 7,
            count: u32::try_from(ids.len())?,
            num_ids: ids.clone(),
            vectors: vec![VectorColumn { f32le: f32le.into(), ..Default::default() }],
            payload_json: points.into_iter().map(|p| p.payload_json).collect(),
            regions: ids.iter().map(|id| region(*id).to_owned()).collect(),
            ..Default::default()
        };
        let _busy = self.watch.busy(Phase::Write);
        match self.client.bulk(vec![batch]).await {
            Ok(acks) => {
                ensure!(acks.len() == 1 && acks[0].batch == 7, "acknowledgements of one batch: {acks:?}");
                ensure!(acks[0].errors.is_empty(), "rows of a good batch were refused: {:?}", acks[0].errors);
                let token = acks[0].token.as_ref();
                self.tokens.extend(ids.iter().filter_map(|id| Some((*id, token?.clone()))));
                let mut journal = self.load.mixed.lock().unwrap();
                for id in &ids {
                    journal.acknowledged(*id, 0).map_err(anyhow::Error::msg)?;
                }
                Ok(true)
            }
            Err(e) => {
                self.doubtful.extend(&ids);
                Ok(!gone(&e)?)
            }
        }
    }
}

/// Between two operations: so that they meet the others of the load, and the kill, at ever other moments. Nothing is waited for.
async fn pause(rng: &mut StdRng, longest_ms: u64) {
    tokio::time::sleep(Duration::from_millis(rng.random_range(0..longest_ms))).await;
}

async fn flusher(client: Client, watch: Watch, mut rng: StdRng) -> Result<()> {
    loop {
        pause(&mut rng, 60).await;
        let _busy = watch.busy(Phase::Flush);
        match client.flush("").await {
            Err(e) if gone(&e)? => return Ok(()),
            _ => {}
        }
    }
}

async fn compactor(client: Client, watch: Watch, mut rng: StdRng) -> Result<()> {
    loop {
        pause(&mut rng, 100).await;
        let _busy = watch.busy(Phase::Compaction);
        match client.compact(MIXED).await {
            Err(e) if gone(&e)? => return Ok(()),
            _ => {}
        }
    }
}

/// Writes old and young points, then erases the old ones of one region; nobody else writes to the collection.
async fn purger(load: Load, client: Client, watch: Watch, mut rng: StdRng) -> Result<()> {
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_millis())?;
    let old = |id: u64| (id / 2).is_multiple_of(2);
    loop {
        let ids = (0..PURGE_KEYS).choose_multiple(&mut rng, 40);
        let seq = rng.random_range(1..u64::MAX >> 1);
        for part in [0, 1] {
            let writes =
                ids.iter().filter(|id| *id % 2 == part).map(|id| (*id, Some(Content { seq, set: 0 })));
            load.purged.lock().unwrap().begin(&writes.collect::<Vec<_>>());
        }
        let aged = |id: u64| Some(now - if old(id) { 10 * DAY_MS } else { DAY_MS });
        let point = |id: u64| Point { created_at_ms: aged(id), ..placed(journal::point(id, seq), id) };
        let points = ids.iter().map(|id| point(*id)).collect();
        let request = UpsertRequest { collection: PURGED.into(), points, ..Default::default() };
        match client.upsert_with(request).await {
            Ok(_) => {
                let mut journal = load.purged.lock().unwrap();
                ids.iter().try_for_each(|id| journal.acknowledged(*id, 0)).map_err(anyhow::Error::msg)?;
            }
            Err(e) if gone(&e)? => return Ok(()),
            // Doubtful keys stay doubtful until the next check.
            Err(_) => return Ok(()),
        }
        if rng.random_bool(0.5) && client.flush(PURGED).await.is_err() {
            return Ok(());
        }
        let due: Vec<u64> = (0..PURGE_KEYS).filter(|id| region(*id) == "eu" && old(*id)).collect();
        load.purged.lock().unwrap().begin(&due.iter().map(|id| (*id, None)).collect::<Vec<_>>());
        {
            let mut purge = load.purge.lock().unwrap();
            (purge.unanswered, purge.due) = (true, due.clone());
        }
        let days = |n: u64| n * 86_400;
        let request = PurgeRequest {
            collection: PURGED.into(),
            region: "eu".into(),
            older_than_s: days(5),
            wait: true,
        };
        let _busy = watch.busy(Phase::Purge);
        match client.purge(request).await {
            Ok(receipt) => {
                ensure!(
                    receipt.state == "complete",
                    "a purge with wait answered {}: {}",
                    receipt.state,
                    receipt.error
                );
                let mut purge = load.purge.lock().unwrap();
                (purge.unanswered, purge.last_receipt) = (false, receipt.id);
                let mut journal = load.purged.lock().unwrap();
                due.iter().try_for_each(|id| journal.acknowledged(*id, 0)).map_err(anyhow::Error::msg)?;
            }
            Err(e) if gone(&e)? => return Ok(()),
            Err(e) => bail!("a purge was refused: {}", e.message()),
        }
        watch.answered();
    }
}
