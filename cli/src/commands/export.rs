//! `engram export`: a collection as a Parquet file that `engram load` reads back.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arrow::array::{
    ArrayRef, FixedSizeListBuilder, Float32Builder, ListBuilder, RecordBatch, StringArray, StructArray,
    TimestampMillisecondArray, UInt32Builder, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use clap::Args;
use engram_proto::v1;
use engram_proto::v1::point_id::Kind;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tonic::Code;

use crate::client::{Client, Connection, refused};
use crate::output::{self, components, line, number};
use crate::{filter, point_id};

/// Most points of one page.
const PAGE: u32 = 1_000;
/// Bytes of vectors in one page: well below the largest answer of a server, so that payloads fit beside them.
const PAGE_BYTES: u64 = 8 << 20;
/// A row group is closed at this size.
const GROUP_BYTES: usize = 64 << 20;

const EXAMPLES: &str = "\
Examples:
  engram export --collection words --out words.parquet
  engram export --collection words --out nouns.parquet --filter '{\"must\":[{\"key\":\"pos\",\"match\":{\"value\":\"noun\"}}]}'

The file has the columns id, region, created_at, expires_at, payload (JSON text), `vector` for the default vector
field and `vector.NAME` for the others. `engram load FILE` reads it back as it was, but for sparse vectors (structs of
indices and values) and multi vectors (lists of lists), which it does not read yet.";

/// Write the points of a collection to a Parquet file.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Export {
    /// Collection to export.
    #[arg(long, short)]
    collection: String,
    /// File to write.
    #[arg(long, short, value_name = "FILE.parquet")]
    out: PathBuf,
    #[arg(long, value_name = "JSON", help = filter::HELP)]
    filter: Option<String>,
}

impl Export {
    /// Runs the command.
    pub async fn run(&self, connection: &Connection) -> Result<()> {
        let wanted = filter::parse(self.filter.as_deref())?;
        let client = connection.open().await?;
        let request = v1::GetCollectionRequest { name: self.collection.clone() };
        let collection = client.collections().get_collection(request).await.map_err(refused)?.into_inner();
        let uuids = self.has_uuids(&client, wanted.clone()).await?;
        let mut file = ExportFile::create(&self.out, &collection.vectors, uuids)?;
        let mut from = None;
        let mut limit = page(&collection.vectors);
        loop {
            let request = v1::ScrollRequest {
                collection: self.collection.clone(),
                filter: wanted.clone(),
                from: from.clone(),
                limit,
                selection: Some(v1::Selection {
                    with_payload: true,
                    with_vectors: true,
                    ..Default::default()
                }),
                ..Default::default()
            };
            let page = match client.points().scroll(request).await {
                Ok(page) => page.into_inner(),
                // Large payloads can make the answer larger than the server sends, or has room for now.
                Err(e)
                    if limit > 1 && matches!(e.code(), Code::InvalidArgument | Code::ResourceExhausted) =>
                {
                    limit /= 2;
                    continue;
                }
                Err(e) => return Err(refused(e)),
            };
            file.write(&page.points)?;
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        let rows = file.finish()?;
        line(format!("exported {} points to {}", number(rows), self.out.display()))
    }

    /// Whether any id is a UUID: numbers come first, so the smallest UUID is where those begin.
    async fn has_uuids(&self, client: &Client, wanted: Option<v1::Filter>) -> Result<bool> {
        let smallest =
            v1::PointId { kind: Some(Kind::Uuid("00000000-0000-0000-0000-000000000000".to_owned())) };
        let request = v1::ScrollRequest {
            collection: self.collection.clone(),
            filter: wanted,
            from: Some(smallest),
            limit: 1,
            selection: Some(v1::Selection::default()),
            ..Default::default()
        };
        Ok(!client.points().scroll(request).await.map_err(refused)?.into_inner().points.is_empty())
    }
}

/// Points of one page of a collection with these fields.
fn page(fields: &[v1::VectorField]) -> u32 {
    let row: u64 = fields.iter().map(|field| u64::from(field.dimension) * 4).sum();
    u32::try_from(PAGE_BYTES / row.max(1)).unwrap_or(PAGE).clamp(1, PAGE)
}

/// A Parquet file of points, written page by page under another name until it is whole.
struct ExportFile {
    path: PathBuf,
    staged: PathBuf,
    writer: ArrowWriter<File>,
    schema: Arc<Schema>,
    fields: Vec<v1::VectorField>,
    uuids: bool,
    rows: u64,
}

impl ExportFile {
    fn create(path: &Path, fields: &[v1::VectorField], uuids: bool) -> Result<Self> {
        let time = || DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        let id = if uuids { DataType::Utf8 } else { DataType::UInt64 };
        let mut columns = vec![
            Field::new("id", id, false),
            Field::new("region", DataType::Utf8, false),
            Field::new("created_at", time(), true),
            Field::new("expires_at", time(), true),
            Field::new("payload", DataType::Utf8, false),
        ];
        for field in fields {
            columns.push(Field::new(column_name(&field.name), column_type(field)?, true));
        }
        let schema = Arc::new(Schema::new(columns));
        let staged = path.with_extension("parquet.part");
        let file = File::create(&staged).with_context(|| format!("cannot write {}", staged.display()))?;
        let properties =
            WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties))?;
        Ok(Self { path: path.to_owned(), staged, writer, schema, fields: fields.to_vec(), uuids, rows: 0 })
    }

    fn write(&mut self, points: &[v1::Point]) -> Result<()> {
        if points.is_empty() {
            return Ok(());
        }
        let times = |of: fn(&v1::Point) -> Option<i64>| -> ArrayRef {
            Arc::new(points.iter().map(of).collect::<TimestampMillisecondArray>().with_timezone("UTC"))
        };
        let mut columns: Vec<ArrayRef> = vec![
            self.ids(points)?,
            Arc::new(StringArray::from_iter_values(points.iter().map(|p| &p.region))),
            times(|p| p.created_at_ms),
            times(|p| p.expires_at_ms),
            Arc::new(payloads(points)?),
        ];
        for field in &self.fields {
            columns.push(match field.kind() {
                v1::VectorKind::Sparse => sparse_vectors(points, field)?,
                v1::VectorKind::Multi => multi_vectors(points, field)?,
                v1::VectorKind::Unspecified | v1::VectorKind::Dense => vectors(points, field)?,
            });
        }
        self.writer.write(&RecordBatch::try_new(self.schema.clone(), columns)?)?;
        self.rows += points.len() as u64;
        if self.writer.in_progress_size() > GROUP_BYTES {
            self.writer.flush()?;
        }
        Ok(())
    }

    fn ids(&self, points: &[v1::Point]) -> Result<ArrayRef> {
        if self.uuids {
            return Ok(Arc::new(StringArray::from_iter_values(
                points.iter().map(|p| point_id::text(p.id.as_ref())),
            )));
        }
        let number = |p: &v1::Point| match p.id.as_ref().and_then(|id| id.kind.as_ref()) {
            Some(Kind::Num(n)) => Ok(*n),
            _ => bail!("a point with a UUID was written while the export ran; run it again"),
        };
        Ok(Arc::new(UInt64Array::from(points.iter().map(number).collect::<Result<Vec<u64>>>()?)))
    }

    fn finish(self) -> Result<u64> {
        let file = self.writer.into_inner()?;
        file.sync_all()?;
        std::fs::rename(&self.staged, &self.path)
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(self.rows)
    }
}

