//! Groups against those of the complete ranking.

use engram_index::payload::PayloadIndexKind;
use engram_index::vector::Metric;
use engram_query::request::NewPoint;
use engram_query::request::query::{Fusion, Group, GroupsRequest, OrderBy, Query, StageParams};
use engram_storage::point::PointId;
use serde_json::{Value, json};

use super::facets::values;
use super::*;

pub fn groups(stage: Stage, group_size: usize) -> GroupsRequest {
    GroupsRequest { query: request(stage), group_by: "g".into(), group_size, lookup: None }
}

/// A value of some points, as it is compared, and as it is stored.
const UUID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";
const STORED_UUID: &str = "67E5504410B1426F9247BB680E5FE0C8";

type Expected = Vec<(Value, Vec<u64>)>;

/// Groups of a complete ranking.
fn reference(s: &Subject, ranking: &[(u64, f32)], (wanted, size): (usize, usize)) -> Expected {
    let mut groups: Expected = vec![];
    for (id, _) in ranking {
        let mut keys = values(&s.rows[id].payload, "g");
        keys.retain(|key| !key.is_boolean());
        keys.sort_by_key(|key| (key.is_string(), key.to_string()));
        for key in keys {
            match groups.iter_mut().find(|(k, _)| *k == key) {
                Some((_, list)) if list.len() < size && !list.contains(id) => list.push(*id),
                Some(_) => {}
                None => groups.push((key, vec![*id])),
            }
        }
    }
    groups.truncate(wanted);
    // As its best point has it stored first.
    let stored = |id: Value| if id == UUID { json!(STORED_UUID) } else { id };
    groups.into_iter().map(|(id, list)| (stored(id), list)).collect()
}

fn got(groups: &[Group]) -> Expected {
    let of = |group: &Group| (group.id.clone(), group.hits.iter().map(|hit| number(hit.point.id)).collect());
    groups.iter().map(of).collect()
}

