//! Reading the Parquet file of a segment back into points.

use arrow::array::{Array, AsArray, PrimitiveArray, RecordBatch, StringArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Float64Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    UInt64Type,
};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::ParquetMetaDataReader;

use super::payload_split::{Typed, join};
use super::values::Values;
use super::{FIELD_KEY, ROWS_KEY, SEGMENT_KEY};
use crate::error::{Result, StorageError};
use crate::point::{FieldId, Point};

/// Number of rows of the Parquet file at `path` as its footer has it, and the segment it says it belongs to.
///
/// # Errors
/// `Corrupt`, naming `path`.
pub fn count_rows(path: &str, file: &Bytes) -> Result<(u64, String)> {
    let corrupt = |why: String| StorageError::corrupt(path, why);
    let metadata = ParquetMetaDataReader::new().parse_and_finish(file).map_err(|e| corrupt(e.to_string()))?;
    let metadata = metadata.file_metadata();
    let about = |key: &str| {
        let entries = metadata.key_value_metadata()?;
        entries.iter().find(|e| e.key == key)?.value.clone()
    };
    let rows = u64::try_from(metadata.num_rows()).unwrap_or(0);
    if about(ROWS_KEY) != Some(rows.to_string()) {
        return Err(corrupt(format!("{rows} rows are not what the file says of itself")));
    }
    Ok((rows, about(SEGMENT_KEY).unwrap_or_default()))
}

/// Points of the Parquet file at `path`, batch by batch. Members of payloads may come in another order than they were
/// written; otherwise the points are those that were written.
///
/// # Errors
/// `Corrupt`, naming `path`; the same for each batch.
pub fn read_points(path: &str, file: Bytes) -> Result<impl Iterator<Item = Result<Vec<Point>>>> {
    let path = path.to_owned();
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(file).and_then(|b| b.with_batch_size(1_024).build());
    let reader = reader.map_err(|e| StorageError::corrupt(&path, e.to_string()))?;
    Ok(reader.map(move |batch| {
        let batch = batch.map_err(|e| StorageError::corrupt(&path, e.to_string()))?;
        Rows::of(&batch)
            .and_then(|rows| (0..batch.num_rows()).map(|row| rows.point(row)).collect())
            .map_err(|why: String| StorageError::corrupt(&path, why))
    }))
}

/// The columns of one batch.
struct Rows<'b> {
    batch: &'b RecordBatch,
    vectors: Vec<(FieldId, Values<'b>)>,
    typed: Vec<(String, &'b dyn Array)>,
}

impl<'b> Rows<'b> {
    fn of(batch: &'b RecordBatch) -> Result<Self, String> {
        let schema = batch.schema_ref();
        let (mut vectors, mut typed) = (Vec::new(), Vec::new());
        for (field, column) in schema.fields().iter().zip(batch.columns()) {
            let Some(tag) = field.metadata().get(FIELD_KEY) else { continue };
            if let Some(path) = field.name().strip_prefix("payload.") {
                typed.push((path.to_owned(), column.as_ref()));
            } else {
                let id = tag.parse().map_err(|_| format!("column {} has no field number", field.name()))?;
                vectors.push((id, Values::of(column)?));
            }
        }
        vectors.sort_by_key(|(id, _)| *id);
        Ok(Self { batch, vectors, typed })
    }

    fn column<T: ArrowPrimitiveType>(&self, name: &str) -> Result<&PrimitiveArray<T>, String> {
        let column = self.batch.column_by_name(name).and_then(|c| c.as_primitive_opt::<T>());
        column.ok_or_else(|| format!("there is no column {name} of its type"))
    }

    fn text(&self, name: &str) -> Result<&StringArray, String> {
        let column = self.batch.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
        column.ok_or_else(|| format!("there is no column {name} of text"))
    }

    fn point(&self, row: usize) -> Result<Point, String> {
        let id = match self.column::<UInt64Type>("id") {
            Ok(numbers) => crate::point::PointId::Num(numbers.value(row)),
            Err(_) => self.text("id")?.value(row).parse()?,
        };
        let mut vectors = Vec::with_capacity(self.vectors.len());
        for (field, values) in &self.vectors {
            vectors.extend(values.value(row)?.map(|value| (*field, value)));
        }
        let typed: Vec<(String, Typed)> = self
            .typed
            .iter()
            .filter(|(_, column)| column.is_valid(row))
            .filter_map(|(path, column)| Some((path.clone(), typed_value(*column, row)?)))
            .collect();
        let time = |name| self.column::<TimestampMillisecondType>(name);
        let expires = time("expires_at")?;
        Ok(Point {
            id,
            vectors,
            payload: join(self.text("payload")?.value(row).as_bytes(), &typed).into(),
            created_at: time("created_at")?.value(row),
            ingested_at: time("ingested_at")?.value(row),
            expires_at: expires.is_valid(row).then(|| expires.value(row)),
            version: self.column::<UInt64Type>("version")?.value(row),
        })
    }
}

fn typed_value(column: &dyn Array, row: usize) -> Option<Typed> {
    Some(match column.data_type() {
        DataType::Utf8 => Typed::Text(column.as_string_opt::<i32>()?.value(row).to_owned()),
        DataType::Int64 => Typed::Integer(column.as_primitive_opt::<Int64Type>()?.value(row)),
        DataType::Float64 => Typed::Float(column.as_primitive_opt::<Float64Type>()?.value(row)),
        DataType::Boolean => Typed::Bool(column.as_boolean_opt()?.value(row)),
        DataType::Timestamp(..) => {
            Typed::Datetime(column.as_primitive_opt::<TimestampMicrosecondType>()?.value(row))
        }
        _ => return None,
    })
}
