//! Acknowledged means synced: seen from outside with a tracer, on a failing disk, and on a full one.

use std::process::Command;
use std::time::{Duration, Instant};

use engram_proto::v1::{Metric, UpsertRequest, WriteResponse};
use engram_tests::client::detail;
use engram_tests::strace::{Call, Strace};
use engram_tests::{Client, Server, ServerOptions, journal, wait, wire};
use serde_json::json;
use tonic::{Code, Status};

const NAME: &str = "durable";

async fn server() -> (Server, Client) {
    start(ServerOptions::default()).await
}

async fn start(options: ServerOptions) -> (Server, Client) {
    let server = options.start().unwrap();
    let client = server.client().await.unwrap();
    client.create_simple(NAME, u32::try_from(journal::DIMENSION).unwrap(), Metric::Euclid).await.unwrap();
    // The log is there: what follows is a plain append.
    client.upsert(NAME, vec![journal::point(0, 1)]).await.unwrap();
    (server, client)
}

async fn write(client: &Client, id: u64) -> Result<WriteResponse, Status> {
    let points = vec![journal::point(id, 1)];
    client.upsert_with(UpsertRequest { collection: NAME.into(), points, ..Default::default() }).await
}

fn now() -> f64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64()
}

/// For each write, sent and acknowledged at these times: a write to a log file and then a completed sync of it in between.
fn synced_before_ack(calls: &[Call], writes: &[(f64, f64)]) -> Result<(), String> {
    let of_log = |c: &&Call| c.arguments.contains(".log>") && !c.failed();
    for (n, (sent, acked)) in writes.iter().enumerate() {
        let within = |c: &&Call| c.begin >= *sent && c.end <= *acked;
        let wrote = calls.iter().filter(of_log).filter(within).find(|c| c.name.contains("write"));
        let Some(wrote) = wrote else {
            return Err(format!("write {n}: nothing was written to a log before its answer"));
        };
        let synced = calls
            .iter()
            .filter(of_log)
            .filter(within)
            .any(|c| (c.name == "fdatasync" || c.name == "fsync") && c.begin >= wrote.end - 1e-6);
        if !synced {
            return Err(format!("write {n}: acknowledged before the log was synced"));
        }
    }
    Ok(())
}

/// Calls that bring data to the disk.
const TRACE: &str = "trace=fdatasync,fsync,write,writev,pwrite64,pwritev,pwritev2,sync_file_range";

/// Writes of one server with the calls it made; `None` where nothing can be traced here.
async fn traced(server: &Server, client: &Client) -> Option<(Vec<Call>, Vec<(f64, f64)>)> {
    let dir = tempfile::tempdir().unwrap();
    let tracer = Strace::attach(server.pid(), &[TRACE], dir.path())?;
    let mut writes = Vec::new();
    for id in 1..=50 {
        let sent = now();
        write(client, id).await.unwrap();
        writes.push((sent, now()));
    }
    Some((tracer.finish().unwrap(), writes))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_shows_a_sync_of_the_log_before_each_acknowledgement() {
    let (server, client) = server().await;
    let Some((calls, writes)) = traced(&server, &client).await else { return };
    synced_before_ack(&calls, &writes).unwrap();
    println!("{} of {} acknowledgements came after a sync of the log", writes.len(), writes.len());
    // The check itself: one sync taken out of the trace has to be missed.
    let mut early = calls.clone();
    early.retain(|c| !(c.name == "fdatasync" && c.begin > writes[20].0 && c.end < writes[20].1));
    assert!(synced_before_ack(&early, &writes).is_err(), "a missing sync is not seen");
}

/// The planted build: the same server, but its syncs happen after it reported them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_acknowledges_before_the_sync_is_caught() {
    let program = Some(env!("CARGO_BIN_EXE_planted").into());
    let (server, client) = start(ServerOptions { program, ..ServerOptions::default() }).await;
    let Some((calls, writes)) = traced(&server, &client).await else { return };
    let synced = calls.iter().filter(|c| c.name == "fdatasync" && c.arguments.contains(".log>")).count();
    assert!(synced > 0, "the planted build syncs, only too late: the trace must show it");
    let caught = synced_before_ack(&calls, &writes).expect_err("the planted build was not caught");
    println!("caught: {caught}");
}

