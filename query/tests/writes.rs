//! Writes: conditions, repeats, regions, limits, tenants.

use crate::support::*;
use bytes::Bytes;
use engram_query::database::CollectionChange;
use engram_query::limits::{MAX_BATCH, MAX_PAYLOAD_BYTES, MAX_PAYLOAD_KEYS};
use engram_query::request::{
    Change, NewPoint, PointSelector, Reach, ReadOptions, SearchRequest, Selection, VectorUpdate,
    WriteCondition, WriteOptions,
};
use engram_storage::ErrorKind;
use engram_storage::op::{OpOutcome, PayloadChange};
use engram_storage::point::PointId;

fn keyed(key: &str) -> WriteOptions {
    WriteOptions { idempotency_key: Some(key.into()), ..waiting() }
}

async fn payload(world: &World, name: &str, id: u64) -> Option<String> {
    let selection = Selection { payload: true, ..Selection::default() };
    let asked = (vec![PointId::Num(id)], selection);
    let points = world.db.get(OWNER, name, asked, &ReadOptions::default()).await.unwrap();
    points.first().map(|p| String::from_utf8(p.payload.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_never_changes() {
    let world = World::new().await;
    world.create("c", &["eu", "us"], 2).await;
    world.put("c", vec![point_in(1, "eu"), point(2)]).await;
    let e = world.try_put("c", vec![point(9), point_in(1, "us")]).await.unwrap_err();
    assert_eq!((e.kind(), e.code()), (ErrorKind::Conflict, "region_change"));
    assert!(e.to_string().contains("point 1 (id 1)") && e.to_string().contains("region eu"), "{e}");
    assert_eq!(world.count("c").await, 2);
    let options = WriteOptions { skip_invalid: true, ..waiting() };
    let answer = world.db.upsert(OWNER, "c", vec![point_in(1, "us"), point(9)], options).await.unwrap();
    assert_eq!((answer.rejected.len(), answer.rejected[0].1, answer.affected), (1, "region_change", 1));
    let e = world.try_put("c", vec![point_in(7, "us"), point_in(7, "eu")]).await.unwrap_err();
    assert_eq!(e.code(), "region_change");
    world.delete("c", &[1]).await;
    world.put("c", vec![point_in(1, "us")]).await;
    assert_eq!(world.count("c").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_regions_cannot_both_win_an_id() {
    let world = World::new().await;
    world.create("c", &["eu", "us"], 1).await;
    for id in 0..40 {
        let put = |region: &'static str| {
            let db = world.db.clone();
            // Half of them do not wait for their application.
            let options = WriteOptions { wait: id % 2 == 0, ..WriteOptions::default() };
            tokio::spawn(async move { db.upsert(OWNER, "c", vec![point_in(id, region)], options).await })
        };
        let (eu, us) = (put("eu"), put("us"));
        let (eu, us) = (eu.await.unwrap(), us.await.unwrap());
        assert!(eu.is_ok() != us.is_ok(), "{id}");
        let e = eu.err().or(us.err()).unwrap();
        assert_eq!(e.code(), "region_change");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_repeated_ids_wins() {
    let world = World::new().await;
    world.create("c", &["eu"], 4).await;
    let with =
        |id: u64, text: &str| NewPoint { payload: Bytes::from(format!("{{\"t\":\"{text}\"}}")), ..point(id) };
    let answer = world.put("c", vec![with(1, "a"), with(2, "b"), with(1, "c")]).await;
    assert_eq!(answer.affected, 2);
    assert_eq!(answer.outcomes[0], answer.outcomes[2]);
    assert_eq!(payload(&world, "c", 1).await.unwrap(), r#"{"t":"c"}"#);
    let answer = world.delete("c", &[1, 1, 3]).await;
    assert_eq!(
        (answer.affected, answer.outcomes[0], answer.outcomes[2]),
        (1, answer.outcomes[1], Some(OpOutcome::NotFound))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_racing_conditional_writes_exactly_one_wins() {
    let world = World::new().await;
    for (name, regions) in [("one", &["eu"][..]), ("two", &["eu", "us"][..])] {
        world.create(name, regions, 2).await;
        let mut current = 0;
        for _ in 0..10 {
            let tasks: Vec<_> = (0..8)
                .map(|_| {
                    let db = world.db.clone();
                    let point = NewPoint { if_version: Some(current), ..point(1) };
                    tokio::spawn(
                        async move { db.upsert(OWNER, name, vec![point], WriteOptions::default()).await },
                    )
                })
                .collect();
            let mut won = Vec::new();
            for task in tasks {
                match task.await.unwrap().unwrap().outcomes[0] {
                    Some(OpOutcome::Applied { version, .. }) => won.push(version),
                    Some(OpOutcome::VersionMismatch { current: now }) => assert_ne!(now, current),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(won.len(), 1);
            current = won[0];
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_write_changes_nothing() {
    let world = World::new().await;
    world.create("c", &["eu"], 4).await;
    let points = || (0..20).map(point).collect::<Vec<_>>();
    let first = world.db.upsert(OWNER, "c", points(), keyed("k")).await.unwrap();
    assert!(!first.repeated && first.affected == 20);
    world.delete("c", &[3]).await;
    world.clock.advance(10);
    let again = world.db.upsert(OWNER, "c", points(), keyed("k")).await.unwrap();
    assert!(again.repeated);
    assert_eq!(again.token, first.token);
    assert_eq!(world.count("c").await, 19);
    let other = world.db.upsert(OWNER, "c", (0..21).map(point).collect(), keyed("k")).await.unwrap_err();
    assert_eq!((other.kind(), other.code()), (ErrorKind::Conflict, "idempotency_mismatch"));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_by_id_reach_the_region_of_the_point() {
    let world = World::new().await;
    world.create("c", &["eu", "us"], 2).await;
    world.put("c", vec![point_in(1, "eu"), point_in(2, "us")]).await;
    let change = Change::Payload(PayloadChange::Merge(Bytes::from_static(br#"{"x":1}"#)));
    let ids = [1, 2, 3].map(|id| (PointId::Num(id), None)).to_vec();
    let answer = world.db.change(OWNER, "c", (PointSelector::Ids(ids), change), waiting()).await.unwrap();
    assert_eq!((answer.affected, answer.outcomes[2]), (2, Some(OpOutcome::NotFound)));
    assert_eq!(payload(&world, "c", 2).await.unwrap(), r#"{"n":2,"odd":false,"x":1}"#);
    assert_eq!(answer.token.shards.len(), 2);
    let ids = vec![(PointId::Num(3), Some(5))];
    let answer =
        world.db.change(OWNER, "c", (PointSelector::Ids(ids), Change::Delete), waiting()).await.unwrap();
    assert_eq!(answer.outcomes[0], Some(OpOutcome::VersionMismatch { current: 0 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_by_filter_see_writes_that_did_not_wait() {
    let world = World::new().await;
    world.create("c", &["eu", "us"], 2).await;
    let region = |id: u64| if id < 100 { "eu" } else { "us" };
    let points = (0..200).map(|id| point_in(id, region(id))).collect();
    world.db.upsert(OWNER, "c", points, WriteOptions::default()).await.unwrap();
    let delete = (PointSelector::Filter(odd()), Change::Delete);
    let answer = world.db.change(OWNER, "c", delete.clone(), keyed("purge odd")).await.unwrap();
    assert_eq!((answer.affected, answer.repeated), (100, false));
    assert_eq!(world.count("c").await, 100);
    world.put("c", vec![point_in(1, "eu")]).await;
    let again = world.db.change(OWNER, "c", delete, keyed("purge odd")).await.unwrap();
    assert!(again.repeated);
    assert_eq!(world.count("c").await, 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_are_removed_by_filter_also_from_writes_that_did_not_wait() {
    let world = World::new().await;
    world.create("c", &["eu", "us"], 2).await;
    let region = |id: u64| if id < 100 { "eu" } else { "us" };
    let points = || (0..200).map(|id| point_in(id, region(id))).collect::<Vec<_>>();
    world.db.upsert(OWNER, "c", points(), WriteOptions::default()).await.unwrap();
    let remove = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        (PointSelector::Filter(odd()), Change::RemoveVectors(names))
    };
    let answer = world.db.change(OWNER, "c", remove(&[""]), keyed("odd")).await.unwrap();
    assert_eq!((answer.affected, answer.repeated), (100, false));
    let found = ranking(&world.search(near("c", vector(1), 200)).await);
    assert_eq!(found.len(), 100);
    assert!(found.iter().all(|(id, _)| matches!(id, PointId::Num(n) if n % 2 == 0)));
    world.put("c", points()).await;
    let again = world.db.change(OWNER, "c", remove(&[""]), keyed("odd")).await.unwrap();
    assert!(again.repeated);
    assert_eq!(world.search(near("c", vector(1), 200)).await.hits.len(), 200);
    for (names, code) in
        [(&[][..], "invalid_argument"), (&["", ""], "repeated_field"), (&["none"], "unknown_field")]
    {
        let e = world.db.change(OWNER, "c", remove(names), waiting()).await.unwrap_err();
        assert_eq!(e.code(), code, "{e}");
    }
    let ids = [1, 999].map(|id| (PointId::Num(id), None)).to_vec();
    let by_id = (PointSelector::Ids(ids), Change::RemoveVectors(vec![String::new()]));
    let answer = world.db.change(OWNER, "c", by_id, waiting()).await.unwrap();
    assert_eq!((answer.affected, answer.outcomes[1]), (1, Some(OpOutcome::NotFound)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_filter_counts_points_that_would_become_too_large() {
    let world = World::new().await;
    world.create("c", &["eu", "us"], 2).await;
    let large = format!(r#"{{"odd":true,"a":"{}"}}"#, "x".repeat(MAX_PAYLOAD_BYTES / 2));
    let mut points: Vec<_> = (0..10).map(|id| point_in(id, if id < 5 { "eu" } else { "us" })).collect();
    for id in [1, 3, 7] {
        points[id].payload = Bytes::from(large.clone());
    }
    world.put("c", points).await;
    let update = format!(r#"{{"b":"{}"}}"#, "x".repeat(MAX_PAYLOAD_BYTES / 2));
    for change in [
        PayloadChange::MergeAt { path: "deep".into(), update: update.clone().into() },
        PayloadChange::Merge(update.into()),
    ] {
        let all = (PointSelector::Filter(odd()), Change::Payload(change));
        let answer = world.db.change(OWNER, "c", all, waiting()).await.unwrap();
        assert_eq!((answer.affected, answer.too_large), (2, 3));
        assert_eq!(payload(&world, "c", 3).await.unwrap(), large, "it stays as it is");
        world.put("c", vec![point_in(5, "us"), point_in(9, "us")]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_are_set_and_removed() {
    let world = World::new().await;
    world.create("c", &["eu"], 2).await;
    world.put("c", vec![point(1), point(2)]).await;
    let update = |id: u64, set: bool| VectorUpdate {
        id: PointId::Num(id),
        set: if set { vec![(String::new(), vector(99).into())] } else { vec![] },
        remove: if set { vec![] } else { vec![String::new()] },
        if_version: None,
    };
    world.db.update_vectors(OWNER, "c", vec![update(1, true), update(2, false)], waiting()).await.unwrap();
    let found = ranking(&world.search(near("c", vector(99), 10)).await);
    assert_eq!(found, [(PointId::Num(1), 0.0)]);
    assert_eq!(world.count("c").await, 2);
    let both = VectorUpdate { remove: vec![String::new()], ..update(1, true) };
    let e = world.db.update_vectors(OWNER, "c", vec![both], waiting()).await.unwrap_err();
    assert_eq!(e.code(), "repeated_field");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_points_are_refused_with_what_to_mend() {
    let world = World::new().await;
    world.create("c", &["eu"], 2).await;
    let with = |vector: Vec<f32>| NewPoint { vectors: vec![(String::new(), vector.into())], ..point(1) };
    let payload = |json: &str| NewPoint { payload: Bytes::from(json.to_owned()), ..point(1) };
    let cases = vec![
        (NewPoint { id: None, ..point(1) }, "missing_id"),
        (with(vec![0.0; DIM + 1]), "wrong_dimension"),
        (with(vec![f32::NAN; DIM]), "not_finite"),
        (with(vec![f32::MAX; DIM]), "invalid_vector"),
        (NewPoint { vectors: vec![("x".into(), vector(1).into())], ..point(1) }, "unknown_field"),
        (NewPoint { vectors: vec![(String::new(), vector(1).into()); 2], ..point(1) }, "repeated_field"),
        (payload("[]"), "invalid_payload"),
        (payload(&format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_PAYLOAD_BYTES))), "limit_exceeded"),
        (point_in(1, "mars"), "unknown_region"),
    ];
    for (bad, code) in cases.clone() {
        let e = world.try_put("c", vec![point(0), bad]).await.unwrap_err();
        assert_eq!((e.kind(), e.code()), (ErrorKind::Invalid, code));
        assert!(e.to_string().starts_with("point 1"), "{e}");
    }
    assert_eq!(world.count("c").await, 0);
    let options = WriteOptions { skip_invalid: true, ..waiting() };
    let mut points: Vec<_> = cases.iter().map(|(bad, _)| bad.clone()).collect();
    points.push(point(5));
    let answer = world.db.upsert(OWNER, "c", points, options).await.unwrap();
    let codes: Vec<_> = answer.rejected.iter().map(|(at, code, _)| (*at, *code)).collect();
    assert_eq!(codes, cases.iter().map(|(_, code)| *code).enumerate().collect::<Vec<_>>());
    assert_eq!((answer.affected, world.count("c").await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_at_the_limit_and_refuse_one_more() {
    let world = World::new().await;
    world.create("c", &["eu"], 1).await;
    let bare = |id| NewPoint { vectors: vec![], payload: Bytes::new(), ..point(id) };
    let many = |n: usize| (0..n as u64).map(bare).collect::<Vec<_>>();
    assert_eq!(world.put("c", many(MAX_BATCH)).await.affected, MAX_BATCH as u64);
    let e = world.try_put("c", many(MAX_BATCH + 1)).await.unwrap_err();
    assert_eq!(e.code(), "limit_exceeded");
    let search = |k, offset, ef| SearchRequest { offset, ef, ..near("c", vector(0), k) };
    for good in [search(10_000, 10_000, Some(10_000)), search(1, 0, Some(4_096))] {
        assert!(world.db.search(OWNER, good).await.is_ok());
    }
    for bad in [
        search(10_001, 0, None),
        search(1, 10_001, None),
        search(1, 0, Some(4_097)),
        search(usize::MAX, 0, None),
    ] {
        assert_eq!(world.db.search(OWNER, bad).await.unwrap_err().code(), "limit_exceeded");
    }
    for (shards, good) in [(256, true), (257, false), (0, false)] {
        let new = collection(&format!("s{shards}"), &["eu"], shards);
        assert_eq!(world.db.create_collection(OWNER, new, false).await.is_ok(), good, "{shards}");
    }
    let key = |n: usize| WriteOptions { idempotency_key: Some("k".repeat(n)), ..waiting() };
    assert!(world.db.upsert(OWNER, "c", vec![point(1)], key(256)).await.is_ok());
    assert_eq!(
        world.db.upsert(OWNER, "c", vec![point(1)], key(257)).await.unwrap_err().code(),
        "limit_exceeded"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn created_at_is_never_later_than_the_clock() {
    let world = World::new().await;
    world.create("c", &["eu"], 1).await;
    let at = |id, created_at| NewPoint { created_at, ..point(id) };
    world.put("c", vec![at(1, Some(NOW + 1)), at(2, Some(NOW - 1)), at(3, None)]).await;
    let ids = (1..=3).map(PointId::Num).collect();
    let read = ReadOptions::default();
    let points = world.db.get(OWNER, "c", (ids, Selection::default()), &read).await.unwrap();
    let times: Vec<_> = points.iter().map(|p| (p.created_at, p.ingested_at)).collect();
    assert_eq!(times, [(NOW, NOW), (NOW - 1, NOW), (NOW, NOW)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_collection_is_like_an_absent_one() {
    let world = World::new().await;
    world.create("secret", &["eu"], 1).await;
    world.put("secret", vec![point(1)]).await;
    let (db, read) = (&world.db, ReadOptions::default());
    let both = |a: engram_query::QueryError, b: engram_query::QueryError| {
        assert_eq!((a.kind(), a.code()), (b.kind(), b.code()));
        assert_eq!(a.to_string().replace("secret", "absent"), b.to_string());
    };
    let count = |name| db.count(STRANGER, name, None, &read);
    both(count("secret").await.unwrap_err(), count("absent").await.unwrap_err());
    let search = |name| db.search(STRANGER, near(name, vector(1), 1));
    both(search("secret").await.unwrap_err(), search("absent").await.unwrap_err());
    let put = |name| db.upsert(STRANGER, name, vec![point(1)], waiting());
    both(put("secret").await.unwrap_err(), put("absent").await.unwrap_err());
    let delete = |name| {
        let ids = PointSelector::Ids(vec![(PointId::Num(1), None)]);
        db.change(STRANGER, name, (ids, Change::Delete), waiting())
    };
    both(delete("secret").await.unwrap_err(), delete("absent").await.unwrap_err());
    let retention = |name| db.update_collection(STRANGER, name, CollectionChange::default());
    both(retention("secret").await.unwrap_err(), retention("absent").await.unwrap_err());
    assert!(!db.drop_collection(STRANGER, "secret").await.unwrap());
    assert!(db.collections(STRANGER).is_empty());
    // The name is free for the other tenant, and its points are its own.
    db.create_collection(STRANGER, collection("secret", &["eu"], 1), false).await.unwrap();
    assert_eq!(count("secret").await.unwrap(), 0);
    assert_eq!(world.count("secret").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_does_not_outgrow_its_limit_by_merges() {
    let world = World::new().await;
    world.create("c", &["eu"], 1).await;
    world.put("c", vec![point_in(1, "eu")]).await;
    let merge = |key: &str| {
        let json = format!("{{\"{key}\":\"{}\"}}", "x".repeat(MAX_PAYLOAD_BYTES / 2));
        let ids = PointSelector::Ids(vec![(PointId::Num(1), None)]);
        world.db.change(OWNER, "c", (ids, Change::Payload(PayloadChange::Merge(json.into()))), waiting())
    };
    assert!(matches!(merge("a").await.unwrap().outcomes[0], Some(OpOutcome::Applied { .. })));
    assert_eq!(merge("b").await.unwrap().outcomes[0], Some(OpOutcome::PayloadTooLarge));
    assert!(matches!(merge("a").await.unwrap().outcomes[0], Some(OpOutcome::Applied { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_does_not_get_more_keys_by_merges_than_by_an_upsert() {
    let world = World::new().await;
    world.create("c", &["eu"], 1).await;
    world.put("c", vec![with_payload(1, "{}")]).await;
    let keys = |name: &str, count: usize| {
        let keys: Vec<String> = (0..count).map(|i| format!("\"{name}{i}\":{i}")).collect();
        Bytes::from(format!("{{{}}}", keys.join(",")))
    };
    let change = async |change: PayloadChange| {
        let ids = PointSelector::Ids(vec![(PointId::Num(1), None)]);
        let answer = world.db.change(OWNER, "c", (ids, Change::Payload(change)), waiting()).await.unwrap();
        (answer.outcomes[0].unwrap() == OpOutcome::PayloadTooLarge, answer.too_large)
    };
    let at = |path: &str, update| PayloadChange::MergeAt { path: path.into(), update };
    assert_eq!(change(PayloadChange::Merge(keys("a", MAX_PAYLOAD_KEYS - 10))).await, (false, 0));
    assert_eq!(change(PayloadChange::Merge(keys("b", 11))).await, (true, 1));
    assert_eq!(change(at("c", keys("b", 10))).await, (true, 1));
    assert_eq!(change(at("c", keys("b", 9))).await, (false, 0));
    let whole = payload(&world, "c", 1).await.unwrap();
    engram_query::payload::check(whole.as_bytes()).unwrap();
    assert_eq!(change(at("c.d", keys("e", 1))).await, (true, 1));
    assert_eq!(payload(&world, "c", 1).await.unwrap(), whole);
}

fn with_payload(id: u64, json: &str) -> NewPoint {
    NewPoint { payload: Bytes::copy_from_slice(json.as_bytes()), ..point(id) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conditional_write_reaches_what_its_condition_says() {
    for (regions, shards) in [(&["eu"][..], 1), (&["eu", "us"][..], 3)] {
        let world = World::new().await;
        world.create("c", regions, shards).await;
        let old = |id: u64| with_payload(id, if id % 2 == 1 { r#"{"odd":1}"# } else { r#"{"odd":0}"# });
        world.put("c", (1..=10).map(old).collect()).await;
        let condition =
            |filter: Option<&str>, reach| WriteCondition { filter: filter.map(self::filter), reach };
        let write = async |ids: std::ops::RangeInclusive<u64>, json: &str, condition| {
            let points = ids.map(|id| with_payload(id, json)).collect();
            world.db.upsert_where(OWNER, "c", (points, condition), WriteOptions::default()).await.unwrap()
        };
        let odd = r#"{"must":[{"key":"odd","match":{"value":1}}]}"#;
        let done = write(1..=12, r#"{"a":1}"#, condition(Some(odd), Reach::All)).await;
        assert_eq!(
            (done.affected, done.outcomes.len()),
            (7, 12),
            "five odd ones and two that were not there"
        );
        assert!(done.outcomes[0].is_some() && done.outcomes[1].is_none());
        assert_eq!(payload(&world, "c", 1).await.unwrap(), r#"{"a":1}"#);
        assert_eq!(payload(&world, "c", 2).await.unwrap(), r#"{"odd":0}"#);
        let done = write(2..=14, r#"{"b":1}"#, condition(None, Reach::Present)).await;
        assert_eq!((done.affected, world.count("c").await), (11, 12));
        let done = write(12..=15, r#"{"c":1}"#, condition(None, Reach::Absent)).await;
        assert_eq!((done.affected, world.count("c").await), (3, 15));
        assert_eq!(payload(&world, "c", 12).await.unwrap(), r#"{"b":1}"#);
        // The last of a repeated id counts.
        let twice = vec![with_payload(1, r#"{"d":1}"#), with_payload(1, r#"{"d":2}"#)];
        let all = condition(Some(r#"{"must":[{"key":"a","match":{"value":1}}]}"#), Reach::Present);
        world.db.upsert_where(OWNER, "c", (twice, all), WriteOptions::default()).await.unwrap();
        assert_eq!(payload(&world, "c", 1).await.unwrap(), r#"{"d":2}"#);
        let update = |id: u64| VectorUpdate {
            id: PointId::Num(id),
            set: vec![(String::new(), vector(99).into())],
            remove: vec![],
            if_version: None,
        };
        let updates = (vec![update(1), update(2), update(99)], filter(r#"{"must":[{"has_id":[1]}]}"#));
        let done = world.db.update_vectors_where(OWNER, "c", updates, WriteOptions::default()).await.unwrap();
        assert!(matches!(done.outcomes[0], Some(OpOutcome::Applied { .. })), "{done:?}");
        assert_eq!(done.outcomes[1..], [None, Some(OpOutcome::NotFound)], "left alone, and not there");
        let keyed = (vec![point(1)], condition(None, Reach::Present));
        let refused = world.db.upsert_where(OWNER, "c", keyed, self::keyed("k")).await.unwrap_err();
        assert_eq!(refused.code(), "invalid_argument");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conditional_writes_side_by_side_lose_none() {
    let world = std::sync::Arc::new(World::new().await);
    world.create("c", &["eu"], 2).await;
    world.put("c", vec![with_payload(1, r#"{"n":0}"#)]).await;
    // Each step is taken by exactly one of the writers, whoever comes first.
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let world = world.clone();
        writers.spawn(async move {
            let mut taken = 0;
            for n in 0..50 {
                let from = format!(r#"{{"must":[{{"key":"n","match":{{"value":{n}}}}}]}}"#);
                let condition = WriteCondition { filter: Some(filter(&from)), reach: Reach::Present };
                let next = vec![with_payload(1, &format!(r#"{{"n":{}}}"#, n + 1))];
                let done =
                    world.db.upsert_where(OWNER, "c", (next, condition), WriteOptions::default()).await;
                taken += done.unwrap().affected;
            }
            taken
        });
    }
    let taken: u64 = writers.join_all().await.into_iter().sum();
    let json = payload(&world, "c", 1).await.unwrap();
    assert_eq!(json, format!(r#"{{"n":{taken}}}"#), "as many writes took effect as steps were made");
    assert!(taken >= 1);
}
