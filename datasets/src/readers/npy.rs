//! NumPy `.npy` files: a 2-D array of floats, one vector a row; the id is the row number.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::{FileInfo, FileVector, MAX_DIMENSION, ReadOptions, Reader, only_field};
use crate::{Ids, ReadError, Result, RowBatch, VectorBlock};

/// Headers of real files are below 200 bytes.
const MAX_HEADER: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    F16,
    F32,
    F64,
}

impl Kind {
    fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// An open `.npy` file.
pub struct Npy {
    path: Arc<Path>,
    file: BufReader<File>,
    kind: Kind,
    dimension: usize,
    rows: u64,
    next_row: u64,
    batch_rows: usize,
    info: FileInfo,
}

impl Npy {
    /// Opens a file and checks that its length fits its header.
    ///
    /// # Errors
    /// [`ReadError::BadFile`] where it is no such file, is truncated or holds another kind of array.
    pub fn open(path: &Path, options: &ReadOptions) -> Result<Self> {
        let mut file = BufReader::new(File::open(path).map_err(ReadError::io(path))?);
        let length = file.get_ref().metadata().map_err(ReadError::io(path))?.len();
        let bad = |why: String| ReadError::bad(path, why);
        let (text, data_start) = read_header(&mut file).map_err(bad)?;
        let header = Header::parse(&text).map_err(bad)?;
        let (rows, dimension) = (header.rows, header.dimension);
        let needed = rows
            .checked_mul(dimension as u64)
            .and_then(|n| n.checked_mul(header.kind.bytes() as u64))
            .and_then(|n| n.checked_add(data_start))
            .ok_or_else(|| ReadError::bad(path, "its header says more bytes than any file has"))?;
        if length < needed {
            return Err(ReadError::bad(
                path,
                format!("it is truncated: {length} of {needed} bytes are here"),
            ));
        }
        let next_row = options.start_row.min(rows);
        let at = data_start + next_row * (dimension * header.kind.bytes()) as u64;
        file.seek(SeekFrom::Start(at)).map_err(ReadError::io(path))?;
        let field = only_field(options);
        Ok(Self {
            path: path.into(),
            file,
            kind: header.kind,
            dimension,
            rows,
            next_row,
            batch_rows: options.rows_per_batch(dimension * 4),
            info: FileInfo {
                rows: Some(rows),
                vectors: vec![FileVector { field, dimension: Some(dimension) }],
            },
        })
    }

    fn read_batch(&mut self, rows: usize) -> Result<RowBatch> {
        let mut raw = vec![0u8; rows * self.dimension * self.kind.bytes()];
        self.file.read_exact(&mut raw).map_err(ReadError::io(&self.path))?;
        let ids = Ids::Num((self.next_row..self.next_row + rows as u64).collect());
        let mut batch = RowBatch::new(self.path.clone(), self.next_row, ids);
        batch.vectors.push(VectorBlock {
            field: self.info.vectors.first().map(|v| v.field.clone()).unwrap_or_default(),
            dimension: self.dimension,
            components: components(self.kind, &raw),
            present: None,
        });
        self.next_row += rows as u64;
        Ok(batch)
    }
}

fn components(kind: Kind, raw: &[u8]) -> Vec<f32> {
    match kind {
        Kind::F32 => raw.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect(),
        Kind::F16 => {
            let halves: Vec<f16> = raw.chunks_exact(2).map(|c| f16::from_le_bytes([c[0], c[1]])).collect();
            let mut wide = vec![0.0; halves.len()];
            halves.convert_to_f32_slice(&mut wide);
            wide
        }
        Kind::F64 => raw
            .chunks_exact(8)
            .map(|c| f64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]]) as f32)
            .collect(),
    }
}

/// The header's text, and where the data begins.
fn read_header(file: &mut impl Read) -> Result<(String, u64), String> {
    let truncated = |_| "it is truncated: its header is not complete".to_owned();
    let mut start = [0u8; 8];
    file.read_exact(&mut start).map_err(truncated)?;
    if &start[..6] != b"\x93NUMPY" {
        return Err("it is no .npy file".to_owned());
    }
    let (length, before) = if start[6] == 1 {
        let mut two = [0u8; 2];
        file.read_exact(&mut two).map_err(truncated)?;
        (usize::from(u16::from_le_bytes(two)), 10)
    } else {
        let mut four = [0u8; 4];
        file.read_exact(&mut four).map_err(truncated)?;
        (u32::from_le_bytes(four) as usize, 12)
    };
    if length > MAX_HEADER {
        return Err(format!("its header is {length} bytes long, more than {MAX_HEADER}"));
    }
    let mut text = vec![0u8; length];
    file.read_exact(&mut text).map_err(truncated)?;
    let text = String::from_utf8(text).map_err(|_| "its header is no text".to_owned())?;
    Ok((text, before + length as u64))
}

