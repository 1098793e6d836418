//! What keys allow: roles, collections, time; and that they cannot give more than they have.

use crate::support::*;
use engram_query::QueryError;
use engram_query::database::{AliasChange, CollectionChange, PurgeScope};
use engram_query::request::{Change, PointSelector, Principal, ReadOptions, ScrollRequest, Selection};
use engram_storage::ErrorKind;
use engram_storage::catalog::{ApiKey, Key, Role, Scope};
use engram_storage::engine::NewKey;
use engram_storage::point::PointId;
use engram_storage::schema::DEFAULT_TENANT;

fn only(names: &[&str]) -> Scope {
    Scope::Collections(names.iter().map(|n| (*n).to_owned()).collect())
}

fn new_key(role: Role, scope: Scope) -> NewKey {
    NewKey { tenant: DEFAULT_TENANT, name: "k".into(), role, scope, expires_at: None }
}

fn of(key: &Key) -> Principal {
    Principal::of_key(key.tenant, key.id)
}

/// A world with the collections `open` and `secret`, each with a point.
async fn world() -> World {
    let world = World::new().await;
    for name in ["open", "secret"] {
        world.create(name, &["eu"], 1).await;
        world.put(name, vec![point(1)]).await;
    }
    world
}

impl World {
    async fn key(&self, role: Role, scope: Scope) -> Principal {
        of(&self.db.create_key(OWNER, new_key(role, scope)).await.unwrap().0)
    }
}

/// Every operation that names a collection, as `who` on `name`: its word and its answer.
async fn operations(
    world: &World,
    who: Principal,
    name: &str,
) -> Vec<(&'static str, Result<(), QueryError>)> {
    let (db, read) = (&world.db, ReadOptions::default());
    let ids = || PointSelector::Ids(vec![(PointId::Num(9), None)]);
    let scroll = ScrollRequest {
        collection: name.into(),
        filter: None,
        from: None,
        limit: 1,
        selection: Selection::default(),
        read: read.clone(),
        order_by: None,
    };
    let get = (vec![PointId::Num(1)], Selection::default());
    let purge = || PurgeScope { collection: Some(name.into()), region: None, created_before: Some(0) };
    vec![
        ("collection", db.collection(who, name).map(drop)),
        ("search", db.search(who, near(name, vector(1), 1)).await.map(drop)),
        ("batch", db.batch_search(who, vec![near(name, vector(1), 1); 2]).await.map(drop)),
        ("get", db.get(who, name, get, &read).await.map(drop)),
        ("scroll", db.scroll(who, scroll).await.map(drop)),
        ("count", db.count(who, name, None, &read).await.map(drop)),
        ("upsert", db.upsert(who, name, vec![point(2)], waiting()).await.map(drop)),
        ("delete", db.change(who, name, (ids(), Change::Delete), waiting()).await.map(drop)),
        ("vectors", db.update_vectors(who, name, vec![], waiting()).await.map(drop)),
        ("update", db.update_collection(who, name, CollectionChange::default()).await.map(drop)),
        ("unindex", db.delete_payload_index(who, name, "x").await.map(drop)),
        ("administered", db.administered(who, name).map(drop)),
        ("plan", db.plan_purge(who, purge()).await.map(drop)),
        ("purge", db.purge(who, purge()).await.map(drop)),
    ]
}

const READS: [&str; 6] = ["collection", "search", "batch", "get", "scroll", "count"];
const WRITES: [&str; 3] = ["upsert", "delete", "vectors"];

