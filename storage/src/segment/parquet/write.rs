//! Writing the Parquet file of a segment, one batch of rows at a time.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, FixedSizeListArray, Float32Array, Float64Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray, TimestampMillisecondArray, UInt64Array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use engram_index::payload::PayloadIndexKind;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::payload_split::{Field, Typed, split};
use super::{REVISION_KEY, ROWS_KEY, SEGMENT_KEY, SHARD_KEY, VERSION_KEY, values};
use crate::error::{Result, StorageError};
use crate::manifest::SegmentId;
use crate::object::{DurableStore, ObjectRef};
use crate::point::PointId;
use crate::schema::{CollectionSchema, ShardKey, VectorField, VectorKind};
use crate::segment::merge::{Plan, Take};

/// Rows of a row group, at most.
const GROUP_ROWS: usize = 16_384;
/// Bytes of a row group, roughly: it is held in memory until it is complete.
const GROUP_BYTES: usize = 64 << 20;
/// Rows that are turned into Arrow arrays at a time, at most.
const BATCH_ROWS: usize = 2_048;

/// What the file says about itself.
#[derive(Clone, Copy)]
pub(crate) struct ParquetSource<'a> {
    pub schema: &'a CollectionSchema,
    pub shard: &'a ShardKey,
    pub segment: &'a SegmentId,
}

fn fault(path: &str) -> impl Fn(ParquetError) -> StorageError + '_ {
    move |e| StorageError::Internal(format!("write {path}: {e}"))
}

/// Writes the rows of `plan` to an object.
pub(crate) fn write_parquet(
    store: &DurableStore,
    path: &str,
    plan: &Plan<'_>,
    source: ParquetSource<'_>,
) -> Result<ObjectRef> {
    let numbers = plan.inputs.iter().all(|run| run.rows().uuids.is_empty());
    let arrow_schema = super::arrow_schema(source.schema, numbers);
    let row_bytes = 512 + source.schema.vectors.iter().map(|f| values::bytes_a_row(plan, f)).sum::<usize>();
    let group_rows = (GROUP_BYTES / row_bytes).clamp(64, GROUP_ROWS);
    let properties = properties(plan.order.len(), group_rows, source)?;
    store.write_blocking(path, |sink| {
        let writer = ArrowWriter::try_new(sink, arrow_schema.clone(), Some(properties));
        let mut writer = writer.map_err(fault(path))?;
        let batches =
            Batches { plan, source, arrow_schema, numbers, typed: super::typed_fields(source.schema) };
        let mut rest = plan.order.as_slice();
        while !rest.is_empty() {
            let rows = values::batch_len(plan, rest, &source.schema.vectors, BATCH_ROWS.min(group_rows));
            let (rows, later) = rest.split_at(rows);
            writer.write(&batches.batch(rows)?).map_err(fault(path))?;
            // Rows that are much larger than those before them.
            if writer.in_progress_size() > 2 * GROUP_BYTES {
                writer.flush().map_err(fault(path))?;
            }
            rest = later;
        }
        writer.close().map(drop).map_err(fault(path))
    })
}

fn properties(rows: usize, group_rows: usize, source: ParquetSource<'_>) -> Result<WriterProperties> {
    let internal = |e: ParquetError| StorageError::Internal(e.to_string());
    let zstd = Compression::ZSTD(ZstdLevel::try_new(1).map_err(internal)?);
    let says = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    let about = vec![
        says(VERSION_KEY, env!("CARGO_PKG_VERSION").to_owned()),
        says(SHARD_KEY, source.shard.path()),
        says(SEGMENT_KEY, source.segment.to_string()),
        says(REVISION_KEY, source.schema.revision.to_string()),
        says(ROWS_KEY, rows.to_string()),
    ];
    // Statistics of times and versions only: those of payloads would copy personal data into the footer.
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("engram version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(zstd)
        .set_max_row_group_row_count(Some(group_rows))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_key_value_metadata(Some(about));
    for name in ["version", "created_at", "ingested_at", "expires_at"] {
        let column = ColumnPath::from(name);
        properties = properties.set_column_statistics_enabled(column, EnabledStatistics::Chunk);
    }
    for name in ["id", "version", "payload"] {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), false);
    }
    for field in &source.schema.vectors {
        // Components hardly compress; plain they can be read at memory speed.
        for column in super::number_columns(field) {
            properties = properties
                .set_column_compression(column.clone(), Compression::UNCOMPRESSED)
                .set_column_encoding(column.clone(), Encoding::PLAIN)
                .set_column_dictionary_enabled(column, false);
        }
    }
    Ok(properties.build())
}

/// Makes Arrow batches of planned rows.
struct Batches<'p, 'a> {
    plan: &'p Plan<'a>,
    source: ParquetSource<'p>,
    arrow_schema: SchemaRef,
    numbers: bool,
    typed: Vec<Field>,
}

