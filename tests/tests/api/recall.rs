//! Searches by recall, and the live recall in the metrics.

use std::time::Duration;

use engram_proto::v1::{SearchParams, SearchRequest, SearchResponse};
use engram_tests::corpus::Corpus;
use engram_tests::{Client, Server, ServerOptions, wait, wire};
use tonic::{Code, Status};

use super::{DIMENSION, SEED, loaded};

const SEARCHES: usize = 20;

async fn search(client: &Client, query: &[f32], params: SearchParams) -> Result<SearchResponse, Status> {
    let request = SearchRequest {
        collection: "secret-name".into(),
        vector: Some(wire::vector(query)),
        k: 10,
        params: Some(params),
        ..Default::default()
    };
    Ok(client.points.clone().search(request).await?.into_inner())
}

fn by(recall: f32) -> SearchParams {
    SearchParams { recall: Some(recall), ..Default::default() }
}

fn metrics(server: &Server) -> String {
    let (status, text) = server.http_get("/metrics").unwrap();
    assert_eq!(status, 200);
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
    text
}

/// A counter of one collection.
fn counter(text: &str, name: &str, collection: &str) -> Option<u64> {
    let series = format!("{name}{{tenant=\"1\",collection=\"{collection}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&series)).map(|value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_recall_is_measured_in_idle_time_and_goes_with_its_collection() {
    let options = ServerOptions::default().set("index.recheck_one_in", 1).set("index.graph_threshold", 500);
    let server = options.start().unwrap();
    let client = server.client().await.unwrap();
    loaded(&client, "secret-name", 3_000, &[], 1).await;
    client.compact("secret-name").await.unwrap();
    let id = client.list().await.unwrap().remove(0).id;
    assert_eq!(counter(&metrics(&server), "engram_recall_checked_total", &id), None);

    // More of what is there: rows are all that the calibration of a graph knows of queries.
    let mut corpus = Corpus::new(SEED, DIMENSION, &[]);
    corpus.docs(0..3_000);
    for _ in 0..SEARCHES {
        let answer = search(&client, &corpus.vector(), by(0.95)).await.unwrap();
        assert!(answer.hits.len() == 10 && answer.expected_recall.is_some_and(|r| r > 0.9 && r <= 1.0));
    }
    let all = 10 * SEARCHES as u64;
    let text = wait::until_some("the searches to be checked", Duration::from_secs(60), || async {
        let text = metrics(&server);
        Ok((counter(&text, "engram_recall_checked_total", &id) >= Some(all)).then_some(text))
    })
    .await
    .unwrap();
    assert_eq!(counter(&text, "engram_recall_checked_total", &id), Some(all), "each search once");
    let hits = counter(&text, "engram_recall_hits_total", &id).unwrap();
    assert!(hits <= all && hits >= all * 9 / 10, "{hits} of {all}");
    assert!(!text.contains("secret-name"));

    client.drop_collection("secret-name").await.unwrap();
    assert!(!metrics(&server).contains(&id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recall_is_a_share_and_no_companion_of_ef() {
    let (_server, client) = super::server().await;
    loaded(&client, "secret-name", 10, &[], 1).await;
    let query = [0.5; DIMENSION];
    for bad in [0.0, 1.5, f32::NAN] {
        let e = search(&client, &query, by(bad)).await.unwrap_err();
        assert_eq!(e.code(), Code::InvalidArgument);
        assert!(e.message().contains("above 0 and at most 1"), "{e}");
    }
    let e = search(&client, &query, SearchParams { ef: 10, ..by(0.9) }).await.unwrap_err();
    assert!(e.code() == Code::InvalidArgument && e.message().contains("ef"), "{e}");
    assert_eq!(search(&client, &query, by(0.9)).await.unwrap().expected_recall, Some(1.0));
}