#[tokio::test(flavor = "multi_thread")]
async fn each_role_does_its_own_and_no_more() {
    let world = world().await;
    for (role, may) in
        [(Role::Read, READS.to_vec()), (Role::Write, [&READS[..], &WRITES].concat()), (Role::Admin, vec![])]
    {
        let who = world.key(role, Scope::All).await;
        for (what, answer) in operations(&world, who, "open").await {
            if role == Role::Admin || may.contains(&what) {
                answer.unwrap_or_else(|e| panic!("{role:?} {what}: {e}"));
            } else {
                assert_eq!(answer.unwrap_err().kind(), ErrorKind::Forbidden, "{role:?} {what}");
            }
        }
        // A refusal by role is the same for what is not there.
        let absent = operations(&world, who, "absent").await;
        for ((what, there), (_, absent)) in operations(&world, who, "secret").await.into_iter().zip(absent) {
            if let Err(there) = there {
                assert_eq!(there.to_string(), absent.unwrap_err().to_string(), "{role:?} {what}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_out_of_scope_is_like_an_absent_one() {
    let world = world().await;
    world.db.set_alias(OWNER, "alias-of-secret", "secret").await.unwrap();
    world.db.set_alias(OWNER, "alias-of-open", "open").await.unwrap();
    for role in [Role::Read, Role::Write, Role::Admin] {
        let who = world.key(role, only(&["open"])).await;
        let absent = operations(&world, who, "absent").await;
        for name in ["secret", "alias-of-secret"] {
            let there = operations(&world, who, name).await;
            for ((what, there), (_, absent)) in there.into_iter().zip(&absent) {
                let (there, absent) = (there.unwrap_err(), absent.as_ref().unwrap_err());
                assert_eq!((there.kind(), there.code()), (absent.kind(), absent.code()), "{what}");
                assert_eq!(there.to_string().replace(name, "absent"), absent.to_string(), "{what}");
            }
        }
        world.db.collection(who, "alias-of-open").expect("an alias leads to what it stands for");
        let names: Vec<_> = world.db.collections(who).iter().map(|c| c.name.clone()).collect();
        assert_eq!(names, ["open"]);
        assert_eq!(world.db.aliases(who), [("alias-of-open".to_owned(), "open".to_owned())]);
    }
    assert_eq!(world.count("secret").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_of_some_collections_learns_no_other_names() {
    let world = world().await;
    world.db.set_alias(OWNER, "alias", "secret").await.unwrap();
    let who = world.key(Role::Admin, only(&["open", "later", "alias"])).await;
    let db = &world.db;
    let both = |taken: QueryError, free: QueryError| {
        assert_eq!((taken.kind(), taken.code()), (free.kind(), free.code()));
        assert_eq!(taken.to_string().replace("secret", "nobody"), free.to_string());
    };
    let create = |name| db.create_collection(who, collection(name, &["eu"], 1), true);
    both(create("secret").await.unwrap_err(), create("nobody").await.unwrap_err());
    let alias = |name| db.set_alias(who, name, "open");
    both(alias("secret").await.unwrap_err(), alias("nobody").await.unwrap_err());
    let target = |name| db.set_alias(who, "later", name);
    both(target("secret").await.unwrap_err(), target("nobody").await.unwrap_err());
    assert!(!db.drop_collection(who, "secret").await.unwrap());
    assert!(!db.drop_collection(who, "alias").await.unwrap());
    assert!(!db.delete_alias(who, "alias").await.unwrap());
    // Not even where a name of its own stands for something else.
    let refused = create("alias").await.unwrap_err();
    assert!(refused.kind() == ErrorKind::Conflict && !refused.to_string().contains("secret"), "{refused}");
    create("later").await.unwrap();
    assert!(db.drop_collection(who, "later").await.unwrap());
    let all = db.purge(who, PurgeScope { created_before: Some(0), ..PurgeScope::default() }).await;
    assert_eq!(all.unwrap_err().kind(), ErrorKind::Forbidden);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_removes_only_aliases_that_it_could_make() {
    let world = world().await;
    world.db.set_alias(OWNER, "foreign", "open").await.unwrap();
    world.db.set_alias(OWNER, "own", "open").await.unwrap();
    let all = world.db.aliases(OWNER);
    let who = world.key(Role::Admin, only(&["open", "own", "other"])).await;
    let e = world.db.delete_alias(who, "foreign").await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Forbidden, "its name is out of scope: {e}");
    let rename = |from: &str, to: &str| vec![AliasChange::Rename { from: from.into(), to: to.into() }];
    for (from, to) in [("foreign", "other"), ("own", "foreign"), ("own", "outside")] {
        let e = world.db.change_aliases(who, rename(from, to)).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Forbidden, "{from} to {to}: {e}");
    }
    assert_eq!(world.db.aliases(OWNER), all);
    world.db.change_aliases(who, rename("own", "other")).await.unwrap();
    assert!(world.db.delete_alias(who, "other").await.unwrap());
    assert!(!world.db.delete_alias(who, "other").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_of_one_request_change_as_one() {
    let world = world().await;
    let db = &world.db;
    let set = |alias: &str, target: &str| AliasChange::Set { alias: alias.into(), collection: target.into() };
    let delete = |alias: &str| AliasChange::Delete { alias: alias.into() };
    db.change_aliases(OWNER, vec![set("live", "open"), set("through", "live")]).await.unwrap();
    let before = [("live".to_owned(), "open".to_owned()), ("through".to_owned(), "open".to_owned())];
    assert_eq!(db.aliases(OWNER), before);
    let absent = AliasChange::Rename { from: "none".into(), to: "x".into() };
    for bad in [set("live", "absent"), set("secret", "open"), absent, set("through", "live")] {
        let changes = vec![delete("live"), set("new", "secret"), bad.clone()];
        db.change_aliases(OWNER, changes).await.unwrap_err();
        assert_eq!(db.aliases(OWNER), before, "{bad:?}: all or none");
    }
    // What moves is there at every moment.
    let reader = db.clone();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let reading = tokio::spawn(async move {
        let mut reads = 0u64;
        while stopped.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Empty) {
            let live = reader.collection(OWNER, "live").expect("the alias stands for nothing");
            assert!(["open", "secret"].contains(&live.name.as_str()));
            reads += 1;
            tokio::task::yield_now().await;
        }
        reads
    });
    for n in 0..30 {
        let target = ["secret", "open"][n % 2];
        let told = db.change_aliases(OWNER, vec![delete("live"), set("live", target)]).await.unwrap();
        assert_eq!(told, [true, true]);
    }
    stop.send(()).unwrap();
    assert!(reading.await.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_of_other_collections_are_not_seen() {
    let world = world().await;
    let purge = |collection: Option<&str>| PurgeScope {
        collection: collection.map(str::to_owned),
        region: None,
        created_before: Some(0),
    };
    let mut ids = Vec::new();
    world.db.set_alias(OWNER, "alias", "secret").await.unwrap();
    for collection in [Some("open"), Some("secret"), None, Some("alias")] {
        ids.push(world.db.purge(OWNER, purge(collection)).await.unwrap().id);
    }
    let who = world.key(Role::Read, only(&["open"])).await;
    let seen: Vec<_> = world.db.receipts(who, 10).await.unwrap().into_iter().map(|r| r.id).collect();
    assert_eq!(seen, ids[..1]);
    world.db.receipt(who, &ids[0]).await.unwrap();
    let text = |id: &str, e: QueryError| e.to_string().replace(id, "ID");
    let absent = text("none", world.db.receipt(who, "none").await.unwrap_err());
    for id in &ids[1..] {
        assert_eq!(text(id, world.db.receipt(who, id).await.unwrap_err()), absent);
    }
    // A purge by an alias is one of the collection: whoever may name the alias alone does not see it.
    let other = world.key(Role::Read, only(&["alias"])).await;
    assert!(world.db.receipts(other, 10).await.unwrap().is_empty());
    let own = world.key(Role::Read, only(&["secret"])).await;
    let seen: Vec<_> = world.db.receipts(own, 10).await.unwrap().into_iter().map(|r| r.id).collect();
    assert_eq!(seen, [ids[3].clone(), ids[1].clone()]);
    assert_eq!(world.db.receipts(OWNER, 10).await.unwrap().len(), 4);
    assert!(world.db.receipts(STRANGER, 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_gives_no_more_than_it_has() {
    let world = world().await;
    let db = &world.db;
    let ends = NOW + 1_000;
    let limited = NewKey { expires_at: Some(ends), ..new_key(Role::Admin, only(&["open"])) };
    let own = db.create_key(OWNER, limited).await.unwrap().0;
    let who = of(&own);
    let ending = |role, scope| NewKey { expires_at: Some(ends), ..new_key(role, scope) };
    for (why, new) in [
        ("all collections", ending(Role::Read, Scope::All)),
        ("another collection", ending(Role::Read, only(&["open", "secret"]))),
        ("no end", new_key(Role::Read, only(&["open"]))),
        ("a later end", NewKey { expires_at: Some(ends + 1), ..new_key(Role::Read, only(&["open"])) }),
    ] {
        assert_eq!(db.create_key(who, new).await.unwrap_err().kind(), ErrorKind::Forbidden, "{why}");
    }
    let nothing = db.create_key(OWNER, new_key(Role::Read, only(&[]))).await.unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::Invalid);
    // Whatever tenant it names, the key is one of the maker's.
    let elsewhere = NewKey { tenant: STRANGER.tenant, ..ending(Role::Admin, only(&["open"])) };
    let made = db.create_key(who, elsewhere).await.unwrap().0;
    assert_eq!(made.tenant, DEFAULT_TENANT);

    let larger = db.create_key(OWNER, new_key(Role::Read, Scope::All)).await.unwrap().0;
    let lasting = db.create_key(OWNER, new_key(Role::Read, only(&["open"]))).await.unwrap().0;
    let listed: Vec<_> = db.keys(who).unwrap().into_iter().map(|key| key.id).collect();
    assert!(listed.contains(&own.id) && listed.contains(&made.id) && listed.contains(&lasting.id));
    assert!(!listed.contains(&larger.id));
    // Its secret would outlive the one who asks.
    for id in [larger.id, lasting.id] {
        let refused = db.rotate_key(who, id, 0).await.unwrap_err();
        assert_eq!(refused.code(), "key_not_found");
    }
    assert_eq!(db.revoke_key(who, larger.id).await.unwrap_err().code(), "key_not_found");
    assert!(db.revoke_key(who, lasting.id).await.unwrap());

    // Another tenant's keys are like absent ones, for its root too.
    let absent = engram_storage::catalog::KeyId(1);
    for who in [STRANGER, who] {
        let of_stranger = db.create_key(STRANGER, new_key(Role::Read, Scope::All)).await.unwrap().0;
        let foreign = if who == STRANGER { own.id } else { of_stranger.id };
        let text =
            |id: engram_storage::catalog::KeyId, e: QueryError| e.to_string().replace(&id.to_string(), "ID");
        let there = text(foreign, db.rotate_key(who, foreign, 0).await.unwrap_err());
        assert_eq!(there, text(absent, db.rotate_key(who, absent, 0).await.unwrap_err()));
        let there = text(foreign, db.revoke_key(who, foreign).await.unwrap_err());
        assert_eq!(there, text(absent, db.revoke_key(who, absent).await.unwrap_err()));
    }
    for role in [Role::Read, Role::Write] {
        let who = world.key(role, Scope::All).await;
        let refused = db.create_key(who, new_key(Role::Read, Scope::All)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Forbidden);
        assert!(db.keys(who).is_err() && db.rotate_key(who, own.id, 0).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_root_makes_tenants() {
    let world = world().await;
    let db = &world.db;
    let admin = world.key(Role::Admin, Scope::All).await;
    assert_eq!(db.create_tenant(admin, "acme").await.unwrap_err().kind(), ErrorKind::Forbidden);
    assert_eq!(db.tenants(admin).unwrap_err().kind(), ErrorKind::Forbidden);
    assert_eq!(db.delete_tenant(admin, "stranger").await.unwrap_err().kind(), ErrorKind::Forbidden);
    db.create_tenant(OWNER, "acme").await.unwrap();
    assert_eq!(db.create_tenant(OWNER, "acme").await.unwrap_err().kind(), ErrorKind::Conflict);
    for bad in ["", "default", "a b", "a/b", "ä", "x\n", &"x".repeat(65)] {
        assert!(db.create_tenant(OWNER, bad).await.is_err(), "{bad:?}");
    }
    assert!(db.delete_tenant(OWNER, "default").await.is_err());
    assert!(db.delete_tenant(OWNER, "acme").await.unwrap());
    assert!(!db.delete_tenant(OWNER, "acme").await.unwrap());
    // One with collections stays; one that is gone takes its keys along and makes no collections.
    db.create_collection(STRANGER, collection("c", &["eu"], 1), false).await.unwrap();
    assert_eq!(db.delete_tenant(OWNER, "stranger").await.unwrap_err().kind(), ErrorKind::Conflict);
    let (key, text) = db.create_key(STRANGER, new_key(Role::Admin, Scope::All)).await.unwrap();
    assert!(db.drop_collection(STRANGER, "c").await.unwrap());
    assert!(db.delete_tenant(OWNER, "stranger").await.unwrap());
    assert!(db.engine().authenticate(text.expose().as_bytes()).is_none());
    let late = db.create_collection(of(&key), collection("c", &["eu"], 1), false).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Unauthenticated);
    let late = db.create_collection(STRANGER, collection("c", &["eu"], 1), false).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::NotFound);
}

fn good(world: &World, text: &ApiKey) -> bool {
    world.db.engine().authenticate(text.expose().as_bytes()).is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_secrets_are_good_while_a_key_is_rotated() {
    let world = world().await;
    let db = &world.db;
    let (key, first) = db.create_key(OWNER, new_key(Role::Read, Scope::All)).await.unwrap();
    let (rotated, second) = db.rotate_key(OWNER, key.id, 1_000).await.unwrap();
    assert_eq!(rotated.id, key.id);
    assert!(good(&world, &first) && good(&world, &second));
    assert_eq!(db.rotate_key(OWNER, key.id, 1_000).await.unwrap_err().kind(), ErrorKind::Conflict);
    world.clock.advance(999);
    assert!(good(&world, &first));
    world.clock.advance(1);
    assert!(!good(&world, &first) && good(&world, &second));
    let (_, third) = db.rotate_key(OWNER, key.id, 1_000).await.unwrap();
    assert!(good(&world, &second) && good(&world, &third));
    let (_, fourth) = db.rotate_key(OWNER, key.id, 0).await.unwrap();
    assert!(!good(&world, &second) && !good(&world, &third) && good(&world, &fourth));
    assert!(db.rotate_key(OWNER, key.id, -1).await.is_err());
    // The secret of one key is none of another.
    let (other, of_other) = db.create_key(OWNER, new_key(Role::Read, Scope::All)).await.unwrap();
    let mixed = of_other.expose().replace(&other.id.to_string(), &key.id.to_string());
    assert!(db.engine().authenticate(mixed.as_bytes()).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_ends_when_it_expires_or_is_revoked() {
    let world = world().await;
    let db = &world.db;
    let new = NewKey { expires_at: Some(NOW + 1_000), ..new_key(Role::Read, Scope::All) };
    let (ending, text) = db.create_key(OWNER, new).await.unwrap();
    let (revoked, revoked_text) = db.create_key(OWNER, new_key(Role::Read, Scope::All)).await.unwrap();
    let count = |who| async move { db.count(who, "open", None, &ReadOptions::default()).await };
    assert!(good(&world, &text) && good(&world, &revoked_text));
    count(of(&revoked)).await.unwrap();
    assert!(db.revoke_key(OWNER, revoked.id).await.unwrap());
    assert!(!db.revoke_key(OWNER, revoked.id).await.unwrap());
    // At once, also for a request that was let in before.
    assert!(!good(&world, &revoked_text));
    assert_eq!(count(of(&revoked)).await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    assert!(db.collections(of(&revoked)).is_empty() && db.aliases(of(&revoked)).is_empty());
    assert!(db.rotate_key(OWNER, revoked.id, 0).await.is_err());
    count(of(&ending)).await.unwrap();
    world.clock.advance(1_000);
    assert!(!good(&world, &text));
    assert_eq!(count(of(&ending)).await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    // A key is no good for another tenant than its own.
    let key = db.create_key(OWNER, new_key(Role::Read, Scope::All)).await.unwrap().0;
    let forged = Principal::of_key(STRANGER.tenant, key.id);
    assert_eq!(db.administered(forged, "").unwrap_err().kind(), ErrorKind::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_is_known_to_the_minute() {
    let world = world().await;
    let db = &world.db;
    let (key, text) = db.create_key(OWNER, new_key(Role::Read, Scope::All)).await.unwrap();
    let used = || db.keys(OWNER).unwrap().into_iter().find(|k| k.id == key.id).unwrap().last_used;
    assert_eq!(used(), None);
    assert!(db.engine().authenticate(b"engram_").is_none() && used().is_none());
    assert!(good(&world, &text));
    let minute = NOW - NOW % 60_000;
    assert_eq!(used(), Some(minute));
    world.clock.advance(120_000);
    assert!(good(&world, &text));
    assert_eq!(used(), Some(minute + 120_000));
    // A rotation does not forget it.
    db.rotate_key(OWNER, key.id, 0).await.unwrap();
    assert_eq!(used(), Some(minute + 120_000));
}
