//! Our distance kernels against `simsimd`.

use std::hint::black_box;

use anyhow::{Context, Result};
use engram_index::vector::kernel::Kernel;
use engram_index::vector::{Metric, metric};
use simsimd::SpatialSimilarity;

use super::{Args, Pair};
use crate::data::metric_name;
use crate::noise::Noise;
use crate::report::Report;
use crate::samples::in_turns;

/// Few enough to stay in the processor's own cache at both dimensions.
const VECTORS: usize = 128;
/// Passes over them in one round.
const PASSES: usize = 400;
const DIMENSIONS: [usize; 2] = [384, 784];

type Other = fn(&[f32], &[f32]) -> Option<f64>;

pub(super) fn run(args: &Args, report: &mut Report) -> Result<()> {
    report.section("distance of two vectors in cache, index::vector::kernel");
    for dimension in DIMENSIONS {
        one(args, report, (Metric::Cosine, dimension), ("simsimd dot (vectors have unit length)", f32::dot))?;
        one(args, report, (Metric::Dot, dimension), ("simsimd dot", f32::dot))?;
        one(args, report, (Metric::Euclid, dimension), ("simsimd sqeuclidean", f32::sqeuclidean))?;
        one(args, report, (Metric::Manhattan, dimension), ("a plain loop (simsimd has none)", manhattan))?;
    }
    Ok(())
}

fn one(
    args: &Args,
    report: &mut Report,
    (metric, dimension): (Metric, usize),
    (name, other): (&str, Other),
) -> Result<()> {
    let mut noise = Noise::new(dimension as u64);
    let mut vectors: Vec<Vec<f32>> = (0..=VECTORS).map(|_| noise.vector(dimension)).collect();
    for vector in &mut vectors {
        metric::admit(metric, dimension, vector)?;
    }
    let query = vectors.pop().context("there is a query")?;
    let kernel = Kernel::new(metric);
    let mut ours = || {
        for _ in 0..PASSES {
            let sum: f32 = vectors.iter().map(|v| kernel.distance(black_box(&query), v)).sum();
            black_box(sum);
        }
        Ok(())
    };
    let mut theirs = || {
        for _ in 0..PASSES {
            let sum: Option<f64> = vectors.iter().map(|v| other(black_box(&query), v)).sum();
            black_box(sum).context("simsimd took no such vectors")?;
        }
        Ok(())
    };
    let [a, b] = in_turns(args.rounds, [&mut ours, &mut theirs])?;
    let (key, label) =
        (format!("{}_{dimension}", metric_name(metric)), format!("{} {dimension}", metric_name(metric)));
    Pair { key: &key, label: &label, other: name, each: VECTORS * PASSES }.add(report, &a, &b);
    Ok(())
}

fn manhattan(a: &[f32], b: &[f32]) -> Option<f64> {
    Some(f64::from(a.iter().zip(b).map(|(x, y)| (x - y).abs()).sum::<f32>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_side_measures_the_same() -> Result<()> {
        let mut noise = Noise::new(7);
        let (a, b) = (noise.vector(384), noise.vector(384));
        let pairs: [(Metric, Other, f64); 3] = [
            (Metric::Dot, f32::dot, -1.0),
            (Metric::Euclid, f32::sqeuclidean, 1.0),
            (Metric::Manhattan, manhattan, 1.0),
        ];
        for (metric, other, sign) in pairs {
            let (ours, theirs) =
                (f64::from(Kernel::new(metric).distance(&a, &b)), other(&a, &b).context("some")?);
            assert!(
                (ours - sign * theirs).abs() < 1e-2 * (1.0 + theirs.abs()),
                "{metric:?}: {ours} {theirs}"
            );
        }
        Ok(())
    }
}
