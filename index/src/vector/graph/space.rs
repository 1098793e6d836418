//! The space a segment is searched in: squared distances of centred, scaled and rotated vectors.

use std::sync::atomic::AtomicBool;

use rand::{Rng, SeedableRng, rngs::SmallRng};
use rayon::prelude::*;

use super::{
    buffer::Buffer,
    check,
    file::Cut,
    rows::{Shape, Width},
};
use crate::{
    IndexError, Result,
    vector::{
        MAX_DIMENSION, Metric, VectorSet,
        codes::{
            head::Head,
            int8::{self, Codes, Meta, Query},
            link::Table,
            rotation::Rotation,
            simd::{Portable, Simd, Work, dispatch},
        },
    },
};

/// Vectors that mean, scale and principal components are computed from.
const SAMPLE: usize = 16_384;
/// Components beyond this are taken for damage; admitted ones are far below.
const LARGEST: f32 = 2e18;
/// Vectors encoded by one task.
const PIECE: usize = 1024;

/// How vectors of a segment become codes.
///
/// Cosine distances order as squared distances of unit vectors. Inner products become squared distances by one more
/// component, `sqrt(M^2 - |x|^2)` for rows and 0 for queries (Bachrach et al., RecSys 2014).
#[derive(Clone, Debug)]
pub struct Space {
    metric: Metric,
    dimension: usize,
    mean: Vec<f32>,
    /// Coordinates are divided by this, so that norms are about 1.
    unit: f32,
    /// Largest norm of a row, for inner products.
    reach: f32,
    /// Spreads components before they become 8-bit codes.
    rotation: Rotation,
    coded: Coded,
}

/// Which components 1-bit codes are made of.
#[derive(Clone, Debug)]
enum Coded {
    /// There are none: the compact layout.
    None,
    All,
    Principal(Head),
}

/// Norm of the longest vector.
fn longest(set: &VectorSet, cancel: &AtomicBool) -> Result<f32> {
    let norm = |p: usize| set.vector(p).iter().filter(|x| x.abs() < LARGEST).map(|x| x * x).sum::<f32>();
    let pieces = (0..set.len().div_ceil(PIECE)).into_par_iter().map(|i| {
        check(cancel)?;
        Ok((i * PIECE..((i + 1) * PIECE).min(set.len())).map(norm).fold(0.0, f32::max))
    });
    Ok(pieces.try_reduce(|| 0.0, |a, b| Ok(f32::max(a, b)))?.sqrt())
}

/// Components for 1-bit codes where nobody says how many.
fn default_head(padded: usize) -> usize {
    (padded * 2 / 3).next_multiple_of(64).clamp(64, 256).min(padded)
}

/// A query in all forms that a walk needs.
#[derive(Debug, Default)]
pub struct Prepared {
    rotated: Vec<f32>,
    code: Vec<u8>,
    /// Against 8-bit codes.
    pub query: Query,
    /// Components for 1-bit codes, if there are any.
    pub head: Vec<f32>,
    /// Against 1-bit codes.
    pub table: Table,
}

