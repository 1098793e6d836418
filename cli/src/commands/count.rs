//! `engram count`: how many points there are.

use anyhow::Result;
use clap::Args;
use engram_proto::v1;

use crate::client::{Connection, refused};
use crate::filter;
use crate::output::line;

/// Count the points of a collection, all or those that match.
///
/// Example: engram count --collection words --regions eu
#[derive(Args)]
pub struct Count {
    /// Collection to count.
    #[arg(long, short)]
    collection: String,
    #[arg(long, value_name = "JSON", help = filter::HELP)]
    filter: Option<String>,
    /// Count these regions only.
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    regions: Vec<String>,
}

impl Count {
    /// Runs the command.
    pub async fn run(&self, connection: &Connection) -> Result<()> {
        let request = v1::CountRequest {
            collection: self.collection.clone(),
            filter: filter::parse(self.filter.as_deref())?,
            regions: self.regions.clone(),
            ..Default::default()
        };
        let client = connection.open().await?;
        line(client.points().count(request).await.map_err(refused)?.into_inner().count)
    }
}
