//! Ways in which a file goes bad.

use rand::rngs::StdRng;
use rand::{Rng, RngCore};

/// One damage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Damage {
    /// One bit at this byte.
    Flip(usize, u8),
    /// The file ends here.
    Truncate(usize),
    /// These bytes are zero.
    Zero(usize, usize),
    /// Two blocks of this length change places.
    Swap(usize, usize, usize),
}

const BLOCK: usize = 4096;

impl Damage {
    /// A random damage of a file of `len` bytes (at least 1).
    pub fn draw(len: usize, rng: &mut StdRng) -> Self {
        match rng.random_range(0..4) {
            0 => Self::Flip(rng.random_range(0..len), rng.random_range(0..8)),
            1 => Self::Truncate(rng.random_range(0..len)),
            2 => {
                let at = if len > BLOCK { rng.random_range(0..len.div_ceil(BLOCK)) * BLOCK } else { 0 };
                Self::Zero(at, BLOCK.min(len - at))
            }
            _ => {
                // Files too short for two blocks swap their halves.
                let block = if len >= 2 * BLOCK { BLOCK } else { (len / 2).max(1) };
                let blocks = (len / block).max(1);
                Self::Swap(rng.random_range(0..blocks) * block, rng.random_range(0..blocks) * block, block)
            }
        }
    }

    /// Its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Flip(..) => "bit flip",
            Self::Truncate(_) => "truncation",
            Self::Zero(..) => "zeroed 4 KiB",
            Self::Swap(..) => "swapped blocks",
        }
    }

    /// The file with random bytes wherever this damage reaches.
    pub fn scramble(&self, content: &[u8], rng: &mut StdRng) -> Vec<u8> {
        let ranges = match *self {
            Self::Flip(at, _) => [at..at + 1, 0..0],
            Self::Truncate(at) => [at..content.len(), 0..0],
            Self::Zero(at, len) => [at..at + len, 0..0],
            Self::Swap(a, b, len) => [a..a + len, b..b + len],
        };
        let mut out = content.to_vec();
        for range in ranges {
            if let Some(bytes) = out.get_mut(range) {
                rng.fill_bytes(bytes);
            }
        }
        out
    }

    /// The file with this damage.
    pub fn apply(&self, content: &[u8]) -> Vec<u8> {
        let mut out = content.to_vec();
        match *self {
            Self::Flip(at, bit) => out[at] ^= 1 << bit,
            Self::Truncate(at) => out.truncate(at),
            Self::Zero(at, len) => out[at..at + len].fill(0),
            Self::Swap(a, b, len) => {
                if a + len <= out.len() && b + len <= out.len() {
                    out[a..a + len].copy_from_slice(&content[b..b + len]);
                    out[b..b + len].copy_from_slice(&content[a..a + len]);
                }
            }
        }
        out
    }
}
