//! Ways in which a file goes bad.

use rand::Rng;
use rand::rngs::StdRng;

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
