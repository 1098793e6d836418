//! Multi vectors: several vectors a row, compared by max-sim (late interaction, Khattab and Zaharia 2020).
//!
//! The similarity of a query to a row is the sum over the query's vectors of the best similarity to one of the row's.
//! Distances fit [`Metric::score`]: `cosine` gives 1 less the sum of the best cosines, the other metrics the sum of the
//! least distances.

use std::ops::Range;

use super::{
    MAX_DIMENSION, Metric, MultiVector, Neighbor,
    kernel::Kernel,
    metric,
    metric::MAX_NORM,
    ordinals::Ordinals,
    topk::{TopK, key, key_distance, key_position},
};
use crate::{Column, IndexError, Mask, Pace, Result};

/// Components that are compared in a nanosecond, about.
const COMPONENTS_A_NANOSECOND: usize = 3;
/// Most vectors of one row or query.
pub const MAX_VECTORS: usize = 4_096;
/// Most components of all vectors of one row or query.
pub const MAX_COMPONENTS: usize = 1 << 20;
/// Largest Euclidean norm of one of the vectors: the sum of [`MAX_VECTORS`] squared distances stays as far from overflow
/// as one squared distance of vectors of [`MAX_NORM`] does.
pub const MAX_MULTI_NORM: f64 = MAX_NORM / 64.0;

/// The door for multi vectors, stored or query: at least one vector, each as [`metric::admit`] wants it.
///
/// # Errors
/// [`IndexError::InvalidVector`] with what to do; vectors before the bad one may be normalised by then.
pub fn admit(metric: Metric, dimension: usize, multi: &mut MultiVector) -> Result<()> {
    let refuse = |why: String| Err(IndexError::InvalidVector(why));
    if multi.components.is_empty() {
        return refuse(
            "the multi vector is empty: give at least one vector, or leave the field out".to_owned(),
        );
    }
    if multi.dimension != dimension {
        return refuse(format!(
            "the multi vector has {} dimensions, the field has {dimension}: use the model the field was made for, or another field",
            multi.dimension
        ));
    }
    if !multi.components.len().is_multiple_of(dimension) {
        let len = multi.components.len();
        return refuse(format!("{len} components are not whole vectors of {dimension}: give all of each"));
    }
    let (vectors, components) = (multi.components.len() / dimension, multi.components.len());
    if vectors > MAX_VECTORS || components > MAX_COMPONENTS {
        return refuse(format!(
            "the multi vector has {vectors} vectors with {components} components, the most is {MAX_VECTORS} and {MAX_COMPONENTS}: pool its vectors, or split the point"
        ));
    }
    for (number, vector) in multi.components.chunks_exact_mut(dimension).enumerate() {
        let admitted = metric::admit(metric, dimension, vector);
        admitted.map_err(|e| IndexError::InvalidVector(format!("vector {number}: {e}")))?;
        let too_long = metric != Metric::Cosine && norm(vector) > MAX_MULTI_NORM;
        if too_long {
            return refuse(format!(
                "vector {number}: it is longer than {MAX_MULTI_NORM:e}: scale the vectors of this field down"
            ));
        }
    }
    Ok(())
}

fn norm(vector: &[f32]) -> f64 {
    vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt()
}

/// Max-sim distance of two admitted multi vectors of one dimension: smaller is closer.
pub fn max_sim(metric: Metric, query: &MultiVector, row: &MultiVector) -> f32 {
    max_sim_while(metric, query, row, &Pace::endless())
}

/// As [`max_sim`]; ends without a meaning where `pace` says so, since the longest values take a second.
pub fn max_sim_while(metric: Metric, query: &MultiVector, row: &MultiVector, pace: &Pace<'_>) -> f32 {
    distance((metric, &Kernel::new(metric)), query, &row.components, pace)
}

fn distance((metric, kernel): (Metric, &Kernel), query: &MultiVector, row: &[f32], pace: &Pace<'_>) -> f32 {
    let in_time = query.vectors().take_while(|_| pace.go_on(row.len() / COMPONENTS_A_NANOSECOND));
    let least = in_time.map(|vector| nearest(kernel, vector, row));
    if metric == Metric::Cosine {
        let similarity: f32 = least.map(|distance| 1.0 - distance).sum();
        1.0 - similarity
    } else {
        least.sum::<f32>() + 0.0
    }
}

