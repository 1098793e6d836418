//! `engram search`: the nearest points.

use anyhow::{Context, Result, bail};
use clap::Args;
use engram_proto::v1;
use serde::Deserialize;
use serde_json::json;

use crate::client::{Connection, refused};
use crate::output::{self, cells, line, table};
use crate::{filter, point_id};

const EXAMPLES: &str = "\
Examples:
  engram search --collection words --like 42
  engram search --collection words --like 42 --recall 0.97
  engram search --collection words --vector '[0.1, 0.2, 0.3]' --limit 5 --json
  engram search --collection words --like 42 --filter '{\"must\":[{\"key\":\"pos\",\"match\":{\"value\":\"noun\"}}]}'";

/// Find the points nearest to a point or a vector.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Search {
    /// Collection to search.
    #[arg(long, short)]
    collection: String,
    /// Search for what is like this point (which is left out of the answer).
    #[arg(long, value_name = "ID", value_parser = point_id::parse, required_unless_present = "vector")]
    like: Option<v1::PointId>,
    /// Search for this vector: a JSON array of numbers, of arrays (multi), or an object with indices and values (sparse).
    #[arg(long, value_name = "JSON", conflicts_with = "like", allow_hyphen_values = true)]
    vector: Option<String>,
    /// Number of points to show.
    #[arg(long, short = 'k', default_value_t = 10, value_name = "N")]
    limit: u32,
    /// Points to skip first.
    #[arg(long, default_value_t = 0, value_name = "N")]
    offset: u32,
    #[arg(long, value_name = "JSON", help = filter::HELP)]
    filter: Option<String>,
    /// Vector field to search; by default the unnamed one.
    #[arg(long, default_value = "", hide_default_value = true)]
    field: String,
    /// Search these regions only.
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    regions: Vec<String>,
    /// Compare with every point instead of walking a graph.
    #[arg(long)]
    exact: bool,
    /// Share of the true neighbours that is wanted, such as 0.97: more is slower; by default what the server is set to.
    #[arg(long, value_name = "SHARE", conflicts_with = "ef")]
    recall: Option<f32>,
    /// Candidates of a graph walk, instead of a share; 0 means that the share says how many.
    #[arg(long, default_value_t = 0, value_name = "N")]
    ef: u32,
    /// Show vectors too (in JSON).
    #[arg(long, requires = "json")]
    with_vectors: bool,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

impl Search {
    /// Runs the command.
    pub async fn run(&self, connection: &Connection) -> Result<()> {
        let request = self.request()?;
        let client = connection.open().await?;
        let answer = client.points().search(request).await.map_err(refused)?.into_inner();
        if self.json {
            let hits: Vec<_> = answer.hits.iter().map(hit).collect();
            let value = json!({
                "hits": hits,
                "partial": answer.partial,
                "took_us": answer.took_us,
                "expected_recall": answer.expected_recall,
            });
            return output::json(&value);
        }
        let mut shown = table(["score", "id", "payload", "region", "created_at"]);
        for hit in &answer.hits {
            let cells = hit.point.as_ref().map(cells).unwrap_or_default();
            shown.add_row([format!("{:.4}", hit.score)].into_iter().chain(cells));
        }
        line(shown)?;
        let recall = answer.expected_recall.map_or_else(String::new, expected);
        line(format!("{} points in {:.1} ms{recall}", answer.hits.len(), answer.took_us as f64 / 1000.0))
    }

    fn request(&self) -> Result<v1::SearchRequest> {
        let vector = self.vector.as_deref().map(parse_vector).transpose()?;
        Ok(v1::SearchRequest {
            collection: self.collection.clone(),
            vector,
            like: self.like.clone(),
            field: self.field.clone(),
            filter: filter::parse(self.filter.as_deref())?,
            k: self.limit,
            offset: self.offset,
            params: Some(v1::SearchParams { ef: self.ef, exact: self.exact, recall: self.recall }),
            selection: Some(v1::Selection {
                with_payload: true,
                with_vectors: self.with_vectors,
                ..Default::default()
            }),
            regions: self.regions.clone(),
            ..Default::default()
        })
    }
}

fn hit(hit: &v1::ScoredPoint) -> serde_json::Value {
    let mut value = hit.point.as_ref().map_or_else(|| json!({}), output::point);
    if let Some(object) = value.as_object_mut() {
        object.insert("score".to_owned(), json!(hit.score));
    }
    value
}

/// What part of the true neighbours an answer is expected to hold; never rounded up to all of them.
fn expected(recall: f32) -> String {
    format!(", expected recall {:.3}", (f64::from(recall) * 1000.0).floor() / 1000.0)
}

/// The forms of a query.
#[derive(Deserialize)]
#[serde(untagged)]
enum Query {
    Dense(Vec<f32>),
    Multi(Vec<Vec<f32>>),
    Sparse { indices: Vec<u32>, values: Vec<f32> },
}

fn parse_vector(text: &str) -> Result<v1::Vector> {
    let query: Query = serde_json::from_str(text).context(
        "--vector is a JSON array of numbers, such as '[0.1, 0.2]', an array of those for a multi vector, or \
         '{\"indices\": [3, 7], \"values\": [0.1, 0.2]}' for a sparse one",
    )?;
    let vector = v1::Vector::default();
    Ok(match query {
        Query::Dense(values) if values.is_empty() => bail!("--vector is empty"),
        Query::Dense(values) => v1::Vector { values, ..vector },
        Query::Sparse { indices, values } => {
            v1::Vector { sparse: Some(v1::SparseVector { indices, values }), ..vector }
        }
        Query::Multi(vectors) => {
            let dimension = vectors.first().map_or(0, Vec::len);
            if vectors.iter().any(|v| v.len() != dimension) {
                bail!("the vectors of --vector have different numbers of components");
            }
            let dimension = u32::try_from(dimension).context("a vector of --vector is too long")?;
            let multi = v1::MultiVector { dimension, values: vectors.concat(), ..Default::default() };
            v1::Vector { multi: Some(multi), ..vector }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{expected, parse_vector};

    #[test]
    fn an_expected_recall_is_not_rounded_up() {
        assert_eq!(expected(1.0), ", expected recall 1.000");
        assert_eq!(expected(0.999_9), ", expected recall 0.999");
    }

    #[test]
    fn vectors_on_the_command_line() {
        assert_eq!(parse_vector("[1, -2.5]").unwrap().values, [1.0, -2.5]);
        let sparse = parse_vector(r#"{"indices": [7, 3], "values": [1, -2.5]}"#).unwrap().sparse.unwrap();
        assert_eq!((sparse.indices, sparse.values), (vec![7, 3], vec![1.0, -2.5]));
        let multi = parse_vector("[[1, 2], [3, 4]]").unwrap().multi.unwrap();
        assert_eq!((multi.dimension, multi.values), (2, vec![1.0, 2.0, 3.0, 4.0]));
        assert!(parse_vector("[[1, 2], [3]]").is_err() && parse_vector(r#"{"indices": [7]}"#).is_err());
        assert!(parse_vector("[]").is_err() && parse_vector("1,2").is_err());
    }
}
