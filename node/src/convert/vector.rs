//! Vectors as little-endian bytes and back.

use axum::body::Bytes;
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

/// The vector of a message; `field` names it in errors.
pub(crate) fn vector(field: &str, wire: v1::Vector) -> Result<Vec<f32>, Status> {
    match (wire.f32le.is_empty(), wire.values.is_empty()) {
        (true, false) => Ok(wire.values),
        (false, true) if wire.f32le.len().is_multiple_of(COMPONENT) => Ok(floats(&wire.f32le)),
        (false, true) => {
            Err(invalid(field, format!("f32le has {} bytes, no multiple of 4", wire.f32le.len())))
        }
        (true, true) => Err(invalid(field, "is empty; give f32le or values")),
        (false, false) => Err(invalid(field, "has both f32le and values; give one of them")),
    }
}

pub(crate) fn wire_vector(vector: &[f32]) -> v1::Vector {
    let mut bytes = Vec::with_capacity(vector.len() * COMPONENT);
    for component in vector {
        bytes.extend_from_slice(&component.to_le_bytes());
    }
    v1::Vector { f32le: Bytes::from(bytes), values: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let v = vec![1.0f32, -0.5, f32::MIN_POSITIVE];
        assert_eq!(vector("v", wire_vector(&v)).unwrap(), v);
    }

    #[test]
    fn ambiguous_and_broken_vectors_are_refused() {
        for bad in [
            v1::Vector::default(),
            v1::Vector { f32le: Bytes::from_static(&[1, 2, 3]), values: vec![] },
            v1::Vector { f32le: Bytes::from_static(&[0; 4]), values: vec![0.0] },
        ] {
            assert!(vector("v", bad).unwrap_err().message().starts_with("v: "));
        }
    }
}
