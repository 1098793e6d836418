//! The byte scan: what a purge erased is in no file any more, in no form.

use std::time::Duration;

use engram_proto::v1::{
    CreateCollectionRequest, HnswParams, Metric, PayloadIndex, PayloadIndexKind, Point, PurgeRequest,
    Receipt, VectorField,
};
use engram_tests::scan::{self, Findings, Needle, Needles};
use engram_tests::{Client, Server, ServerOptions, corpus, random, wait, wire};
use rand::Rng;
use rand::distr::Alphanumeric;
use rand::rngs::StdRng;
use serde_json::json;

const DIMENSION: usize = 16;
const DAY_MS: i64 = 86_400_000;
const REGIONS: [&str; 2] = ["eu", "us"];
const METRICS: [Metric; 2] = [Metric::Euclid, Metric::Cosine];

/// A point whose bytes are looked for.
struct Canary {
    id: u64,
    token: String,
    vector: Vec<f32>,
    region: &'static str,
    old: bool,
}

impl Canary {
    fn draw(id: u64, region: &'static str, old: bool, rng: &mut StdRng) -> Self {
        let token = rng.sample_iter(Alphanumeric).take(32).map(char::from).collect();
        Self { id, token, vector: corpus::floats(rng, DIMENSION), region, old }
    }

    fn point(&self, now: i64) -> Point {
        let payload = json!({"secret": self.token, "group": format!("g-{}", self.token), "n": self.id});
        let created_at_ms = Some(now - if self.old { 100 * DAY_MS } else { DAY_MS });
        Point { region: self.region.into(), created_at_ms, ..wire::point(self.id, &self.vector, &payload) }
    }

    fn name(&self, kind: &str) -> String {
        let age = if self.old { "old" } else { "young" };
        format!("{kind} of {} ({} {age})", self.id, self.region)
    }

    fn needles(&self, metric: Metric) -> Vec<Needle> {
        let mut needles = vec![
            Needle::token(self.name(TOKEN), &self.token),
            Needle::vector(self.name(AS_WRITTEN), &self.vector),
        ];
        if metric == Metric::Cosine {
            let mut unit = self.vector.clone();
            engram_index::vector::metric::admit(engram_index::vector::Metric::Cosine, DIMENSION, &mut unit)
                .unwrap();
            needles.push(Needle::vector(self.name(UNIT), &unit));
        }
        needles
    }
}

// Kinds of needles. For cosine vectors are stored with length one, also in the log.
const TOKEN: &str = "token";
const AS_WRITTEN: &str = "vector";
const UNIT: &str = "unit vector";

struct Planted {
    canaries: Vec<Canary>,
    metric: Metric,
}

impl Planted {
    fn needles(&self, which: impl Fn(&Canary) -> bool) -> Needles {
        Needles::new(self.canaries.iter().filter(|c| which(c)).flat_map(|c| c.needles(self.metric)).collect())
    }

    fn count(&self, which: impl Fn(&Canary) -> bool) -> u64 {
        self.canaries.iter().filter(|c| which(c)).count() as u64
    }
}

fn due(c: &Canary) -> bool {
    c.old && c.region == "eu"
}

fn kept(c: &Canary) -> bool {
    !due(c)
}

fn now() -> i64 {
    i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}

fn options() -> ServerOptions {
    ServerOptions::default().set("retention.interval_s", 0)
}

async fn create(client: &Client, name: &str, metric: Metric) {
    let hnsw = Some(HnswParams { graph_threshold: 64, ..Default::default() });
    let dimension = u32::try_from(DIMENSION).unwrap();
    let request = CreateCollectionRequest {
        name: name.into(),
        vectors: vec![VectorField { dimension, metric: metric.into(), hnsw, ..Default::default() }],
        payload_indexes: vec![PayloadIndex {
            field: "group".into(),
            kind: PayloadIndexKind::Keyword.into(),
            text: None,
        }],
        regions: REGIONS.map(String::from).to_vec(),
        shards_per_region: 2,
        ..Default::default()
    };
    client.create(request).await.unwrap();
}

/// Plants canaries among other points: two flushed parts and a part that is only in the log.
async fn plant(client: &Client, name: &str, metric: Metric, rng: &mut StdRng) -> Planted {
    create(client, name, metric).await;
    let now = now();
    let mut canaries = Vec::new();
    let mut id = 0;
    for part in 0..3 {
        let mut points = Vec::new();
        for _ in 0..300 {
            id += 1;
            let vector = corpus::floats(rng, DIMENSION);
            let plain = wire::point(id, &vector, &json!({"group": format!("plain {}", id % 7)}));
            points.push(Point { region: REGIONS[rng.random_range(0..2)].into(), ..plain });
        }
        for region in REGIONS {
            for old in [true, false] {
                for _ in 0..4 {
                    id += 1;
                    let canary = Canary::draw(id, region, old, rng);
                    points.push(canary.point(now));
                    canaries.push(canary);
                }
            }
        }
        client.upsert(name, points).await.unwrap();
        if part < 2 {
            client.flush(name).await.unwrap();
        }
    }
    Planted { canaries, metric }
}

