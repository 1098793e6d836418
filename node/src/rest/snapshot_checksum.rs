//! The checksum that a caller expects of a snapshot: that of the listing, or SHA-256 of the file.

use ring::digest::{Context, SHA256};

use super::error::RestError;

/// Bytes of either.
const LENGTH: usize = 32;

/// An expected checksum, and what was read so far.
pub(super) struct Checksum {
    expected: String,
    sha256: Context,
    /// The last bytes that were read: a file ends with the checksum that the listing shows.
    end: Vec<u8>,
}

impl Checksum {
    /// Reads 64 hexadecimal digits.
    pub(super) fn parse(text: &str) -> Result<Self, RestError> {
        if text.len() != 2 * LENGTH || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            let what = format!("checksum: give {} hexadecimal digits", 2 * LENGTH);
            return Err(RestError::parameter(what));
        }
        Ok(Self { expected: text.to_ascii_lowercase(), sha256: Context::new(&SHA256), end: Vec::new() })
    }

    /// Whether it is this one.
    pub(super) fn is(&self, checksum: &str) -> bool {
        self.expected == checksum
    }

    pub(super) fn update(&mut self, part: &[u8]) {
        self.sha256.update(part);
        self.end.extend_from_slice(part.last_chunk::<LENGTH>().map_or(part, |last| &last[..]));
        self.end.drain(..self.end.len().saturating_sub(LENGTH));
    }

    /// Compares what was read.
    pub(super) fn finish(self) -> Result<(), &'static str> {
        let digest = self.sha256.finish();
        let fits = [digest.as_ref(), &self.end[..]].iter().any(|found| hex(found) == self.expected);
        fits.then_some(()).ok_or("checksum: the snapshot has another one; download it again, or leave it out")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_checksum_of_a_file_is_taken() {
        let sha256 = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";
        let abc = |text: &str| {
            let mut checksum = Checksum::parse(text).unwrap();
            for part in ["a", "", "bc"] {
                checksum.update(part.as_bytes());
            }
            checksum.finish().is_ok()
        };
        assert!(abc(sha256) && !abc(&sha256.replace("BA", "AB")));
        let end: Vec<u8> = (0..32).collect();
        let mut checksum = Checksum::parse(&hex(&end)).unwrap();
        for part in [&[9u8; 100][..], &end[..7], &end[7..]] {
            checksum.update(part);
        }
        assert!(checksum.finish().is_ok());
        for bad in ["", "abc", &"g".repeat(64), &"a".repeat(65)] {
            assert!(Checksum::parse(bad).is_err(), "{bad}");
        }
    }
}
