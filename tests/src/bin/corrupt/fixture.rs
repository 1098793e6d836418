//! A data directory with every type of file, and what the server must say about it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, ensure};
use engram_proto::v1::{
    CreateCollectionRequest, HnswParams, Metric, PayloadIndex, PayloadIndexKind, Point, PurgeRequest,
    SetAliasRequest, VectorField,
};
use engram_storage::log::LogProvider;
use engram_storage::log::file::{FileLogOptions, FileLogProvider};
use engram_storage::schema::DEFAULT_TENANT;
use engram_storage::{CollectionId, RegionName, ShardKey, SystemClock};
use engram_tests::corpus::Corpus;
use engram_tests::{Client, wire};

use crate::observe::{self, View};

/// Collection with everything.
pub const NAME: &str = "things";
/// Its alias.
pub const ALIAS: &str = "alias-of-things";
/// Regions: a shard each.
pub const REGIONS: [&str; 2] = ["eu", "us"];
const DIMENSION: usize = 24;
/// Epoch that the seal names.
const SEALED: u64 = 1;

/// What is true about the directory.
pub struct Fixture {
    /// Everything, as read before any damage.
    pub view: View,
    /// For each region the points after each record that is only in its log: the last is the full one.
    pub prefixes: BTreeMap<String, Vec<Vec<Point>>>,
    /// Queries of the searches.
    pub queries: Vec<Vec<f32>>,
}

impl Fixture {
    /// Makes the directory and stops the server.
    pub async fn make(dir: &Path, seed: u64) -> Result<Self> {
        let mut server = crate::options(dir).start()?;
        let client = server.client().await?;
        let collection = create(&client).await?;
        let mut corpus = Corpus::new(seed, DIMENSION, &REGIONS);
        // Two segments a shard with graphs and payload indexes, dead rows in both, and a log tail.
        for part in [0..600, 600..900] {
            let docs = corpus.docs(part);
            client.upsert(NAME, docs.iter().map(|d| d.point()).collect()).await?;
            client.compact(NAME).await?;
        }
        let request =
            PurgeRequest { collection: NAME.into(), region: "eu".into(), older_than_s: 1 << 30, wait: true };
        client.purge(request).await?;
        client.delete(NAME, &(0..900).step_by(17).collect::<Vec<_>>()).await?;
        client.flush(NAME).await?;
        let mut prefixes: BTreeMap<String, Vec<Vec<Point>>> = BTreeMap::new();
        let mut note = |all: &[Point]| {
            for region in REGIONS {
                let of_region: Vec<Point> = all.iter().filter(|p| p.region == region).cloned().collect();
                let states = prefixes.entry(region.into()).or_default();
                if states.last() != Some(&of_region) {
                    states.push(of_region);
                }
            }
        };
        note(&client.scroll_all(NAME, 500).await?);
        for step in 0..12u64 {
            if step % 4 == 3 {
                client.delete(NAME, &[601 + step, 612 + step]).await?;
            } else {
                let docs = corpus.docs(1000 + step * 10..1000 + step * 10 + 5);
                client.upsert(NAME, docs.iter().map(|d| d.point()).collect()).await?;
            }
            note(&client.scroll_all(NAME, 500).await?);
        }
        let queries: Vec<Vec<f32>> = (0..4).map(|_| corpus.vector()).collect();
        let view = observe::read(&client, &queries).await?;
        server.stop()?;
        seal(dir, &collection).await?;
        for region in REGIONS {
            ensure!(prefixes[region].len() > 4, "the log tail of {region} is short");
        }
        let mut fixture = Self { view, prefixes, queries };
        // What a start without damage shows is the measure: the same data.
        let again = observe::start_and_read(dir, &fixture).await?;
        ensure!(again.points == fixture.view.points, "a restart without damage changes the data");
        fixture.view = again;
        Ok(fixture)
    }
}

/// Seals the log of one shard for the epochs so far, as a new owner in a cluster does: later starts have larger ones.
async fn seal(dir: &Path, collection: &str) -> Result<()> {
    let shard = ShardKey {
        tenant: DEFAULT_TENANT,
        collection: CollectionId(collection.parse()?),
        region: RegionName::try_from(REGIONS[1]).map_err(anyhow::Error::msg)?,
        bucket: 0,
    };
    let logs = FileLogProvider::new(dir.join("log"), Arc::new(SystemClock), FileLogOptions::default());
    ensure!(logs.exists(&shard).await?, "there is no log of {shard}");
    // The first start of the server had epoch 1.
    let (log, _) = logs.open(&shard, SEALED).await?;
    Ok(log.seal(SEALED).await?)
}

/// Makes the collections; returns the id of the one with everything.
async fn create(client: &Client) -> Result<String> {
    let hnsw = Some(HnswParams { graph_threshold: 64, ..Default::default() });
    let field = VectorField {
        dimension: u32::try_from(DIMENSION)?,
        metric: Metric::Euclid.into(),
        hnsw,
        ..Default::default()
    };
    let index = |field: &str, kind: PayloadIndexKind| PayloadIndex {
        field: field.into(),
        kind: kind.into(),
        text: None,
    };
    let request = CreateCollectionRequest {
        name: NAME.into(),
        vectors: vec![field],
        payload_indexes: vec![
            index("group", PayloadIndexKind::Keyword),
            index("price", PayloadIndexKind::Float),
            index("place", PayloadIndexKind::Geo),
        ],
        regions: REGIONS.map(String::from).to_vec(),
        ..Default::default()
    };
    let made = client.create(request).await?;
    client.create_simple("other", 4, Metric::Cosine).await?;
    client.upsert("other", vec![wire::point(1, &[1.0, 2.0, 3.0, 4.0], &serde_json::json!({"a": 1}))]).await?;
    let alias = SetAliasRequest { alias: ALIAS.into(), collection: NAME.into() };
    client.collections.clone().set_alias(alias).await?;
    Ok(made.id)
}
