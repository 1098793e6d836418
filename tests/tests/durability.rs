//! Acknowledged means synced: seen from outside with a tracer, on a failing disk, and on a full one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has to fail"
)]

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
    let server = ServerOptions::default().start().unwrap();
    let client = server.client().await.unwrap();
    client.create_simple(NAME, u32::try_from(journal::DIMENSION).unwrap(), Metric::Euclid).await.unwrap();
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
    let of_log = |c: &&Call| c.arguments.contains(".log>") && !c.returned.starts_with('-');
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_shows_a_sync_of_the_log_before_each_acknowledgement() {
    let (server, client) = server().await;
    let dir = tempfile::tempdir().unwrap();
    let trace = "trace=fdatasync,fsync,write,writev,pwrite64,pwritev,pwritev2,sync_file_range";
    let Some(tracer) = Strace::attach(server.pid(), &[trace], dir.path()) else { return };
    let mut writes = Vec::new();
    for id in 1..=50 {
        let sent = now();
        write(&client, id).await.unwrap();
        writes.push((sent, now()));
    }
    let calls = tracer.finish().unwrap();
    synced_before_ack(&calls, &writes).unwrap();
    // The same trace of a server that acknowledges before the sync: the check has to see it.
    let mut early = calls.clone();
    early.retain(|c| !(c.name == "fdatasync" && c.begin > writes[20].0 && c.end < writes[20].1));
    assert!(synced_before_ack(&early, &writes).is_err(), "a missing sync is not seen");
    let late: Vec<Call> = calls
        .iter()
        .cloned()
        .map(|mut c| {
            if c.name == "fdatasync" {
                (c.begin, c.end) = (c.begin + 1.0, c.end + 1.0);
            }
            c
        })
        .collect();
    assert!(synced_before_ack(&late, &writes).is_err(), "a late sync is not seen");
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
    let Some(disk) = SmallDisk::mount(12) else { return };
    let mut server = ServerOptions::default().data_dir(disk.0.path().join("data")).start().unwrap();
    let client = server.client().await.unwrap();
    client.create_simple(NAME, 4, Metric::Euclid).await.unwrap();
    // Text that does not compress.
    let fill = |id: u64| {
        (0..4000).map(move |n| {
            blake3::hash(&[id.to_le_bytes(), u64::to_le_bytes(n)].concat()).to_hex()[..8].to_owned()
        })
    };
    let big = |id: u64| {
        wire::point(id, &[1.0, 2.0, 3.0, id as f32], &json!({"fill": fill(id).collect::<String>()}))
    };
    let mut acked = Vec::new();
    let refused = loop {
        let id = acked.len() as u64;
        match client.upsert(NAME, vec![big(id)]).await {
            Ok(_) => acked.push(id),
            Err(e) => break e,
        }
        assert!(acked.len() < 5_000, "the disk does not fill");
    };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    let (code, sentence) = detail(&refused);
    assert!(!code.is_empty() && sentence.contains("room"), "code {code}: {sentence}");
    assert!(server.exited().unwrap().is_none(), "the server ended on a full disk");
    let held = client.scroll_all(NAME, 50).await.unwrap();
    assert_eq!(held.len(), acked.len(), "reads go on while the disk is full");
    disk.resize(64);
    wait::until_some("a write after room was made", Duration::from_secs(20), || async {
        Ok(client.upsert(NAME, vec![big(1_000_000)]).await.map(Some)?)
    })
    .await
    .unwrap();
    server.kill9();
    server.start_again().unwrap();
    let client = server.client().await.unwrap();
    let mut expected = acked.clone();
    expected.push(1_000_000);
    let mut ids: Vec<u64> = client
        .scroll_all(NAME, 50)
        .await
        .unwrap()
        .iter()
        .filter_map(|p| wire::number(p.id.as_ref()))
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, expected, "after a restart: exactly what was acknowledged");
    server.stop().unwrap();
}