/// Distance to the nearest of the vectors of a row.
fn nearest(kernel: &Kernel, vector: &[f32], row: &[f32]) -> f32 {
    let dimension = vector.len().max(1);
    let mut fours = row.chunks_exact(4 * dimension);
    let mut least = f32::INFINITY;
    for four in fours.by_ref() {
        let (front, back) = four.split_at(2 * dimension);
        let ((a, b), (c, d)) = (front.split_at(dimension), back.split_at(dimension));
        let [a, b, c, d] = kernel.distance4(vector, [a, b, c, d]);
        least = least.min(a.min(b).min(c.min(d)));
    }
    for one in fours.remainder().chunks_exact(dimension) {
        least = least.min(kernel.distance(vector, one));
    }
    least
}

/// The multi vectors of one field in one run of rows.
#[derive(Clone, Debug)]
pub struct MultiSet {
    metric: Metric,
    dimension: usize,
    ordinals: Ordinals,
    /// In vectors, one more than rows; those of position i lie between offset i and i + 1.
    offsets: Column<u64>,
    data: Column<f32>,
}

impl MultiSet {
    /// A set over admitted components. `offsets` count vectors, one more than rows, strictly ascending; `ordinals`, where
    /// given, has one row number for each, strictly ascending.
    ///
    /// # Errors
    /// [`IndexError::InvalidParameter`] where they do not fit.
    pub fn new(
        metric: Metric,
        dimension: usize,
        ordinals: Option<Column<u32>>,
        offsets: Column<u64>,
        data: Column<f32>,
    ) -> Result<Self> {
        let invalid = |why: &str| Err(IndexError::InvalidParameter(why.to_owned()));
        if dimension == 0 || dimension > MAX_DIMENSION || !data.len().is_multiple_of(dimension) {
            return invalid("components are not whole vectors of the dimension");
        }
        let vectors = (data.len() / dimension) as u64;
        if offsets.first() != Some(&0) || offsets.last() != Some(&vectors) {
            return invalid("offsets do not span the vectors");
        }
        if !offsets.windows(2).all(|w| w[0] < w[1]) {
            return invalid("a row has no vector");
        }
        let ordinals = Ordinals::new(offsets.len() - 1, ordinals)?;
        Ok(Self { metric, dimension, ordinals, offsets, data })
    }

    /// Number of rows with a value.
    pub fn len(&self) -> usize {
        self.ordinals.len()
    }

    /// True when no row has a value.
    pub fn is_empty(&self) -> bool {
        self.ordinals.is_empty()
    }

    /// Components of each vector.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Which rows have a value.
    pub fn ordinals(&self) -> &Ordinals {
        &self.ordinals
    }

    /// Number of vectors of all rows.
    pub fn vectors(&self) -> usize {
        self.data.len() / self.dimension
    }

    /// The components at `position`, vector after vector; empty past the end.
    pub fn components(&self, position: usize) -> &[f32] {
        match self.offsets.get(position..position + 2) {
            Some(&[from, to]) => {
                self.data.get(from as usize * self.dimension..to as usize * self.dimension).unwrap_or(&[])
            }
            _ => &[],
        }
    }

    /// The components of row `ordinal`, if it has a value.
    pub fn value(&self, ordinal: u32) -> Option<&[f32]> {
        self.ordinals.position(ordinal).map(|position| self.components(position))
    }

    /// How its vectors are compared.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Max-sim distance of the value at `position` to an admitted query of the same dimension; see [`max_sim_while`].
    pub fn distance(&self, query: &MultiVector, position: usize, pace: &Pace<'_>) -> f32 {
        distance((self.metric, &Kernel::new(self.metric)), query, self.components(position), pace)
    }

