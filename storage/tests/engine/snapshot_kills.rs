//! Kills and full disks while snapshots are made and recovered.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engram_storage::engine::SnapshotSource;
use engram_storage::op::Op;
use engram_storage::schema::{CollectionSchema, DEFAULT_TENANT};
use engram_storage::snapshot::Upload;
use engram_storage::{ErrorKind, StorageError};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::snapshots::{assert_whole, filled, listed, recover, target, upload};
use super::{Fixture, NOW, all, batch, expected, point, upserts};

/// What a kill leaves of a recovery is removed at the next start: its collection counts as dropped until it is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_recovery_is_swept_at_the_next_start() {
    let fixture = filled().await;
    let bytes = fixture.bytes_of(&fixture.snapshot().await);
    let (parts, received) = tokio::sync::mpsc::channel(1);
    let engine = fixture.engine.clone();
    let recovering = tokio::spawn(async move {
        recover(&engine, SnapshotSource::Upload(Upload::new(received)), target("r", false)).await
    });
    for part in bytes[..bytes.len() - 100].chunks(1 << 12) {
        parts.send(Ok(Bytes::copy_from_slice(part))).await.unwrap();
    }
    // The data directory as it is now, as a kill would leave it.
    let copy = tempfile::tempdir().unwrap();
    copy_tree(fixture.dir.path(), copy.path());
    parts.send(Err(StorageError::Unavailable("the client went away".into()))).await.unwrap();
    assert_eq!(recovering.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(fixture.on_disk().len(), 1);

    let engine = super::open(copy.path(), &fixture.clock).await;
    let after = Fixture { dir: copy, clock: fixture.clock.clone(), engine, schema: fixture.schema.clone() };
    let swept = super::until_some("the leftovers to go", Duration::from_secs(30), || async {
        Ok((after.on_disk() == BTreeSet::from([after.schema.id.to_string()])).then_some(()))
    });
    swept.await.unwrap();
    assert!(after.engine.collection(DEFAULT_TENANT, "r").is_err());
    assert_whole(&after.engine, &after.schema).await;
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Where a child process works, and what it does.
const CHILD_DIR: &str = "ENGRAM_SNAPSHOT_CHILD_DIR";
const CHILD_WORK: &str = "ENGRAM_SNAPSHOT_CHILD_WORK";
/// Largest file of a child process, bytes.
const CHILD_LIMIT: &str = "ENGRAM_SNAPSHOT_CHILD_LIMIT";

/// No test of its own: what the process does that the tests below start and kill.
#[test]
fn child() {
    let (Ok(dir), Ok(work)) = (std::env::var(CHILD_DIR), std::env::var(CHILD_WORK)) else { return };
    if let Ok(limit) = std::env::var(CHILD_LIMIT) {
        let limit = libc::rlimit { rlim_cur: limit.parse().unwrap(), rlim_max: libc::RLIM_INFINITY };
        // SAFETY: system calls on plain values; ignored, the signal becomes an error of the write.
        unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = super::open(Path::new(&dir), &engram_storage::ManualClock::new(NOW)).await;
        let listed_now = engine.snapshots(DEFAULT_TENANT, "c").await.unwrap();
        println!("READY");
        match work.as_str() {
            "create" => loop {
                let made = engine.create_snapshot(DEFAULT_TENANT, "c").await.unwrap();
                println!("MADE {}", made.name);
            },
            "recover" => {
                for round in 0.. {
                    let name = &listed_now[round % listed_now.len()].name;
                    recover(&engine, listed(name), target("c", true)).await.unwrap();
                    println!("RECOVERED");
                }
            }
            "full" => {
                let e = engine.create_snapshot(DEFAULT_TENANT, "c").await.unwrap_err();
                println!("CREATE {:?} {e}", e.kind());
                let bytes = std::fs::read(Path::new(&dir).join("given.snapshot")).unwrap();
                let e = recover(&engine, upload(&bytes, 1 << 16), target("r", false)).await.unwrap_err();
                println!("RECOVER {:?} {e}", e.kind());
                assert!(engine.collection(DEFAULT_TENANT, "r").is_err());
            }
            other => panic!("{other}"),
        }
    });
}

fn start_child(dir: &Path, work: &str, limit: Option<u64>) -> std::process::Child {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "engine::snapshot_kills::child", "--nocapture", "--test-threads=1"]);
    command.env(CHILD_DIR, dir).env(CHILD_WORK, work).stdout(std::process::Stdio::piped());
    if let Some(limit) = limit {
        command.env(CHILD_LIMIT, limit.to_string());
    }
    command.spawn().unwrap()
}

