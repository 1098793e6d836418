//! `.fvecs` and `.bvecs` files of the nearest-neighbour literature: each row is its dimension (i32) and that many f32
//! or u8 components; the id is the row number.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use super::{FileInfo, FileVector, MAX_DIMENSION, ReadOptions, Reader, only_field};
use crate::{Ids, ReadError, Result, RowBatch, VectorBlock};

/// An open `.fvecs` or `.bvecs` file.
pub struct Vecs {
    path: Arc<Path>,
    file: BufReader<File>,
    bytes_per_component: usize,
    dimension: usize,
    rows: u64,
    next_row: u64,
    batch_rows: usize,
    info: FileInfo,
}

impl Vecs {
    /// Opens a file and checks that its length is a whole number of rows.
    ///
    /// # Errors
    /// [`ReadError::BadFile`] where it is truncated or its dimension is not possible.
    pub fn open(path: &Path, options: &ReadOptions) -> Result<Self> {
        let mut file = BufReader::new(File::open(path).map_err(ReadError::io(path))?);
        let length = file.get_ref().metadata().map_err(ReadError::io(path))?.len();
        let bytes_per_component = if path.extension().is_some_and(|e| e == "bvecs") { 1 } else { 4 };
        let field = only_field(options);
        let mut this = Self {
            path: path.into(),
            bytes_per_component,
            dimension: 0,
            rows: 0,
            next_row: 0,
            batch_rows: 1,
            info: FileInfo { rows: Some(0), vectors: vec![FileVector { field, dimension: None }] },
            file: BufReader::new(file.get_ref().try_clone().map_err(ReadError::io(path))?),
        };
        if length == 0 {
            return Ok(this);
        }
        let mut first = [0u8; 4];
        file.read_exact(&mut first).map_err(|_| ReadError::bad(path, "it is truncated in its first row"))?;
        let dimension = usize::try_from(i32::from_le_bytes(first)).unwrap_or(0);
        if dimension == 0 || dimension > MAX_DIMENSION {
            let said = i32::from_le_bytes(first);
            return Err(ReadError::bad(
                path,
                format!("its first row says {said} components: 1 to {MAX_DIMENSION}"),
            ));
        }
        let row_bytes = (4 + dimension * bytes_per_component) as u64;
        if !length.is_multiple_of(row_bytes) {
            let why = format!("it is truncated: {length} bytes are not whole rows of {row_bytes}");
            return Err(ReadError::bad(path, why));
        }
        this.rows = length / row_bytes;
        this.next_row = options.start_row.min(this.rows);
        let start = this.next_row * row_bytes;
        this.file.seek(SeekFrom::Start(start)).map_err(ReadError::io(path))?;
        this.dimension = dimension;
        this.batch_rows = options.rows_per_batch(dimension * 4);
        this.info.rows = Some(this.rows);
        this.info.vectors[0].dimension = Some(dimension);
        Ok(this)
    }

    fn read_batch(&mut self, rows: usize) -> Result<RowBatch> {
        let row_bytes = 4 + self.dimension * self.bytes_per_component;
        let mut raw = vec![0u8; rows * row_bytes];
        self.file.read_exact(&mut raw).map_err(ReadError::io(&self.path))?;
        let mut components = Vec::with_capacity(rows * self.dimension);
        for (i, row) in raw.chunks_exact(row_bytes).enumerate() {
            let said = i32::from_le_bytes([row[0], row[1], row[2], row[3]]);
            if said as usize != self.dimension {
                let at = self.next_row + i as u64;
                let why = format!("row {at} says {said} components, the first row says {}", self.dimension);
                return Err(ReadError::bad(&self.path, why));
            }
            let data = &row[4..];
            if self.bytes_per_component == 1 {
                components.extend(data.iter().map(|&b| f32::from(b)));
            } else {
                components.extend(data.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])));
            }
        }
        let ids = Ids::Num((self.next_row..self.next_row + rows as u64).collect());
        let mut batch = RowBatch::new(self.path.clone(), self.next_row, ids);
        let field = self.info.vectors.first().map(|v| v.field.clone()).unwrap_or_default();
        batch.vectors.push(VectorBlock { field, dimension: self.dimension, components, present: None });
        self.next_row += rows as u64;
        Ok(batch)
    }
}

impl Iterator for Vecs {
    type Item = Result<RowBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let left = usize::try_from(self.rows - self.next_row).unwrap_or(usize::MAX);
        let rows = left.min(self.batch_rows);
        if rows == 0 {
            return None;
        }
        let batch = self.read_batch(rows);
        if batch.is_err() {
            self.next_row = self.rows;
        }
        Some(batch)
    }
}

impl Reader for Vecs {
    fn info(&self) -> &FileInfo {
        &self.info
    }

    fn progress(&self) -> f64 {
        self.next_row as f64 / self.rows.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, bytes: &[u8], options: &ReadOptions) -> Result<Vec<RowBatch>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        Vecs::open(&path, options)?.collect()
    }

    #[test]
    fn floats_and_bytes() {
        let mut fvecs = Vec::new();
        let mut bvecs = Vec::new();
        for row in 0..5u8 {
            fvecs.extend(2i32.to_le_bytes());
            bvecs.extend(2i32.to_le_bytes());
            fvecs.extend([f32::from(row), 0.5].iter().flat_map(|v| v.to_le_bytes()));
            bvecs.extend([row, 200]);
        }
        let options = ReadOptions { batch_rows: Some(3), start_row: 1, ..Default::default() };
        let batches = read("a.fvecs", &fvecs, &options).unwrap();
        assert_eq!(batches.iter().map(RowBatch::len).collect::<Vec<_>>(), [3, 1]);
        assert_eq!(batches[1].vectors[0].vector(0), Some(&[4.0, 0.5][..]));
        let batches = read("a.bvecs", &bvecs, &options).unwrap();
        assert_eq!(batches[0].ids, Ids::Num(vec![1, 2, 3]));
        assert_eq!(batches[0].vectors[0].vector(0), Some(&[1.0, 200.0][..]));
        assert!(
            read("a.fvecs", &fvecs[..fvecs.len() - 1], &options)
                .unwrap_err()
                .to_string()
                .contains("truncated")
        );
        assert!(read("a.fvecs", &[], &options).unwrap().is_empty());
    }

    #[test]
    fn hostile_dimensions() {
        for said in [0i32, -1, 16_385, i32::MAX] {
            let error = read("a.fvecs", &said.to_le_bytes(), &ReadOptions::default()).unwrap_err();
            assert!(error.to_string().contains("components"), "{error}");
        }
        let mut changing = 1i32.to_le_bytes().to_vec();
        changing.extend([0; 4]);
        changing.extend(7i32.to_le_bytes());
        changing.extend([0; 4]);
        assert!(read("a.fvecs", &changing, &ReadOptions::default()).is_err());
    }
}
