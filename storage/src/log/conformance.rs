//! The suite that every backend of the log passes, called from the backend's tests.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a suite of checks reports by panicking"
)]

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use uuid::Uuid;

use super::{Log, LogError, LogProvider, Offset, Record};
use crate::error::ErrorKind;
use crate::schema::{CollectionId, RegionName, ShardKey, TenantId};

/// Checks the contract. `make` opens the same storage each time it is called, as a restarted node would; the suite
/// uses shards of a collection id it draws itself, so it can run against a service that is not empty.
pub async fn run<F, Fut>(make: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn LogProvider>>,
{
    let collection = CollectionId(Uuid::new_v4());
    let shard = |bucket| ShardKey {
        tenant: TenantId(7),
        collection,
        region: RegionName::try_from("eu").expect("an allowed name"),
        bucket,
    };
    empty_log(make().await, &shard(0)).await;
    durable_and_in_order(&make, &shard(1)).await;
    wrong_tail_appends_nothing(make().await, &shard(2)).await;
    epochs_fence(&make, &shard(3)).await;
    seal_holds(&make, &shard(4)).await;
    trim_keeps_what_is_above(&make, &shard(5)).await;
    one_of_many_writers_wins(make().await, &shard(6)).await;
    bodies_of_all_sizes(&make, &shard(7)).await;
    delete_is_complete(&make, &shard(8)).await;
    readers_see_a_prefix(make().await, &shard(9)).await;
    shards_are_apart(make().await, &shard(10), &shard(11)).await;
    a_log_may_begin_anywhere(&make, &shard(12)).await;
}

async fn a_log_may_begin_anywhere<F, Fut>(make: &F, shard: &ShardKey)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn LogProvider>>,
{
    let provider = make().await;
    provider.begin(shard, 2, 41).await.unwrap();
    assert!(provider.exists(shard).await.unwrap());
    assert_eq!(provider.begin(shard, 2, 41).await, Err(LogError::WrongTail { tail: 41 }));
    drop(provider);
    let provider = make().await;
    let log = open(&provider, shard, 2).await;
    let extent = log.extent().await.unwrap();
    assert_eq!((extent.first, extent.tail), (42, 41));
    assert_eq!(log.append(41, bodies(42..=44)).await, Ok(44));
    drop((log, provider));
    let log = open(&make().await, shard, 3).await;
    expect_range(&log, 42, 44).await;
}

/// Opens a log that no crash has touched: nothing may be cut.
async fn open(provider: &Arc<dyn LogProvider>, shard: &ShardKey, epoch: u64) -> Arc<dyn Log> {
    let (log, report) = provider.open(shard, epoch).await.expect("the log opens");
    assert_eq!(report.cut, None, "nothing was torn");
    log
}

async fn all(log: &Arc<dyn Log>, from: Offset) -> Vec<(Offset, Record)> {
    log.read(from).try_collect().await.expect("the log reads")
}

fn body(n: u64) -> Bytes {
    Bytes::from(format!("record {n} {}", "x".repeat(usize::try_from(n * 37 % 500).unwrap_or(0))))
}

fn bodies(range: std::ops::RangeInclusive<u64>) -> Vec<Bytes> {
    range.map(body).collect()
}

/// Checks that exactly `first..=tail` can be read, with the bodies of [`body`].
async fn expect_range(log: &Arc<dyn Log>, first: Offset, tail: Offset) {
    let got = all(log, first).await;
    let offsets: Vec<_> = got.iter().map(|r| r.0).collect();
    assert_eq!(offsets, (first..=tail).collect::<Vec<_>>());
    for (offset, record) in got {
        assert_eq!(record.body, body(offset), "body of record {offset}");
    }
}

async fn empty_log(provider: Arc<dyn LogProvider>, shard: &ShardKey) {
    assert!(!provider.exists(shard).await.unwrap());
    let log = open(&provider, shard, 1).await;
    let extent = log.extent().await.unwrap();
    assert_eq!((extent.first, extent.tail), (1, 0));
    assert_eq!(all(&log, 1).await, []);
    assert_eq!(log.append(0, vec![]).await, Ok(0));
    log.trim(10).await.expect("trimming an empty log is harmless");
    assert_eq!(log.append(0, vec![body(1)]).await, Ok(1));
    assert!(provider.exists(shard).await.unwrap());
    expect_range(&log, 1, 1).await;
}

async fn durable_and_in_order<F, Fut>(make: &F, shard: &ShardKey)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn LogProvider>>,
{
    let mut tail = 0;
    for epoch in 1..=4 {
        let provider = make().await;
        let log = open(&provider, shard, epoch).await;
        assert_eq!(log.extent().await.unwrap().tail, tail);
        for count in [1, 3, 20] {
            assert_eq!(log.append(tail, bodies(tail + 1..=tail + count)).await, Ok(tail + count));
            tail += count;
            expect_range(&log, 1, tail).await;
        }
        for from in [0, 1, 2, tail, tail + 1, tail + 100] {
            let got = all(&log, from).await;
            assert_eq!(got.len() as u64, (tail + 1).saturating_sub(from.max(1)), "from {from}");
        }
    }
    let log = open(&make().await, shard, 9).await;
    expect_range(&log, 1, tail).await;
    let epochs: Vec<_> = all(&log, 1).await.iter().map(|r| r.1.epoch).collect();
    assert!(epochs.is_sorted() && epochs.first() == Some(&1) && epochs.last() == Some(&4));
}

async fn wrong_tail_appends_nothing(provider: Arc<dyn LogProvider>, shard: &ShardKey) {
    let log = open(&provider, shard, 1).await;
    log.append(0, bodies(1..=5)).await.unwrap();
    for wrong in [0, 4, 6, u64::MAX] {
        assert_eq!(log.append(wrong, bodies(6..=7)).await, Err(LogError::WrongTail { tail: 5 }));
    }
    expect_range(&log, 1, 5).await;
}

async fn epochs_fence<F, Fut>(make: &F, shard: &ShardKey)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn LogProvider>>,
{
    let provider = make().await;
    let old = open(&provider, shard, 3).await;
    old.append(0, bodies(1..=2)).await.unwrap();
    let new = open(&provider, shard, 5).await;
    // Fenced by the opening alone, before the new owner has written anything.
    assert_eq!(old.append(2, bodies(3..=3)).await, Err(LogError::Fenced { newer: 5 }));
    assert_eq!(new.append(2, bodies(3..=3)).await, Ok(3));
    assert_eq!(old.append(3, bodies(4..=4)).await, Err(LogError::Fenced { newer: 5 }));
    assert_eq!(provider.open(shard, 4).await.err(), Some(LogError::Fenced { newer: 5 }));
    assert_eq!(LogError::Fenced { newer: 5 }.kind(), ErrorKind::Fenced);
    let provider = make().await;
    assert_eq!(
        provider.open(shard, 4).await.err(),
        Some(LogError::Fenced { newer: 5 }),
        "after a restart too"
    );
    let again = open(&provider, shard, 5).await;
    assert_eq!(again.append(3, bodies(4..=4)).await, Ok(4));
    expect_range(&again, 1, 4).await;
}

async fn seal_holds<F, Fut>(make: &F, shard: &ShardKey)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn LogProvider>>,
{
    let provider = make().await;
    let log = open(&provider, shard, 2).await;
    log.append(0, bodies(1..=3)).await.unwrap();
    log.seal(2).await.unwrap();
    log.seal(2).await.expect("sealing again is harmless");
    log.seal(1).await.expect("sealing less is harmless");
    let refused = log.append(3, bodies(4..=4)).await.unwrap_err();
    assert_eq!(refused, LogError::Sealed { epoch: 2 });
    expect_range(&log, 1, 3).await;
    let provider = make().await;
    match provider.open(shard, 2).await {
        Ok((log, _)) => assert_eq!(log.append(3, bodies(4..=4)).await.unwrap_err().kind(), ErrorKind::Fenced),
        Err(e) => assert_eq!(e.kind(), ErrorKind::Fenced),
    }
    let log = open(&provider, shard, 3).await;
    assert_eq!(log.append(3, bodies(4..=4)).await, Ok(4));
    expect_range(&log, 1, 4).await;
}

async fn trim_keeps_what_is_above<F, Fut>(make: &F, shard: &ShardKey)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn LogProvider>>,
{
    let provider = make().await;
    let log = open(&provider, shard, 1).await;
    for n in 1..=40 {
        log.append(n - 1, bodies(n..=n)).await.unwrap();
    }
    for through in [0, 7, 7, 3, 25] {
        log.trim(through).await.unwrap();
        let extent = log.extent().await.unwrap();
        // A backend may keep more than it must, never less.
        assert!(extent.first <= through.max(25) + 1 && extent.tail == 40, "{extent:?} after trim({through})");
        expect_range(&log, extent.first, 40).await;
        if extent.first > 1 {
            let below = log.read(extent.first - 1).next().await;
            assert_eq!(below, Some(Err(LogError::Trimmed { first: extent.first })));
        }
    }
    // After a rotation all that was there can go, although more has come.
    assert_eq!(log.rotate().await, Ok(40));
    assert_eq!(log.rotate().await, Ok(40), "a second rotation changes nothing");
    log.append(40, bodies(41..=42)).await.unwrap();
    log.trim(40).await.unwrap();
    assert_eq!(log.extent().await.unwrap().first, 41);
    expect_range(&log, 41, 42).await;
    for again in 0..2 {
        log.trim(42).await.unwrap();
        let extent = log.extent().await.unwrap();
        assert_eq!((extent.first, extent.tail), (43, 42), "time {again}");
        assert_eq!(log.read(42).next().await, Some(Err(LogError::Trimmed { first: 43 })));
        assert_eq!(all(&log, 43).await, []);
    }
    log.trim(1000).await.expect("trimming beyond the tail is trimming all");
    let log = open(&make().await, shard, 1).await;
    assert_eq!(log.extent().await.unwrap().tail, 42, "offsets go on after a restart");
    assert_eq!(log.append(42, bodies(43..=47)).await, Ok(47));
    log.trim(42).await.unwrap();
    expect_range(&log, 43, 47).await;
    let log = open(&make().await, shard, 1).await;
    expect_range(&log, 43, 47).await;
    assert_eq!(log.read(1).next().await, Some(Err(LogError::Trimmed { first: 43 })));
}

async fn one_of_many_writers_wins(provider: Arc<dyn LogProvider>, shard: &ShardKey) {
    let log = open(&provider, shard, 1).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8u64 {
        let log = log.clone();
        writers.spawn(async move {
            let mut mine = vec![];
            let mut tail = 0;
            while mine.len() < 10 {
                let text = Bytes::from(format!("writer {writer} item {}", mine.len()));
                match log.append(tail, vec![text.clone(), text.clone()]).await {
                    Ok(now) => {
                        assert_eq!(now, tail + 2);
                        mine.push((now, text));
                        tail = now;
                    }
                    Err(LogError::WrongTail { tail: now }) => tail = now,
                    Err(e) => panic!("{e}"),
                }
            }
            mine
        });
    }
    let acknowledged: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
    let got = all(&log, 1).await;
    assert_eq!(got.len(), 160);
    for (offset, text) in acknowledged {
        let at = usize::try_from(offset).unwrap();
        assert!(got[at - 1].1.body == text && got[at - 2].1.body == text, "batch at {offset}");
    }
}

async fn bodies_of_all_sizes<F, Fut>(make: &F, shard: &ShardKey)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn LogProvider>>,
{
    let mut seed = 1u32;
    let mut noise = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    let mut sizes = vec![0, 1, 63, 64, 65, 1000, 4096, 65_536, 3 << 20];
    sizes.extend([10; 500]);
    let mut sent: Vec<Bytes> = sizes.iter().map(|n| (0..*n).map(|_| noise()).collect()).collect();
    sent.extend(sizes.iter().map(|n| Bytes::from(vec![7u8; *n])));
    let provider = make().await;
    let log = open(&provider, shard, 1).await;
    let tail = sent.len() as u64;
    assert_eq!(log.append(0, sent.clone()).await, Ok(tail));
    let log = open(&make().await, shard, 2).await;
    let got: Vec<_> = all(&log, 1).await.into_iter().map(|r| r.1.body).collect();
    assert!(got == sent, "bodies come back as they were");
}

async fn delete_is_complete<F, Fut>(make: &F, shard: &ShardKey)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn LogProvider>>,
{
    let provider = make().await;
    let log = open(&provider, shard, 4).await;
    log.append(0, bodies(1..=9)).await.unwrap();
    provider.delete(shard).await.unwrap();
    provider.delete(shard).await.expect("deleting again is harmless");
    assert!(!provider.exists(shard).await.unwrap());
    assert!(log.append(9, bodies(10..=10)).await.is_err(), "a handle to a deleted log is dead");
    let provider = make().await;
    assert!(!provider.exists(shard).await.unwrap());
    let log = open(&provider, shard, 5).await;
    assert_eq!(log.extent().await.unwrap().tail, 0);
    assert_eq!(log.append(0, bodies(1..=1)).await, Ok(1));
}

async fn readers_see_a_prefix(provider: Arc<dyn LogProvider>, shard: &ShardKey) {
    let log = open(&provider, shard, 1).await;
    let writer = {
        let log = log.clone();
        tokio::spawn(async move {
            for n in (0..60).step_by(3) {
                log.append(n, bodies(n + 1..=n + 3)).await.unwrap();
            }
        })
    };
    let mut seen = 0;
    while seen < 60 {
        let got = all(&log, 1).await;
        assert!(got.len() % 3 == 0 && got.len() >= seen, "{} records after {seen}", got.len());
        assert!(got.iter().zip(1..).all(|(r, n)| r.0 == n && r.1.body == body(n)));
        seen = got.len();
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}

async fn shards_are_apart(provider: Arc<dyn LogProvider>, a: &ShardKey, b: &ShardKey) {
    let (one, two) = (open(&provider, a, 1).await, open(&provider, b, 1).await);
    one.append(0, bodies(1..=4)).await.unwrap();
    assert_eq!(two.extent().await.unwrap().tail, 0);
    two.append(0, bodies(1..=2)).await.unwrap();
    provider.delete(a).await.unwrap();
    expect_range(&two, 1, 2).await;
}