fn column_name(field: &str) -> String {
    if field.is_empty() { "vector".to_owned() } else { format!("vector.{field}") }
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("element", item, true)))
}

fn sparse_parts() -> Fields {
    let part = |name: &str, item| Field::new(name, list(item), false);
    [part("indices", DataType::UInt32), part("values", DataType::Float32)].into_iter().collect()
}

fn column_type(field: &v1::VectorField) -> Result<DataType> {
    Ok(match field.kind() {
        v1::VectorKind::Sparse => DataType::Struct(sparse_parts()),
        v1::VectorKind::Multi => list(list(DataType::Float32)),
        v1::VectorKind::Unspecified | v1::VectorKind::Dense => {
            let element = Arc::new(Field::new("element", DataType::Float32, true));
            DataType::FixedSizeList(element, i32::try_from(field.dimension)?)
        }
    })
}

fn sparse_vectors(points: &[v1::Point], field: &v1::VectorField) -> Result<ArrayRef> {
    let element = |item| Field::new("element", item, true);
    let mut indices = ListBuilder::new(UInt32Builder::new()).with_field(element(DataType::UInt32));
    let mut values = ListBuilder::new(Float32Builder::new()).with_field(element(DataType::Float32));
    let mut present = Vec::with_capacity(points.len());
    for point in points {
        let sparse = point.vectors.get(&field.name).and_then(|vector| vector.sparse.as_ref());
        present.push(sparse.is_some());
        if let Some(sparse) = sparse {
            indices.values().append_slice(&sparse.indices);
            values.values().append_slice(&sparse.values);
        }
        indices.append(true);
        values.append(true);
    }
    let parts: Vec<ArrayRef> = vec![Arc::new(indices.finish()), Arc::new(values.finish())];
    Ok(Arc::new(StructArray::try_new(sparse_parts(), parts, Some(present.into()))?))
}