impl Space {
    /// Learns the space of a set; `head` is the number of components for 1-bit codes (a multiple of
    /// 64), all where it is not smaller than the padded dimension.
    ///
    /// # Errors
    /// [`IndexError::Internal`] where principal components are not found; [`IndexError::Cancelled`].
    pub fn learn(set: &VectorSet, head: usize, cancel: &AtomicBool) -> Result<Self> {
        let dimension = set.dimension();
        let extra = usize::from(set.metric() == Metric::Dot);
        let rotation = Rotation::new(dimension + extra);
        let mut space = Self {
            metric: set.metric(),
            dimension,
            mean: vec![0.0; dimension + extra],
            unit: 1.0,
            reach: 0.0,
            rotation,
            coded: Coded::All,
        };
        let head = if head == 0 { default_head(space.padded()) } else { head };
        if set.is_empty() {
            space.code_leading(&vec![0.0; space.padded()], head)?;
            return Ok(space);
        }
        if extra == 1 {
            space.reach = longest(set, cancel)?;
        }
        let mut rng = SmallRng::seed_from_u64(set.len() as u64);
        let picks: Vec<usize> = if set.len() <= SAMPLE {
            (0..set.len()).collect()
        } else {
            (0..SAMPLE).map(|_| rng.random_range(0..set.len())).collect()
        };
        let mut sums = vec![0f64; dimension + extra];
        let mut row = vec![0.0; space.padded()];
        for (i, &p) in picks.iter().enumerate() {
            // They may be in a file that is not in memory yet.
            if i % PIECE == 0 {
                check(cancel)?;
            }
            space.lift(set.vector(p), &mut row);
            sums.iter_mut().zip(&row).for_each(|(s, x)| *s += f64::from(*x));
        }
        space.mean = sums.iter().map(|s| (s / picks.len() as f64) as f32).collect();
        let stride = space.padded();
        let mut rows = vec![0.0; picks.len() * stride];
        rows.par_chunks_exact_mut(stride).zip(&picks).for_each(|(row, &p)| {
            space.lift(set.vector(p), row);
            space.centre(row);
            space.rotation.apply(Portable, row);
        });
        check(cancel)?;
        let squares: f64 = rows.par_iter().map(|x| f64::from(x * x)).sum();
        let unit = (squares / picks.len() as f64).sqrt() as f32;
        if unit > 0.0 && unit.is_finite() {
            space.unit = unit;
            rows.par_iter_mut().for_each(|x| *x /= unit);
        }
        check(cancel)?;
        space.code_leading(&rows, head)?;
        Ok(space)
    }

    /// Codes the `head` leading directions of a sample with 1 bit each; all components where there are not more.
    fn code_leading(&mut self, sample: &[f32], head: usize) -> Result<()> {
        if head < self.padded() {
            self.coded = Coded::Principal(Head::principal(sample, self.padded(), head)?);
        }
        Ok(())
    }

    /// The same space without 1-bit codes.
    #[must_use]
    pub fn without_head(self) -> Self {
        Self { coded: Coded::None, ..self }
    }

    /// Writes what was learned, section by section.
    pub fn encode(&self, section: &mut impl FnMut(&[u8])) {
        section(bytemuck::cast_slice(&[self.unit, self.reach]));
        section(bytemuck::cast_slice(&self.mean));
        if let Coded::Principal(head) = &self.coded {
            section(head.steps());
            section(bytemuck::cast_slice(head.scales()));
        }
    }

    /// Reads what [`Space::encode`] wrote.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] where it does not fit.
    pub fn decode(metric: Metric, dimension: usize, head: usize, cut: &mut Cut) -> Result<Self> {
        let corrupt = || IndexError::corrupt("graph", "the space of its codes");
        if check_metric(metric).is_err() || dimension == 0 || dimension > MAX_DIMENSION {
            return Err(corrupt());
        }
        let extra = usize::from(metric == Metric::Dot);
        let rotation = Rotation::new(dimension + extra);
        let numbers = cut.column::<f32>(2)?;
        let &[unit, reach] = numbers.as_slice() else { return Err(corrupt()) };
        let mean = cut.column::<f32>(dimension + extra)?.to_vec();
        if !(unit.is_finite() && unit > 0.0 && reach.is_finite() && mean.iter().all(|x| x.is_finite())) {
            return Err(corrupt());
        }
        let padded = rotation.padded();
        let coded = match head {
            0 => Coded::None,
            head if head < padded => {
                let steps = cut.column::<u8>(head * padded)?;
                Coded::Principal(Head::from_parts(padded, steps.to_vec(), cut.column::<f32>(head)?.to_vec()))
            }
            _ => Coded::All,
        };
        Ok(Self { metric, dimension, mean, unit, reach, rotation, coded })
    }

    /// Heap bytes held.
    pub fn heap_bytes(&self) -> usize {
        let head = match &self.coded {
            Coded::Principal(head) => head.steps().len() + 4 * head.len(),
            _ => 0,
        };
        4 * (self.mean.len() + 4 * self.padded()) + head
    }

