//! The steps of the tour.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use engram_datasets::{ReadOptions, WORDNET_5K, truth};
use engram_proto::v1;

use super::bytes_scan::{Found, scan};
use super::server::ServerProcess;
use crate::client::{Client, Connection, refused};
use crate::load::batch::Shape;
use crate::load::decode::{self, Start};
use crate::load::files;
use crate::load::journal::Journal;
use crate::load::rejects::Rejects;
use crate::load::upload::Upload;
use crate::output::{bytes, cut, number, payload};
use crate::progress::Progress;
use crate::{filter, point_id};

const COLLECTION: &str = "words";
/// Low, so that 5,000 points already get graphs; the server's default is 20,000.
const GRAPH_THRESHOLD: u32 = 500;
const NEIGHBORS: u32 = 10;
/// One query of the recall check for so many points.
const QUERY_STRIDE: u64 = 50;
const AGE_DAYS: u64 = 180;

/// Runs the tour. Whatever happens, the server ends and its files go (unless they are to be kept).
pub async fn run(keep: bool) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("engram-demo-").tempdir()?;
    let mut tour = Tour { folder: folder.path().to_owned(), step: 0 };
    let ended = tour.all().await;
    if keep {
        println!("\nThe files are kept in {}", folder.keep().display());
    }
    ended?;
    println!("\nThat was the tour. Your own server: engram serve; everything else: engram help");
    Ok(())
}

struct Tour {
    folder: PathBuf,
    step: u32,
}

impl Tour {
    async fn all(&mut self) -> Result<()> {
        println!(
            "Engram keeps embeddings, finds the nearest, and really erases what must go. Here is all of it."
        );
        let server = self.start().await?;
        let client = Connection::local(server.url.clone()).open().await?;
        self.load(&client).await?;
        let ship = self.by_meaning(&client).await?;
        self.with_filter(&client, &ship).await?;
        self.recall(&client).await?;
        let (server, client) = self.kill_and_restart(server, client).await?;
        self.purge(&client).await?;
        drop(client);
        server.kill()
    }

    fn title(&mut self, text: &str) {
        self.step += 1;
        println!("\n{}. {text}", self.step);
    }

    async fn start(&mut self) -> Result<ServerProcess> {
        self.title("Start a server: one program, no other service");
        let server = ServerProcess::start(&self.folder).await?;
        println!(
            "   engram serve, process {}, ready after {} ms at {}",
            server.id(),
            server.ready_after.as_millis(),
            server.url
        );
        Ok(server)
    }

