//! `engram load`: files of embeddings into a collection.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use engram_datasets::readers::{self, FileInfo};
use engram_datasets::{ReadOptions, VectorColumn};
use engram_proto::v1;

use crate::client::{Client, Connection, refused};
use crate::load::batch::Shape;
use crate::load::decode::{self, Start};
use crate::load::files::{self, LoadFile};
use crate::load::journal::{self, Journal};
use crate::load::rejects::Rejects;
use crate::load::upload::{Totals, Upload};
use crate::output::{bytes, line, number};
use crate::progress::Progress;

const EXAMPLES: &str = "\
Examples:
  engram load words.parquet --collection words --create
  engram load ./parts --collection words --create --metric cosine --shards 4 --regions eu,us
  engram load vectors.npy --collection images --create --metric euclid
  engram load rows.jsonl --collection notes --max-errors 0 --reject-file bad.jsonl

Reads Parquet (.parquet), JSON Lines (.jsonl, .ndjson), NumPy (.npy) and .fvecs/.bvecs files. A Parquet file has an
id column, a list column of floats, and any other columns, which become the payload. A load that was interrupted goes
on where it was when the same command is run again.";

/// Load embeddings from files into a collection.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Load {
    /// Files, or folders whose files are all loaded.
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// Collection to load into.
    #[arg(long, short)]
    collection: String,
    /// Create the collection if it is not there, from what the first file holds; also adds regions as they come up.
    #[arg(long)]
    create: bool,
    /// Components per vector, where the files do not say (with --create).
    #[arg(long, value_name = "N")]
    dim: Option<u32>,
    /// How distance is measured (with --create).
    #[arg(long, value_enum, default_value_t = MetricName::Cosine)]
    metric: MetricName,
    /// Shards in each region (with --create).
    #[arg(long, value_name = "N", default_value_t = 1)]
    shards: u32,
    /// Regions of the collection, the first being the default (with --create).
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    regions: Vec<String>,
    /// Column (or JSON key) of the id: an integer, or a UUID.
    #[arg(long, default_value = "id", value_name = "NAME")]
    id_column: String,
    /// Column of a vector, and the vector field it goes to; may be repeated. By default `vector`, or the only list of
    /// floats.
    #[arg(long, value_name = "NAME[=FIELD]")]
    vector_column: Vec<String>,
    /// Column of the region tag.
    #[arg(long, default_value = "region", value_name = "NAME")]
    region_column: String,
    /// Column of the creation time, which ages are counted from.
    #[arg(long, default_value = "created_at", value_name = "NAME")]
    created_at_column: String,
    /// Column of the expiry time.
    #[arg(long, default_value = "expires_at", value_name = "NAME")]
    expires_at_column: String,
    /// Region of all rows, whatever the files say.
    #[arg(long)]
    region: Option<String>,
    /// Rows of one batch; by default as many as make about 1.5 MiB.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch_rows: Option<u32>,
    /// Bad rows that are skipped before the load stops.
    #[arg(long, value_name = "N", default_value_t = 100)]
    max_errors: u64,
    /// Write bad rows to this file: one JSON object each, with file, row (from 0) and reason.
    #[arg(long, value_name = "FILE")]
    reject_file: Option<PathBuf>,
    /// Where to keep the progress; by default below $XDG_STATE_HOME/engram.
    #[arg(long, value_name = "FILE")]
    resume_file: Option<PathBuf>,
    /// Return when the rows are durable, before they can be searched.
    #[arg(long, conflicts_with = "wait_indexed")]
    no_wait: bool,
    /// Return when graphs cover the rows, so that searches are at full speed.
    #[arg(long)]
    wait_indexed: bool,
}

/// How distance is measured.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum MetricName {
    /// Angle: for most text embeddings.
    Cosine,
    /// Inner product.
    Dot,
    /// Straight-line distance.
    Euclid,
    /// Sum of absolute differences.
    Manhattan,
}

impl MetricName {
    /// The wire's metric.
    pub fn wire(self) -> v1::Metric {
        match self {
            Self::Cosine => v1::Metric::Cosine,
            Self::Dot => v1::Metric::Dot,
            Self::Euclid => v1::Metric::Euclid,
            Self::Manhattan => v1::Metric::Manhattan,
        }
    }
}

impl Load {
    /// Runs the command.
    pub async fn run(&self, connection: &Connection) -> Result<()> {
        let found = files::find(&self.paths)?;
        let options = self.options();
        let client = connection.open().await?;
        let collection = self.collection(&client, &found, &options).await?;
        let load = format!("{}\n{}\n{}", client.server(), collection.id, self.settings());
        let path = self.resume_file.clone().unwrap_or_else(|| journal::standard_path(&load));
        let mut journal = Journal::open(path, &load)?;
        let mut rejects = Rejects::new(self.reject_file.clone(), self.max_errors);
        let starts: Vec<Start> = found
            .iter()
            .filter(|file| !journal.position(&file.identity).done)
            .map(|file| Start { row: journal.position(&file.identity).rows, file: Arc::new(file.clone()) })
            .collect();
        let before: u64 = found.iter().map(|file| journal.position(&file.identity).rows).sum();
        if before > 0 {
            eprintln!("going on after {} rows that were loaded before", number(before));
        }
        let mut progress = Progress::new(self.total_rows(&found, &options), before);
        let started = Instant::now();
        let queue = decode::spawn(starts, options, self.shape())?;
        let mut upload =
            Upload::new(&client, self.collection.clone(), &mut journal, &mut rejects, &mut progress);
        upload.done_rows = before;
        upload.regions = self.create.then(|| collection.regions.iter().cloned().collect());
        upload.run(queue).await?;
        let (totals, token) = (upload.totals, upload.token.take());
        progress.finish();
        let loaded = started.elapsed();
        self.wait(&client, token).await?;
        // Only now: a load that is interrupted while it waits has nothing to send again, but knows so.
        journal.remove()?;
        self.summary(totals, &rejects, loaded, started.elapsed())
    }

