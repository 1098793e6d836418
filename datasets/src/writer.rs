//! Writes the Parquet files of a set.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::{ReadError, Result};

/// A fixed-size list column of f32.
///
/// # Errors
/// [`ReadError::Compute`] where the components are not whole vectors.
pub fn vector_column(dimension: usize, components: Vec<f32>) -> Result<ArrayRef> {
    let element = Arc::new(Field::new("element", DataType::Float32, false));
    let width = i32::try_from(dimension).map_err(|e| ReadError::Compute(e.to_string()))?;
    let list = FixedSizeListArray::try_new(element, width, Arc::new(Float32Array::from(components)), None);
    Ok(Arc::new(list.map_err(|e| ReadError::Compute(e.to_string()))?))
}

/// A fixed-size list column of row numbers.
///
/// # Errors
/// [`ReadError::Compute`] where the lists differ in length.
pub fn neighbor_column(neighbors: &[Vec<u32>]) -> Result<ArrayRef> {
    let k = neighbors.first().map_or(1, Vec::len);
    let all: Vec<u64> = neighbors.iter().flatten().map(|&row| u64::from(row)).collect();
    if all.len() != k * neighbors.len() {
        return Err(ReadError::Compute("the lists of neighbours differ in length".to_owned()));
    }
    let element = Arc::new(Field::new("element", DataType::UInt64, false));
    let list = FixedSizeListArray::try_new(element, k as i32, Arc::new(UInt64Array::from(all)), None);
    Ok(Arc::new(list.map_err(|e| ReadError::Compute(e.to_string()))?))
}

/// Writes columns as one Parquet file, under another name first, so that a file of this name is always whole.
///
/// # Errors
/// [`ReadError::Io`] and [`ReadError::BadFile`] where it cannot be written.
pub fn write_columns(path: &Path, columns: Vec<(&str, ArrayRef)>) -> Result<()> {
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), false)).collect();
    let schema = Arc::new(Schema::new(fields));
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let bad = |e: &dyn std::fmt::Display| ReadError::bad(path, format!("cannot be written: {e}"));
    let batch = RecordBatch::try_new(schema.clone(), arrays).map_err(|e| bad(&e))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(ReadError::io(folder))?;
    }
    let staged = path.with_extension("part");
    let file = File::create(&staged).map_err(ReadError::io(&staged))?;
    let level = ZstdLevel::try_new(3).map_err(|e| bad(&e))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(16_384))
        .build();
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).map_err(|e| bad(&e))?;
    writer.write(&batch).map_err(|e| bad(&e))?;
    writer.close().map_err(|e| bad(&e))?;
    std::fs::rename(&staged, path).map_err(ReadError::io(path))
}
