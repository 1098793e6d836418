//! What a shard can rank its points by, beside the distance to one vector.

use std::cmp::Ordering;

use engram_index::vector::VectorValue;
use engram_storage::point::FieldId;

use super::discover;
use super::formula::Rescoring;
use super::order::Order;
use super::recommend;
use super::sample;
use crate::searcher::RankedRow;

/// A positive and a negative example.
pub type Pair = (VectorValue, VectorValue);

/// What makes the order of a ranking.
#[derive(Clone, Debug)]
pub enum RankBy {
    /// The order of ids.
    Id,
    /// How well the vectors of a field fit examples.
    Preference {
        /// The field.
        field: FieldId,
        /// The examples.
        preference: Preference,
    },
    /// Values of the payload.
    Order(Order),
    /// A random order.
    Sample {
        /// The same seed gives the same order.
        seed: u64,
        /// Only points with a vector of this field.
        field: Option<FieldId>,
    },
    /// A formula over points that other stages found. Points beyond these are left out.
    Formula(Rescoring),
}

/// Examples, and how they make a score; admitted values of the field, weighed where it has weights.
#[derive(Clone, Debug, PartialEq)]
pub enum Preference {
    /// By the best example.
    BestScore {
        /// Like these.
        positive: Vec<VectorValue>,
        /// Unlike these.
        negative: Vec<VectorValue>,
    },
    /// By the sum over the examples.
    SumScores {
        /// Like these.
        positive: Vec<VectorValue>,
        /// Unlike these.
        negative: Vec<VectorValue>,
    },
    /// By the sides of the pairs, then by the nearness to the target.
    Discover {
        /// Near this.
        target: VectorValue,
        /// Positive and negative examples.
        pairs: Vec<Pair>,
    },
    /// By the sides of the pairs alone.
    Context(Vec<Pair>),
}

impl Preference {
    /// The score of a point, larger is better; `like` tells how similar the point is to an example.
    pub fn score(&self, like: impl Fn(&VectorValue) -> f32) -> f32 {
        match self {
            Self::BestScore { positive, negative } => recommend::best_score(positive, negative, like),
            Self::SumScores { positive, negative } => recommend::sum_scores(positive, negative, like),
            Self::Discover { target, pairs } => discover::discover(target, pairs, like),
            Self::Context(pairs) => discover::context(pairs, like),
        }
    }

    /// Vectors that each point is compared with.
    pub fn vectors(&self) -> usize {
        let of = |value: &VectorValue| match value {
            VectorValue::Dense(_) | VectorValue::Sparse(_) => 1,
            VectorValue::Multi(multi) => multi.vectors().len(),
        };
        let of_pairs = |pairs: &[Pair]| pairs.iter().map(|(p, n)| of(p) + of(n)).sum::<usize>();
        match self {
            Self::BestScore { positive, negative } | Self::SumScores { positive, negative } => {
                positive.iter().chain(negative).map(of).sum()
            }
            Self::Discover { target, pairs } => of(target) + of_pairs(pairs),
            Self::Context(pairs) => of_pairs(pairs),
        }
    }
}

impl RankBy {
    /// Which of two rows comes first; ties by id.
    pub fn compare(&self, a: &RankedRow, b: &RankedRow) -> Ordering {
        let first = match self {
            Self::Id => Ordering::Equal,
            Self::Preference { .. } | Self::Formula(_) => b.score.total_cmp(&a.score),
            Self::Order(order) => match (&a.order, &b.order) {
                (Some(a), Some(b)) => order.compare(a, b),
                (a, b) => b.is_some().cmp(&a.is_some()),
            },
            Self::Sample { seed, .. } => sample::place(*seed, &a.id).cmp(&sample::place(*seed, &b.id)),
        };
        first.then_with(|| a.id.cmp(&b.id))
    }
}
