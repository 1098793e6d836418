//! Reads everything from a server on a damaged directory, and judges it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use engram_proto::v1::{
    CountRequest, ListAliasesRequest, Metric, Point, Receipt, SearchParams, SearchRequest,
};
use engram_tests::{Client, Server, oracle, wire};
use tonic::{Code, Status};

use crate::fixture::{ALIAS, Fixture, NAME, REGIONS};

/// What a damage led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The server does not start and says why.
    Refused,
    /// A request is answered with an error that says why.
    Told,
    /// A log was cut to an exact prefix and the server's log says so.
    Cut,
    /// Everything is as it was.
    NoEffect,
    /// Everything is as it was, also with random bytes in the damaged place: nothing depends on them.
    Unused,
}

/// Everything a client can read.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// All points with payload and vectors.
    pub points: Vec<Point>,
    /// Ids with scores of exact searches.
    pub exact: Vec<Vec<(u64, f32)>>,
    /// Points that match a filter on an indexed field.
    pub filtered: Vec<u64>,
    /// Receipts.
    pub receipts: Vec<Receipt>,
    /// Aliases with collections, and the definition of every collection.
    pub names: Vec<String>,
    /// Points of the other collection.
    pub other: Vec<Point>,
}

/// Reads everything.
pub async fn read(client: &Client, queries: &[Vec<f32>]) -> Result<View, Status> {
    let points = client.scroll_all(NAME, 200).await?;
    let ids: Vec<u64> = points.iter().filter_map(|p| wire::number(p.id.as_ref())).collect();
    let got = client.get_nums(ALIAS, &ids).await?;
    if got != points {
        return Err(Status::unknown("get and scroll give different points"));
    }
    let mut exact = Vec::new();
    for query in queries {
        exact.push(search(client, query, true).await?);
        let walked = search(client, query, false).await?;
        right_scores(query, &walked, &points).map_err(Status::unknown)?;
    }
    let mut filtered = Vec::new();
    for group in 0..3 {
        let filter = wire::must(vec![wire::equals("group", wire::keyword(&format!("g{group}")))]);
        let request = CountRequest { collection: NAME.into(), filter: Some(filter), ..Default::default() };
        filtered.push(client.count_with(request).await?);
    }
    let aliases = client.collections.clone().list_aliases(ListAliasesRequest {}).await?.into_inner().aliases;
    let mut names: Vec<String> = aliases.into_iter().map(|a| format!("{a:?}")).collect();
    names.extend(client.list().await?.into_iter().map(|c| format!("{c:?}")));
    let receipts = client.receipts(10).await?;
    let other = client.scroll_all("other", 10).await?;
    Ok(View { points, exact, filtered, receipts, names, other })
}

async fn search(client: &Client, query: &[f32], exact: bool) -> Result<Vec<(u64, f32)>, Status> {
    let request = SearchRequest {
        collection: NAME.into(),
        vector: Some(wire::vector(query)),
        k: 20,
        params: Some(SearchParams { exact, ..Default::default() }),
        ..Default::default()
    };
    let hits = client.search(request).await?;
    Ok(hits.iter().filter_map(|h| Some((wire::number(h.point.as_ref()?.id.as_ref())?, h.score))).collect())
}

/// A walk through a graph may miss a neighbour, but what it returns has to be there, at the distance it says.
fn right_scores(query: &[f32], hits: &[(u64, f32)], points: &[Point]) -> Result<(), String> {
    let by_id: BTreeMap<u64, &Point> =
        points.iter().filter_map(|p| Some((wire::number(p.id.as_ref())?, p))).collect();
    if hits.len() != 20 {
        return Err(format!("a search returns {} of 20", hits.len()));
    }
    for (id, score) in hits {
        let vector = by_id
            .get(id)
            .and_then(|p| wire::default_vector(p))
            .ok_or(format!("a hit {id} that is no point"))?;
        let distance = oracle::distance(Metric::Euclid, query, &vector);
        if (distance - f64::from(*score)).abs() > 1e-3 * distance.max(1.0) {
            return Err(format!("hit {id} has score {score}, its distance is {distance}"));
        }
    }
    Ok(())
}

/// Starts a server on the directory, reads everything, stops it.
pub async fn start_and_read(dir: &Path, fixture: &Fixture) -> Result<View> {
    let mut server = crate::options(dir).start()?;
    let view = read(&server.client().await?, &fixture.queries).await?;
    server.stop()?;
    Ok(view)
}

/// A damaged file.
pub struct Damaged<'a> {
    /// Its path.
    pub file: &'a Path,
    /// Its end was cut off.
    pub truncated: bool,
}

