//! Sparse vectors: their rows, and an inverted index over them that gives exact inner products.

use super::{SparseVector, metric::MAX_NORM};
use crate::{IndexError, Result};

mod file;
mod index;
mod search;

pub use index::{SparseBuilder, SparseIndex};

/// Most components of one vector.
pub const MAX_COMPONENTS: usize = 65_536;

/// One vector of an index, or a query: components ascending by index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SparseRow<'a> {
    /// Which components.
    pub indices: &'a [u32],
    /// Their values.
    pub values: &'a [f32],
}

impl<'a> From<&'a SparseVector> for SparseRow<'a> {
    fn from(vector: &'a SparseVector) -> Self {
        Self { indices: &vector.indices, values: &vector.values }
    }
}

impl SparseRow<'_> {
    /// Inner product, `None` where the two share no index. Summed in `f32` by ascending index, as every search does.
    pub fn dot(self, other: SparseRow<'_>) -> Option<f32> {
        let (few, many) =
            if self.indices.len() <= other.indices.len() { (self, other) } else { (other, self) };
        let mut sum = None;
        let mut rest = 0;
        for (index, value) in few.indices.iter().zip(few.values) {
            let Some(left) = many.indices.get(rest..) else { break };
            // Far apart in length, looking is cheaper than walking.
            let step = if left.len() > 16 * few.indices.len() {
                left.partition_point(|other| other < index)
            } else {
                left.iter().take_while(|other| *other < index).count()
            };
            rest += step;
            if many.indices.get(rest) == Some(index) {
                sum = Some(sum.unwrap_or(0.0) + value * many.values[rest]);
                rest += 1;
            }
        }
        sum
    }

    /// The same as an owned vector.
    pub fn to_vector(self) -> SparseVector {
        SparseVector { indices: self.indices.to_vec(), values: self.values.to_vec() }
    }
}

/// The door for sparse vectors, stored or query: sorts the components by index.
///
/// There are at most [`MAX_COMPONENTS`], all values are finite, no index comes twice, and the Euclidean norm is at most
/// [`MAX_NORM`], so that no inner product overflows. No component at all is allowed: an empty text has none.
///
/// # Errors
/// [`IndexError::InvalidVector`] with what to do; `vector` is then unchanged.
pub fn admit(vector: &mut SparseVector) -> Result<()> {
    let (indices, values) = (vector.indices.len(), vector.values.len());
    if indices != values {
        return refuse(format!("the sparse vector has {indices} indices and {values} values: give as many"));
    }
    if indices > MAX_COMPONENTS {
        return refuse(format!(
            "the sparse vector has {indices} components, the most is {MAX_COMPONENTS}: keep those with the largest values"
        ));
    }
    if let Some(at) = vector.values.iter().position(|value| !value.is_finite()) {
        return refuse(format!(
            "value {at} of the sparse vector is {}: every value must be a finite number; leave it out or compute it again",
            vector.values[at]
        ));
    }
    let norm = vector.values.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    if norm > MAX_NORM {
        return refuse(format!(
            "the sparse vector has length {norm:.3e}, the largest allowed is {MAX_NORM:e}: scale the vectors of this field down"
        ));
    }
    if vector.indices.windows(2).all(|w| w[0] < w[1]) {
        return Ok(());
    }
    let mut pairs: Vec<(u32, f32)> =
        vector.indices.iter().copied().zip(vector.values.iter().copied()).collect();
    pairs.sort_by_key(|(index, _)| *index);
    if let Some(twice) = pairs.windows(2).find(|w| w[0].0 == w[1].0) {
        let index = twice[0].0;
        return refuse(format!("the sparse vector has index {index} twice: give each index once"));
    }
    (vector.indices, vector.values) = pairs.into_iter().unzip();
    Ok(())
}

fn refuse(why: String) -> Result<()> {
    Err(IndexError::InvalidVector(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(pairs: &[(u32, f32)]) -> SparseVector {
        let (indices, values) = pairs.iter().copied().unzip();
        SparseVector { indices, values }
    }

    #[test]
    fn components_are_sorted_and_bad_ones_refused() {
        let mut unsorted = vector(&[(7, 1.0), (u32::MAX, 2.0), (0, -3.0)]);
        admit(&mut unsorted).unwrap();
        assert_eq!(unsorted, vector(&[(0, -3.0), (7, 1.0), (u32::MAX, 2.0)]));
        admit(&mut SparseVector::default()).unwrap();
        for bad in [
            vector(&[(1, f32::NAN)]),
            vector(&[(1, f32::INFINITY)]),
            vector(&[(2, 1.0), (1, 1.0), (2, 1.0)]),
            vector(&[(1, 1.1e18)]),
            SparseVector { indices: vec![1, 2], values: vec![1.0] },
            vector(&(0..=MAX_COMPONENTS as u32).map(|i| (i, 1.0)).collect::<Vec<_>>()),
        ] {
            let mut after = bad.clone();
            assert!(matches!(admit(&mut after), Err(IndexError::InvalidVector(_))));
            assert_eq!(after.indices, bad.indices, "a refusal changes nothing");
        }
        admit(&mut vector(&(0..MAX_COMPONENTS as u32).map(|i| (i, 1.0)).collect::<Vec<_>>())).unwrap();
    }

    #[test]
    fn products_are_of_shared_indices_only() {
        let (a, b) = (vector(&[(1, 2.0), (5, 3.0)]), vector(&[(5, -1.0), (9, 4.0)]));
        assert_eq!(SparseRow::from(&a).dot((&b).into()), Some(-3.0));
        assert_eq!(SparseRow::from(&a).dot((&vector(&[(2, 1.0)])).into()), None);
        assert_eq!(SparseRow::from(&a).dot((&vector(&[(1, 0.0)])).into()), Some(0.0));
        let long = vector(&(0..1000).map(|i| (i, i as f32)).collect::<Vec<_>>());
        assert_eq!(SparseRow::from(&a).dot((&long).into()), Some(17.0));
        assert_eq!(SparseRow::from(&long).dot((&a).into()), Some(17.0));
    }
}
