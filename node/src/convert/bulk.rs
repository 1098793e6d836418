//! Columns of a bulk batch to points.

use engram_index::vector::VectorValue;
use engram_proto::v1;
use engram_query::request::NewPoint;
use engram_storage::point::PointId;
use tonic::Status;
use uuid::Uuid;

use super::vector::{self, COMPONENT, floats};
use crate::status::invalid;

/// Largest batch, as everywhere in the API.
const MAX_ROWS: usize = engram_query::limits::MAX_BATCH;

const UUID_BYTES: usize = 16;

/// The points of a batch. All columns are checked against `count` before anything is taken for them.
pub(crate) fn points(wire: v1::BulkUpsertRequest) -> Result<Vec<NewPoint>, Status> {
    let count = wire.count as usize;
    if count == 0 || count > MAX_ROWS {
        return Err(invalid("count", format!("{count} is not allowed; a batch has 1 to {MAX_ROWS} rows")));
    }
    let ids = ids(&wire.num_ids, &wire.uuid_ids, count)?;
    aligned("payload_json", wire.payload_json.len(), count, false)?;
    aligned("regions", wire.regions.len(), count, true)?;
    aligned("created_at_ms", wire.created_at_ms.len(), count, false)?;
    aligned("expires_at_ms", wire.expires_at_ms.len(), count, false)?;
    let mut points: Vec<NewPoint> = ids
        .into_iter()
        .map(|id| NewPoint {
            id: Some(id),
            vectors: Vec::with_capacity(wire.vectors.len()),
            ..NewPoint::default()
        })
        .collect();
    for column in wire.vectors {
        add_vectors(&mut points, column)?;
    }
    let whole_region = (wire.regions.len() == 1).then(|| wire.regions[0].clone());
    let mut payloads = wire.payload_json.into_iter();
    let mut regions = wire.regions.into_iter();
    for (i, point) in points.iter_mut().enumerate() {
        point.payload = payloads.next().unwrap_or_default();
        let region = whole_region.clone().or_else(|| regions.next());
        point.region = region.filter(|r| !r.is_empty());
        point.created_at = wire.created_at_ms.get(i).copied().filter(|t| *t != 0);
        point.expires_at = wire.expires_at_ms.get(i).copied().filter(|t| *t != 0);
    }
    Ok(points)
}

fn aligned(field: &str, len: usize, count: usize, one_for_all: bool) -> Result<(), Status> {
    if len == 0 || len == count || (one_for_all && len == 1) {
        return Ok(());
    }
    Err(invalid(field, format!("has {len} entries for {count} rows")))
}

fn ids(nums: &[u64], uuids: &[u8], count: usize) -> Result<Vec<PointId>, Status> {
    match (nums.is_empty(), uuids.is_empty()) {
        (false, true) if nums.len() == count => Ok(nums.iter().map(|n| PointId::Num(*n)).collect()),
        (false, true) => Err(invalid("num_ids", format!("has {} entries for {count} rows", nums.len()))),
        (true, false) if uuids.len() == count * UUID_BYTES => {
            let (ids, _) = uuids.as_chunks::<UUID_BYTES>();
            Ok(ids.iter().map(|id| PointId::Uuid(Uuid::from_bytes(*id))).collect())
        }
        (true, false) => {
            Err(invalid("uuid_ids", format!("has {} bytes for {count} rows; 16 bytes an id", uuids.len())))
        }
        (true, true) => Err(invalid("num_ids", "and uuid_ids are empty; give one of them")),
        (false, false) => Err(invalid("uuid_ids", "is given beside num_ids; give one of them")),
    }
}

fn add_vectors(points: &mut [NewPoint], mut column: v1::VectorColumn) -> Result<(), Status> {
    let name = format!("vectors[{:?}]", column.field);
    if !column.present.is_empty() && column.present.len() != points.len() {
        return Err(invalid(
            &name,
            format!("present has {} bytes for {} rows", column.present.len(), points.len()),
        ));
    }
    let present = std::mem::take(&mut column.present);
    let is_present = |i: usize| present.get(i).is_none_or(|b| *b != 0);
    let rows = (0..points.len()).filter(|i| is_present(*i)).count();
    if let Some(values) = other_values(&name, &mut column, rows)? {
        let present = points.iter_mut().enumerate().filter(|(i, _)| is_present(*i));
        for ((_, point), value) in present.zip(values) {
            point.vectors.push((column.field.clone(), value));
        }
        return Ok(());
    }
    if rows == 0 {
        let why = "holds components, but no row has a vector";
        return if column.f32le.is_empty() { Ok(()) } else { Err(invalid(&name, why)) };
    }
    let row_bytes = column.f32le.len() / rows;
    if row_bytes == 0 || row_bytes * rows != column.f32le.len() || !row_bytes.is_multiple_of(COMPONENT) {
        let why = format!("{} bytes are no {rows} vectors of one dimension", column.f32le.len());
        return Err(invalid(&name, why));
    }
    let mut vectors = column.f32le.chunks_exact(row_bytes);
    for (i, point) in points.iter_mut().enumerate() {
        if is_present(i)
            && let Some(bytes) = vectors.next()
        {
            point.vectors.push((column.field.clone(), floats(bytes).into()));
        }
    }
    Ok(())
}