struct Header {
    kind: Kind,
    rows: u64,
    dimension: usize,
}

impl Header {
    /// Reads the Python dictionary, `{'descr': '<f4', 'fortran_order': False, 'shape': (10, 3), }`.
    fn parse(text: &str) -> Result<Self, String> {
        let value = |key: &str| {
            let after = text.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
            after.ok_or_else(|| format!("its header has no {key}"))
        };
        let descr = value("descr")?;
        let descr = descr.strip_prefix('\'').and_then(|d| d.split_once('\'')).map_or("?", |(d, _)| d);
        let kind = match descr {
            "<f2" => Kind::F16,
            "<f4" => Kind::F32,
            "<f8" => Kind::F64,
            other => {
                return Err(format!("its components are {other}: save it as float16, float32 or float64"));
            }
        };
        if !value("fortran_order")?.starts_with("False") {
            return Err("it is in Fortran order: save it with numpy.ascontiguousarray".to_owned());
        }
        let shape = value("shape")?;
        let shape = shape.strip_prefix('(').and_then(|s| s.split_once(')')).map_or("", |(s, _)| s);
        let numbers: Option<Vec<u64>> =
            shape.split(',').map(str::trim).filter(|s| !s.is_empty()).map(|s| s.parse().ok()).collect();
        let Some([rows, dimension]) = numbers.as_deref() else {
            return Err(format!("its shape is ({shape}): two numbers, rows and dimension, are needed"));
        };
        let dimension = usize::try_from(*dimension).unwrap_or(usize::MAX);
        if dimension == 0 || dimension > MAX_DIMENSION {
            return Err(format!(
                "its vectors have {dimension} components: 1 to {MAX_DIMENSION} are possible"
            ));
        }
        Ok(Self { kind, rows: *rows, dimension })
    }
}

impl Iterator for Npy {
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

impl Reader for Npy {
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

    fn file(descr: &str, order: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let text = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({shape}), }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn read(bytes: &[u8], options: &ReadOptions) -> Result<Vec<RowBatch>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        std::fs::write(&path, bytes).unwrap();
        Npy::open(&path, options)?.collect()
    }

    #[test]
    fn every_float_kind() {
        let values = [1.0f32, -2.5, 0.5, 4.0, 5.0, 6.0];
        let f4: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let f8: Vec<u8> = values.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect();
        let f2: Vec<u8> = values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
        for (descr, data) in [("<f4", f4), ("<f8", f8), ("<f2", f2)] {
            let bytes = file(descr, "False", "3, 2", &data);
            let options = ReadOptions { batch_rows: Some(2), ..Default::default() };
            let batches = read(&bytes, &options).unwrap();
            assert_eq!(batches.len(), 2);
            assert_eq!(batches[0].vectors[0].components, values[..4]);
            assert_eq!(batches[1].ids, Ids::Num(vec![2]));
            let rest = read(&bytes, &ReadOptions { start_row: 1, ..Default::default() }).unwrap();
            assert_eq!((rest[0].first_row, &rest[0].vectors[0].components[..]), (1, &values[2..]));
        }
    }

    #[test]
    fn hostile_headers() {
        let options = ReadOptions::default();
        let huge = u64::MAX.to_string();
        for (bytes, word) in [
            (file("<f4", "False", "3, 2", &[0; 23]), "truncated"),
            (file("<f4", "False", &format!("{huge}, 16384"), &[]), "more bytes"),
            (file("<f4", "False", "1000000000000, 2", &[]), "truncated"),
            (file("<f4", "False", "3, 99999999", &[]), "components"),
            (file("<f4", "False", "3", &[]), "shape"),
            (file("<f4", "True", "3, 2", &[]), "Fortran"),
            (file("<i8", "False", "3, 2", &[]), "float16"),
            (b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(), "header"),
            (b"\x93NUM".to_vec(), "truncated"),
            (b"PK\x03\x04aaaaaaaa".to_vec(), "no .npy"),
        ] {
            let error = read(&bytes, &options).unwrap_err().to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
    }
}
