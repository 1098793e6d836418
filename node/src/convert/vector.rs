//! Values of vector fields: bytes and lists to vectors and back.

use axum::body::Bytes;
use engram_index::vector::{MultiVector, SparseVector, VectorValue};
use engram_proto::v1;
use tonic::Status;

use crate::status::invalid;

/// Size of a component on the wire.
pub(crate) const COMPONENT: usize = 4;

/// Components from bytes whose length is a multiple of four.
pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    let (chunks, _) = bytes.as_chunks::<COMPONENT>();
    chunks.iter().map(|c| f32::from_le_bytes(*c)).collect()
}

/// The value of a message; `field` names it in errors.
pub(crate) fn value(field: &str, wire: v1::Vector) -> Result<VectorValue, Status> {
    let dense = !wire.f32le.is_empty() || !wire.values.is_empty();
    match (dense, wire.sparse, wire.multi) {
        (_, None, None) => components(field, &wire.f32le, wire.values).map(VectorValue::Dense),
        (false, Some(wire), None) => Ok(sparse(wire).into()),
        (false, None, Some(wire)) => Ok(multi(field, wire)?.into()),
        _ => Err(invalid(field, "has more than one of f32le, values, sparse and multi; give one of them")),
    }
}

fn components(field: &str, f32le: &[u8], values: Vec<f32>) -> Result<Vec<f32>, Status> {
    match (f32le.is_empty(), values.is_empty()) {
        (true, false) => Ok(values),
        (false, true) if f32le.len().is_multiple_of(COMPONENT) => Ok(floats(f32le)),
        (false, true) => Err(invalid(field, format!("f32le has {} bytes, no multiple of 4", f32le.len()))),
        (true, true) => Err(invalid(field, "is empty; give f32le or values")),
        (false, false) => Err(invalid(field, "has both f32le and values; give one of them")),
    }
}

pub(crate) fn sparse(wire: v1::SparseVector) -> SparseVector {
    SparseVector { indices: wire.indices, values: wire.values }
}

pub(crate) fn multi(field: &str, wire: v1::MultiVector) -> Result<MultiVector, Status> {
    let components = components(&format!("{field}.multi"), &wire.f32le, wire.values)?;
    Ok(MultiVector { dimension: wire.dimension as usize, components })
}

pub(crate) fn wire_value(value: VectorValue) -> v1::Vector {
    let wire = v1::Vector::default();
    match value {
        VectorValue::Dense(vector) => v1::Vector { f32le: bytes(&vector), ..wire },
        VectorValue::Sparse(SparseVector { indices, values }) => {
            v1::Vector { sparse: Some(v1::SparseVector { indices, values }), ..wire }
        }
        VectorValue::Multi(MultiVector { dimension, components }) => {
            let dimension = u32::try_from(dimension).unwrap_or(u32::MAX);
            let multi = v1::MultiVector { dimension, f32le: bytes(&components), values: Vec::new() };
            v1::Vector { multi: Some(multi), ..wire }
        }
    }
}

fn bytes(floats: &[f32]) -> Bytes {
    let mut bytes = Vec::with_capacity(floats.len() * COMPONENT);
    for component in floats {
        bytes.extend_from_slice(&component.to_le_bytes());
    }
    Bytes::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let v = vec![1.0f32, -0.5, f32::MIN_POSITIVE];
        for value_of in [
            VectorValue::Dense(v.clone()),
            SparseVector { indices: vec![7, 1, u32::MAX], values: v.clone() }.into(),
            SparseVector::default().into(),
            MultiVector { dimension: 1, components: v.clone() }.into(),
        ] {
            assert_eq!(value("v", wire_value(value_of.clone())).unwrap(), value_of);
        }
        let values = v1::MultiVector { dimension: 3, values: v.clone(), ..Default::default() };
        let wire = v1::Vector { multi: Some(values), ..Default::default() };
        assert_eq!(value("v", wire).unwrap(), MultiVector { dimension: 3, components: v }.into());
    }

    #[test]
    fn ambiguous_and_broken_vectors_are_refused() {
        let none = v1::Vector::default();
        for bad in [
            none.clone(),
            v1::Vector { f32le: Bytes::from_static(&[1, 2, 3]), ..none.clone() },
            v1::Vector { f32le: Bytes::from_static(&[0; 4]), values: vec![0.0], ..none.clone() },
            v1::Vector { sparse: Some(Default::default()), values: vec![0.0], ..none.clone() },
            v1::Vector { sparse: Some(Default::default()), multi: Some(Default::default()), ..none.clone() },
            v1::Vector { multi: Some(Default::default()), ..none },
        ] {
            let refused = value("v", bad).unwrap_err();
            assert!(refused.message().starts_with('v'), "{refused:?}");
        }
    }
}