/// Lets the child work for a random time and kills it; the lines it told.
fn kill_at_random(mut child: std::process::Child, rng: &mut StdRng) -> Vec<String> {
    use std::io::{BufRead, BufReader};
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while !lines.next().unwrap().unwrap().contains("READY") {}
    let rounds = rng.random_range(0..3);
    let mut told: Vec<String> = (0..rounds).map(|_| lines.next().unwrap().unwrap()).collect();
    // Any moment of what it does now; nothing is waited for.
    std::thread::sleep(Duration::from_micros(rng.random_range(0..120_000)));
    child.kill().unwrap();
    child.wait().unwrap();
    told.extend(lines.map_while(Result::ok));
    told
}

impl Fixture {
    /// The directory, with nobody at work in it.
    async fn closed(self) -> (tempfile::TempDir, engram_storage::ManualClock, Arc<CollectionSchema>) {
        let Self { dir, clock, engine, schema } = self.reopen().await;
        engine.shutdown().await;
        let last = Arc::downgrade(&engine);
        drop(engine);
        while last.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
        (dir, clock, schema)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_while_snapshots_are_made_leaves_whole_ones_only() {
    let seed = rand::rng().random();
    println!("ENGRAM_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let (dir, clock, schema) = filled().await.closed().await;
    let mut made = BTreeSet::new();
    let mut fixture = None;
    for _ in 0..4 {
        let told = kill_at_random(start_child(dir.path(), "create", None), &mut rng);
        made.extend(told.iter().filter_map(|line| line.strip_prefix("MADE ")).map(str::to_owned));
    }
    let engine = super::open(dir.path(), &clock).await;
    let fixture = fixture.insert(Fixture { dir, clock, engine, schema });
    let names: BTreeSet<String> = fixture.names().await.into_iter().collect();
    assert!(made.is_subset(&names), "{made:?} were told, {names:?} are there");
    let files: BTreeSet<String> = std::fs::read_dir(fixture.folder())
        .map(|dir| dir.map(|e| e.unwrap().file_name().into_string().unwrap()).collect())
        .unwrap_or_default();
    assert_eq!(files, names, "nothing else is left");
    for (round, name) in names.iter().enumerate() {
        let schema =
            recover(&fixture.engine, listed(name), target(&format!("r{round}"), false)).await.unwrap();
        assert_whole(&fixture.engine, &schema).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_while_a_collection_is_replaced_leaves_either() {
    let seed = rand::rng().random();
    println!("ENGRAM_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let fixture = Fixture::new().await;
    fixture.shard().await.write(upserts(0..50, "a"), true).await.unwrap();
    fixture.snapshot().await;
    fixture.clock.advance(5_000);
    fixture.shard().await.write(upserts(0..80, "b"), true).await.unwrap();
    fixture.snapshot().await;
    let (mut dir, clock, _) = fixture.closed().await;
    for _ in 0..6 {
        kill_at_random(start_child(dir.path(), "recover", None), &mut rng);
        let engine = super::open(dir.path(), &clock).await;
        let schema = engine.collection(DEFAULT_TENANT, "c").unwrap();
        let fixture = Fixture { dir, clock: clock.clone(), engine, schema };
        let found = all(&*fixture.shard().await);
        assert!(found == expected(0..50, "a") || found == expected(0..80, "b"), "{} points", found.len());
        let alone = BTreeSet::from([fixture.schema.id.to_string()]);
        let swept = super::until_some("the leftovers to go", Duration::from_secs(30), || async {
            Ok((fixture.on_disk() == alone).then_some(()))
        });
        swept.await.unwrap();
        assert_eq!(fixture.names().await.len(), 2);
        (dir, _, _) = fixture.closed().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_leaves_nothing() {
    let fixture = Fixture::new().await;
    let fat = |id: u64| {
        let text: String = (0..40u64)
            .map(|n| format!("{:016x}", (id * 40 + n).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .collect();
        Op::Upsert(point(id, &text, NOW))
    };
    fixture.shard().await.write(batch((0..4_000).map(fat)), true).await.unwrap();
    let info = fixture.snapshot().await;
    std::fs::write(fixture.dir.path().join("given.snapshot"), fixture.bytes_of(&info)).unwrap();
    let limit = 1 << 20;
    assert!(info.bytes > 2 * limit, "{} bytes", info.bytes);
    let (dir, clock, schema) = fixture.closed().await;
    let out = start_child(dir.path(), "full", Some(limit)).wait_with_output().unwrap();
    let told = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{told}");
    for what in ["CREATE Exhausted", "RECOVER Exhausted"] {
        assert!(told.contains(what) && told.contains("the disk is full"), "{told}");
    }
    let engine = super::open(dir.path(), &clock).await;
    let fixture = Fixture { dir, clock, engine, schema };
    assert_eq!(fixture.names().await, [info.name]);
    assert_eq!(std::fs::read_dir(fixture.folder()).unwrap().count(), 1);
    assert_eq!(fixture.on_disk(), BTreeSet::from([fixture.schema.id.to_string()]));
}
