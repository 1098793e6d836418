//! The head of a vector: its projection on the directions in which vectors differ most.
//!
//! 1-bit codes of all components spend as much on directions in which nothing happens as on the others. Coding only the
//! leading principal components, mixed by a random rotation, and leaving the rest to its length takes a fraction of the
//! bytes for nearly the same error. `faer` finds the components.

use faer::{Mat, MatRef, Par, Side};

use super::{int8::Query, rotation::Rotation, simd::Simd};
use crate::{IndexError, Result};

/// A projection of rotated vectors, as bytes with one scale per row.
#[derive(Clone, Debug)]
pub struct Head {
    /// Components of the vectors that are projected.
    from: usize,
    /// Row after row.
    steps: Vec<i8>,
    scales: Vec<f32>,
    /// 128 times the sum of a row: what the offset of codes adds.
    offsets: Vec<i32>,
}

impl Head {
    /// The `to` (a multiple of 64) leading principal directions of `sample`, rows of `from` components with mean 0.
    ///
    /// # Errors
    /// [`IndexError::Internal`] where the eigenvalues are not found.
    pub fn principal(sample: &[f32], from: usize, to: usize) -> Result<Self> {
        let rows = sample.len() / from;
        let x = MatRef::from_row_major_slice(sample, rows, from);
        let mut covariance = Mat::<f32>::zeros(from, from);
        let factor = 1.0 / rows.max(1) as f32;
        faer::linalg::matmul::matmul(
            covariance.as_mut(),
            faer::Accum::Replace,
            x.transpose(),
            x,
            factor,
            Par::rayon(0),
        );
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
            mixing.apply(column);
        }
        let rows: Vec<f32> =
            (0..to).flat_map(|j| (0..from).map(move |i| (i, j))).map(|(i, j)| columns[i * to + j]).collect();
        Ok(Self::quantized(&rows, from))
    }

    fn quantized(rows: &[f32], from: usize) -> Self {
        let mut head = Self { from, steps: Vec::new(), scales: Vec::new(), offsets: Vec::new() };
        for row in rows.chunks_exact(from) {
            let largest = row.iter().fold(f32::MIN_POSITIVE, |m, x| m.max(x.abs()));
            let start = head.steps.len();
            head.steps.extend(row.iter().map(|x| (x / largest * 127.0).round_ties_even() as i8));
            head.scales.push(largest / 127.0);
            head.offsets.push(128 * head.steps[start..].iter().map(|&s| i32::from(s)).sum::<i32>());
        }
        head
    }

    /// Components after the projection.
    pub fn len(&self) -> usize {
        self.scales.len()
    }

    /// True when nothing is projected.
    pub fn is_empty(&self) -> bool {
        self.scales.is_empty()
    }

    /// Projects a coded vector into `out`.
    #[inline(always)]
    pub fn project<S: Simd>(&self, simd: S, code: &[u8], query: &Query, out: &mut Vec<f32>) {
        out.clear();
        let scale = query.meta().scale;
        let rows = self.steps.chunks_exact(self.from).zip(self.scales.iter().zip(&self.offsets));
        for (row, (&unit, &offset)) in rows {
            out.push((simd.dot(code, row) - offset) as f32 * (unit * scale));
        }
    }
}
