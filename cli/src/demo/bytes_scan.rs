//! Looks for bytes in every file below a folder: as they are, and inside everything that zstd packed (log records
//! and Parquet pages).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// First bytes of what zstd writes.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Most bytes that one packed piece is unpacked to.
const MAX_UNPACKED: u64 = 256 << 20;

/// What was looked at, and where the needles were.
#[derive(Debug, Default)]
pub struct Found {
    /// Files read.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Packed pieces that were unpacked.
    pub unpacked: usize,
    /// Places of each needle, in the order given.
    pub places: Vec<usize>,
}

/// Counts the places of each needle.
pub fn scan(folder: &Path, needles: &[&[u8]]) -> Result<Found> {
    let mut found = Found { places: vec![0; needles.len()], ..Found::default() };
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let context = || format!("cannot read {}", folder.display());
        for entry in std::fs::read_dir(&folder).with_context(context)? {
            let path: PathBuf = entry.with_context(context)?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                // A file may go away while others are read: then it holds nothing.
                let Ok(bytes) = std::fs::read(&path) else { continue };
                found.files += 1;
                found.bytes += bytes.len() as u64;
                found.look(&bytes, needles);
            }
        }
    }
    Ok(found)
}

impl Found {
    fn look(&mut self, bytes: &[u8], needles: &[&[u8]]) {
        self.count(bytes, needles);
        for at in positions(bytes, &ZSTD_MAGIC) {
            // Only what is really packed unpacks; the rest of the file after it is not its business.
            if let Some(raw) = unpack(&bytes[at..]) {
                self.unpacked += 1;
                self.count(&raw, needles);
            }
        }
    }

    fn count(&mut self, bytes: &[u8], needles: &[&[u8]]) {
        for (count, needle) in self.places.iter_mut().zip(needles) {
            *count += positions(bytes, needle).count();
        }
    }
}

fn unpack(bytes: &[u8]) -> Option<Vec<u8>> {
    use std::io::Read;
    let decoder = zstd::stream::read::Decoder::with_buffer(bytes).ok()?.single_frame();
    let mut raw = Vec::new();
    decoder.take(MAX_UNPACKED).read_to_end(&mut raw).ok()?;
    (!raw.is_empty()).then_some(raw)
}

/// Where `needle` begins in `bytes`.
fn positions<'a>(bytes: &'a [u8], needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let mut at = 0;
    std::iter::from_fn(move || {
        let first = *needle.first()?;
        loop {
            let step = bytes.get(at..)?.iter().position(|&b| b == first)?;
            at += step + 1;
            if bytes[at - 1..].starts_with(needle) {
                return Some(at - 1);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_packed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("deep")).unwrap();
        // Letters without repeats: zstd stores them entropy-coded, so that no byte of the text shows.
        let mut state = 1u64;
        let mut letter = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'a' + (state >> 60) as u8)
        };
        let noise: String = (0..2000).map(|_| letter()).collect();
        let text = format!("{noise}canary{noise}");
        let packed = zstd::bulk::compress(text.as_bytes(), 3).unwrap();
        assert_eq!(positions(&packed, b"canary").count(), 0);
        std::fs::write(folder.path().join("plain"), "a canary and a canary").unwrap();
        std::fs::write(folder.path().join("deep/log"), [b"head", &packed[..], b"tail"].concat()).unwrap();
        let found = scan(folder.path(), &[b"canary", b"nothing", b"tail"]).unwrap();
        assert_eq!((found.files, found.unpacked), (2, 1));
        assert_eq!(found.places, [3, 0, 1]);
    }

    #[test]
    fn overlapping_places() {
        assert_eq!(positions(b"aaa", b"aa").collect::<Vec<_>>(), [0, 1]);
        assert_eq!(positions(b"abc", b"").count(), 0);
    }
}