    fn options(&self) -> ReadOptions {
        ReadOptions {
            id_column: self.id_column.clone(),
            vector_columns: self.vector_column.iter().map(|v| VectorColumn::parse(v)).collect(),
            region_column: self.region_column.clone(),
            created_at_column: self.created_at_column.clone(),
            expires_at_column: self.expires_at_column.clone(),
            batch_rows: self.batch_rows.map(|n| n as usize),
            ..ReadOptions::default()
        }
    }

    /// What changes the points that a row becomes.
    fn settings(&self) -> String {
        let columns =
            [&self.id_column, &self.region_column, &self.created_at_column, &self.expires_at_column];
        format!("{columns:?} {:?} {:?}", self.vector_column, self.region)
    }

    fn shape(&self) -> Shape {
        Shape { collection: self.collection.clone(), region: self.region.clone(), settings: self.settings() }
    }

    /// Rows of all files, where all of them say.
    fn total_rows(&self, found: &[LoadFile], options: &ReadOptions) -> Option<u64> {
        let rows = |file: &LoadFile| readers::open(&file.path, options).ok()?.info().rows;
        found.iter().map(rows).sum()
    }

    /// The collection, created where that is wanted.
    async fn collection(
        &self,
        client: &Client,
        found: &[LoadFile],
        options: &ReadOptions,
    ) -> Result<v1::Collection> {
        let request = v1::GetCollectionRequest { name: self.collection.clone() };
        match client.collections().get_collection(request).await {
            Ok(collection) => return Ok(collection.into_inner()),
            Err(status) if status.code() != tonic::Code::NotFound => return Err(refused(status)),
            Err(status) if !self.create => {
                return Err(refused(status)).context("add --create to make the collection from the file");
            }
            Err(_) => {}
        }
        let first = found.first().context("there is no file to load")?;
        let mut reader = readers::open(&first.path, options)?;
        let info = reader.info().clone();
        let mut regions = self.regions.clone();
        regions.extend(self.region.iter().filter(|r| !self.regions.contains(r)).cloned());
        if regions.is_empty()
            && let Some(batch) = reader.next()
        {
            // The most frequent would be nicer; the first is known without reading the file.
            regions.extend(batch?.regions.into_iter().find(|r| !r.is_empty()));
        }
        let request = v1::CreateCollectionRequest {
            name: self.collection.clone(),
            vectors: self.vector_fields(&info)?,
            regions,
            shards_per_region: self.shards,
            if_not_exists: true,
            ..Default::default()
        };
        Ok(client.collections().create_collection(request).await.map_err(refused)?.into_inner())
    }

    fn vector_fields(&self, info: &FileInfo) -> Result<Vec<v1::VectorField>> {
        let mut fields = Vec::new();
        for vector in &info.vectors {
            let dimension = match (vector.dimension, self.dim) {
                (Some(found), Some(wanted)) if found != wanted as usize => {
                    bail!("the vectors of the file have {found} components, --dim says {wanted}")
                }
                (Some(found), _) => u32::try_from(found)?,
                (None, Some(wanted)) => wanted,
                (None, None) => bail!("the first rows of the file have no vector: give --dim N"),
            };
            let metric = self.metric.wire().into();
            fields.push(v1::VectorField {
                name: vector.field.clone(),
                dimension,
                metric,
                ..Default::default()
            });
        }
        Ok(fields)
    }

    /// Waits until the rows can be searched, or are indexed.
    async fn wait(&self, client: &Client, token: Option<v1::ConsistencyToken>) -> Result<()> {
        if self.no_wait {
            return Ok(());
        }
        let request = v1::CountRequest { collection: self.collection.clone(), token, ..Default::default() };
        client.points().count(request).await.map_err(refused)?;
        if !self.wait_indexed {
            return Ok(());
        }
        eprintln!("waiting for the graphs");
        let collection = self.collection.clone();
        client.admin().flush(v1::FlushRequest { collection: collection.clone() }).await.map_err(refused)?;
        loop {
            let request = v1::StatsRequest { collection: collection.clone() };
            let stats = client.admin().stats(request).await.map_err(refused)?.into_inner();
            if stats.collections.iter().all(|c| c.pending_vectors == 0) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn summary(&self, totals: Totals, rejects: &Rejects, loaded: Duration, all: Duration) -> Result<()> {
        let seconds = loaded.as_secs_f64().max(1e-3);
        for sample in rejects.samples() {
            eprintln!("rejected: {sample}");
        }
        let waited = if self.wait_indexed {
            format!("; indexed after {:.1} s", all.as_secs_f64())
        } else {
            String::new()
        };
        line(format!(
            "loaded {} rows into {} in {seconds:.1} s: {} rows/s, {}/s; {} rejected{waited}",
            number(totals.loaded),
            self.collection,
            number((totals.loaded as f64 / seconds) as u64),
            bytes((totals.bytes as f64 / seconds) as u64),
            number(rejects.count()),
        ))
    }
}
