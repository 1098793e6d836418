//! The API end to end: a real server process, a real connection.

mod agents;
mod collections;
mod reading;
mod recall;
mod regress;
mod searching;

use engram_proto::v1::{CountRequest, CreateCollectionRequest, Metric};
use engram_tests::corpus::{Corpus, Doc, bulk_batch};
use engram_tests::{Client, Server, ServerOptions, wire};

/// Seed of the points: fixed, since these tests look at rules and not at luck.
const SEED: u64 = 42;
const DIMENSION: usize = 24;

async fn server() -> (Server, Client) {
    let server = ServerOptions::default().start().unwrap();
    let client = server.client().await.unwrap();
    (server, client)
}

/// A collection of `count` points in regions, loaded through one stream.
async fn loaded(client: &Client, name: &str, count: u64, regions: &[&str], shards: u32) -> Vec<Doc> {
    let request = CreateCollectionRequest {
        name: name.into(),
        vectors: vec![wire::field("", u32::try_from(DIMENSION).unwrap(), Metric::Euclid)],
        regions: regions.iter().map(ToString::to_string).collect(),
        shards_per_region: shards,
        ..Default::default()
    };
    client.create(request).await.unwrap();
    let docs = Corpus::new(SEED, DIMENSION, regions).docs(0..count);
    load(client, name, &docs).await;
    docs
}

async fn load(client: &Client, name: &str, docs: &[Doc]) {
    let batches: Vec<_> = docs.chunks(500).zip(1..).map(|(part, n)| bulk_batch(name, n, part)).collect();
    let sent = batches.len();
    let acks = client.bulk(batches).await.unwrap();
    assert_eq!(
        acks.iter().map(|a| a.batch).collect::<Vec<_>>(),
        (1..=sent as u64).collect::<Vec<_>>(),
        "in order"
    );
    assert!(acks.iter().all(|a| a.errors.is_empty()), "{acks:?}");
    // Bulk batches are durable when acknowledged, and those of one stream are written side by side: the next read has to
    // wait for each of them.
    for ack in acks {
        let request = CountRequest { collection: name.into(), token: ack.token, ..Default::default() };
        client.count_with(request).await.unwrap();
    }
}
