//! Data sets with their queries and their truth.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use engram_datasets::readers::{self, ReadOptions};
use engram_datasets::sets::{self, Set};
use engram_datasets::{Id, truth};
use engram_index::vector::kernel::Kernel;
use engram_index::vector::{Metric, VectorSet, metric};

/// Results that recall is counted over.
pub const K: usize = 10;

/// A set in memory.
#[derive(Debug)]
pub struct Data {
    /// Where its files are.
    pub set: Set,
    /// Admitted vectors, by row.
    pub base: Arc<VectorSet>,
    /// Ids, by row.
    pub ids: Vec<u64>,
    /// Queries as a client sends them.
    pub queries: Vec<Vec<f32>>,
    /// Regions that its rows name.
    pub regions: usize,
    /// The distance of the [`K`]-th true neighbour of each query, computed by the kernel that searches use.
    bounds: Vec<f32>,
    /// The true neighbours of each query, as ids.
    truth: Vec<Vec<u64>>,
    rows: HashMap<u64, usize>,
}

/// Finds or makes a set: a name that [`sets`] knows, or a folder with `*base.parquet`, `*queries.parquet` and perhaps
/// `*truth.parquet`.
///
/// # Errors
/// A sentence that says how to get the set.
pub fn find(name: &str, metric: Metric) -> Result<Set> {
    if sets::NAMES.contains(&name) {
        return Ok(sets::prepare(name, &mut |line| eprintln!("{line}"))?);
    }
    let folder = Path::new(name);
    ensure!(folder.is_dir(), "{name:?} is neither a folder nor one of the sets {}", sets::NAMES.join(", "));
    let names: Vec<PathBuf> = std::fs::read_dir(folder)?.flatten().map(|f| f.path()).collect();
    let find = |part: &str| names.iter().find(|p| p.to_string_lossy().ends_with(part)).cloned();
    let base = find("base.parquet").with_context(|| format!("{name} has no *base.parquet"))?;
    let queries = find("queries.parquet").with_context(|| format!("{name} has no *queries.parquet"))?;
    let truth = find("truth.parquet").unwrap_or_default();
    let info = readers::open(&base, &ReadOptions::default())?.info().clone();
    let dimension = info.vectors.first().and_then(|v| v.dimension).context("the base has no vectors")?;
    Ok(Set { name: "folder", metric, dimension, base, queries, truth })
}

impl Data {
    /// Reads a set, with at most so many of its queries.
    ///
    /// # Errors
    /// Those of the readers, and where the files do not fit each other.
    pub fn load(set: Set, most_queries: usize) -> Result<Self> {
        let (ids, components, regions) = read_base(&set)?;
        let base = Arc::new(truth::vector_set(set.metric, set.dimension, components)?);
        let queries = set.query_vectors()?;
        let queries: Vec<Vec<f32>> =
            queries.chunks_exact(set.dimension).take(most_queries).map(<[f32]>::to_vec).collect();
        ensure!(!queries.is_empty(), "{} has no queries", set.queries.display());
        let neighbors = if set.truth.is_file() {
            set.true_neighbors()?
        } else {
            eprintln!("computing the truth");
            let all = truth::exact_neighbors(&base, &queries.concat(), K)?;
            all.into_iter().map(|rows| rows.into_iter().map(u64::from).collect()).collect()
        };
        ensure!(neighbors.len() >= queries.len(), "the truth has {} queries", neighbors.len());
        let rows = ids.iter().enumerate().map(|(row, id)| (*id, row)).collect();
        let (bounds, truth) = (Vec::new(), Vec::new());
        let mut data = Self { set, base, ids, queries, regions, bounds, truth, rows };
        data.take_truth(&neighbors)?;
        Ok(data)
    }

    fn take_truth(&mut self, neighbors: &[Vec<u64>]) -> Result<()> {
        for (query, neighbors) in self.queries.iter().zip(neighbors) {
            let rows: Vec<usize> = neighbors.iter().take(K).map(|row| *row as usize).collect();
            ensure!(rows.len() == K, "the truth has {} neighbours, {K} are needed", rows.len());
            let ids = rows.iter().map(|row| self.ids.get(*row).copied().context("the truth names no row"));
            self.truth.push(ids.collect::<Result<_>>()?);
            let distances = rows.iter().map(|row| self.distance(query, *row)).collect::<Result<Vec<_>>>()?;
            self.bounds.push(distances.into_iter().fold(f32::MIN, f32::max));
        }
        Ok(())
    }

    fn distance(&self, query: &[f32], row: usize) -> Result<f32> {
        let mut query = query.to_vec();
        metric::admit(self.set.metric, self.set.dimension, &mut query)?;
        Ok(Kernel::new(self.set.metric).distance(&query, self.base.vector(row)))
    }

    /// Share of the true neighbours that were found, by query number; a hit that is as near as the last true
    /// neighbour counts as one.
    ///
    /// # Errors
    /// Where an answer names a point that the set does not have.
    pub fn recall(&self, found: &[(usize, Vec<u64>)]) -> Result<f64> {
        let mut sum = 0.0;
        for (query, ids) in found {
            let mut hits = 0;
            for id in ids.iter().take(K) {
                hits += usize::from(self.is_hit(*query, *id)?);
            }
            sum += hits as f64 / K as f64;
        }
        Ok(sum / found.len().max(1) as f64)
    }

    fn is_hit(&self, query: usize, id: u64) -> Result<bool> {
        if self.truth[query].contains(&id) {
            return Ok(true);
        }
        let Some(row) = self.rows.get(&id) else {
            bail!("an answer names point {id}, which is not in the set")
        };
        Ok(self.distance(&self.queries[query], *row)? <= self.bounds[query])
    }

    /// `wordnet: 115659 x 384, cosine, 2000 queries, k 10`.
    pub fn describe(&self) -> String {
        let (n, d) = (self.base.len(), self.base.dimension());
        let metric = metric_name(self.set.metric);
        format!("{}: n {n}, d {d}, {metric}, {} queries, k {K}", self.set.name, self.queries.len())
    }
}

/// The name that the command line takes.
pub fn metric_name(metric: Metric) -> &'static str {
    match metric {
        Metric::Cosine => "cosine",
        Metric::Dot => "dot",
        Metric::Euclid => "euclid",
        Metric::Manhattan => "manhattan",
    }
}

/// The metric of that name.
///
/// # Errors
/// Where there is none.
pub fn metric_named(name: &str) -> Result<Metric> {
    let all = [Metric::Cosine, Metric::Dot, Metric::Euclid, Metric::Manhattan];
    all.into_iter().find(|m| metric_name(*m) == name).with_context(|| format!("there is no metric {name:?}"))
}

/// Ids, components, and the number of regions.
fn read_base(set: &Set) -> Result<(Vec<u64>, Vec<f32>, usize)> {
    let (mut ids, mut components, mut regions) = (Vec::new(), Vec::new(), HashSet::new());
    for batch in readers::open(&set.base, &ReadOptions::default())? {
        let batch = batch?;
        for row in 0..batch.len() {
            let Some(Id::Num(id)) = batch.ids.get(row) else { bail!("the benchmark needs numbers as ids") };
            ids.push(id);
        }
        let vectors = batch.vectors.first().context("the base has no vectors")?;
        ensure!(vectors.present.is_none(), "the benchmark needs a vector in every row");
        components.extend_from_slice(&vectors.components);
        regions.extend(batch.regions.into_iter().filter(|region| !region.is_empty()));
    }
    Ok((ids, components, regions.len()))
}
