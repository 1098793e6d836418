//! The head of a vector: its projection on the directions in which vectors differ most.
//!
//! 1-bit codes of all components spend as much on directions in which nothing happens as on the others. Coding only the
//! leading principal components, mixed by a random rotation, and leaving the rest to its length takes a fraction of the
//! bytes for nearly the same error. `faer` finds the components.

use faer::{Mat, MatRef, Par, Side};

use super::{
    int8::Query,
    rotation::Rotation,
    simd::{Portable, Simd},
};
use crate::{IndexError, Result};

/// A projection of rotated vectors, as bytes with one scale per row.
#[derive(Clone, Debug)]
pub struct Head {
    /// Components of the vectors that are projected.
    from: usize,
    /// Row after row, 128 added.
    steps: Vec<u8>,
    scales: Vec<f32>,
}

impl Head {
    /// The `to` (a multiple of 64) leading principal directions of `sample`, rows of `from` components with mean 0, mixed
    /// by a random rotation.
    ///
    /// # Errors
    /// [`IndexError::Internal`] where the eigenvalues are not found.
    pub fn principal(sample: &[f32], from: usize, to: usize) -> Result<Self> {
        let rows = sample.len() / from;
        let x = MatRef::from_row_major_slice(sample, rows, from);
        let mut covariance = Mat::<f32>::zeros(from, from);
        let factor = 1.0 / rows.max(1) as f32;
        let replace = faer::Accum::Replace;
        faer::linalg::matmul::matmul(covariance.as_mut(), replace, x.transpose(), x, factor, Par::rayon(0));
        let eigen = covariance
            .self_adjoint_eigen(Side::Lower)
            .map_err(|e| IndexError::Internal(format!("principal components: {e:?}")))?;
        // Eigenvalues ascend: the last columns lead.
        let vectors = eigen.U();
        let mixing = Rotation::new(to);
        let mut columns = vec![0.0f32; from * to];
        for (i, column) in columns.chunks_exact_mut(to).enumerate() {
            for (j, value) in column.iter_mut().enumerate() {
                *value = vectors[(i, from - 1 - j)];
            }
            mixing.apply(Portable, column);
        }
        let places = (0..to).flat_map(|j| (0..from).map(move |i| i * to + j));
        let rows: Vec<f32> = places.map(|at| columns[at]).collect();
        Ok(Self::quantized(&rows, from))
    }

    fn quantized(rows: &[f32], from: usize) -> Self {
        let mut head = Self { from, steps: Vec::new(), scales: Vec::new() };
        for row in rows.chunks_exact(from) {
            let largest = row.iter().fold(f32::MIN_POSITIVE, |m, x| m.max(x.abs()));
            head.steps
                .extend(row.iter().map(|x| ((x / largest * 127.0).round_ties_even() as i32 + 128) as u8));
            head.scales.push(largest / 127.0);
        }
        head
    }

    /// From what [`Head::steps`] and [`Head::scales`] gave: as many rows as scales.
    pub fn from_parts(from: usize, steps: Vec<u8>, scales: Vec<f32>) -> Self {
        Self { from, steps, scales }
    }

    /// The rows, as bytes with 128 added.
    pub fn steps(&self) -> &[u8] {
        &self.steps
    }

    /// Length of a step of each row.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// Components after the projection.
    pub fn len(&self) -> usize {
        self.scales.len()
    }

    /// True when nothing is projected.
    pub fn is_empty(&self) -> bool {
        self.scales.is_empty()
    }

    /// Projects a vector into `out`.
    #[inline(always)]
    pub fn project<S: Simd>(&self, simd: S, query: &Query, out: &mut Vec<f32>) {
        out.clear();
        let scale = query.meta().scale;
        for (i, rows) in self.steps.chunks_exact(4 * self.from).enumerate() {
            let row = |j: usize| &rows[j * self.from..][..self.from];
            let dots = simd.dot4([row(0), row(1), row(2), row(3)], query.steps());
            for (j, dot) in dots.into_iter().enumerate() {
                let j = 4 * i + j;
                out.push((dot - query.offset()) as f32 * (self.scales[j] * scale));
            }
        }
    }
}