fn multi_vectors(points: &[v1::Point], field: &v1::VectorField) -> Result<ArrayRef> {
    let inner =
        ListBuilder::new(Float32Builder::new()).with_field(Field::new("element", DataType::Float32, true));
    let mut rows = ListBuilder::new(inner).with_field(Field::new("element", list(DataType::Float32), true));
    for point in points {
        let multi = point.vectors.get(&field.name).and_then(|vector| vector.multi.as_ref());
        for vector in multi.map(output::vectors).into_iter().flatten() {
            rows.values().values().append_slice(&vector);
            rows.values().append(true);
        }
        rows.append(multi.is_some());
    }
    Ok(Arc::new(rows.finish()))
}

fn payloads(points: &[v1::Point]) -> Result<StringArray> {
    let text = |p: &v1::Point| -> Result<String> {
        let bytes = if p.payload_json.is_empty() { b"{}" } else { p.payload_json.as_ref() };
        Ok(std::str::from_utf8(bytes).context("a payload is no text")?.to_owned())
    };
    Ok(StringArray::from(points.iter().map(text).collect::<Result<Vec<_>>>()?))
}

fn vectors(points: &[v1::Point], field: &v1::VectorField) -> Result<ArrayRef> {
    let dimension = field.dimension as usize;
    let mut list = FixedSizeListBuilder::new(Float32Builder::new(), i32::try_from(dimension)?)
        .with_field(Field::new("element", DataType::Float32, true));
    for point in points {
        match point.vectors.get(&field.name).map(components) {
            Some(vector) if vector.len() == dimension => list.values().append_slice(&vector),
            Some(vector) => bail!("a vector has {} components, its field has {dimension}", vector.len()),
            None => {
                list.values().append_nulls(dimension);
                list.append(false);
                continue;
            }
        }
        list.append(true);
    }
    Ok(Arc::new(list.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engram_datasets::{Ids, ReadOptions, RowBatch, readers};

    fn sample(
        kind: Kind,
        vector: Option<[f32; 2]>,
        expires_at_ms: Option<i64>,
        payload: &'static str,
    ) -> v1::Point {
        let f32le = vector.map(|v| v.map(f32::to_le_bytes).concat());
        let vector = f32le.map(|f32le| v1::Vector { f32le: f32le.into(), ..Default::default() });
        v1::Point {
            id: Some(v1::PointId { kind: Some(kind) }),
            vectors: vector.into_iter().map(|v| ("t".to_owned(), v)).collect(),
            payload_json: payload.into(),
            region: "eu".to_owned(),
            created_at_ms: Some(1_700_000_000_123),
            expires_at_ms,
            ..Default::default()
        }
    }

    fn round_trip(points: &[v1::Point], uuids: bool) -> Vec<RowBatch> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.parquet");
        let field = v1::VectorField { name: "t".into(), dimension: 2, metric: 1, ..Default::default() };
        let mut file = ExportFile::create(&path, &[field], uuids).unwrap();
        file.write(points).unwrap();
        assert_eq!(file.finish().unwrap(), points.len() as u64);
        readers::open(&path, &ReadOptions::default()).unwrap().map(|b| b.unwrap()).collect()
    }

    #[test]
    fn what_is_exported_loads_identically() {
        let points = [
            sample(Kind::Num(1), Some([0.1, -2.5]), None, r#"{"a":[1,{"b":null}],"é":"\n"}"#),
            sample(Kind::Num(u64::MAX), None, Some(1_900_000_000_000), ""),
        ];
        let batch = &round_trip(&points, false)[0];
        assert_eq!(batch.ids, Ids::Num(vec![1, u64::MAX]));
        assert_eq!(
            (batch.vectors[0].field.as_str(), batch.vectors[0].vector(0)),
            ("t", Some(&[0.1, -2.5][..]))
        );
        assert_eq!(batch.vectors[0].vector(1), None);
        assert_eq!(batch.payload_json, [points[0].payload_json.clone(), "{}".into()]);
        assert_eq!((&batch.regions[0][..], batch.created_at_ms[1]), ("eu", 1_700_000_000_123));
        assert_eq!(batch.expires_at_ms, [0, 1_900_000_000_000]);
        assert!(batch.rejects.is_empty());
    }

    #[test]
    fn both_kinds_of_ids() {
        let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        let points = [
            sample(Kind::Num(7), Some([1.0, 2.0]), None, "{}"),
            sample(Kind::Uuid(uuid.into()), Some([3.0, 4.0]), None, "{}"),
        ];
        let batches = round_trip(&points, true);
        assert_eq!(batches[0].ids, Ids::Num(vec![7]));
        assert_eq!(batches[1].ids, Ids::Uuid(vec![uuid.parse().unwrap()]));
    }
}