fn scan(server: &Server, needles: &Needles) -> Findings {
    scan::directory(server.data_dir(), needles).unwrap()
}

/// Stores that hold payloads or vectors, each with a kind of needle that has to be in it before a purge.
const STORES: [(&str, &str); 5] =
    [("log", TOKEN), ("parquet", TOKEN), ("rows", TOKEN), ("pidx", TOKEN), ("vec", AS_WRITTEN)];

/// Before a purge: each canary is found by its token and its vector, and each store holds some that are due, or the
/// scan proves nothing.
fn control(server: &Server, planted: &Planted) {
    let found = scan(server, &planted.needles(|_| true));
    println!("control: {}", found.describe());
    let names = found.needles();
    let cosine = planted.metric == Metric::Cosine;
    for canary in &planted.canaries {
        let vector = if cosine { UNIT } else { AS_WRITTEN };
        for kind in [TOKEN, vector] {
            let name = canary.name(kind);
            assert!(names.contains(&name.as_str()), "control: {name} is not found ({})", found.describe());
        }
    }
    // What is asserted to be gone afterwards was there before, in every kind and every store.
    let stores = found.by_store();
    for (store, kind) in STORES {
        let kind = if cosine && kind == AS_WRITTEN { UNIT } else { kind };
        let held = |c: &Canary| stores.get(store).is_some_and(|names| names.contains(&c.name(kind).as_str()));
        let count = planted.canaries.iter().filter(|c| due(c) && held(c)).count();
        assert!(count > 0, "control: no {kind} that is due in any {store}: {}", found.describe());
    }
}

/// What a purge was to leave is still there: of each point the token and the vector.
fn assert_kept(server: &Server, planted: &Planted, which: impl Fn(&Canary) -> bool, what: &str) {
    let found = scan(server, &planted.needles(&which));
    let names = found.needles();
    let has = |name: String| names.contains(&name.as_str());
    for canary in planted.canaries.iter().filter(|c| which(c)) {
        let vector = has(canary.name(AS_WRITTEN)) || has(canary.name(UNIT));
        assert!(has(canary.name(TOKEN)) && vector, "{what}: {} is not whole", canary.name("point"));
    }
}

fn assert_none_found(server: &Server, needles: &Needles, what: &str) {
    let findings = scan(server, needles);
    println!("{what}: {}", findings.describe());
    assert!(findings.hits.is_empty(), "{what}: {:#?}", &findings.hits[..findings.hits.len().min(20)]);
    let in_log = server.log();
    needles.find(in_log.as_bytes(), |needle, _| panic!("{what}: the server's own log shows {needle}"));
}

fn purge(collection: &str) -> PurgeRequest {
    PurgeRequest { collection: collection.into(), region: "eu".into(), older_than_s: 90 * 86_400, wait: true }
}

fn assert_receipt(receipt: &Receipt, erased: u64) {
    assert_eq!(receipt.state, "complete", "{}", receipt.error);
    assert_eq!(receipt.points_erased, erased);
    assert_eq!(receipt.points_before - receipt.points_erased, receipt.points_after);
    assert!(!receipt.removed.is_empty() && !receipt.hash.is_empty());
    assert!(
        receipt.accepted_at_ms <= receipt.invisible_at_ms && receipt.invisible_at_ms <= receipt.erased_at_ms
    );
}

