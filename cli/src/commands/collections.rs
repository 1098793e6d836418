//! `engram collections`: what collections there are, and making, changing and deleting them.

use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use engram_proto::v1;
use serde_json::json;

use super::load::MetricName;
use crate::client::{Client, Connection, refused};
use crate::duration;
use crate::output::{self, line, metric, table, time};

/// List, show, create and delete collections, their payload indexes and aliases.
#[derive(Subcommand)]
pub enum Collections {
    /// List all collections.
    List {
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Show one collection.
    Show {
        /// Name or alias.
        name: String,
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    Create(Create),
    /// Delete a collection with all its points.
    Delete {
        /// Name.
        name: String,
        /// Really do it: there is no way back.
        #[arg(long)]
        yes: bool,
    },
    /// Index a payload field, so that filters on it are fast.
    Index {
        /// Name of the collection.
        name: String,
        /// Dotted path of the field, such as `author.name`.
        field: String,
        /// Kind of the field's values; without it the index is removed.
        #[arg(long, value_enum, required_unless_present = "remove")]
        kind: Option<IndexKind>,
        /// Remove the index.
        #[arg(long, conflicts_with = "kind")]
        remove: bool,
    },
    /// Give a collection another name, or list these names. Searches by an alias move at once when it is set anew.
    Alias {
        /// The alias; without it all are listed.
        alias: Option<String>,
        /// Collection it stands for.
        #[arg(requires = "alias")]
        collection: Option<String>,
        /// Remove the alias.
        #[arg(long, requires = "alias", conflicts_with = "collection")]
        remove: bool,
    },
}

/// Create a collection.
///
/// Example: engram collections create words --dim 384 --metric cosine --regions eu,us --max-age eu=90d
#[derive(Args)]
pub struct Create {
    /// Name.
    name: String,
    /// Components of the default vector field; without it and --vector the collection holds payload only.
    #[arg(long, value_name = "N")]
    dim: Option<u32>,
    /// How distance is measured in the default field.
    #[arg(long, value_enum, default_value_t = MetricName::Cosine)]
    metric: MetricName,
    /// A further vector field; may be repeated.
    #[arg(long, value_name = "NAME=DIM[:METRIC]", value_parser = parse_vector_field)]
    vector: Vec<v1::VectorField>,
    /// A field of sparse vectors, weighed by inverse document frequency with `:idf`; may be repeated.
    #[arg(long, value_name = "NAME[:idf]", value_parser = parse_sparse_field)]
    sparse: Vec<v1::VectorField>,
    /// A field of multi vectors, compared by max-sim; may be repeated.
    #[arg(long, value_name = "NAME=DIM[:METRIC]", value_parser = parse_multi_field)]
    multi: Vec<v1::VectorField>,
    /// Regions that points may be in, the first being the default.
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    regions: Vec<String>,
    /// Shards in each region.
    #[arg(long, value_name = "N", default_value_t = 1)]
    shards: u32,
    /// Erase points of a region (or of all) at this age; may be repeated.
    #[arg(long, value_name = "[REGION=]AGE", value_parser = parse_rule)]
    max_age: Vec<v1::RetentionRule>,
    /// Segments with fewer vectors are searched exactly; 0 means the server's default.
    #[arg(long, value_name = "N", default_value_t = 0)]
    graph_threshold: u32,
    /// What to trade in graphs; the server's default where absent.
    #[arg(long, value_enum)]
    layout: Option<LayoutName>,
    /// It is no error if the same collection is there already.
    #[arg(long)]
    if_not_exists: bool,
}

/// Rows of graphs.
#[derive(Clone, Copy, ValueEnum)]
pub enum LayoutName {
    /// Fewest reads a search.
    Fast,
    /// A third of the memory.
    Compact,
}

impl LayoutName {
    fn wire(self) -> v1::GraphLayout {
        match self {
            Self::Fast => v1::GraphLayout::Fast,
            Self::Compact => v1::GraphLayout::Compact,
        }
    }
}

/// Kind of the values of a payload field.
#[derive(Clone, Copy, ValueEnum)]
pub enum IndexKind {
    /// Words that are matched as a whole.
    Keyword,
    /// Whole numbers.
    Integer,
    /// Numbers.
    Float,
    /// true and false.
    Bool,
    /// RFC 3339 times.
    Datetime,
    /// UUIDs.
    Uuid,
    /// Places.
    Geo,
    /// Words of texts, made lower case.
    Text,
}

impl IndexKind {
    fn wire(self) -> v1::PayloadIndexKind {
        match self {
            Self::Keyword => v1::PayloadIndexKind::Keyword,
            Self::Integer => v1::PayloadIndexKind::Integer,
            Self::Float => v1::PayloadIndexKind::Float,
            Self::Bool => v1::PayloadIndexKind::Bool,
            Self::Datetime => v1::PayloadIndexKind::Datetime,
            Self::Uuid => v1::PayloadIndexKind::Uuid,
            Self::Geo => v1::PayloadIndexKind::Geo,
            Self::Text => v1::PayloadIndexKind::Text,
        }
    }
}

fn parse_vector_field(text: &str) -> Result<v1::VectorField, String> {
    let wrong =
        || format!("{text:?} is no vector field; write NAME=DIM or NAME=DIM:METRIC, such as title=384:dot");
    let (name, rest) = text.split_once('=').ok_or_else(wrong)?;
    let (dimension, metric) = rest.split_once(':').unwrap_or((rest, "cosine"));
    let metric = MetricName::from_str(metric, true).map_err(|_| wrong())?.wire().into();
    let dimension = dimension.parse().map_err(|_| wrong())?;
    Ok(v1::VectorField { name: name.to_owned(), dimension, metric, ..Default::default() })
}

fn parse_multi_field(text: &str) -> Result<v1::VectorField, String> {
    let field = parse_vector_field(text)?;
    Ok(v1::VectorField { kind: v1::VectorKind::Multi.into(), ..field })
}

fn parse_sparse_field(text: &str) -> Result<v1::VectorField, String> {
    let (name, modifier) = match text.rsplit_once(':') {
        None => (text, v1::SparseModifier::None),
        Some((name, "idf")) => (name, v1::SparseModifier::Idf),
        Some(_) => return Err(format!("{text:?} is no sparse field; write NAME or NAME:idf")),
    };
    let (kind, modifier) = (v1::VectorKind::Sparse.into(), modifier.into());
    Ok(v1::VectorField { name: name.to_owned(), kind, modifier, ..Default::default() })
}

fn parse_rule(text: &str) -> Result<v1::RetentionRule, String> {
    let (region, age) = text.split_once('=').unwrap_or(("", text));
    Ok(v1::RetentionRule { region: region.to_owned(), max_age_s: duration::parse_seconds(age)? })
}

impl Collections {
    /// Runs the command.
    pub async fn run(&self, connection: &Connection) -> Result<()> {
        let client = connection.open().await?;
        match self {
            Self::List { json } => list(&client, *json).await,
            Self::Show { name, json } => {
                let request = v1::GetCollectionRequest { name: name.clone() };
                let found = client.collections().get_collection(request).await.map_err(refused)?.into_inner();
                if *json { output::json(&value(&found)) } else { show(&found) }
            }
            Self::Create(create) => create.run(&client).await,
            Self::Delete { name, yes } => {
                if !yes {
                    bail!("deleting {name} erases all its points; add --yes if that is what you want");
                }
                let request = v1::DeleteCollectionRequest { name: name.clone() };
                let done =
                    client.collections().delete_collection(request).await.map_err(refused)?.into_inner();
                if !done.existed {
                    bail!("there is no collection {name}");
                }
                line(format!("deleted {name}"))
            }
            Self::Index { name, field, kind, .. } => index(&client, name, field, *kind).await,
            Self::Alias { alias, collection, remove } => {
                change_alias(&client, alias.as_deref(), collection.as_deref(), *remove).await
            }
        }
    }
}

impl Create {
    async fn run(&self, client: &Client) -> Result<()> {
        let default = self.dim.map(|dimension| v1::VectorField {
            name: String::new(),
            dimension,
            metric: self.metric.wire().into(),
            ..Default::default()
        });
        let others = self.vector.iter().chain(&self.sparse).chain(&self.multi).cloned();
        let mut vectors: Vec<_> = default.into_iter().chain(others).collect();
        for field in &mut vectors {
            let layout = self.layout.map_or(v1::GraphLayout::Unspecified, LayoutName::wire).into();
            let graph_threshold = self.graph_threshold;
            field.hnsw = Some(v1::HnswParams { graph_threshold, layout, ..Default::default() });
        }
        let request = v1::CreateCollectionRequest {
            name: self.name.clone(),
            vectors,
            regions: self.regions.clone(),
            shards_per_region: self.shards,
            retention: self.max_age.clone(),
            if_not_exists: self.if_not_exists,
            ..Default::default()
        };
        show(&client.collections().create_collection(request).await.map_err(refused)?.into_inner())
    }
}

async fn list(client: &Client, as_json: bool) -> Result<()> {
    let request = v1::ListCollectionsRequest {};
    let all = client.collections().list_collections(request).await.map_err(refused)?.into_inner().collections;
    if as_json {
        return output::json(&all.iter().map(value).collect());
    }
    let mut shown = table(["name", "vectors", "regions", "shards", "created"]);
    for collection in &all {
        shown.add_row([
            collection.name.clone(),
            collection.vectors.iter().map(field).collect::<Vec<_>>().join(", "),
            collection.regions.join(", "),
            (collection.shards_per_region as usize * collection.regions.len()).to_string(),
            time(collection.created_at_ms),
        ]);
    }
    line(shown)
}

fn field(field: &v1::VectorField) -> String {
    let name = if field.name.is_empty() { String::new() } else { format!("{} ", field.name) };
    match (field.kind(), field.modifier()) {
        (v1::VectorKind::Sparse, v1::SparseModifier::Idf) => format!("{name}sparse, idf"),
        (v1::VectorKind::Sparse, _) => format!("{name}sparse"),
        (v1::VectorKind::Multi, _) => format!("{name}{} x {}, multi", field.dimension, metric(field.metric)),
        _ => format!("{name}{} x {}", field.dimension, metric(field.metric)),
    }
}

/// Name of a kind.
fn kind(field: &v1::VectorField) -> &'static str {
    match field.kind() {
        v1::VectorKind::Sparse => "sparse",
        v1::VectorKind::Multi => "multi",
        v1::VectorKind::Unspecified | v1::VectorKind::Dense => "dense",
    }
}

fn show(collection: &v1::Collection) -> Result<()> {
    let mut shown = table(["", ""]);
    let mut row = |name: &str, value: String| {
        shown.add_row([name.to_owned(), value]);
    };
    row("name", collection.name.clone());
    row("id", collection.id.clone());
    row("vectors", collection.vectors.iter().map(field).collect::<Vec<_>>().join("\n"));
    let indexes = collection.payload_indexes.iter().map(|i| format!("{} ({})", i.field, index_kind(i.kind)));
    row("payload indexes", indexes.collect::<Vec<_>>().join("\n"));
    row("regions", format!("{} (default {})", collection.regions.join(", "), collection.default_region));
    row("shards per region", collection.shards_per_region.to_string());
    row("retention", collection.retention.iter().map(rule).collect::<Vec<_>>().join("\n"));
    row("created", time(collection.created_at_ms));
    line(shown)
}

fn rule(rule: &v1::RetentionRule) -> String {
    let region = if rule.region.is_empty() { "every region" } else { &rule.region };
    format!("{region}: erased after {:.1} days", rule.max_age_s as f64 / 86_400.0)
}

fn index_kind(kind: i32) -> String {
    let name = v1::PayloadIndexKind::try_from(kind).map_or("?", |kind| kind.as_str_name());
    name.trim_start_matches("PAYLOAD_INDEX_KIND_").to_ascii_lowercase()
}

fn value(collection: &v1::Collection) -> serde_json::Value {
    let vector = |v: &v1::VectorField| {
        let mut value =
            json!({"name": v.name, "dimension": v.dimension, "metric": metric(v.metric), "kind": kind(v)});
        if v.modifier() == v1::SparseModifier::Idf {
            value["modifier"] = json!("idf");
        }
        value
    };
    let rule = |r: &v1::RetentionRule| json!({"region": r.region, "max_age_s": r.max_age_s});
    json!({
        "name": collection.name,
        "id": collection.id,
        "vectors": collection.vectors.iter().map(vector).collect::<Vec<_>>(),
        "payload_indexes": collection.payload_indexes.iter()
            .map(|i| json!({"field": i.field, "kind": index_kind(i.kind)})).collect::<Vec<_>>(),
        "regions": collection.regions,
        "default_region": collection.default_region,
        "shards_per_region": collection.shards_per_region,
        "retention": collection.retention.iter().map(rule).collect::<Vec<_>>(),
        "created_at": time(collection.created_at_ms),
    })
}

async fn index(client: &Client, name: &str, field: &str, kind: Option<IndexKind>) -> Result<()> {
    let Some(kind) = kind else {
        let request = v1::DeletePayloadIndexRequest { collection: name.to_owned(), field: field.to_owned() };
        client.collections().delete_payload_index(request).await.map_err(refused)?;
        return line(format!("{field} of {name} is no longer indexed"));
    };
    let index = v1::PayloadIndex { field: field.to_owned(), kind: kind.wire().into(), text: None };
    let request = v1::CreatePayloadIndexRequest { collection: name.to_owned(), index: Some(index) };
    client.collections().create_payload_index(request).await.map_err(refused)?;
    line(format!("{field} of {name} is indexed"))
}

async fn change_alias(
    client: &Client,
    alias: Option<&str>,
    collection: Option<&str>,
    remove: bool,
) -> Result<()> {
    match (alias, collection) {
        (Some(alias), Some(collection)) => {
            let request = v1::SetAliasRequest { alias: alias.to_owned(), collection: collection.to_owned() };
            client.collections().set_alias(request).await.map_err(refused)?;
            line(format!("{alias} stands for {collection}"))
        }
        (Some(alias), None) if remove => {
            let request = v1::DeleteAliasRequest { alias: alias.to_owned() };
            if !client.collections().delete_alias(request).await.map_err(refused)?.into_inner().existed {
                bail!("there is no alias {alias}");
            }
            line(format!("removed {alias}"))
        }
        (Some(alias), None) => bail!("say which collection {alias} stands for, or --remove"),
        (None, _) => {
            let request = v1::ListAliasesRequest {};
            let all = client.collections().list_aliases(request).await.map_err(refused)?.into_inner().aliases;
            let mut shown = table(["alias", "collection"]);
            for found in all {
                shown.add_row([found.alias, found.collection]);
            }
            line(shown)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_rules() {
        let field = parse_vector_field("title=384:dot").unwrap();
        assert_eq!(
            (field.name.as_str(), field.dimension, field.metric),
            ("title", 384, v1::Metric::Dot.into())
        );
        assert!(parse_vector_field("title").is_err() && parse_vector_field("a=b").is_err());
        let words = parse_sparse_field("words:idf").unwrap();
        assert_eq!((words.name.as_str(), super::field(&words).as_str()), ("words", "words sparse, idf"));
        assert!(parse_sparse_field("words:tf").is_err());
        let tokens = parse_multi_field("tokens=128:dot").unwrap();
        assert_eq!(super::field(&tokens), "tokens 128 x dot, multi");
        let rule = parse_rule("eu=90d").unwrap();
        assert_eq!((rule.region.as_str(), rule.max_age_s), ("eu", 7_776_000));
        assert_eq!(parse_rule("1d").unwrap().region, "");
        assert!(parse_rule("eu=soon").is_err());
    }
}
