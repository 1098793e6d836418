//! Streaming readers of embedding files. Memory is bounded by one batch and one Parquet page per column, whatever the
//! size of the file, and no length in a file is believed before it was compared with the bytes that are there.
//!
//! | name | rows | id |
//! |---|---|---|
//! | `.parquet` | records; list columns of floats are vectors, the rest is payload | a column |
//! | `.jsonl`, `.ndjson` | one JSON object a line | the key `id` |
//! | `.npy` | a 2-D array of f2, f4 or f8 in C order | the row number |
//! | `.fvecs`, `.bvecs` | dimension and components, again and again | the row number |

use std::path::Path;

use crate::{ReadError, Result, RowBatch};

pub mod jsonl;
pub mod npy;
pub mod parquet;
pub mod vecs;

/// Longest vector that any reader takes; the server's own limit.
pub const MAX_DIMENSION: usize = 16_384;
/// Most rows of one batch; the server's own limit.
pub const MAX_BATCH_ROWS: usize = 10_000;

/// A column that holds vectors, and the field they go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorColumn {
    /// Column (or JSON key) of the file.
    pub column: String,
    /// Field of the collection; "" is the default field.
    pub field: String,
}

impl VectorColumn {
    /// Reads `COLUMN` or `COLUMN=FIELD`.
    pub fn parse(text: &str) -> Self {
        let (column, field) = text.split_once('=').unwrap_or((text, ""));
        Self { column: column.to_owned(), field: field.to_owned() }
    }
}

/// How to read a file. The default reads what `engram export` writes.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// Column of the id.
    pub id_column: String,
    /// Vector columns. Empty: `vector` and `vector.FIELD`, or else the only list column of floats.
    pub vector_columns: Vec<VectorColumn>,
    /// Column of the region tag, where the file has it.
    pub region_column: String,
    /// Column of the creation time, where the file has it: a timestamp, RFC 3339 text or integer milliseconds.
    pub created_at_column: String,
    /// Column of the expiry time, in the same forms.
    pub expires_at_column: String,
    /// Rows of one batch; by default as many as make about [`ReadOptions::batch_bytes`].
    pub batch_rows: Option<usize>,
    /// Size of one batch that is aimed at, in bytes of its columns.
    pub batch_bytes: usize,
    /// Rows of the file to leave out at its beginning: where a load goes on.
    pub start_row: u64,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            id_column: "id".to_owned(),
            vector_columns: Vec::new(),
            region_column: "region".to_owned(),
            created_at_column: "created_at".to_owned(),
            expires_at_column: "expires_at".to_owned(),
            batch_rows: None,
            batch_bytes: 3 << 19,
            start_row: 0,
        }
    }
}

impl ReadOptions {
    /// Rows that make a batch of about the wanted size.
    pub(crate) fn rows_per_batch(&self, row_bytes: usize) -> usize {
        let fitting = self.batch_bytes / row_bytes.max(1);
        self.batch_rows.unwrap_or(fitting).clamp(1, MAX_BATCH_ROWS)
    }
}

/// A vector field that a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileVector {
    /// Field of the collection.
    pub field: String,
    /// Components of its first vector; `None` if that is not known before reading.
    pub dimension: Option<usize>,
}

/// What a file says about itself before its rows are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileInfo {
    /// Rows, where the file knows.
    pub rows: Option<u64>,
    /// Vector fields.
    pub vectors: Vec<FileVector>,
}

/// An open file: batches in the order of its rows.
pub trait Reader: Iterator<Item = Result<RowBatch>> + Send {
    /// What the file says about itself.
    fn info(&self) -> &FileInfo;
    /// Share of the file that was read, 0 to 1.
    fn progress(&self) -> f64;
}

/// Endings of the file names that [`open`] reads.
pub const EXTENSIONS: [&str; 7] = ["parquet", "pq", "jsonl", "ndjson", "npy", "fvecs", "bvecs"];

/// Opens a file by the ending of its name.
///
/// # Errors
/// [`ReadError`] for an unknown ending, and what the reader of the format says.
pub fn open(path: &Path, options: &ReadOptions) -> Result<Box<dyn Reader>> {
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
    Ok(match ending.as_str() {
        "parquet" | "pq" => Box::new(parquet::ParquetFile::open(path, options)?),
        "jsonl" | "ndjson" => Box::new(jsonl::JsonLines::open(path, options)?),
        "npy" => Box::new(npy::Npy::open(path, options)?),
        "fvecs" | "bvecs" => Box::new(vecs::Vecs::open(path, options)?),
        _ => {
            let known = EXTENSIONS.join(", .");
            return Err(ReadError::bad(path, format!("the name must end with one of .{known}")));
        }
    })
}

/// Field of the only vector column of a format without column names.
pub(crate) fn only_field(options: &ReadOptions) -> String {
    options.vector_columns.first().map(|v| v.field.clone()).unwrap_or_default()
}