impl Batches<'_, '_> {
    fn batch(&self, rows: &[Take]) -> Result<RecordBatch> {
        let internal = |e: ArrowError| StorageError::Internal(e.to_string());
        let metas: Vec<_> = rows.iter().map(|t| self.plan.run(*t).meta(t.ord)).collect();
        let time =
            |of: Vec<i64>| -> ArrayRef { Arc::new(TimestampMillisecondArray::from(of).with_timezone("UTC")) };
        let expires: Vec<Option<i64>> = metas.iter().map(|m| m.expires_at).collect();
        let mut columns: Vec<ArrayRef> = vec![
            self.ids(rows),
            Arc::new(UInt64Array::from_iter_values(metas.iter().map(|m| m.version))),
            Arc::new(StringArray::from(vec![self.source.shard.region.as_str(); rows.len()])),
            time(metas.iter().map(|m| m.created_at).collect()),
            time(metas.iter().map(|m| m.ingested_at).collect()),
            Arc::new(TimestampMillisecondArray::from(expires).with_timezone("UTC")),
        ];
        for field in &self.source.schema.vectors {
            let column = match field.kind {
                VectorKind::Dense => self.vectors(rows, field),
                VectorKind::Sparse { .. } => values::sparse_array(self.plan, rows, field.id),
                VectorKind::Multi => values::multi_array(self.plan, rows, field),
            };
            columns.push(column.map_err(internal)?);
        }
        self.payloads(rows, &mut columns)?;
        RecordBatch::try_new(self.arrow_schema.clone(), columns).map_err(internal)
    }

    fn ids(&self, rows: &[Take]) -> ArrayRef {
        let ids = rows.iter().map(|t| self.plan.run(*t).id(t.ord));
        if self.numbers {
            let number = |id| if let PointId::Num(n) = id { n } else { 0 };
            Arc::new(UInt64Array::from_iter_values(ids.map(number)))
        } else {
            Arc::new(StringArray::from_iter_values(ids.map(|id| id.to_string())))
        }
    }

    fn vectors(&self, rows: &[Take], field: &VectorField) -> Result<ArrayRef, ArrowError> {
        let mut components = Vec::with_capacity(rows.len() * field.dimension);
        let mut present = Vec::with_capacity(rows.len());
        for take in rows {
            let vector = self.plan.run(*take).vector(field.id, take.ord);
            present.push(vector.is_some());
            match vector {
                Some(vector) => components.extend_from_slice(vector),
                None => components.resize(components.len() + field.dimension, 0.0),
            }
        }
        let width = i32::try_from(field.dimension).unwrap_or(i32::MAX);
        let nulls = present.contains(&false).then(|| NullBuffer::from(present));
        let values = Arc::new(Float32Array::from(components));
        Ok(Arc::new(FixedSizeListArray::try_new(super::vector_item(), width, values, nulls)?))
    }

    fn payloads(&self, rows: &[Take], columns: &mut Vec<ArrayRef>) -> Result<()> {
        let mut typed: Vec<Vec<Option<Typed>>> =
            self.typed.iter().map(|_| Vec::with_capacity(rows.len())).collect();
        let mut rest = Vec::with_capacity(rows.len());
        for take in rows {
            let run = self.plan.run(*take);
            let (values, left) = split(run.payload(take.ord), &self.typed);
            typed.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
            rest.push(String::from_utf8(left).map_err(|_| {
                StorageError::Invalid(format!("point {}: the payload is no UTF-8", run.id(take.ord)))
            })?);
        }
        columns.extend(self.typed.iter().zip(typed).map(|(field, values)| typed_array(field.kind, values)));
        columns.push(Arc::new(StringArray::from(rest)));
        Ok(())
    }
}

fn typed_array(kind: PayloadIndexKind, values: Vec<Option<Typed>>) -> ArrayRef {
    // Values of one column are of one variant; others cannot come and would be null.
    macro_rules! column {
        ($array:ty, $variant:path) => {
            values
                .into_iter()
                .map(|v| if let Some($variant(v)) = v { Some(v) } else { None })
                .collect::<$array>()
        };
    }
    match kind {
        PayloadIndexKind::Integer => Arc::new(column!(Int64Array, Typed::Integer)),
        PayloadIndexKind::Float => Arc::new(column!(Float64Array, Typed::Float)),
        PayloadIndexKind::Bool => Arc::new(column!(BooleanArray, Typed::Bool)),
        PayloadIndexKind::Datetime => {
            Arc::new(column!(TimestampMicrosecondArray, Typed::Datetime).with_timezone("UTC"))
        }
        _ => Arc::new(column!(StringArray, Typed::Text)),
    }
}