fn near(vector: &[f32], limit: usize) -> Stage {
    Stage {
        params: StageParams { exact: true, ..Default::default() },
        ..stage(Query::Nearest(value(vector)), limit)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_those_of_the_complete_ranking() {
    let indexes: [&[(&str, PayloadIndexKind)]; 2] = [&[], &[("g", PayloadIndexKind::Keyword)]];
    for indexes in indexes {
        let mut s = Subject::new(Metric::Euclid, indexes).await;
        for shape in [(1, 1), (2, 3), (3, 50), (8, 1), (8, 3), (100, 100)] {
            let q = s.vector();
            let request = groups(near(&q, shape.0), shape.1);
            let found = s.world.db.query_groups(OWNER, request).await.unwrap();
            assert_eq!(got(&found), reference(&s, &s.nearest(&q, None), shape), "{shape:?}");
            let filtered = groups(Stage { filter: Some(cheap()), ..near(&q, shape.0) }, shape.1);
            let found = s.world.db.query_groups(OWNER, filtered).await.unwrap();
            assert_eq!(got(&found), reference(&s, &s.nearest(&q, Some(&cheap())), shape), "{shape:?}");
            let order = OrderBy { key: "price".into(), descending: true, start_from: None };
            let ordered = groups(stage(Query::OrderBy(order), shape.0), shape.1);
            let found = s.world.db.query_groups(OWNER, ordered).await.unwrap();
            let ranking = s.by_score(None, |_, row| row.payload["price"].as_f64().map(|x| x as f32));
            assert_eq!(got(&found), reference(&s, &ranking, shape), "{shape:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rare_groups_are_found_behind_frequent_ones() {
    let world = World::new().await;
    world.create(NAME, &["eu", "us"], 2).await;
    // 3,000 points of one group lie nearer than all others.
    let at = |id: u64, x: f32, g: Value| NewPoint {
        id: Some(PointId::Num(id)),
        vectors: vec![(String::new(), vec![x; DIM].into())],
        payload: json!({"g": g}).to_string().into(),
        ..NewPoint::default()
    };
    let mut points: Vec<NewPoint> = (0..3_000).map(|id| at(id, id as f32 / 3_000.0, json!("many"))).collect();
    points.extend((0..40).map(|i| at(5_000 + i, 2.0 + i as f32, json!(i % 20))));
    // Both a member of the frequent group and the first of a new one.
    points.push(at(9_000, 1.5, json!(["many", "few"])));
    world.put(NAME, points).await;
    let found = world.db.query_groups(OWNER, groups(near(&[0.0; DIM], 22), 2)).await.unwrap();
    let found = got(&found);
    assert_eq!(found.len(), 22);
    assert_eq!(found[0], (json!("many"), vec![0, 1]));
    assert_eq!(found[1], (json!("few"), vec![9_000]));
    for i in 0..20 {
        assert_eq!(found[2 + i as usize], (json!(i), vec![5_000 + i, 5_020 + i]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prefetch_stages_reach_as_far_as_groups_need() {
    let mut s = Subject::new(Metric::Euclid, &[]).await;
    let (a, b) = (s.vector(), s.vector());
    let rrf = Query::Fusion(Fusion::Rrf { k: None, weights: vec![] });
    let stage = Stage { prefetch: vec![near(&a, 5), near(&b, 5)], ..stage(rrf, 4) };
    let found = s.world.db.query_groups(OWNER, groups(stage.clone(), 3)).await.unwrap();
    // Each prefetch stage takes three times as much.
    let mut wide = stage;
    wide.limit = 1_000;
    wide.prefetch.iter_mut().for_each(|inner| inner.limit = 15);
    let ranking = super::found(&s.query(wide).await);
    assert_eq!(got(&found), reference(&s, &ranking, (4, 3)));
    // So do diverse ones.
    let diverse = |limit| {
        let query = Query::NearestDiverse { input: value(&a), diversity: 0.5, candidates: None };
        Stage { params: StageParams { exact: true, ..Default::default() }, ..super::stage(query, limit) }
    };
    let rrf = || Query::Fusion(Fusion::Rrf { k: None, weights: vec![] });
    let fused = |limit, inner| Stage { prefetch: vec![diverse(inner)], ..super::stage(rrf(), limit) };
    let found = s.world.db.query_groups(OWNER, groups(fused(4, 5), 3)).await.unwrap();
    let ranking = super::found(&s.query(fused(1_000, 15)).await);
    assert_eq!(got(&found), reference(&s, &ranking, (4, 3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_a_diverse_ranking_are_those_of_its_candidates() {
    let mut s = Subject::new(Metric::Euclid, &[]).await;
    let a = s.vector();
    let query = Query::NearestDiverse { input: value(&a), diversity: 0.5, candidates: Some(1_000) };
    let diverse =
        Stage { params: StageParams { exact: true, ..Default::default() }, ..super::stage(query, 1_000) };
    let ranking = super::found(&s.query(diverse.clone()).await);
    for shape in [(1, 1), (4, 3), (50, 5)] {
        let stage = Stage { limit: shape.0, ..diverse.clone() };
        let found = s.world.db.query_groups(OWNER, groups(stage, shape.1)).await.unwrap();
        assert_eq!(got(&found), reference(&s, &ranking, shape), "{shape:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_a_diverse_ranking_are_full() {
    let world = World::new().await;
    world.create(NAME, &["eu", "us"], 2).await;
    let at = |id: u64, x: f32, y: f32, g: &str| {
        let mut vector = vec![0.0; DIM];
        (vector[0], vector[1]) = (x, y);
        NewPoint {
            id: Some(PointId::Num(id)),
            vectors: vec![(String::new(), vector.into())],
            payload: json!({"g": g}).to_string().into(),
            ..NewPoint::default()
        }
    };
    // Twins of one group are nearer than all others; of each other group two points are twins, and one is apart.
    let mut points: Vec<NewPoint> = (0..500).map(|id| at(id, 0.1 + id as f32 / 1e5, 0.0, "near")).collect();
    for group in 0..5u64 {
        let (id, x, name) = (1_000 + 10 * group, 1.0 + group as f32 / 100.0, format!("g{group}"));
        points.extend([at(id, x, 0.0, &name), at(id + 1, x, 0.0001, &name), at(id + 2, x, 1.0, &name)]);
    }
    world.put(NAME, points).await;
    for candidates in [None, Some(12), Some(100), Some(510)] {
        let query = Query::NearestDiverse { input: value(&[0.0; DIM]), diversity: 0.7, candidates };
        let stage =
            Stage { params: StageParams { exact: true, ..Default::default() }, ..super::stage(query, 6) };
        let found = world.db.query_groups(OWNER, groups(stage, 2)).await.unwrap();
        let found = got(&found);
        assert_eq!(found[0].0, json!("near"), "{candidates:?}");
        let keys: std::collections::BTreeSet<&str> =
            found.iter().filter_map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys.len(), 6, "{candidates:?}: {found:?}");
        assert!(found.iter().all(|(_, ids)| ids.len() == 2), "{candidates:?}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_come_with_the_points_that_they_name() {
    let mut s = Subject::new(Metric::Euclid, &[]).await;
    s.world.create("documents", &["eu"], 2).await;
    let uuid: uuid::Uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8".parse().unwrap();
    let document =
        |id| NewPoint { id: Some(id), payload: r#"{"title":"t","x":1}"#.into(), ..NewPoint::default() };
    s.world.put("documents", vec![document(PointId::Num(7)), document(PointId::Uuid(uuid))]).await;
    let q = s.vector();
    let selection =
        Selection { payload: true, payload_include: vec!["title".into()], ..Selection::default() };
    let request = GroupsRequest { lookup: Some(("documents".into(), selection)), ..groups(near(&q, 100), 2) };
    let found = s.world.db.query_groups(OWNER, request).await.unwrap();
    let mut looked_up = 0;
    for group in &found {
        let expected = match &group.id {
            Value::Number(n) if n.as_u64() == Some(7) => Some(PointId::Num(7)),
            Value::String(text) if text.len() > 30 => Some(PointId::Uuid(uuid)),
            _ => None,
        };
        assert_eq!(group.lookup.as_ref().map(|p| p.id), expected, "{:?}", group.id);
        if let Some(point) = &group.lookup {
            assert_eq!(point.payload, r#"{"title":"t"}"#);
            looked_up += 1;
        }
    }
    assert_eq!(looked_up, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn spellings_of_a_uuid_are_one_group_told_as_it_is_stored() {
    let world = World::new().await;
    world.create(NAME, &["eu"], 2).await;
    let at = |id: u64, g: &str| NewPoint {
        id: Some(PointId::Num(id)),
        vectors: vec![(String::new(), vec![id as f32; DIM].into())],
        payload: json!({"g": g}).to_string().into(),
        ..NewPoint::default()
    };
    let other = "550e8400e29b41d4a716446655440000";
    let urn = format!("urn:uuid:{UUID}");
    world.put(NAME, vec![at(1, STORED_UUID), at(2, other), at(3, UUID), at(4, "plain"), at(5, &urn)]).await;
    for size in [1, 3] {
        let found = world.db.query_groups(OWNER, groups(near(&[0.0; DIM], 10), size)).await.unwrap();
        let mut members = vec![1, 3, 5];
        members.truncate(size);
        let wanted = [(json!(STORED_UUID), members), (json!(other), vec![2]), (json!("plain"), vec![4])];
        assert_eq!(got(&found), wanted);
    }
}