    /// Components of a row, rounded up.
    pub fn padded(&self) -> usize {
        self.rotation.padded()
    }

    /// Components of 1-bit codes.
    pub fn head_len(&self) -> usize {
        match &self.coded {
            Coded::None => 0,
            Coded::All => self.padded(),
            Coded::Principal(head) => head.len(),
        }
    }

    /// Sizes of a row of a graph with so many neighbours.
    pub fn shape(&self, degree: usize) -> Shape {
        Shape { components: self.padded(), width: Width::default(), bits: self.head_len(), degree }
    }

    /// Copies a row and adds the component of inner products.
    fn lift(&self, x: &[f32], out: &mut [f32]) {
        // Only damaged bytes are not finite: what is made of them must still be.
        out.iter_mut().zip(x).for_each(|(out, &x)| *out = if x.abs() < LARGEST { x } else { 0.0 });
        out[x.len()..].fill(0.0);
        if self.metric == Metric::Dot {
            let norm: f32 = out[..x.len()].iter().map(|x| x * x).sum();
            out[x.len()] = (self.reach * self.reach - norm).max(0.0).sqrt();
        }
    }

    #[inline(always)]
    fn centre(&self, x: &mut [f32]) {
        let inverse = 1.0 / self.unit;
        for (x, mean) in x.iter_mut().zip(&self.mean) {
            *x = (*x - mean) * inverse;
        }
    }

    /// Codes a centred row, which is changed, and gives its head in `out.head`.
    #[inline(always)]
    fn code<S: Simd>(&self, simd: S, row: &mut [f32], out: &mut Prepared, code: &mut [u8]) -> Meta {
        self.rotation.apply(simd, row);
        let meta = int8::encode(row, code);
        out.query.set(code, meta);
        self.head_of(simd, &out.query, &mut out.head);
        meta
    }

    /// All rows as codes, and their heads one after the other.
    ///
    /// # Errors
    /// [`IndexError::Cancelled`].
    pub fn encode_all(&self, set: &VectorSet, cancel: &AtomicBool) -> Result<(Codes, Buffer<f32>)> {
        self.encode_picked(set, set.len(), |i| i, cancel)
    }

