//! Thousands of small collections.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use engram_proto::v1::Metric;
use engram_tests::corpus::Corpus;
use engram_tests::{Server, ServerOptions, process, random};
use futures::StreamExt;

const DIMENSION: u32 = 32;
const START_LIMIT: Duration = Duration::from_secs(10);
const MEMORY_LIMIT_MIB: u64 = 512;
const FILES_LIMIT: usize = 500;
/// Requests at once.
const AT_ONCE: usize = 16;

/// Makes, kills, starts, reads; fails where a limit is exceeded.
pub async fn run(collections: u64, points: u64) -> Result<()> {
    let seed = random::seed("many collections");
    let options = ServerOptions { ready_within: Duration::from_secs(120), ..ServerOptions::default() };
    let mut server = options.start()?;
    let client = server.client().await?;
    let begun = Instant::now();
    let made = futures::stream::iter(0..collections).map(|n| {
        let client = client.clone();
        async move {
            let name = format!("collection-{n}");
            client.create_simple(&name, DIMENSION, Metric::Cosine).await?;
            let docs = Corpus::new(seed ^ n, DIMENSION as usize, &[]).docs(0..points);
            client.upsert(&name, docs.iter().map(|d| d.point()).collect()).await
        }
    });
    let results: Vec<_> = made.buffer_unordered(AT_ONCE).collect().await;
    results.into_iter().collect::<Result<Vec<_>, _>>().context("make the collections")?;
    println!("{collections} collections of {points} points made in {:.1} s", begun.elapsed().as_secs_f64());
    figures("after making them", &server)?;
    server.kill9();
    server.start_again()?;
    let ready = server.ready_after();
    println!("start after a kill: ready in {:.2} s", ready.as_secs_f64());
    figures("after the start", &server)?;
    let client = server.client().await?;
    let begun = Instant::now();
    let counts = futures::stream::iter(0..collections).map(|n| {
        let client = client.clone();
        async move { client.count(&format!("collection-{n}")).await }
    });
    let counts: Vec<_> = counts.buffer_unordered(AT_ONCE).collect().await;
    for count in counts {
        let count = count.context("count")?;
        ensure!(count == points, "a collection has {count} points instead of {points}");
    }
    println!("every collection read once in {:.1} s", begun.elapsed().as_secs_f64());
    figures("after reading all", &server)?;
    ensure!(ready <= START_LIMIT, "the start took {ready:?}, the limit is {START_LIMIT:?}");
    Ok(())
}

fn figures(when: &str, server: &Server) -> Result<()> {
    let pid = server.pid();
    let (files, threads) = (process::open_files(pid)?, process::threads(pid)?);
    let (now, peak) = (process::resident_bytes(pid)? >> 20, process::peak_resident_bytes(pid)? >> 20);
    println!("{when}: {now} MiB resident (peak {peak}), {files} open files, {threads} threads");
    ensure!(peak <= MEMORY_LIMIT_MIB, "{when}: {peak} MiB, the limit is {MEMORY_LIMIT_MIB}");
    ensure!(files <= FILES_LIMIT, "{when}: {files} open files, the limit is {FILES_LIMIT}");
    Ok(())
}
