//! Parquet files, row group by row group.
//!
//! Nothing of a file reaches the Parquet crate before the checks of `guard` passed, and a panic in that crate is
//! caught and reported as a bad file: files come from outside, and a loader must not die of one.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use super::{FileInfo, FileVector, ReadOptions, Reader};
use crate::{Id, Ids, ReadError, Result, RowBatch};
use columns::Columns;
use source::Source;

mod columns;
mod guard;
mod payload;
mod scalars;
mod source;
mod thrift;
mod vectors;

#[cfg(test)]
mod tests;

/// Rows that are looked at to learn the dimension of a vector column.
const PEEK_ROWS: usize = 64;

/// An open Parquet file.
pub struct ParquetFile {
    path: Arc<Path>,
    source: Source,
    metadata: ArrowReaderMetadata,
    columns: Columns,
    info: FileInfo,
    rows: u64,
    batch_rows: usize,
    /// Row group that is opened next, and the rows to leave out at its beginning.
    next_group: usize,
    skip: u64,
    reader: Option<ParquetRecordBatchReader>,
    next_row: u64,
    /// Batches that came out of one arrow batch, last first.
    ready: Vec<RowBatch>,
    done: bool,
}

impl ParquetFile {
    /// Opens a file: checks its footer, finds the columns and learns the dimensions.
    ///
    /// # Errors
    /// [`ReadError::BadFile`] for damage and broken limits, [`ReadError::Columns`] where a column is missing.
    pub fn open(path: &Path, options: &ReadOptions) -> Result<Self> {
        let source = File::open(path).and_then(Source::new).map_err(ReadError::io(path))?;
        guard::check_footer(&source).map_err(|why| ReadError::bad(path, why))?;
        // The Arrow schema inside the file is optional and its bytes come from outside: the Parquet schema says all.
        let arrow_options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = guarded(path, || ArrowReaderMetadata::load(&source, arrow_options))?;
        let columns =
            Columns::find(metadata.schema(), options).map_err(|why| ReadError::columns(path, why))?;
        let groups = metadata.metadata().row_groups();
        let mut rows = 0u64;
        for group in groups {
            let more = u64::try_from(group.num_rows()).unwrap_or(u64::MAX);
            rows = rows
                .checked_add(more)
                .ok_or_else(|| ReadError::bad(path, "its row counts are impossible"))?;
        }
        let mut file = Self {
            path: path.into(),
            columns,
            info: FileInfo { rows: Some(rows), vectors: Vec::new() },
            rows,
            batch_rows: 1,
            next_group: 0,
            skip: 0,
            reader: None,
            next_row: options.start_row.min(rows),
            ready: Vec::new(),
            done: false,
            source,
            metadata,
        };
        file.batch_rows = options.rows_per_batch(file.row_bytes());
        file.learn_dimensions()?;
        file.seek();
        Ok(file)
    }

    /// Bytes of one row in memory, on average, from what the footer says.
    fn row_bytes(&self) -> usize {
        let vector_roots: Vec<usize> = self.columns.vectors.iter().map(|&(at, _)| at).collect();
        let schema = self.metadata.parquet_schema();
        let mut bytes = 0u64;
        for group in self.metadata.metadata().row_groups() {
            for (leaf, column) in group.columns().iter().enumerate() {
                let values = u64::try_from(column.num_values()).unwrap_or(0);
                let stored = u64::try_from(column.uncompressed_size()).unwrap_or(0);
                let is_vector = vector_roots.contains(&schema.get_column_root_idx(leaf));
                // Dictionaries make columns smaller on disk than in memory.
                bytes = bytes.saturating_add(if is_vector {
                    values.saturating_mul(4)
                } else {
                    stored.max(values)
                });
            }
        }
        usize::try_from(bytes / self.rows.max(1)).unwrap_or(usize::MAX)
    }

    fn learn_dimensions(&mut self) -> Result<()> {
        let roots: Vec<usize> = self.columns.vectors.iter().map(|&(at, _)| at).collect();
        let mut dimensions = vec![None; roots.len()];
        if self.rows > 0 && !roots.is_empty() {
            self.check_group(0)?;
            let mask = ProjectionMask::roots(self.metadata.parquet_schema(), roots.iter().copied());
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(
                self.source.clone(),
                self.metadata.clone(),
            )
            .with_projection(mask)
            .with_limit(PEEK_ROWS)
            .with_batch_size(PEEK_ROWS)
            .with_row_groups(vec![0]);
            let path = self.path.clone();
            let first = guarded(&path, || builder.build()?.next().transpose().map_err(Into::into))?;
            for (dimension, (root, _)) in dimensions.iter_mut().zip(&self.columns.vectors) {
                let name = self.metadata.schema().field(*root).name();
                if let Some(column) = first.as_ref().and_then(|b| b.column_by_name(name)) {
                    *dimension =
                        vectors::first_dimension(column).map_err(|why| ReadError::bad(&path, why))?;
                }
            }
        }
        let fields = self.columns.vectors.iter().zip(dimensions);
        self.info.vectors =
            fields.map(|((_, field), dimension)| FileVector { field: field.clone(), dimension }).collect();
        Ok(())
    }

    /// Finds the row group that holds the next row.
    fn seek(&mut self) {
        self.skip = self.next_row;
        for group in self.metadata.metadata().row_groups() {
            let rows = u64::try_from(group.num_rows()).unwrap_or(0);
            if self.skip < rows {
                break;
            }
            self.skip -= rows;
            self.next_group += 1;
        }
    }