/// A new log is a new name too: without a sync of its directory a power cut takes the file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_acknowledgement_of_a_log_waits_for_its_directory() {
    let (server, client) = server().await;
    client.create_simple("second", u32::try_from(journal::DIMENSION).unwrap(), Metric::Euclid).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let Some(tracer) = Strace::attach(server.pid(), &[TRACE], dir.path()) else { return };
    let sent = now();
    client.upsert("second", vec![journal::point(1, 1)]).await.unwrap();
    let acked = now();
    let calls = tracer.finish().unwrap();
    synced_before_ack(&calls, &[(sent, acked)]).unwrap();
    let directory = |c: &&Call| c.name == "fsync" && c.arguments.ends_with("/log>") && c.end <= acked;
    assert!(calls.iter().any(|c| directory(&c)), "the directory of the log was not synced: {calls:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_waits_for_a_slow_sync() {
    let (server, client) = server().await;
    let dir = tempfile::tempdir().unwrap();
    let slow = ["trace=fdatasync,fsync", "inject=fdatasync,fsync:delay_enter=150000"];
    let Some(tracer) = Strace::attach(server.pid(), &slow, dir.path()) else { return };
    for id in 1..=5 {
        let start = Instant::now();
        write(&client, id).await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(150), "acknowledged after {:?}", start.elapsed());
    }
    drop(tracer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_poisons_the_shard_until_restart() {
    let (mut server, client) = server().await;
    write(&client, 1).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let fail = ["trace=fdatasync,fsync", "inject=fdatasync,fsync:error=EIO:when=1"];
    let Some(tracer) = Strace::attach(server.pid(), &fail, dir.path()) else { return };
    let first = write(&client, 2).await.expect_err("a write whose sync failed was acknowledged");
    drop(tracer);
    assert!(matches!(first.code(), Code::Unavailable | Code::Internal), "{first:?}");
    // The disk is well again, but what the kernel dropped is not known: never retried.
    for id in 3..6 {
        let refused = write(&client, id).await.expect_err("a poisoned shard took a write");
        let (code, sentence) = detail(&refused);
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        assert!(code.contains("poisoned"), "code {code}");
        assert!(sentence.contains("restart the server"), "{sentence}");
    }
    let held = client.get_nums(NAME, &[0, 1]).await.unwrap();
    assert_eq!(held.len(), 2, "reads go on");
    let stats = client.stats(NAME).await.unwrap();
    assert_eq!(stats.collections[0].shards[0].state, "poisoned");
    server.kill9();
    server.start_again().unwrap();
    let client = server.client().await.unwrap();
    assert_eq!(client.get_nums(NAME, &[0, 1]).await.unwrap().len(), 2);
    assert!(client.get_nums(NAME, &[3, 4, 5]).await.unwrap().is_empty(), "a refused write appeared");
    write(&client, 9).await.expect("a restarted shard takes writes");
}

/// A point whose payload does not compress.
fn big(id: u64) -> engram_proto::v1::Point {
    let part = |n: u64| blake3::hash(&[id.to_le_bytes(), n.to_le_bytes()].concat()).to_hex();
    let fill: String = (0..500).map(|n| part(n).to_string()).collect();
    wire::point(id, &[0.5; journal::DIMENSION], &json!({"fill": fill}))
}

/// Writes until there is no room; returns how many were acknowledged.
async fn fill(client: &Client) -> u64 {
    for id in 0..5_000 {
        let Err(refused) = client.upsert(NAME, vec![big(id)]).await else { continue };
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        let (code, sentence) = detail(&refused);
        assert!(!code.is_empty() && sentence.contains("room"), "code {code}: {sentence}");
        println!("after {id} writes: {code}: {sentence}");
        return id;
    }
    panic!("the disk does not fill");
}

/// Reads go on while there is no room; with room writes go on, and a restart shows exactly what was acknowledged.
async fn forgiven(server: &mut Server, acked: u64, make_room: impl FnOnce(&mut Server)) {
    assert!(server.exited().unwrap().is_none(), "the server ended on a full disk");
    let client = server.client().await.unwrap();
    assert_eq!(
        client.scroll_all(NAME, 50).await.unwrap().len() as u64,
        acked,
        "reads while there is no room"
    );
    make_room(server);
    wait::until_some("a write after room was made", Duration::from_secs(20), || async {
        Ok(client.upsert(NAME, vec![big(1_000_000)]).await.map(Some)?)
    })
    .await
    .unwrap();
    server.kill9();
    server.start_again().unwrap();
    let all = server.client().await.unwrap().scroll_all(NAME, 50).await.unwrap();
    let ids: Vec<u64> = all.iter().filter_map(|p| wire::number(p.id.as_ref())).collect();
    assert_eq!(ids, (0..acked).chain([1_000_000]).collect::<Vec<_>>(), "exactly what was acknowledged");
    server.stop().unwrap();
}

/// Needs no privilege: the kernel refuses to let a file grow, as it does on a full disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_grow_is_told_and_forgiven() {
    let options = ServerOptions { file_size: Some(3 << 20), ..ServerOptions::default() };
    let (mut server, client) = start(options).await;
    let acked = fill(&client).await;
    assert!(acked > 10, "{acked} writes fit into the limit");
    forgiven(&mut server, acked, |server| server.lift_file_size().unwrap()).await;
}

/// A file system of a few MiB; unmounted on drop.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(mib: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let this = Self(dir);
        let done = this.run(&["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"]);
        if !done {
            println!("SKIPPED: a tmpfs cannot be mounted here (it needs root)");
            std::mem::forget(this);
            return None;
        }
        Some(this)
    }

    fn resize(&self, mib: u32) {
        assert!(self.run(&["-o", &format!("remount,size={mib}m")]), "the tmpfs cannot be resized");
    }

    fn run(&self, arguments: &[&str]) -> bool {
        Command::new("mount").args(arguments).arg(self.0.path()).status().is_ok_and(|s| s.success())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_forgiven() {
    let Some(disk) = SmallDisk::mount(24) else { return };
    // Small memtables: flushes meet the full disk too.
    let options = ServerOptions::default().data_dir(disk.0.path().join("data"));
    let (mut server, client) = start(options.set("storage.memtable_bytes", 4 << 20)).await;
    let acked = fill(&client).await;
    forgiven(&mut server, acked, |_| disk.resize(96)).await;
}
