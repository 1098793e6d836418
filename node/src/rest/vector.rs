//! Vectors as JSON and back: the one place that knows which kinds are stored.
//!
//! Read without a tree in between, since nearly all bytes of a bulk load are components.

use std::fmt;

use engram_index::vector::{MultiVector, SparseVector, VectorValue};
use engram_query::limits::{MAX_BATCH, MAX_VECTOR_FIELDS};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::error::RestError;
use super::up_to::UpTo;

/// Said to those who send texts in place of vectors.
const NO_INFERENCE: &str = "this server makes no embeddings: send the vector itself";

/// One vector: `[..]`, `[[..], ..]` or `{"indices": [..], "values": [..]}`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JsonVector(pub(crate) VectorValue);

/// Vectors of one point: a vector for the default field, or vectors by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct JsonVectors(pub(crate) Vec<(String, VectorValue)>);

/// Vectors of one field.
pub(crate) type Column = UpTo<JsonVector, MAX_BATCH>;

/// Vectors of many points in columns: a list of vectors, or such lists by name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum VectorColumns {
    Default(Column),
    Named(Vec<(String, Column)>),
}

/// `{"indices": [..], "values": [..]}`, or what other servers make a vector of.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SparseParts {
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl SparseParts {
    pub(super) fn value(indices: Vec<u32>, values: Vec<f32>) -> VectorValue {
        VectorValue::Sparse(SparseVector { indices, values })
    }
}

/// A component, or the first vector of several.
enum First {
    Component(f32),
    Vector(Vec<f32>),
}

impl<'de> Deserialize<'de> for First {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = First;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a list of numbers")
            }
            fn visit_f64<E>(self, v: f64) -> Result<First, E> {
                Ok(First::Component(v as f32))
            }
            fn visit_u64<E>(self, v: u64) -> Result<First, E> {
                Ok(First::Component(v as f32))
            }
            fn visit_i64<E>(self, v: i64) -> Result<First, E> {
                Ok(First::Component(v as f32))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<First, A::Error> {
                components(seq, Vec::new()).map(First::Vector)
            }
        }
        from.deserialize_any(Either)
    }
}

fn components<'de, A: SeqAccess<'de>>(mut seq: A, mut vector: Vec<f32>) -> Result<Vec<f32>, A::Error> {
    while let Some(component) = seq.next_element::<f32>()? {
        vector.push(component);
    }
    Ok(vector)
}

/// Reads a list: one vector or several.
pub(super) fn from_list<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<VectorValue, A::Error> {
    match seq.next_element::<First>()? {
        None => Ok(VectorValue::Dense(Vec::new())),
        Some(First::Component(first)) => components(seq, vec![first]).map(VectorValue::Dense),
        Some(First::Vector(first)) => {
            let dimension = first.len();
            let mut multi = MultiVector { dimension, components: first };
            while let Some(next) = seq.next_element::<Vec<f32>>()? {
                if next.len() != dimension {
                    let what =
                        format!("a vector of {dimension} components like the first one, not {}", next.len());
                    return Err(A::Error::custom(what));
                }
                multi.components.extend(next);
            }
            Ok(VectorValue::Multi(multi))
        }
    }
}

impl<'de> Deserialize<'de> for JsonVector {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct One;
        impl<'de> Visitor<'de> for One {
            type Value = JsonVector;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vector: a list of numbers, or {\"indices\": [..], \"values\": [..]}")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<JsonVector, A::Error> {
                from_list(seq).map(JsonVector)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<JsonVector, A::Error> {
                let parts = SparseParts::deserialize(MapAccessDeserializer::new(map))
                    .map_err(|e| A::Error::custom(format_args!("{e} ({NO_INFERENCE})")))?;
                Ok(JsonVector(SparseParts::value(parts.indices, parts.values)))
            }
        }
        from.deserialize_any(One)
    }
}

/// Refuses more names of vector fields than a collection may have.
fn few<E: serde::de::Error>(there: usize) -> Result<(), E> {
    match there < MAX_VECTOR_FIELDS {
        true => Ok(()),
        false => Err(E::custom(format_args!("more than {MAX_VECTOR_FIELDS} names of vector fields"))),
    }
}

impl<'de> Deserialize<'de> for JsonVectors {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct ByName;
        impl<'de> Visitor<'de> for ByName {
            type Value = JsonVectors;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vector, or vectors by name")
            }
            fn visit_unit<E>(self) -> Result<JsonVectors, E> {
                Ok(JsonVectors::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<JsonVectors, A::Error> {
                Ok(JsonVectors(vec![(String::new(), from_list(seq)?)]))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonVectors, A::Error> {
                let mut vectors = Vec::new();
                while let Some((name, JsonVector(vector))) = map.next_entry::<String, JsonVector>()? {
                    few(vectors.len())?;
                    vectors.push((name, vector));
                }
                Ok(JsonVectors(vectors))
            }
        }
        from.deserialize_any(ByName)
    }
}

impl<'de> Deserialize<'de> for VectorColumns {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Columns;
        impl<'de> Visitor<'de> for Columns {
            type Value = VectorColumns;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of vectors, or such lists by name")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<VectorColumns, E> {
                Err(E::invalid_type(Unexpected::Str(text), &self))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<VectorColumns, A::Error> {
                Column::deserialize(SeqAccessDeserializer::new(seq)).map(VectorColumns::Default)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<VectorColumns, A::Error> {
                let mut all = Vec::new();
                while let Some(column) = map.next_entry()? {
                    few(all.len())?;
                    all.push(column);
                }
                Ok(VectorColumns::Named(all))
            }
        }
        from.deserialize_any(Columns)
    }
}

/// Checks the shape of a vector from outside. Indices come in any order and leave ascending.
pub(crate) fn checked(vector: VectorValue) -> Result<VectorValue, RestError> {
    let VectorValue::Sparse(SparseVector { indices, values }) = vector else { return Ok(vector) };
    if indices.len() != values.len() {
        let what = format!(
            "a sparse vector has {} indices and {} values: give as many of both",
            indices.len(),
            values.len()
        );
        return Err(RestError::validation(what));
    }
    let mut parts: Vec<(u32, f32)> = indices.into_iter().zip(values).collect();
    parts.sort_unstable_by_key(|(index, _)| *index);
    if let Some(twice) = parts.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(RestError::validation(format!("index {} of a sparse vector is given twice", twice[0].0)));
    }
    let (indices, values) = parts.into_iter().unzip();
    Ok(VectorValue::Sparse(SparseVector { indices, values }))
}

