//! Named sets: where they are, and how they are made where they are not.
//!
//! A set is three Parquet files: `base` (id, vector and other columns), `queries` (vector) and `truth` (neighbors: row
//! numbers of base, nearest first).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::UInt64Type;
use engram_index::vector::Metric;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::{ReadError, ReadOptions, Result, readers, truth, writer};

mod fashion;
mod wordnet;

/// Names that [`find`] and [`prepare`] know.
pub const NAMES: [&str; 3] = ["wordnet-5k", "wordnet", "fashion"];

/// Neighbours of each query in a truth file.
pub const TRUTH_K: usize = 100;

/// A set whose files are there.
#[derive(Clone, Debug)]
pub struct Set {
    /// One of [`NAMES`].
    pub name: &'static str,
    /// Distance its truth was computed under.
    pub metric: Metric,
    /// Components of a vector.
    pub dimension: usize,
    /// Rows to load.
    pub base: PathBuf,
    /// Vectors to search for.
    pub queries: PathBuf,
    /// Their exact neighbours.
    pub truth: PathBuf,
}

impl Set {
    fn in_folder(name: &'static str, metric: Metric, dimension: usize, folder: &Path) -> Self {
        let file = |part: &str| folder.join(format!("{name}-{part}.parquet"));
        Self { name, metric, dimension, base: file("base"), queries: file("queries"), truth: file("truth") }
    }

    fn is_complete(&self) -> bool {
        [&self.base, &self.queries, &self.truth].iter().all(|path| path.is_file())
    }

    /// Components of all base vectors, row after row.
    ///
    /// # Errors
    /// What the reader says.
    pub fn base_vectors(&self) -> Result<Vec<f32>> {
        read_vectors(&self.base)
    }

    /// Components of all query vectors, row after row.
    ///
    /// # Errors
    /// What the reader says.
    pub fn query_vectors(&self) -> Result<Vec<f32>> {
        read_vectors(&self.queries)
    }

    /// Row numbers of the exact neighbours of each query.
    ///
    /// # Errors
    /// [`ReadError::BadFile`] where the file is not what a truth file is.
    pub fn true_neighbors(&self) -> Result<Vec<Vec<u64>>> {
        let path = &self.truth;
        let bad = |e: &dyn std::fmt::Display| ReadError::bad(path, e.to_string());
        let file = std::fs::File::open(path).map_err(ReadError::io(path))?;
        let reader =
            ParquetRecordBatchReaderBuilder::try_new(file).and_then(|b| b.build()).map_err(|e| bad(&e))?;
        let mut all = Vec::new();
        for batch in reader {
            let batch = batch.map_err(|e| bad(&e))?;
            let lists = batch.column_by_name("neighbors").and_then(|c| c.as_fixed_size_list_opt());
            let lists = lists.ok_or_else(|| bad(&"it has no column of neighbors"))?;
            for row in 0..lists.len() {
                let list = lists.value(row);
                let ids =
                    list.as_primitive_opt::<UInt64Type>().ok_or_else(|| bad(&"neighbors are no numbers"))?;
                all.push(ids.values().to_vec());
            }
        }
        Ok(all)
    }
}

/// Finds a set without making anything; `None` where it is not here.
pub fn find(name: &str) -> Option<Set> {
    let candidates = match name {
        "wordnet" => wordnet::candidates(),
        "wordnet-5k" => vec![wordnet::small()],
        "fashion" => vec![fashion::set()],
        _ => Vec::new(),
    };
    candidates.into_iter().find(Set::is_complete)
}

/// Finds a set, or makes it where that can be done here.
///
/// # Errors
/// [`ReadError::Unavailable`] with a sentence that says how to get it; others where the making failed.
pub fn prepare(name: &str, say: &mut dyn FnMut(&str)) -> Result<Set> {
    if let Some(set) = find(name) {
        return Ok(set);
    }
    match name {
        "wordnet" => wordnet::prepare(say),
        "wordnet-5k" => wordnet::prepare_small(say),
        "fashion" => fashion::prepare(say),
        _ => {
            Err(ReadError::Unavailable(format!("there is no set {name:?}; there are: {}", NAMES.join(", "))))
        }
    }
}

/// Folder that prepared sets are kept in: `ENGRAM_CACHE`, or `engram/datasets` in the user's cache folder.
pub fn cache_folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("ENGRAM_CACHE") {
        return folder.into();
    }
    let home = || std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("engram/datasets")
}

/// The checkout that this program was built from.
fn checkout() -> &'static Path {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.parent().unwrap_or(crate_folder)
}

/// All vectors of the only field of a file.
fn read_vectors(path: &Path) -> Result<Vec<f32>> {
    let mut all = Vec::new();
    for batch in readers::open(path, &ReadOptions { id_column: id_column(path)?, ..ReadOptions::default() })?
    {
        let batch = batch?;
        if let Some(reject) = batch.rejects.first() {
            return Err(ReadError::bad(path, format!("row {}: {}", reject.row, reject.reason)));
        }
        all.extend(batch.vectors.iter().flat_map(|v| &v.components));
    }
    Ok(all)
}

/// Query files written by others may lack ids; any integer column then serves.
fn id_column(path: &Path) -> Result<String> {
    let bad = |e: &dyn std::fmt::Display| ReadError::bad(path, e.to_string());
    let file = std::fs::File::open(path).map_err(ReadError::io(path))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| bad(&e))?;
    let fields = builder.schema().fields();
    let has_id = fields.iter().any(|f| f.name() == "id");
    let other = fields.iter().find(|f| f.data_type().is_integer()).map(|f| f.name().clone());
    Ok(if has_id { "id".to_owned() } else { other.unwrap_or_else(|| "id".to_owned()) })
}

/// Computes and writes the truth of a set whose base and queries are there.
fn write_truth(set: &Set, say: &mut dyn FnMut(&str)) -> Result<()> {
    say(&format!("computing the exact neighbours of {}", set.name));
    let base = Arc::new(truth::vector_set(set.metric, set.dimension, set.base_vectors()?)?);
    let neighbors = truth::exact_neighbors(&base, &set.query_vectors()?, TRUTH_K)?;
    writer::write_columns(&set.truth, vec![("neighbors", writer::neighbor_column(&neighbors)?)])
}