    fn check_group(&self, group: usize) -> Result<()> {
        let group = self.metadata.metadata().row_group(group);
        let used = vec![true; group.columns().len()];
        guard::check_row_group(&self.source, group, &used).map_err(|why| ReadError::bad(&self.path, why))
    }

    /// The next batch as arrow decodes it.
    fn next_arrow(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if self.reader.is_none() {
                if self.next_group >= self.metadata.metadata().num_row_groups() {
                    return Ok(None);
                }
                self.check_group(self.next_group)?;
                let (source, metadata) = (self.source.clone(), self.metadata.clone());
                let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(source, metadata)
                    .with_row_groups(vec![self.next_group])
                    .with_batch_size(self.batch_rows)
                    .with_offset(usize::try_from(std::mem::take(&mut self.skip)).unwrap_or(usize::MAX));
                self.reader = Some(guarded(&self.path, || builder.build())?);
                self.next_group += 1;
            }
            let Some(reader) = &mut self.reader else { return Ok(None) };
            match guarded(&self.path, || reader.next().transpose().map_err(Into::into))? {
                Some(batch) if batch.num_rows() > 0 => return Ok(Some(batch)),
                Some(_) => {}
                None => self.reader = None,
            }
        }
    }

    /// Turns an arrow batch into batches of one id kind each, last first.
    fn convert(&mut self, batch: &RecordBatch) -> Result<Vec<RowBatch>> {
        let first_row = self.next_row;
        self.next_row += batch.num_rows() as u64;
        let path = self.path.clone();
        let mut bad_ids = Vec::new();
        let ids = scalars::ids(batch.column(self.columns.id), &mut bad_ids)
            .map_err(|why| ReadError::bad(&path, why))?;
        let mut ready = Vec::new();
        let mut start = 0;
        for run in ids.chunk_by(|a, b| matches!(a, Id::Num(_)) == matches!(b, Id::Num(_))) {
            let part = batch.slice(start, run.len());
            let here = start..start + run.len();
            let bad = bad_ids.iter().filter(|(row, _)| here.contains(row));
            let bad = bad.map(|(row, why)| (row - start, why.clone())).collect();
            ready.push(self.run(&part, run, first_row + start as u64, bad)?);
            start += run.len();
        }
        ready.reverse();
        Ok(ready)
    }

    fn run(
        &mut self,
        batch: &RecordBatch,
        ids: &[Id],
        first_row: u64,
        bad: scalars::Bad,
    ) -> Result<RowBatch> {
        let path = self.path.clone();
        let ids = match ids.first() {
            Some(Id::Uuid(_)) => Ids::Uuid(
                ids.iter().filter_map(|id| if let Id::Uuid(u) = id { Some(*u) } else { None }).collect(),
            ),
            _ => Ids::Num(
                ids.iter().filter_map(|id| if let Id::Num(n) = id { Some(*n) } else { None }).collect(),
            ),
        };
        let mut out = RowBatch::new(path.clone(), first_row, ids);
        self.fill(batch, &mut out, bad).map_err(|why| ReadError::bad(&path, why))?;
        Ok(out)
    }

    fn fill(&mut self, batch: &RecordBatch, out: &mut RowBatch, mut bad: scalars::Bad) -> Result<(), String> {
        let columns = &self.columns;
        for ((at, field), info) in columns.vectors.iter().zip(&mut self.info.vectors) {
            let block = vectors::decode(batch.column(*at), field, &mut info.dimension, &mut bad)?;
            if !block.components.is_empty() {
                out.vectors.push(block);
            }
        }
        if let Some(at) = columns.created_at {
            out.created_at_ms = scalars::times(batch.column(at), &mut bad)?;
        }
        if let Some(at) = columns.expires_at {
            out.expires_at_ms = scalars::times(batch.column(at), &mut bad)?;
        }
        if let Some(at) = columns.region {
            out.regions = scalars::regions(batch.column(at))?;
        }
        out.payload_json = payload::encode(batch, columns, &mut bad)?;
        out.reject(bad);
        Ok(())
    }

    fn step(&mut self) -> Result<Option<RowBatch>> {
        if self.ready.is_empty()
            && let Some(batch) = self.next_arrow()?
        {
            // Reading values runs arrow's checks, which panic on what a damaged file may hold.
            let path = self.path.clone();
            let converted = catch_unwind(AssertUnwindSafe(|| self.convert(&batch)));
            self.ready = converted.map_err(|panic| caught(&path, panic.as_ref()))??;
        }
        Ok(self.ready.pop())
    }
}

/// Runs the Parquet crate; its errors and panics become a bad file.
fn guarded<T>(path: &Path, work: impl FnOnce() -> parquet::errors::Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(ReadError::bad(path, error.to_string())),
        Err(panic) => Err(caught(path, panic.as_ref())),
    }
}

fn caught(path: &Path, panic: &(dyn std::any::Any + Send)) -> ReadError {
    let text = panic.downcast_ref::<&str>().copied();
    let text =
        text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given");
    ReadError::bad(path, format!("the Parquet decoder gave up on it: {text}"))
}

impl Iterator for ParquetFile {
    type Item = Result<RowBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let step = self.step();
        self.done = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}

impl Reader for ParquetFile {
    fn info(&self) -> &FileInfo {
        &self.info
    }

    fn progress(&self) -> f64 {
        self.next_row as f64 / self.rows.max(1) as f64
    }
}