/// The values of vector fields, checked.
pub(crate) fn all_checked(vectors: JsonVectors) -> Result<Vec<(String, VectorValue)>, RestError> {
    vectors.0.into_iter().map(|(name, vector)| Ok((name, checked(vector)?))).collect()
}

/// Stored vectors of a point: the only one of the default field bare, others by name.
pub(crate) struct VectorsOut<'a>(pub(crate) &'a [(String, VectorValue)]);

impl Serialize for VectorsOut<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if let [(name, vector)] = self.0
            && name.is_empty()
        {
            return VectorOut(vector).serialize(to);
        }
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for (name, vector) in self.0 {
            map.serialize_entry(name, &VectorOut(vector))?;
        }
        map.end()
    }
}

struct VectorOut<'a>(&'a VectorValue);

impl Serialize for VectorOut<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            VectorValue::Dense(vector) => vector.serialize(to),
            VectorValue::Sparse(SparseVector { indices, values }) => {
                let mut map = to.serialize_map(Some(2))?;
                map.serialize_entry("indices", indices)?;
                map.serialize_entry("values", values)?;
                map.end()
            }
            VectorValue::Multi(multi) => to.collect_seq(multi.vectors()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, String> {
        serde_json::from_str(json).map_err(|e| e.to_string())
    }

    #[test]
    fn all_forms_of_a_vector_are_read() {
        let dense = |v: &[f32]| VectorValue::Dense(v.to_vec());
        assert_eq!(read::<JsonVector>("[1, -2, 0.5]").unwrap().0, dense(&[1.0, -2.0, 0.5]));
        assert_eq!(read::<JsonVector>("[]").unwrap().0, dense(&[]));
        let multi = MultiVector { dimension: 2, components: vec![1.0, 2.0, 3.0, 4.0] };
        assert_eq!(read::<JsonVector>("[[1,2],[3,4]]").unwrap().0, VectorValue::Multi(multi));
        let sparse = read::<JsonVector>(r#"{"indices":[7,3],"values":[0.5,1]}"#).unwrap().0;
        let sorted = SparseVector { indices: vec![3, 7], values: vec![1.0, 0.5] };
        assert_eq!(checked(sparse).unwrap(), VectorValue::Sparse(sorted));
        let named = read::<JsonVectors>(r#"{"": [1], "b": {"indices":[],"values":[]}}"#).unwrap().0;
        assert_eq!(named[0], (String::new(), dense(&[1.0])));
        assert_eq!(read::<JsonVectors>("[2]").unwrap().0, [(String::new(), dense(&[2.0]))]);
        assert!(read::<JsonVectors>("null").unwrap().0.is_empty());
    }

    #[test]
    fn what_is_no_vector_is_refused() {
        for bad in
            ["1", "\"x\"", "[1,\"x\"]", "[[1],[1,2]]", "[[1],2]", "{\"indices\":[1]}", "{\"text\":\"x\"}"]
        {
            assert!(read::<JsonVector>(bad).is_err(), "{bad}");
        }
        assert!(read::<JsonVector>(r#"{"text":"a","model":"m"}"#).unwrap_err().contains("no embeddings"));
        for bad in [r#"{"indices":[1,1],"values":[1,1]}"#, r#"{"indices":[1],"values":[]}"#] {
            checked(read::<JsonVector>(bad).unwrap().0).unwrap_err();
        }
    }

    #[test]
    fn the_default_field_alone_is_bare() {
        let one = [(String::new(), vec![0.1f32, 2.0].into())];
        assert_eq!(serde_json::to_string(&VectorsOut(&one)).unwrap(), "[0.1,2.0]");
        let sparse = SparseVector { indices: vec![3], values: vec![2.0] };
        let multi = MultiVector { dimension: 1, components: vec![4.0, 5.0] };
        let all = [
            (String::new(), vec![1.0f32].into()),
            ("b".into(), VectorValue::Sparse(sparse)),
            ("c".into(), VectorValue::Multi(multi)),
        ];
        assert_eq!(
            serde_json::to_string(&VectorsOut(&all)).unwrap(),
            r#"{"":[1.0],"b":{"indices":[3],"values":[2.0]},"c":[[4.0],[5.0]]}"#
        );
        assert_eq!(serde_json::to_string(&VectorsOut(&[])).unwrap(), "{}");
    }
}
