//! Fashion-MNIST: 60,000 pictures of 28 x 28 pixels, euclid; Zalando Research, MIT licence.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow::array::{UInt8Array, UInt64Array};
use engram_index::vector::Metric;
use flate2::read::GzDecoder;

use super::{Set, cache_folder, write_truth};
use crate::{ReadError, Result, writer};

const DIMENSION: usize = 784;
const PACKAGE: &str = "dataset-fashion-mnist";
/// Where Debian's package puts its files.
const INSTALLED: &str = "usr/share/datasets/fashion-mnist";
/// Queries are the first of the 10,000 test pictures; exact search of all would take minutes in every benchmark.
const QUERIES: usize = 2_000;
/// Largest file once unpacked is 47 MB; more is no such file.
const MAX_UNPACKED: u64 = 64 << 20;

pub(super) fn set() -> Set {
    Set::in_folder("fashion", Metric::Euclid, DIMENSION, &cache_folder())
}

pub(super) fn prepare(say: &mut dyn FnMut(&str)) -> Result<Set> {
    let installed = Path::new("/").join(INSTALLED);
    let folder = if installed.is_dir() { installed } else { download(say)? };
    let set = set();
    say("writing the base and the queries of fashion");
    let (labels, base) = (labels(&folder, "train")?, images(&folder, "train")?);
    let ids = UInt64Array::from_iter_values(0..(base.len() / DIMENSION) as u64);
    writer::write_columns(
        &set.base,
        vec![
            ("id", Arc::new(ids) as _),
            ("label", Arc::new(UInt8Array::from(labels)) as _),
            ("vector", writer::vector_column(DIMENSION, base)?),
        ],
    )?;
    let mut queries = images(&folder, "t10k")?;
    queries.truncate(QUERIES * DIMENSION);
    let ids = UInt64Array::from_iter_values(0..(queries.len() / DIMENSION) as u64);
    let columns = vec![("id", Arc::new(ids) as _), ("vector", writer::vector_column(DIMENSION, queries)?)];
    writer::write_columns(&set.queries, columns)?;
    write_truth(&set, say)?;
    Ok(set)
}

/// Gets Debian's package and unpacks it without installing it: that needs no rights.
fn download(say: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let folder = cache_folder().join("fashion-package");
    std::fs::create_dir_all(&folder).map_err(ReadError::io(&folder))?;
    say(&format!("downloading Debian's package {PACKAGE}"));
    let sentence = |why: String| {
        ReadError::Unavailable(format!(
            "Fashion-MNIST is not here and could not be got ({why}). On Debian: apt-get update && apt-get install \
             {PACKAGE}"
        ))
    };
    let run = |command: &mut Command| match command.current_dir(&folder).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(sentence(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        Err(error) => Err(sentence(error.to_string())),
    };
    run(Command::new("apt-get").args(["download", PACKAGE]))?;
    let files = std::fs::read_dir(&folder).map_err(ReadError::io(&folder))?;
    let package = files.flatten().map(|f| f.path()).find(|path| path.extension().is_some_and(|e| e == "deb"));
    let package = package.ok_or_else(|| sentence("apt-get left no package".to_owned()))?;
    run(Command::new("dpkg-deb").arg("-x").arg(package).arg("."))?;
    Ok(folder.join(INSTALLED))
}

fn images(folder: &Path, part: &str) -> Result<Vec<f32>> {
    let (dimensions, data) = idx(&folder.join(format!("{part}-images-idx3-ubyte.gz")))?;
    let pixels: usize = dimensions.iter().skip(1).product();
    if pixels != DIMENSION {
        return Err(ReadError::bad(folder, format!("its pictures have {pixels} pixels, not {DIMENSION}")));
    }
    Ok(data.into_iter().map(f32::from).collect())
}

fn labels(folder: &Path, part: &str) -> Result<Vec<u8>> {
    Ok(idx(&folder.join(format!("{part}-labels-idx1-ubyte.gz")))?.1)
}

/// Reads an IDX file of bytes: a magic number, big-endian dimensions, the data.
fn idx(path: &Path) -> Result<(Vec<usize>, Vec<u8>)> {
    let file = File::open(path).map_err(ReadError::io(path))?;
    let mut bytes = Vec::new();
    GzDecoder::new(file).take(MAX_UNPACKED).read_to_end(&mut bytes).map_err(ReadError::io(path))?;
    parse_idx(bytes).map_err(|why| ReadError::bad(path, why))
}

fn parse_idx(mut bytes: Vec<u8>) -> Result<(Vec<usize>, Vec<u8>), String> {
    let &[0, 0, 8, count] = bytes.first_chunk::<4>().ok_or("it is truncated")? else {
        return Err("it is no IDX file of bytes".to_owned());
    };
    let header = 4 + 4 * usize::from(count);
    let sizes = bytes.get(4..header).ok_or("it is truncated")?;
    let dimensions: Vec<usize> =
        sizes.chunks_exact(4).map(|c| u32::from_be_bytes([c[0], c[1], c[2], c[3]]) as usize).collect();
    let needed = dimensions.iter().try_fold(1usize, |all, &d| all.checked_mul(d));
    if needed != Some(bytes.len() - header) {
        return Err(format!("it is truncated: {} bytes for {dimensions:?}", bytes.len() - header));
    }
    bytes.drain(..header);
    Ok((dimensions, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idx_files() {
        let bytes = vec![0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6];
        assert_eq!(parse_idx(bytes.clone()), Ok((vec![2, 3], vec![1, 2, 3, 4, 5, 6])));
        assert!(parse_idx(bytes[..17].to_vec()).unwrap_err().contains("truncated"));
        assert!(parse_idx(vec![0, 0, 8]).is_err());
        assert!(parse_idx(vec![0, 0, 13, 1, 0, 0, 0, 0]).is_err());
        assert!(parse_idx([&[0, 0, 8, 2][..], &[0xff; 8]].concat()).is_err());
    }
}
