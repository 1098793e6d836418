//! The ten best of a stream of distances.

use std::hint::black_box;

use anyhow::{Result, ensure};
use engram_index::vector::topk::{Key, TopK, key};

use super::{Args, Pair};
use crate::noise::Noise;
use crate::report::Report;
use crate::samples::in_turns;

const DISTANCES: usize = 200_000;

pub(super) fn run(args: &Args, report: &mut Report) -> Result<()> {
    report.section("top-k of a stream of 200,000 distances, time of one, index::vector::topk");
    let mut noise = Noise::new(3);
    let keys: Vec<Key> = (0..DISTANCES as u32).map(|at| key((noise.next_u64() >> 40) as f32, at)).collect();
    for k in [10, 100] {
        ensure!(ours(&keys, k) == selected(&keys, k), "top-k and selection differ");
        let mut a = || {
            black_box(ours(black_box(&keys), k));
            Ok(())
        };
        let mut b = || {
            black_box(selected(black_box(&keys), k));
            Ok(())
        };
        let [a, b] = in_turns(args.rounds, [&mut a, &mut b])?;
        let (key, label) = (format!("top_{k}"), format!("k {k}"));
        let pair = Pair { key: &key, label: &label, other: "select_nth_unstable of a copy", each: DISTANCES };
        pair.add(report, &a, &b);
    }
    Ok(())
}

/// As the exact scan does.
fn ours(keys: &[Key], k: usize) -> Vec<Key> {
    let mut top = TopK::new(k);
    for &key in keys {
        if key < top.bound() {
            top.push(key);
        }
    }
    top.take_sorted()
}

fn selected(keys: &[Key], k: usize) -> Vec<Key> {
    let mut all = keys.to_vec();
    all.select_nth_unstable(k);
    all.truncate(k);
    all.sort_unstable();
    all
}