    async fn load(&mut self, client: &Client) -> Result<()> {
        self.title(
            "Load 5,000 WordNet definitions with their all-MiniLM-L6-v2 embeddings, in regions eu, us and ap",
        );
        let request = v1::CreateCollectionRequest {
            name: COLLECTION.to_owned(),
            vectors: vec![v1::VectorField {
                name: String::new(),
                dimension: 384,
                metric: v1::Metric::Cosine.into(),
                hnsw: Some(v1::HnswParams { graph_threshold: GRAPH_THRESHOLD, ..Default::default() }),
                ..Default::default()
            }],
            payload_indexes: vec![v1::PayloadIndex {
                field: "pos".to_owned(),
                kind: v1::PayloadIndexKind::Keyword.into(),
                text: None,
            }],
            regions: ["eu", "us", "ap"].map(str::to_owned).to_vec(),
            ..Default::default()
        };
        client.collections().create_collection(request).await.map_err(refused)?;
        let path = self.folder.join("wordnet-5k.parquet");
        std::fs::write(&path, WORDNET_5K)?;
        let started = Instant::now();
        let rows = self.send(client, &path).await?;
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "   {} rows in {seconds:.2} s ({} rows/s), each on disk before it was acknowledged",
            number(rows),
            number((rows as f64 / seconds) as u64)
        );
        ensure!(rows == 5_000, "only {rows} of 5,000 rows were loaded");
        // Into segments with graphs: a small load would otherwise stay in memory (and in the log) for a while.
        client
            .admin()
            .compact(v1::CompactRequest { collection: COLLECTION.to_owned() })
            .await
            .map_err(refused)?;
        let stats = self.stats(client).await?;
        let segments: usize = stats.shards.iter().map(|s| s.segments.len()).sum();
        println!(
            "   {segments} segments (Parquet files that any tool reads), {} vectors in graphs",
            number(stats.indexed_vectors)
        );
        Ok(())
    }

    async fn send(&self, client: &Client, path: &Path) -> Result<u64> {
        let file = files::find(&[path.to_owned()])?.pop().context("the data set is gone")?;
        let shape = Shape { collection: COLLECTION.to_owned(), region: None, settings: String::new() };
        let starts = vec![Start { file: Arc::new(file), row: 0 }];
        let queue = decode::spawn(starts, ReadOptions::default(), shape)?;
        let mut journal = Journal::open(self.folder.join("journal.json"), COLLECTION)?;
        let (mut rejects, mut progress) = (Rejects::new(None, 0), Progress::new(Some(5_000), 0));
        let mut upload =
            Upload::new(client, COLLECTION.to_owned(), &mut journal, &mut rejects, &mut progress);
        upload.run(queue).await?;
        let (rows, token) = (upload.totals.loaded, upload.token.take());
        let request = v1::CountRequest { collection: COLLECTION.to_owned(), token, ..Default::default() };
        client.points().count(request).await.map_err(refused)?;
        Ok(rows)
    }

    /// Searches for what is like a well-known word.
    async fn by_meaning(&mut self, client: &Client) -> Result<v1::Point> {
        let words = ["forest", "king"];
        let mut found = None;
        for word in words {
            let wanted = format!(r#"{{"must":[{{"key":"lemma","match":{{"value":"{word}"}}}}]}}"#);
            found = self.first(client, Some(&wanted)).await?;
            if found.is_some() {
                break;
            }
        }
        let point = match found {
            Some(point) => point,
            None => self.first(client, None).await?.context("the collection is empty")?,
        };
        self.title(&format!("Search by meaning: what is like {}?", gloss(&point)));
        let request = search(point.id.clone());
        let answer = client.points().search(request).await.map_err(refused)?.into_inner();
        print_hits(&answer);
        ensure!(answer.hits.len() == 5, "5 points were asked for, {} came", answer.hits.len());
        Ok(point)
    }

    async fn with_filter(&mut self, client: &Client, like: &v1::Point) -> Result<()> {
        self.title("The same, but only verbs, and only in region us");
        let wanted = r#"{"must":[{"key":"pos","match":{"value":"verb"}}]}"#;
        // By its vector: the point itself need not be in region us.
        let request = v1::SearchRequest {
            vector: like.vectors.get("").cloned(),
            filter: filter::parse(Some(wanted))?,
            regions: vec!["us".to_owned()],
            ..search(None)
        };
        let answer = client.points().search(request).await.map_err(refused)?.into_inner();
        print_hits(&answer);
        let right = |hit: &v1::ScoredPoint| {
            hit.point.as_ref().is_some_and(|p| p.region == "us" && payload(p)["pos"] == "verb")
        };
        ensure!(!answer.hits.is_empty() && answer.hits.iter().all(right), "the filter was not kept");
        Ok(())
    }

    /// Compares searches by graph with exact ones.
    async fn recall(&mut self, client: &Client) -> Result<()> {
        self.title(
            "How good are the graphs? The same 100 searches by graph and by comparing with every point",
        );
        let mut answers = [Vec::new(), Vec::new()];
        let mut micros = [0u64; 2];
        for (exact, (answers, micros)) in [false, true].into_iter().zip(answers.iter_mut().zip(&mut micros)) {
            for id in (0..5_000).step_by(QUERY_STRIDE as usize) {
                let request = v1::SearchRequest {
                    k: NEIGHBORS,
                    selection: None,
                    params: Some(v1::SearchParams { exact, ..Default::default() }),
                    ..search(Some(v1::PointId { kind: Some(v1::point_id::Kind::Num(id)) }))
                };
                let answer = client.points().search(request).await.map_err(refused)?.into_inner();
                *micros += answer.took_us;
                answers.push(answer.hits.iter().map(numeric_id).collect::<Vec<u64>>());
            }
        }
        let queries = answers[0].len() as u64;
        let recall = truth::recall(&answers[0], &answers[1]);
        println!(
            "   recall@{NEIGHBORS} {recall:.3}; {} us a search by graph, {} us exact, in the server",
            micros[0] / queries,
            micros[1] / queries
        );
        ensure!(recall >= 0.95, "the recall is {recall:.3}, below 0.95");
        Ok(())
    }

    async fn kill_and_restart(
        &mut self,
        server: ServerProcess,
        client: Client,
    ) -> Result<(ServerProcess, Client)> {
        self.title("Pull the plug: kill -9, then start again over the same files");
        // The last write is a moment old and in no segment yet.
        let note = v1::Point {
            id: Some(v1::PointId { kind: Some(v1::point_id::Kind::Num(1_000_000)) }),
            payload_json: r#"{"lemma":"note","gloss":"written just before the plug was pulled"}"#.into(),
            region: "us".to_owned(),
            ..Default::default()
        };
        let request =
            v1::UpsertRequest { collection: COLLECTION.to_owned(), points: vec![note], ..Default::default() };
        client.points().upsert(request).await.map_err(refused)?;
        drop(client);
        let pid = server.id();
        server.kill()?;
        let server = ServerProcess::start(&self.folder).await?;
        let client = Connection::local(server.url.clone()).open().await?;
        let count = self.count(&client, "").await?;
        let note = self.get(&client, 1_000_000).await?.context("the last write is lost")?;
        println!(
            "   killed process {pid}; process {} was ready after {} ms",
            server.id(),
            server.ready_after.as_millis()
        );
        println!("   {} points are there, also the last: {}", number(count), gloss(&note));
        ensure!(count == 5_001, "{count} points of 5,001 are there");
        Ok((server, client))
    }

    async fn purge(&mut self, client: &Client) -> Result<()> {
        self.title(&format!(
            "Erase what is older than {AGE_DAYS} days in region eu, and look for the bytes afterwards"
        ));
        let request = v1::PurgeRequest {
            collection: COLLECTION.to_owned(),
            region: "eu".to_owned(),
            older_than_s: AGE_DAYS * 86_400,
            wait: true,
        };
        let plan = client.retention().dry_run(request.clone()).await.map_err(refused)?.into_inner();
        let before = self.count(client, "eu").await?;
        println!("   a dry run says {} of {} points in eu would go", number(plan.points), number(before));
        ensure!(plan.points > 0 && plan.points <= before, "the dry run makes no sense");
        let (victim, kept) = self.oldest_and_newest(client).await?;
        println!("   one of them is {}", gloss(&victim));
        let control = scan_for(&self.folder, &victim)?;
        print_scan("before", &control);
        ensure!(control.places.iter().all(|&n| n > 0), "the scan does not find what is there");
        let receipt = client.retention().purge(request).await.map_err(refused)?.into_inner();
        ensure!(receipt.state == "complete", "the purge is {}: {}", receipt.state, receipt.error);
        let after = scan_for(&self.folder, &victim)?;
        print_scan("after ", &after);
        ensure!(after.places.iter().all(|&n| n == 0), "bytes of an erased point are still in a file");
        let still = scan_for(&self.folder, &kept)?;
        ensure!(still.places.iter().all(|&n| n > 0), "bytes of a point that stays are gone");
        println!("   (a point that stays is still found: the scan works)");
        let left = self.count(client, "eu").await?;
        ensure!(left == before - receipt.points_erased, "{left} points are left in eu");
        ensure!(receipt.points_erased == plan.points, "the dry run said {}", plan.points);
        println!(
            "   receipt {}: {} points erased, {} left in eu; {} files removed, {} written",
            receipt.id,
            number(receipt.points_erased),
            number(left),
            receipt.removed.len(),
            receipt.created.len()
        );
        println!("   hash {} (chained to the receipt before)", cut(&receipt.hash, 32));
        Ok(())
    }

    async fn stats(&self, client: &Client) -> Result<v1::CollectionStats> {
        let request = v1::StatsRequest { collection: COLLECTION.to_owned() };
        let stats = client.admin().stats(request).await.map_err(refused)?.into_inner();
        stats.collections.into_iter().next().context("the server has no statistics")
    }

    async fn count(&self, client: &Client, region: &str) -> Result<u64> {
        let regions = if region.is_empty() { Vec::new() } else { vec![region.to_owned()] };
        let request = v1::CountRequest { collection: COLLECTION.to_owned(), regions, ..Default::default() };
        Ok(client.points().count(request).await.map_err(refused)?.into_inner().count)
    }

    async fn first(&self, client: &Client, wanted: Option<&str>) -> Result<Option<v1::Point>> {
        let request = v1::ScrollRequest {
            collection: COLLECTION.to_owned(),
            filter: filter::parse(wanted)?,
            limit: 1,
            selection: Some(v1::Selection { with_payload: true, with_vectors: true, ..Default::default() }),
            ..Default::default()
        };
        Ok(client.points().scroll(request).await.map_err(refused)?.into_inner().points.into_iter().next())
    }

    async fn get(&self, client: &Client, id: u64) -> Result<Option<v1::Point>> {
        let request = v1::GetRequest {
            collection: COLLECTION.to_owned(),
            ids: vec![v1::PointId { kind: Some(v1::point_id::Kind::Num(id)) }],
            selection: Some(v1::Selection { with_payload: true, ..Default::default() }),
            ..Default::default()
        };
        Ok(client.points().get(request).await.map_err(refused)?.into_inner().points.into_iter().next())
    }

    /// The points of eu that were created first and last, with their vectors as the server stores them.
    async fn oldest_and_newest(&self, client: &Client) -> Result<(v1::Point, v1::Point)> {
        let mut all = Vec::new();
        let mut from = None;
        loop {
            let request = v1::ScrollRequest {
                collection: COLLECTION.to_owned(),
                regions: vec!["eu".to_owned()],
                from,
                limit: 1_000,
                selection: Some(v1::Selection {
                    with_payload: true,
                    with_vectors: true,
                    ..Default::default()
                }),
                ..Default::default()
            };
            let page = client.points().scroll(request).await.map_err(refused)?.into_inner();
            all.extend(page.points);
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        // A gloss that other points share would be found after the purge, and rightly so.
        all.sort_by_key(|p| p.created_at_ms);
        let unique = |p: &v1::Point| {
            let text = gloss_text(p);
            text.len() > 30 && all.iter().filter(|other| gloss_text(other) == text).count() == 1
        };
        let oldest = all.iter().find(|p| unique(p)).cloned();
        let newest = all.iter().rev().find(|p| unique(p)).cloned();
        match (oldest, newest) {
            (Some(oldest), Some(newest)) => Ok((oldest, newest)),
            _ => bail!("region eu is empty"),
        }
    }
}

fn search(like: Option<v1::PointId>) -> v1::SearchRequest {
    v1::SearchRequest {
        collection: COLLECTION.to_owned(),
        like,
        k: 5,
        selection: Some(v1::Selection { with_payload: true, ..Default::default() }),
        ..Default::default()
    }
}

fn numeric_id(hit: &v1::ScoredPoint) -> u64 {
    let id = hit.point.as_ref().and_then(|p| p.id.as_ref());
    point_id::text(id).parse().unwrap_or(u64::MAX)
}

fn gloss_text(point: &v1::Point) -> String {
    payload(point)["gloss"].as_str().unwrap_or_default().to_owned()
}

fn gloss(point: &v1::Point) -> String {
    let lemma = payload(point)["lemma"].as_str().unwrap_or("?").to_owned();
    format!("{lemma:?} ({})", cut(&gloss_text(point), 80))
}

fn print_hits(answer: &v1::SearchResponse) {
    for hit in &answer.hits {
        if let Some(point) = &hit.point {
            println!("   {:.3}  {:<4} {}", hit.score, point.region, gloss(point));
        }
    }
}

/// Looks for the vector and the gloss of a point in the files of the server.
fn scan_for(folder: &Path, point: &v1::Point) -> Result<Found> {
    let vector = point.vectors.get("").context("the point has no vector")?;
    let raw: Vec<u8> = crate::output::components(vector).iter().flat_map(|v| v.to_le_bytes()).collect();
    // JSON text: quotes inside the gloss are stored with a backslash.
    let quoted = serde_json::to_string(&gloss_text(point))?;
    let text = quoted.trim_matches('"').as_bytes();
    // A part of the vector is enough, and also shows where a page boundary cuts it.
    let part = raw.get(..64).context("the vector is empty")?;
    scan(&folder.join("data"), &[part, text])
}

fn print_scan(when: &str, found: &Found) {
    println!(
        "   {when} the purge: its vector in {} places, its gloss in {}; searched {} files, {} and {} packed pieces",
        found.places[0],
        found.places[1],
        found.files,
        bytes(found.bytes),
        number(found.unpacked as u64)
    );
}