    /// `count` rows as codes, and their heads one after the other: those at the positions that `pick` gives.
    ///
    /// # Errors
    /// [`IndexError::Cancelled`].
    pub fn encode_picked(
        &self,
        set: &VectorSet,
        count: usize,
        pick: impl Fn(usize) -> usize + Sync,
        cancel: &AtomicBool,
    ) -> Result<(Codes, Buffer<f32>)> {
        struct Rows<'a, P>(
            &'a Space,
            (&'a VectorSet, &'a P),
            usize,
            &'a mut [u8],
            &'a mut [Meta],
            &'a mut [f32],
        );
        impl<P: Fn(usize) -> usize> Work for Rows<'_, P> {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, simd: S) {
                let Rows(space, (set, pick), first, codes, metas, heads) = self;
                let (mut row, mut out) = (vec![0.0; space.padded()], Prepared::default());
                let rows = codes.chunks_exact_mut(space.padded()).zip(metas);
                for (i, (code, meta)) in rows.enumerate() {
                    space.lift(set.vector(pick(first + i)), &mut row);
                    space.centre(&mut row);
                    *meta = space.code(simd, &mut row, &mut out, code);
                    heads[i * out.head.len()..][..out.head.len()].copy_from_slice(&out.head);
                }
            }
        }
        let mut codes = Codes::with_len(count, self.padded())?;
        let mut heads = Buffer::zeroed(count * self.head_len())?;
        // Without heads there is nothing to cut into pieces, and each gets that.
        let head_pieces = heads.chunks_mut((PIECE * self.head_len()).max(1));
        let head_pieces = head_pieces.chain(std::iter::repeat_with(|| &mut [][..]));
        let pieces: Vec<_> = codes.pieces(PIECE).zip(head_pieces).collect();
        pieces.into_par_iter().enumerate().try_for_each(|(i, ((codes, metas), heads))| {
            check(cancel)?;
            dispatch(Rows(self, (set, &pick), i * PIECE, codes, metas, heads));
            Ok(())
        })?;
        Ok((codes, heads))
    }

    /// The heads of rows that are encoded already, one after the other.
    ///
    /// # Errors
    /// [`IndexError::Cancelled`].
    pub fn heads(&self, codes: &Codes, cancel: &AtomicBool) -> Result<Buffer<f32>> {
        struct Heads<'a>(&'a Space, &'a Codes, usize, &'a mut [f32]);
        impl Work for Heads<'_> {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, simd: S) {
                let Heads(space, codes, first, heads) = self;
                let (mut query, mut out) = (Query::default(), Vec::new());
                for (i, head) in heads.chunks_exact_mut(space.head_len().max(1)).enumerate() {
                    let p = (first + i) as u32;
                    query.set(codes.code(p), codes.meta(p));
                    space.head_of(simd, &query, &mut out);
                    head.copy_from_slice(&out);
                }
            }
        }
        let mut heads = Buffer::zeroed(codes.len() * self.head_len())?;
        heads.par_chunks_mut((PIECE * self.head_len()).max(1)).enumerate().try_for_each(|(i, heads)| {
            check(cancel)?;
            dispatch(Heads(self, codes, i * PIECE, heads));
            Ok(())
        })?;
        Ok(heads)
    }

    /// The head of a code.
    #[inline(always)]
    pub fn head_of<S: Simd>(&self, simd: S, query: &Query, out: &mut Vec<f32>) {
        out.clear();
        match &self.coded {
            Coded::None => {}
            Coded::All => query.decode(out),
            Coded::Principal(head) => head.project(simd, query, out),
        }
    }

    /// Whether rows of these vectors can be encoded in this space: an inner product longer than all it was learned from
    /// has no last component.
    pub fn holds(&self, set: &VectorSet, cancel: &AtomicBool) -> Result<bool> {
        if set.metric() != self.metric || set.dimension() != self.dimension {
            return Ok(false);
        }
        Ok(self.metric != Metric::Dot || longest(set, cancel)? <= self.reach)
    }

    /// Makes a query ready: of the dimension of the set, admitted.
    #[inline(always)]
    pub fn prepare<S: Simd>(&self, simd: S, query: &[f32], out: &mut Prepared) {
        out.rotated.clear();
        out.rotated.resize(self.padded(), 0.0);
        let shared = query.len().min(self.dimension);
        out.rotated[..shared].copy_from_slice(&query[..shared]);
        if self.metric == Metric::Dot {
            // The order of inner products does not depend on the length of the query; near the rows codes err least.
            let norm = query.iter().map(|x| x * x).sum::<f32>().sqrt();
            let factor = if norm > 0.0 { self.reach / norm } else { 0.0 };
            out.rotated.iter_mut().for_each(|x| *x *= factor);
        }
        let (mut row, mut code) = (std::mem::take(&mut out.rotated), std::mem::take(&mut out.code));
        self.centre(&mut row);
        code.resize(self.padded(), 0);
        self.code(simd, &mut row, out, &mut code);
        if !out.head.is_empty() {
            out.table.set(simd, &out.head);
        }
        (out.rotated, out.code) = (row, code);
    }
}

impl Prepared {
    /// Makes a row of the set ready that is encoded already.
    #[inline(always)]
    pub fn set_row<S: Simd>(&mut self, simd: S, code: &[u8], meta: Meta, head: &[f32]) {
        self.query.set(code, meta);
        self.head.clear();
        self.head.extend_from_slice(head);
        self.table.set(simd, head);
    }
}

/// Refuses a metric that is no squared distance in any space.
pub fn check_metric(metric: Metric) -> Result<()> {
    match metric {
        Metric::Cosine | Metric::Dot | Metric::Euclid => Ok(()),
        Metric::Manhattan => Err(IndexError::InvalidParameter(
            "codes cannot estimate manhattan distances: such a field has a plain graph".into(),
        )),
    }
}
