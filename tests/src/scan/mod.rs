//! The byte scan: whether any file of a directory still holds given bytes, raw or in a form that can be decoded.
//!
//! Every file is searched as it is, then everything that can be unpacked from it: values of Parquet columns (through
//! the Arrow reader), log records (through the decoder of the storage crate), and whatever any zstd frame in it
//! unpacks to. Needles are searched in their raw form, as base64, hexadecimal and decimal text and as 16- and 64-bit
//! floats.

mod needle;
mod unpack;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub use needle::{Needle, Needles};

use crate::files;

/// Where a needle was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// Name of the needle.
    pub needle: String,
    /// Its form: `raw`, `base64`, ...
    pub form: &'static str,
    /// How the bytes were read: `raw`, `parquet values`, `log record`, `zstd frame`.
    pub through: &'static str,
    /// File.
    pub file: PathBuf,
}

/// What a scan found.
#[derive(Debug, Default)]
pub struct Findings {
    /// All hits, each once.
    pub hits: Vec<Hit>,
    /// Files read.
    pub files: usize,
    /// Bytes searched, unpacked ones included.
    pub bytes: u64,
}

impl Findings {
    /// Needles found in each store (see [`files::store_of`]).
    pub fn by_store(&self) -> BTreeMap<String, Vec<&str>> {
        let mut stores: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for hit in &self.hits {
            let names = stores.entry(files::store_of(&hit.file)).or_default();
            if !names.contains(&hit.needle.as_str()) {
                names.push(&hit.needle);
            }
        }
        stores
    }

    /// Names of the needles found anywhere.
    pub fn needles(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.hits.iter().map(|h| h.needle.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// One line a store.
    pub fn describe(&self) -> String {
        let stores = self.by_store();
        let parts: Vec<String> =
            stores.iter().map(|(store, names)| format!("{store}: {}", names.len())).collect();
        let found = if parts.is_empty() { "nothing found".to_owned() } else { parts.join(", ") };
        format!("{} files, {} bytes searched; {found}", self.files, self.bytes)
    }
}

/// Searches every file below `dir`.
///
/// # Errors
/// Where a file cannot be read (one that disappears meanwhile is passed over).
pub fn directory(dir: &Path, needles: &Needles) -> Result<Findings> {
    let mut findings = Findings::default();
    for path in files::all(dir)? {
        match std::fs::read(&path) {
            Ok(content) => file(&path, &content, needles, &mut findings),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).with_context(|| format!("read {}", path.display())),
        }
    }
    findings.hits.sort();
    findings.hits.dedup();
    Ok(findings)
}

fn file(path: &Path, content: &[u8], needles: &Needles, findings: &mut Findings) {
    findings.files += 1;
    let mut look = |through: &'static str, bytes: &[u8]| {
        findings.bytes += bytes.len() as u64;
        needles.find(bytes, |needle, form| {
            let (needle, file) = (needle.to_owned(), path.to_path_buf());
            let hit = Hit { needle, form, through, file };
            if findings.hits.last() != Some(&hit) {
                findings.hits.push(hit);
            }
        });
    };
    look("raw", content);
    unpack::zstd_frames(content, |bytes| look("zstd frame", bytes));
    unpack::log_records(content, |bytes| look("log record", bytes));
    unpack::parquet_values(content, |bytes| look("parquet values", bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(name: &str, content: &[u8], needles: &Needles) -> Vec<(&'static str, &'static str)> {
        let mut findings = Findings::default();
        file(Path::new(name), content, needles, &mut findings);
        findings.hits.iter().map(|h| (h.form, h.through)).collect()
    }

    #[test]
    fn every_form_is_found() {
        let token = "Zk3mQ0aY7bT1xW9cV5dU2eS8fR4gP6hN";
        let floats =
            [0.123_456_7f32, -0.765_432_1, 0.333_999_1, 1.234_567, -2.5e-3, 0.001_234, 7.654_321, -0.987_654];
        let needles = Needles::new(vec![Needle::token("token", token), Needle::vector("vector", &floats)]);
        let le: Vec<u8> = floats.iter().flat_map(|x| x.to_le_bytes()).collect();
        let f64s: Vec<u8> = floats.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect();
        let f16s: Vec<u8> = floats.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect();
        use base64::Engine as _;
        let base64 = |b: &[u8]| base64::engine::general_purpose::STANDARD.encode(b);
        assert_eq!(scan("a", format!("..{token}..").as_bytes(), &needles), [("raw", "raw")]);
        assert_eq!(scan("a", &[b"xyz".as_slice(), &le].concat(), &needles), [("f32", "raw")]);
        assert_eq!(scan("a", &f64s, &needles), [("f64", "raw")]);
        assert_eq!(scan("a", &f16s, &needles), [("f16", "raw")]);
        for before in 0..3 {
            let text = base64(&[&vec![7u8; before], token.as_bytes()].concat());
            assert_eq!(scan("a", text.as_bytes(), &needles), [("base64", "raw")], "{before} bytes before");
            let text = base64(&[&vec![7u8; before], le.as_slice()].concat());
            assert_eq!(scan("a", text.as_bytes(), &needles), [("base64", "raw")], "{before} bytes before");
        }
        assert!(scan("a", format!("[{:?}]", floats[0]).as_bytes(), &needles).contains(&("decimal", "raw")));
        // Among hexadecimal digits the token is packed bit by bit too; alone it would stand in the frame as it is.
        let digits: String =
            (0..200u32).map(|n| blake3::hash(&n.to_le_bytes()).to_hex().to_string()).collect();
        let packed = zstd::bulk::compress(format!("{digits}{token}{digits}").as_bytes(), 1).unwrap();
        assert_eq!(scan("a", &[b"head".as_slice(), &packed].concat(), &needles), [("raw", "zstd frame")]);
        assert!(scan("a", &[0u8; 100_000], &needles).is_empty());
    }

    #[test]
    fn values_of_parquet_are_found() {
        use std::sync::Arc;
        let token = "Zk3mQ0aY7bT1xW9cV5dU2eS8fR4gP6hN";
        let needles = Needles::new(vec![Needle::token("token", token)]);
        let column: arrow::array::ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["x", token]));
        let batch = arrow::record_batch::RecordBatch::try_from_iter([("c", column)]).unwrap();
        let mut file = Vec::new();
        let properties = parquet::file::properties::WriterProperties::builder()
            .set_compression(parquet::basic::Compression::SNAPPY)
            .set_statistics_enabled(parquet::file::properties::EnabledStatistics::None)
            .build();
        let mut writer =
            parquet::arrow::ArrowWriter::try_new(&mut file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        assert!(scan("a.parquet", &file, &needles).contains(&("raw", "parquet values")));
    }
}