    /// The `k` nearest allowed rows among `positions`, nearest first, by comparing with all of them. `query` was admitted.
    /// Where `pace` says so it ends with an answer of no meaning.
    ///
    /// # Errors
    /// [`IndexError::InvalidVector`] where the dimension does not fit.
    pub fn scan(
        &self,
        query: &MultiVector,
        k: usize,
        mask: Mask<'_>,
        (positions, pace): (Range<usize>, &Pace<'_>),
    ) -> Result<Vec<Neighbor>> {
        if query.dimension != self.dimension {
            let why =
                format!("the query has {} dimensions, the field has {}", query.dimension, self.dimension);
            return Err(IndexError::InvalidVector(why));
        }
        let kernel = Kernel::new(self.metric);
        let mut best = TopK::new(k);
        let mut compare = |position: usize| {
            let distance = distance((self.metric, &kernel), query, self.components(position), pace);
            // A run has fewer rows than ordinals.
            best.push(key(distance, position as u32));
        };
        let positions = positions.start..positions.end.min(self.len());
        match mask {
            _ if k == 0 || positions.is_empty() => {}
            Mask::All => positions.for_each(&mut compare),
            // The bitmap may have few rows where the range has many.
            Mask::Allow(allowed) => {
                let ends = self.ordinals.ordinal(positions.start)..=self.ordinals.ordinal(positions.end - 1);
                allowed.range(ends).filter_map(|o| self.ordinals.position(o)).for_each(&mut compare);
            }
            Mask::Deny(denied) => {
                let is_allowed = |position: &usize| !denied.contains(self.ordinals.ordinal(*position));
                positions.filter(is_allowed).for_each(&mut compare);
            }
        }
        let neighbor = |k: &u64| Neighbor {
            ordinal: self.ordinals.ordinal(key_position(*k) as usize),
            distance: key_distance(*k),
        };
        Ok(best.take_sorted().iter().map(neighbor).collect())
    }

    /// Heap bytes held; mapped bytes count 0.
    pub fn heap_bytes(&self) -> usize {
        self.ordinals.heap_bytes() + self.offsets.heap_bytes() + self.data.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn multi(dimension: usize, components: &[f32]) -> MultiVector {
        MultiVector { dimension, components: components.to_vec() }
    }

    #[test]
    fn the_door_refuses_what_cannot_be_compared() {
        for (metric, mut bad) in [
            (Metric::Dot, multi(2, &[])),
            (Metric::Dot, multi(3, &[1.0; 3])),
            (Metric::Dot, multi(2, &[1.0; 3])),
            (Metric::Dot, multi(2, &[1.0, 1.0, 1.0, f32::NAN])),
            (Metric::Euclid, multi(2, &[1e17, 0.0])),
            (Metric::Cosine, multi(2, &[1.0, 0.0, 0.0, 0.0])),
            (Metric::Dot, multi(2, &vec![1.0; 2 * MAX_VECTORS + 2])),
        ] {
            assert!(matches!(admit(metric, 2, &mut bad), Err(IndexError::InvalidVector(_))), "{bad:?}");
        }
        admit(Metric::Dot, 2, &mut multi(2, &vec![1.0; 2 * MAX_VECTORS])).unwrap();
        assert!(admit(Metric::Dot, 300, &mut multi(300, &vec![1.0; 300 * 3_500])).is_err());
        let mut scaled = multi(2, &[3.0, 4.0, 0.0, -2.0]);
        admit(Metric::Cosine, 2, &mut scaled).unwrap();
        assert_eq!(scaled.components, [0.6, 0.8, 0.0, -1.0]);
    }

    #[test]
    fn the_longest_admitted_vectors_give_finite_distances() {
        let largest = (MAX_MULTI_NORM * 0.999) as f32;
        for metric in [Metric::Dot, Metric::Euclid, Metric::Manhattan] {
            let mut query = multi(1, &vec![largest; MAX_VECTORS]);
            let mut row = multi(1, &[-largest]);
            admit(metric, 1, &mut query).unwrap();
            admit(metric, 1, &mut row).unwrap();
            assert!(max_sim(metric, &query, &row).is_finite(), "{metric:?}");
        }
    }

    #[test]
    fn scores_are_sums_of_the_best_matches() {
        let query = multi(2, &[1.0, 0.0, 0.0, 1.0]);
        let row = multi(2, &[0.6, 0.8, 1.0, 0.0, -1.0, 0.0, 0.0, -1.0, 0.8, 0.6]);
        let score = |metric: Metric| metric.score(max_sim(metric, &query, &row));
        assert!((score(Metric::Cosine) - 1.8).abs() < 1e-6);
        assert!((score(Metric::Dot) - 1.8).abs() < 1e-6);
        assert!((score(Metric::Euclid) - 0.4f32.sqrt()).abs() < 1e-6);
        assert!((score(Metric::Manhattan) - 0.8).abs() < 1e-6);
    }
}