/// Sparse or multi vectors of `rows` rows; `None` where the column has neither.
fn other_values(
    name: &str,
    column: &mut v1::VectorColumn,
    rows: usize,
) -> Result<Option<Vec<VectorValue>>, Status> {
    let (sparse, multi) = (std::mem::take(&mut column.sparse), std::mem::take(&mut column.multi));
    if sparse.is_empty() && multi.is_empty() {
        return Ok(None);
    }
    if !column.f32le.is_empty() || !(sparse.is_empty() || multi.is_empty()) {
        return Err(invalid(name, "has more than one of f32le, sparse and multi; give one of them"));
    }
    let count = sparse.len() + multi.len();
    if count != rows {
        return Err(invalid(name, format!("has {count} values where {rows} rows have one")));
    }
    let sparse = sparse.into_iter().map(|wire| Ok(vector::sparse(wire).into()));
    let multi = multi.into_iter().map(|wire| Ok(vector::multi(name, wire)?.into()));
    sparse.chain(multi).collect::<Result<_, Status>>().map(Some)
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;

    use super::*;

    fn batch() -> v1::BulkUpsertRequest {
        let f32le: Vec<u8> = [1f32, 2.0, 3.0, 4.0].iter().flat_map(|f| f.to_le_bytes()).collect();
        v1::BulkUpsertRequest {
            count: 3,
            num_ids: vec![7, 8, 9],
            vectors: vec![v1::VectorColumn {
                field: String::new(),
                f32le: f32le.into(),
                present: Bytes::from_static(&[1, 0, 1]),
                ..Default::default()
            }],
            regions: vec!["eu".into()],
            created_at_ms: vec![5, 0, 6],
            ..Default::default()
        }
    }

    #[test]
    fn columns_become_rows() {
        let points = points(batch()).unwrap();
        assert_eq!(points[0].vectors, [(String::new(), vec![1.0, 2.0].into())]);
        assert!(points[1].vectors.is_empty());
        assert_eq!(points[2].vectors, [(String::new(), vec![3.0, 4.0].into())]);
        assert!(points.iter().all(|p| p.region.as_deref() == Some("eu")));
        assert_eq!(points.iter().map(|p| p.created_at).collect::<Vec<_>>(), [Some(5), None, Some(6)]);
    }

    #[test]
    fn columns_of_sparse_and_multi_vectors_become_rows() {
        let sparse = |index| v1::SparseVector { indices: vec![index], values: vec![0.5] };
        let multi = |x| v1::MultiVector { dimension: 1, values: vec![x, x], ..Default::default() };
        let present = Bytes::from_static(&[1, 0, 1]);
        let columns = vec![
            v1::VectorColumn { sparse: vec![sparse(4), sparse(5)], present, ..Default::default() },
            v1::VectorColumn {
                field: "m".into(),
                multi: [1.0, 2.0, 3.0].map(multi).into(),
                ..Default::default()
            },
        ];
        let rows = points(v1::BulkUpsertRequest { vectors: columns.clone(), ..batch() }).unwrap();
        let kinds = rows.iter().map(|p| p.vectors.iter().map(|(_, v)| v.kind()).collect::<Vec<_>>());
        assert_eq!(
            kinds.collect::<Vec<_>>(),
            [vec!["sparse", "multi"], vec!["multi"], vec!["sparse", "multi"]]
        );
        assert_eq!(rows[2].vectors[0].1, vector::sparse(sparse(5)).into());
        for (column, remove) in [(0, 1), (1, 2)] {
            let mut short = columns.clone();
            short[column].sparse.truncate(remove);
            short[column].multi.truncate(remove);
            assert!(points(v1::BulkUpsertRequest { vectors: short, ..batch() }).is_err());
        }
        let mut both = columns;
        both[0].f32le = Bytes::from_static(&[0; 8]);
        assert!(points(v1::BulkUpsertRequest { vectors: both, ..batch() }).is_err());
    }

    #[test]
    fn columns_that_do_not_fit_are_refused_by_name() {
        type Break = fn(&mut v1::BulkUpsertRequest);
        let cases: [(&str, Break); 9] = [
            ("count", |b| b.count = 0),
            ("count", |b| b.count = u32::MAX),
            ("num_ids", |b| b.num_ids.truncate(2)),
            ("num_ids", |b| b.num_ids.clear()),
            ("uuid_ids", |b| b.uuid_ids = Bytes::from_static(&[0; 48])),
            ("vectors", |b| b.vectors[0].f32le = Bytes::from_static(&[0; 12])),
            ("vectors", |b| b.vectors[0].present = Bytes::from_static(&[1])),
            ("payload_json", |b| b.payload_json = vec![Bytes::new()]),
            ("expires_at_ms", |b| b.expires_at_ms = vec![1, 2]),
        ];
        for (field, break_it) in cases {
            let mut wire = batch();
            break_it(&mut wire);
            let error = points(wire).unwrap_err();
            assert!(error.message().starts_with(field), "{field}: {}", error.message());
        }
    }
}
