//! Too many clients that want too much.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use engram_proto::v1::{Metric, SearchRequest};
use engram_tests::client::detail;
use engram_tests::corpus::{Corpus, bulk_batch};
use engram_tests::process::{self, MemoryGroup};
use engram_tests::{Client, Server, ServerOptions, random, wire};
use rand::Rng;
use tonic::{Code, Status};

const DIMENSION: usize = 384;
/// Points of one batch: 1.5 MiB of vectors.
const BATCH: u64 = 1_000;
/// No request may take longer: what cannot be done in time has to be told.
const PATIENCE: Duration = Duration::from_secs(60);

/// The most anonymous memory seen.
struct Memory {
    pid: u32,
    peak: AtomicU64,
}

impl Memory {
    fn look(&self) {
        // A server that is gone is told by whoever waits for it.
        if let Ok(bytes) = process::anonymous_bytes(self.pid) {
            self.peak.fetch_max(bytes, Ordering::Relaxed);
        }
    }
}

type Outcomes = Arc<Mutex<BTreeMap<String, u64>>>;

/// A server in a control group of `mib`, or with an address space where no group can be made.
fn small_server(mib: u64) -> Result<(Server, Option<MemoryGroup>)> {
    let bytes = mib << 20;
    let group = MemoryGroup::new(bytes);
    let mut options = ServerOptions::default();
    match &group {
        Some(group) => {
            println!("memory is bounded by the control group {}", group.path().display());
            options.group = Some(group.path().join("cgroup.procs"));
        }
        None => {
            println!(
                "no control group can be made here: the address space is bounded to {} MiB instead",
                mib * 6
            );
            options.address_space = Some(bytes * 6);
            options = options.set("limits.memory_bytes", bytes / 2);
        }
    }
    Ok((options.start()?, group))
}

/// Runs the clients and fails where the server dies or answers something unclear.
pub async fn run(clients: u64, mib: u64, seconds: u64) -> Result<()> {
    let seed = random::seed("overload");
    let (mut server, group) = small_server(mib)?;
    let first = server.client().await?;
    let dimension = u32::try_from(DIMENSION)?;
    first.create_simple("c", dimension, Metric::Cosine).await?;
    let outcomes = Outcomes::default();
    let until = Instant::now() + Duration::from_secs(seconds);
    let memory = Arc::new(Memory { pid: server.pid(), peak: AtomicU64::new(0) });
    let mut tasks = Vec::new();
    for n in 0..clients {
        let (address, outcomes, memory) = (server.grpc(), outcomes.clone(), memory.clone());
        tasks.push(tokio::spawn(one_client(address, (n, seed), until, outcomes, memory)));
    }
    let mut unclear = Ok(());
    for task in tasks {
        unclear = unclear.and(task.await?);
    }
    // Before the answers: connections that broke say nothing about why.
    if let Some(status) = server.exited()? {
        bail!(
            "the server ended under load ({status}; signal 9 is the end for want of memory):\n{}",
            server.log()
        );
    }
    unclear?;
    let peak = process::peak_resident_bytes(server.pid())? >> 20;
    let count = first.count("c").await?;
    println!("outcomes of {clients} clients: {:#?}", outcomes.lock().unwrap());
    println!("{count} points held, peak {peak} MiB resident");
    if let Some(bytes) = group.as_ref().and_then(MemoryGroup::peak_bytes) {
        println!("largest use of the group with page cache: {} MiB", bytes >> 20);
    }
    let answered = outcomes.lock().unwrap().get("answered").copied().unwrap_or(0);
    ensure!(answered > 0, "nobody got an answer");
    // Pages of mapped files count as resident too, but can go at any time: what must fit is what cannot.
    let anonymous = memory.peak.load(Ordering::Relaxed) >> 20;
    println!("peak without mapped files {anonymous} MiB");
    ensure!(anonymous <= mib, "{anonymous} MiB of anonymous memory, the server has {mib}");
    server.stop()
}

async fn one_client(
    address: std::net::SocketAddr,
    (n, seed): (u64, u64),
    until: Instant,
    outcomes: Outcomes,
    memory: Arc<Memory>,
) -> Result<()> {
    let note = |what: String| *outcomes.lock().unwrap().entry(what).or_default() += 1;
    let mut rng = random::generator(seed, n);
    let mut corpus = Corpus::new(seed ^ n, DIMENSION, &[]);
    let client = loop {
        match Client::connect(address).await {
            Ok(client) => break client,
            Err(_) if Instant::now() < until => note("connection refused".into()),
            Err(_) => return Ok(()),
        }
        // What a client does before it tries again, as the one that was told to try later below: part of the load.
        tokio::time::sleep(Duration::from_millis(rng.random_range(10..100))).await;
    };
    while Instant::now() < until {
        let answer =
            tokio::time::timeout(PATIENCE, request(&client, n, &mut corpus, rng.random_bool(0.5))).await;
        memory.look();
        match answer {
            Ok(Ok(())) => note("answered".into()),
            Ok(Err(e)) => {
                let (code, sentence) = detail(&e);
                let clear =
                    matches!(e.code(), Code::ResourceExhausted | Code::Unavailable | Code::DeadlineExceeded);
                ensure!(clear, "an unclear answer under load: {e:?}");
                note(format!(
                    "told to try later: {:?} {code} `{}`",
                    e.code(),
                    sentence.chars().take(60).collect::<String>()
                ));
                // As every good client does: part of the load.
                tokio::time::sleep(Duration::from_millis(rng.random_range(20..200))).await;
            }
            Err(_) => bail!("a request got no answer in {PATIENCE:?}"),
        }
    }
    Ok(())
}

async fn request(client: &Client, n: u64, corpus: &mut Corpus, write: bool) -> Result<(), Status> {
    if write {
        let docs = corpus.docs(n * BATCH..(n + 1) * BATCH);
        return client.bulk(vec![bulk_batch("c", 0, &docs)]).await.map(drop);
    }
    let request = SearchRequest {
        collection: "c".into(),
        vector: Some(wire::vector(&corpus.vector())),
        k: 1_000,
        selection: wire::everything(),
        ..Default::default()
    };
    client.search(request).await.map(drop)
}
