//! Seeds: every random test prints its own and takes one back.

use rand::SeedableRng;
use rand::rngs::StdRng;

/// The seed of a run: `ENGRAM_SEED`, or drawn; printed, so that a failure can be repeated.
pub fn seed(what: &str) -> u64 {
    let given = std::env::var("ENGRAM_SEED").ok().and_then(|s| s.parse().ok());
    let seed = given.unwrap_or_else(|| rand::random::<u32>().into());
    println!("{what}: seed {seed} (repeat with ENGRAM_SEED={seed})");
    seed
}

/// A generator for part `part` of a run.
pub fn generator(seed: u64, part: u64) -> StdRng {
    StdRng::seed_from_u64(seed ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
