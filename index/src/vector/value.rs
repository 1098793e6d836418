//! The value of a vector field: one vector, a few numbered components, or a list of vectors.

/// What one point has in one vector field, or what a query looks for there.
#[derive(Clone, Debug, PartialEq)]
pub enum VectorValue {
    /// One vector.
    Dense(Vec<f32>),
    /// Few components of a space without a dimension: words, or what a model has in their place.
    Sparse(SparseVector),
    /// Several vectors of one dimension, compared by the sum of the best match of each of the query's (late interaction,
    /// max-sim).
    Multi(MultiVector),
}

impl VectorValue {
    /// The one vector, if it is one.
    pub fn as_dense(&self) -> Option<&[f32]> {
        match self {
            Self::Dense(vector) => Some(vector),
            Self::Sparse(_) | Self::Multi(_) => None,
        }
    }

    /// Bytes of its components.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Dense(vector) => size_of_val(vector.as_slice()),
            Self::Sparse(sparse) => {
                size_of_val(sparse.indices.as_slice()) + size_of_val(sparse.values.as_slice())
            }
            Self::Multi(multi) => size_of_val(multi.components.as_slice()),
        }
    }

    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Dense(_) => "dense",
            Self::Sparse(_) => "sparse",
            Self::Multi(_) => "multi",
        }
    }
}

/// Numbered components, ascending by index, each index once; absent ones are zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseVector {
    /// Which components.
    pub indices: Vec<u32>,
    /// Their values, aligned with `indices`.
    pub values: Vec<f32>,
}

/// Vectors of one dimension, one after the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MultiVector {
    /// Components of each.
    pub dimension: usize,
    /// All components, `dimension` a vector.
    pub components: Vec<f32>,
}

impl MultiVector {
    /// The vectors.
    pub fn vectors(&self) -> std::slice::ChunksExact<'_, f32> {
        self.components.chunks_exact(self.dimension.max(1))
    }
}

impl From<Vec<f32>> for VectorValue {
    fn from(vector: Vec<f32>) -> Self {
        Self::Dense(vector)
    }
}

impl From<SparseVector> for VectorValue {
    fn from(vector: SparseVector) -> Self {
        Self::Sparse(vector)
    }
}

impl From<MultiVector> for VectorValue {
    fn from(vectors: MultiVector) -> Self {
        Self::Multi(vectors)
    }
}