/// A damaged file after the server has read it.
struct Seen<'a> {
    file: &'a Path,
    /// Truncated between two records: the server had nothing to cut.
    silent: bool,
}

/// Starts a server on a damaged directory and judges what it says; an error is a failure of the server.
pub async fn outcome(dir: &Path, damaged: &Damaged<'_>, fixture: &Fixture, deep: bool) -> Result<Outcome> {
    let length = || std::fs::metadata(damaged.file).map_or(0, |m| m.len());
    let before = length();
    let mut server = Server::new(crate::options(dir))?;
    if let Err(e) = server.start_again() {
        ensure!(server.exited()?.is_none_or(|s| s.code().is_some()), "the server crashed at start: {e:#}");
        let log = server.log();
        ensure!(!panicked(&log), "the server panicked at start: {e:#}");
        ensure!(says_why(&log), "the server does not start and does not say why: {e:#}");
        return Ok(Outcome::Refused);
    }
    let client = server.client().await?;
    let first = read(&client, &fixture.queries).await;
    // A log that ends between two records looks like one whose last records were never written: nothing to report.
    let place = Seen { file: damaged.file, silent: damaged.truncated && length() == before };
    let mut outcome = judge(&server, &place, fixture, first)?;
    if deep {
        // A merge reads everything: damage must not become part of a new file.
        let merged = client.compact("").await;
        if let Err(e) = &merged {
            told(e).context("compaction")?;
        }
        let after = judge(&server, &place, fixture, read(&client, &fixture.queries).await)
            .context("after a compaction")?;
        outcome = match (outcome, merged.is_err()) {
            (Outcome::NoEffect, true) => Outcome::Told,
            (Outcome::NoEffect, false) => after,
            (outcome, _) => outcome,
        };
    }
    ensure!(server.exited()?.is_none(), "the server ended while it was read:\n{}", server.log());
    ensure!(!panicked(&server.log()), "the server panicked:\n{}", server.log());
    Ok(outcome)
}

/// Whether something of ours panicked. The catalog's engine answers some damage with a panic of its own, which its
/// guard catches and tells as damage.
fn panicked(log: &str) -> bool {
    log.lines().any(|l| l.contains("panicked at") && !l.contains("/redb-"))
}

fn says_why(text: &str) -> bool {
    let text = text.to_lowercase();
    ["corrupt", "damage", "checksum", "invalid", "not fit", "cannot", "magic", "torn"]
        .iter()
        .any(|w| text.contains(w))
}

/// An answer that tells of the damage.
fn told(e: &Status) -> Result<()> {
    let fits = matches!(e.code(), Code::DataLoss | Code::Internal | Code::Unavailable | Code::NotFound)
        && (says_why(e.message()) || e.code() == Code::NotFound);
    ensure!(fits, "{:?} does not tell of the damage: {}", e.code(), e.message());
    Ok(())
}

fn judge(
    server: &Server,
    damaged: &Seen<'_>,
    fixture: &Fixture,
    read: Result<View, Status>,
) -> Result<Outcome> {
    let view = match read {
        Ok(view) => view,
        // A collection whose definition is damaged must not look as if it had never been.
        Err(e) if e.code() == Code::NotFound && !says_why(&server.log()) => {
            bail!("silently gone: {}", e.message())
        }
        Err(e) => return told(&e).map(|()| Outcome::Told),
    };
    if view == fixture.view {
        return Ok(Outcome::NoEffect);
    }
    let same_names = view.names == fixture.view.names && view.receipts == fixture.view.receipts;
    ensure!(same_names, "definitions or receipts differ:\n{:?}\n{:?}", view.names, fixture.view.names);
    let mut is_cut = view.other != fixture.view.other;
    if is_cut {
        ensure!(view.other.is_empty(), "the other collection differs: {:?}", view.other);
    }
    for region in REGIONS {
        let held: Vec<&Point> = view.points.iter().filter(|p| p.region == region).collect();
        let prefixes = &fixture.prefixes[region];
        let at = prefixes.iter().rposition(|state| state.iter().eq(held.iter().copied()));
        let Some(at) = at else {
            bail!("{region} holds {} points that are no prefix of its log", held.len())
        };
        is_cut |= at + 1 < prefixes.len();
    }
    ensure!(is_cut, "the points are the same, but a search, a count or a receipt differs");
    ensure!(damaged.file.extension().is_some_and(|e| e == "log"), "records are gone, but no log was damaged");
    let name = damaged.file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let log = server.log();
    let reported = log.lines().any(|l| l.contains("cut") && l.contains(&name));
    ensure!(reported || damaged.silent, "a log was cut without a word:\n{log}");
    Ok(Outcome::Cut)
}
