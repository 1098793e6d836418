//! The bytes of an operation batch: what goes in comes out, and damaged bytes never panic or take much memory.

use bytes::Bytes;
use engram_index::vector::{MultiVector, SparseVector, VectorValue};
use engram_storage::op::{ConditionalOp, Idempotency, MAX_OPS, PayloadChange};
use engram_storage::{Op, OpBatch, Point, PointId, StorageError};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

fn id() -> impl Strategy<Value = PointId> {
    prop_oneof![
        any::<u64>().prop_map(PointId::Num),
        any::<u128>().prop_map(|n| PointId::Uuid(uuid::Uuid::from_u128(n)))
    ]
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

fn dense() -> impl Strategy<Value = VectorValue> {
    vec(-1e9f32..1e9, 0..40).prop_map(VectorValue::Dense)
}

fn sparse() -> impl Strategy<Value = VectorValue> {
    btree_map(any::<u32>(), -1e9f32..1e9, 0..20).prop_map(|map| {
        let (indices, values) = map.into_iter().unzip();
        SparseVector { indices, values }.into()
    })
}

fn multi() -> impl Strategy<Value = VectorValue> {
    (1usize..6, 1usize..6).prop_flat_map(|(dimension, vectors)| {
        vec(-1e9f32..1e9, dimension * vectors)
            .prop_map(move |components| MultiVector { dimension, components }.into())
    })
}

fn vectors() -> impl Strategy<Value = Vec<(u16, VectorValue)>> {
    let any_kind = || prop_oneof![dense(), sparse(), multi()];
    prop_oneof![vec((any::<u16>(), dense()), 0..4), vec((any::<u16>(), any_kind()), 0..4)]
}

fn point() -> impl Strategy<Value = Point> {
    (id(), vectors(), bytes(), any::<i64>(), any::<i64>(), option::of(any::<i64>())).prop_map(
        |(id, vectors, payload, created_at, ingested_at, expires_at)| Point {
            id,
            vectors,
            payload,
            created_at,
            ingested_at,
            expires_at,
            version: 0,
        },
    )
}

fn change() -> impl Strategy<Value = PayloadChange> {
    prop_oneof![
        bytes().prop_map(PayloadChange::Merge),
        (".{0,20}", bytes()).prop_map(|(path, update)| PayloadChange::MergeAt { path, update }),
        bytes().prop_map(PayloadChange::Overwrite),
        vec("[a-zäø.]{0,12}", 0..5).prop_map(PayloadChange::DeleteKeys),
        Just(PayloadChange::Clear)
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        point().prop_map(Op::Upsert),
        id().prop_map(Op::Delete),
        (id(), change(), any::<i64>(), any::<bool>()).prop_map(|(id, change, ingested_at, old)| {
            let whole = matches!(change, PayloadChange::Overwrite(_) | PayloadChange::Clear);
            Op::SetPayload { id, change, ingested_at, bytes_only: old && !whole }
        }),
        (id(), vectors(), vec(any::<u16>(), 0..5), any::<i64>())
            .prop_map(|(id, set, remove, ingested_at)| Op::UpdateVectors { id, set, remove, ingested_at }),
        (any::<i64>(), any::<i64>())
            .prop_map(|(created_before, now)| Op::DeleteOlderThan { created_before, now }),
    ]
}

fn batch() -> impl Strategy<Value = OpBatch> {
    let ops = vec((op(), option::of(any::<u64>())), 0..12)
        .prop_map(|v| v.into_iter().map(|(op, if_version)| ConditionalOp { op, if_version }).collect());
    let idempotency = option::of((any::<[u8; 16]>(), any::<[u8; 8]>(), any::<i64>()));
    (ops, idempotency).prop_map(|(ops, i)| OpBatch {
        ops,
        idempotency: i.map(|(key, content, at)| Idempotency { key, content, at }),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_goes_in_comes_out(batch in batch()) {
        prop_assert_eq!(OpBatch::decode(batch.encode()).unwrap(), batch);
    }

    #[test]
    fn mutated_bytes_are_an_error_or_another_batch(
        batch in batch(), flips in vec((any::<usize>(), any::<u8>()), 1..6), cut in any::<usize>(), do_cut in any::<bool>()
    ) {
        let mut raw = batch.encode().to_vec();
        for (at, value) in flips {
            let at = at % raw.len();
            raw[at] = value;
        }
        if do_cut {
            raw.truncate(cut % (raw.len() + 1));
        }
        match OpBatch::decode(raw.into()) {
            Ok(other) => prop_assert!(OpBatch::decode(other.encode()).is_ok()),
            Err(e) => prop_assert!(matches!(e, StorageError::Corrupt { .. }), "{e}"),
        }
    }

    #[test]
    fn random_bytes_never_panic(raw in vec(any::<u8>(), 0..300)) {
        let _ = OpBatch::decode(raw.into());
    }
}

#[test]
fn every_prefix_and_any_extension_is_corrupt() {
    let batch = OpBatch {
        ops: vec![ConditionalOp { op: Op::Delete(PointId::Num(7)), if_version: Some(3) }],
        idempotency: None,
    };
    let raw = batch.encode();
    for n in 0..raw.len() {
        assert!(matches!(OpBatch::decode(raw.slice(..n)), Err(StorageError::Corrupt { .. })), "prefix {n}");
    }
    let mut longer = raw.to_vec();
    longer.push(0);
    assert!(OpBatch::decode(longer.into()).is_err());
}

/// Records of before other kinds were there, and what such builds can still read.
#[test]
fn dense_batches_are_of_the_first_version() {
    let batch = |value: VectorValue| {
        let (id, payload) = (PointId::Num(7), Bytes::from_static(b"{}"));
        let (created_at, ingested_at, expires_at, version) = (1, 2, None, 0);
        let vectors = vec![(3, value)];
        let point = Point { id, vectors, payload, created_at, ingested_at, expires_at, version };
        OpBatch { ops: vec![ConditionalOp { op: Op::Upsert(point), if_version: None }], idempotency: None }
    };
    let dense = batch(vec![1.0, -2.0].into());
    let mut bytes = vec![1, 0, 1, 1, 0];
    bytes.extend(7u64.to_le_bytes());
    bytes.extend(1i64.to_le_bytes());
    bytes.extend(2i64.to_le_bytes());
    bytes.extend([0, 2, b'{', b'}', 1, 3, 0, 2]);
    bytes.extend([1f32, -2.0].iter().flat_map(|x| x.to_le_bytes()));
    assert_eq!(dense.encode(), bytes);
    assert_eq!(OpBatch::decode(bytes.into()).unwrap(), dense);
    let sparse = batch(SparseVector { indices: vec![2, 9], values: vec![0.5, 1.0] }.into()).encode();
    assert_eq!(sparse[0], 2);
    let mut unsorted = sparse.to_vec();
    let at = unsorted.len() - 16;
    unsorted[at] = 9;
    assert!(matches!(OpBatch::decode(unsorted.into()), Err(StorageError::Corrupt { .. })));
}

#[test]
fn huge_counts_are_refused_before_memory_is_taken() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    let mut raw = vec![1, 0];
    raw.extend(huge);
    assert!(OpBatch::decode(raw.into()).is_err());
    // A vector of 2^50 numbers.
    let mut raw = vec![1, 0, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0];
    raw.extend(huge);
    assert!(OpBatch::decode(raw.into()).is_err());
    // The same of the kinds of version 2, and of a dimension.
    for kind in 0..4 {
        for before in [&[][..], &[1]] {
            let mut raw = vec![2, 0, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, kind];
            raw.extend(before);
            raw.extend(huge);
            assert!(OpBatch::decode(raw.into()).is_err());
        }
    }
    let many = OpBatch {
        ops: vec![ConditionalOp { op: Op::Delete(PointId::Num(1)), if_version: None }; MAX_OPS + 1],
        idempotency: None,
    };
    assert!(OpBatch::decode(many.encode()).is_err());
}

#[test]
fn changes_of_older_records_are_decided_as_they_were_when_written() {
    let (path, update) = ("a.b".to_owned(), Bytes::from_static(b"{}"));
    for (change, version) in [
        (PayloadChange::Merge(update.clone()), 1),
        (PayloadChange::DeleteKeys(vec![path.clone()]), 1),
        (PayloadChange::MergeAt { path, update: update.clone() }, 3),
    ] {
        let batch = |bytes_only| {
            let op =
                Op::SetPayload { id: PointId::Num(7), change: change.clone(), ingested_at: 1, bytes_only };
            OpBatch { ops: vec![ConditionalOp { op, if_version: None }], idempotency: None }
        };
        let (old, new) = (batch(true).encode(), batch(false).encode());
        assert_eq!(old[0], version, "as older servers wrote it");
        assert_eq!(new[0], 4, "older servers must not decide it their way");
        assert_eq!(OpBatch::decode(old).unwrap(), batch(true));
        assert_eq!(OpBatch::decode(new).unwrap(), batch(false));
    }
    // Bytes of an older server: version, flags, count; tag, id, time; the change.
    let bytes = |version: u8, change: &[u8]| {
        let head = [version, 0, 1, 3, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        OpBatch::decode([&head, change].concat().into()).unwrap()
    };
    for batch in [bytes(1, b"\x01\x02{}"), bytes(1, b"\x03\x01\x01a"), bytes(3, b"\x05\x01a\x02{}")] {
        assert!(matches!(batch.ops[0].op, Op::SetPayload { bytes_only: true, .. }), "{batch:?}");
    }
}