/// Newest first: each names the hash of the one before it.
fn assert_chain(receipts: &[Receipt]) {
    for pair in receipts.windows(2) {
        assert_eq!(pair[0].previous_hash, pair[1].hash, "the chain of receipts is broken");
    }
    assert!(receipts.last().is_none_or(|first| first.previous_hash.is_empty()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_by_region_and_age_leaves_no_byte() {
    let seed = random::seed("erasure");
    let mut rng = random::generator(seed, 1);
    let mut server = options().start().unwrap();
    let client = server.client().await.unwrap();
    let euclid = plant(&client, "euclid", Metric::Euclid, &mut rng).await;
    let cosine = plant(&client, "cosine", Metric::Cosine, &mut rng).await;
    control(&server, &euclid);
    control(&server, &cosine);
    let plan = client.retention.clone().dry_run(purge("euclid")).await.unwrap().into_inner();
    assert_eq!(plan.points, euclid.count(due));
    let receipt = client.purge(purge("euclid")).await.unwrap();
    assert_receipt(&receipt, euclid.count(due));
    assert_none_found(&server, &euclid.needles(due), "after the purge");
    assert_kept(&server, &euclid, kept, "what was to stay");
    assert_kept(&server, &cosine, |_| true, "the other collection");
    // All collections at once, and again after a restart.
    let receipt = client.purge(PurgeRequest { collection: String::new(), ..purge("") }).await.unwrap();
    assert_receipt(&receipt, cosine.count(due));
    server.restart().unwrap();
    let client = server.client().await.unwrap();
    for (name, planted) in [("euclid", &euclid), ("cosine", &cosine)] {
        assert_none_found(&server, &planted.needles(due), "after all purges");
        let ids: Vec<u64> = planted.canaries.iter().filter(|c| due(c)).map(|c| c.id).collect();
        assert!(client.get_nums(name, &ids).await.unwrap().is_empty());
        let ids: Vec<u64> = planted.canaries.iter().filter(|c| kept(c)).map(|c| c.id).collect();
        assert_eq!(client.get_nums(name, &ids).await.unwrap().len(), ids.len());
    }
    let receipts = client.receipts(10).await.unwrap();
    assert_eq!(receipts.len(), 2);
    assert_chain(&receipts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_during_a_purge_does_not_stop_it() {
    let seed = random::seed("erasure with kills");
    let mut rng = random::generator(seed, 2);
    let mut interrupted = 0;
    for round in 0..6 {
        let mut server = options().start().unwrap();
        let client = server.client().await.unwrap();
        let planted = plant(&client, "c", METRICS[round as usize % 2], &mut rng).await;
        control(&server, &planted);
        let task = tokio::spawn(async move { client.purge(purge("c")).await });
        // The first round waits for the intent to be recorded, later ones kill deeper and deeper into the work.
        let delay = Duration::from_micros(2_000 + round * 15_000);
        let accepted = server.client().await.unwrap();
        wait::until_some("the purge to be accepted", Duration::from_secs(10), || async {
            Ok((!accepted.receipts(1).await?.is_empty()).then_some(()))
        })
        .await
        .unwrap();
        // The kill comes at this moment of the work; nothing is waited for.
        tokio::time::sleep(delay).await;
        server.kill9();
        interrupted += u32::from(task.await.unwrap().is_err());
        server.start_again().unwrap();
        let client = server.client().await.unwrap();
        let receipt = wait::until_some("the purge to complete", Duration::from_secs(60), || async {
            let newest = client.receipts(1).await?.into_iter().next();
            Ok(newest.filter(|r| r.state != "running"))
        })
        .await
        .unwrap();
        assert_eq!(receipt.state, "complete", "{}", receipt.error);
        assert_none_found(&server, &planted.needles(due), "after a kill during the purge");
        assert_kept(&server, &planted, kept, "what was to stay");
        assert_chain(&client.receipts(10).await.unwrap());
    }
    println!("{interrupted} of 6 purges were interrupted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_points_are_hidden_at_once_and_erased_by_a_purge() {
    let mut rng = random::generator(random::seed("expiry"), 3);
    let server = options().start().unwrap();
    let client = server.client().await.unwrap();
    create(&client, "c", Metric::Euclid).await;
    let canary = Canary::draw(1, "eu", false, &mut rng);
    let expires = now() + 1_500;
    client.upsert("c", vec![Point { expires_at_ms: Some(expires), ..canary.point(now()) }]).await.unwrap();
    let stays = Canary::draw(2, "eu", false, &mut rng);
    client.upsert("c", vec![stays.point(now())]).await.unwrap();
    client.flush("c").await.unwrap();
    let needles = Needles::new(canary.needles(Metric::Euclid));
    assert_eq!(scan(&server, &needles).needles().len(), 2, "control: token and vector");
    wait::until("the point to expire", Duration::from_secs(10), || now() > expires + 5).unwrap();
    assert_eq!(client.get_nums("c", &[1, 2]).await.unwrap().len(), 1);
    assert_eq!(client.count("c").await.unwrap(), 1);
    let request = PurgeRequest { collection: "c".into(), wait: true, ..Default::default() };
    let receipt = client.purge(request).await.unwrap();
    assert_receipt(&receipt, 1);
    assert_none_found(&server, &needles, "after the purge");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_collection_removes_its_bytes() {
    let mut rng = random::generator(random::seed("drop"), 4);
    let server = options().start().unwrap();
    let client = server.client().await.unwrap();
    let planted = plant(&client, "c", Metric::Euclid, &mut rng).await;
    let all = planted.needles(|_| true);
    control(&server, &planted);
    assert!(client.drop_collection("c").await.unwrap());
    assert_none_found(&server, &all, "after the drop");
}
