//! `engram get`: points by id.

use anyhow::{Result, bail};
use clap::Args;
use engram_proto::v1;

use crate::client::{Connection, refused};
use crate::output::{self, cells, line, table};
use crate::point_id;

/// Show points by their ids.
///
/// Example: engram get --collection words 42 43 --json
#[derive(Args)]
pub struct Get {
    /// Collection of the points.
    #[arg(long, short)]
    collection: String,
    /// Ids: numbers or UUIDs.
    #[arg(required = true, value_name = "ID", value_parser = point_id::parse)]
    ids: Vec<v1::PointId>,
    /// Show vectors too (in JSON).
    #[arg(long, requires = "json")]
    with_vectors: bool,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

impl Get {
    /// Runs the command; a missing point is a failure.
    pub async fn run(&self, connection: &Connection) -> Result<()> {
        let client = connection.open().await?;
        let selection =
            v1::Selection { with_payload: true, with_vectors: self.with_vectors, ..Default::default() };
        let request = v1::GetRequest {
            collection: self.collection.clone(),
            ids: self.ids.clone(),
            selection: Some(selection),
            ..Default::default()
        };
        let points = client.points().get(request).await.map_err(refused)?.into_inner().points;
        if self.json {
            output::json(&points.iter().map(output::point).collect())?;
        } else {
            let mut shown = table(["id", "payload", "region", "created_at"]);
            for point in &points {
                shown.add_row(cells(point));
            }
            line(shown)?;
        }
        if points.len() < self.ids.len() {
            bail!(
                "{} of {} points are not in {}",
                self.ids.len() - points.len(),
                self.ids.len(),
                self.collection
            );
        }
        Ok(())
    }
}
