//! Figures: `cargo test --release -p engram-storage --test log_file -- --ignored --nocapture throughput`.

use std::time::Instant;

use engram_storage::op::ConditionalOp;
use engram_storage::{Op, OpBatch, Point, PointId};
use rand::{Rng, SeedableRng};

use super::*;

/// A number as a model gives it: normal, then rounded to the ten bits of a 16-bit float.
fn component(rng: &mut impl Rng) -> f32 {
    let normal: f32 = (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0;
    f32::from_bits((normal * 0.05).to_bits() & !0x1fff)
}

fn batch(rng: &mut impl Rng, first: u64) -> OpBatch {
    let mut op = |i: u64| {
        let point = Point {
            id: PointId::Num(first + i),
            vectors: vec![(0, (0..384).map(|_| component(rng)).collect())],
            payload: Bytes::from(format!("{{\"title\":\"item {i}\",\"lang\":\"en\"}}")),
            created_at: 1,
            ingested_at: 2,
            expires_at: None,
            version: 0,
        };
        ConditionalOp { op: Op::Upsert(point), if_version: None }
    };
    OpBatch { ops: (0..1000).map(&mut op).collect(), idempotency: None }
}

#[test]
#[ignore = "a measurement, not a check"]
fn throughput_of_compression() {
    let mut rng = rand::rngs::StdRng::seed_from_u64(1);
    let raw = batch(&mut rng, 0).encode();
    for level in [-7, -5, -3, -1, 1, 3] {
        let mut zstd = zstd::bulk::Compressor::new(level).unwrap();
        let start = Instant::now();
        let mut packed = vec![];
        for _ in 0..30 {
            packed = zstd.compress(&raw).unwrap();
        }
        let each = start.elapsed().as_secs_f64() / 30.0;
        let start = Instant::now();
        for _ in 0..30 {
            zstd::bulk::decompress(&packed, raw.len()).unwrap();
        }
        let back = start.elapsed().as_secs_f64() / 30.0;
        let mb = raw.len() as f64 / 1e6;
        let ratio = packed.len() as f64 / raw.len() as f64;
        println!("zstd {level}: ratio {ratio:.3}, {:.0} MB/s in, {:.0} MB/s out", mb / each, mb / back);
    }
}

#[tokio::test]
#[ignore = "a measurement, not a check"]
async fn throughput_of_appends() {
    let root =
        tempfile::tempdir_in(std::env::var("CARGO_TARGET_TMPDIR").unwrap_or_else(|_| "/var/tmp".into()))
            .unwrap();
    let (log, _) = reopen(root.path(), FileLogOptions::default()).await.unwrap();
    let mut rng = rand::rngs::StdRng::seed_from_u64(1);
    let batches: Vec<_> = (0..20).map(|n| batch(&mut rng, n * 1000)).collect();
    let (start, mut raw) = (Instant::now(), 0);
    for tail in 0..200u64 {
        let body = batches[tail as usize % 20].encode();
        raw += body.len();
        log.append(tail, vec![body]).await.unwrap();
    }
    let s = start.elapsed().as_secs_f64();
    let disk = log.extent().await.unwrap().bytes as f64 / 1e6;
    println!(
        "append: {:.0} MB/s of ops, {:.0} vectors/s, {disk:.0} MB on disk",
        raw as f64 / 1e6 / s,
        200_000.0 / s
    );
    let small: Vec<_> = (0..300u64).map(|n| Bytes::from(vec![n as u8; 100])).collect();
    let start = Instant::now();
    for (tail, body) in (200..).zip(small) {
        log.append(tail, vec![body]).await.unwrap();
    }
    println!("small appends: {:.0}/s", 300.0 / start.elapsed().as_secs_f64());
    drop(log);
    let start = Instant::now();
    let (log, _) = reopen(root.path(), FileLogOptions::default()).await.unwrap();
    println!("open (last file checked): {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    let start = Instant::now();
    let n = read_all(&log).await.unwrap().len();
    println!("read {n} records: {:.0} MB/s of ops", raw as f64 / 1e6 / start.elapsed().as_secs_f64());
}
