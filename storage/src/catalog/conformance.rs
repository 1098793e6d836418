//! The suite that every catalog passes, called from the backend's tests.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a suite of checks reports by panicking"
)]

use std::sync::Arc;

use uuid::Uuid;

use super::{Catalog, FileChange, Key, KeyId, KeySecret, Receipt, Role, Scope, verify_chain};
use crate::error::{ErrorKind, Result};
use crate::schema::{CollectionId, CollectionSchema, DEFAULT_TENANT, RegionName, TenantId};

/// A definition for checks.
pub fn schema(tenant: u32, name: &str) -> CollectionSchema {
    let region = RegionName::try_from("eu").expect("an allowed name");
    CollectionSchema {
        id: CollectionId(Uuid::new_v4()),
        tenant: TenantId(tenant),
        name: name.to_owned(),
        vectors: vec![],
        next_field: 0,
        payload_indexes: vec![],
        regions: vec![region.clone()],
        default_region: region,
        shards_per_region: 2,
        retention: vec![],
        metadata: Default::default(),
        client_options: Default::default(),
        created_at: 12,
        revision: 1,
        lineage: Default::default(),
    }
}

/// A receipt for checks.
pub fn receipt(tenant: u32, id: u32, state: &str) -> Receipt {
    Receipt { id: format!("{id:08}"), tenant, state: state.to_owned(), cutoff_ms: 5, ..Receipt::default() }
}

/// A key for checks.
pub fn key(tenant: TenantId, id: u64) -> Key {
    Key {
        id: KeyId(id),
        tenant,
        name: format!("key {id}"),
        role: Role::Write,
        scope: Scope::Collections(["docs".to_owned()].into()),
        secrets: vec![KeySecret::new(b"secret", [7; 32], 1)],
        created_at: 1,
        expires_at: Some(9),
        last_used: None,
        revoked_at: None,
    }
}

/// Checks the contract. `make` opens the same catalog each time, as a restarted node would; what it gave before is
/// dropped by then. The catalog must be empty at first.
pub async fn run<F, Fut>(make: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Catalog>>,
{
    collections_and_names(make().await).await;
    tenants_are_apart(make().await).await;
    aliases(make().await).await;
    revisions(make().await).await;
    staged_collections(make().await).await;
    epochs_only_grow(&make).await;
    receipts(&make).await;
    tenants(&make).await;
    keys(&make).await;
    everything_survives(&make).await;
    one_of_many_creators_wins(make().await).await;
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.expect_err("an error is due").kind()
}

async fn get(catalog: &Arc<dyn Catalog>, id: CollectionId) -> Option<CollectionSchema> {
    catalog.collections().await.unwrap().into_iter().find(|c| c.id == id)
}

async fn collections_and_names(catalog: Arc<dyn Catalog>) {
    assert_eq!(catalog.collections().await.unwrap(), []);
    assert_eq!(catalog.aliases().await.unwrap(), []);
    let first = schema(1, "docs");
    catalog.create_collection(&first).await.unwrap();
    assert_eq!(catalog.collections().await.unwrap(), std::slice::from_ref(&first));
    assert_eq!(kind(catalog.create_collection(&schema(1, "docs")).await), ErrorKind::Conflict);
    let same_id = CollectionSchema { name: "other".into(), ..first.clone() };
    assert_eq!(kind(catalog.create_collection(&same_id).await), ErrorKind::Conflict);
    assert!(catalog.drop_collection(first.tenant, first.id).await.unwrap());
    assert!(!catalog.drop_collection(first.tenant, first.id).await.unwrap(), "dropping again finds nothing");
    assert_eq!(catalog.collections().await.unwrap(), []);
    assert_eq!(catalog.dropped().await.unwrap(), std::slice::from_ref(&first));
    // The name is free although the files may still be there.
    let second = schema(1, "docs");
    catalog.create_collection(&second).await.unwrap();
    catalog.forget_collection(first.id).await.unwrap();
    catalog.forget_collection(first.id).await.expect("forgetting again is harmless");
    assert_eq!(catalog.dropped().await.unwrap(), []);
    assert_eq!(get(&catalog, second.id).await, Some(second.clone()));
    for name in ["with/slash?", "ä ö", "\"quoted\"", "0", "docs2"] {
        let odd = schema(1, name);
        catalog.create_collection(&odd).await.unwrap();
        assert_eq!(get(&catalog, odd.id).await.map(|c| c.name), Some(name.to_owned()));
    }
}

async fn tenants_are_apart(catalog: Arc<dyn Catalog>) {
    let (mine, yours) = (schema(21, "same"), schema(22, "same"));
    catalog.create_collection(&mine).await.unwrap();
    catalog.create_collection(&yours).await.unwrap();
    assert!(!catalog.drop_collection(yours.tenant, mine.id).await.unwrap());
    let stolen = vec![("theirs".to_owned(), Some(mine.id))];
    assert_eq!(kind(catalog.change_aliases(yours.tenant, stolen).await), ErrorKind::NotFound);
    let stolen = CollectionSchema { tenant: yours.tenant, revision: 2, ..mine.clone() };
    assert_eq!(kind(catalog.update_collection(&stolen).await), ErrorKind::NotFound);
    assert!(catalog.drop_collection(mine.tenant, mine.id).await.unwrap());
    assert_eq!(get(&catalog, yours.id).await, Some(yours));
}

async fn aliases(catalog: Arc<dyn Catalog>) {
    let (blue, green) = (schema(31, "blue"), schema(31, "green"));
    catalog.create_collection(&blue).await.unwrap();
    catalog.create_collection(&green).await.unwrap();
    let tenant = blue.tenant;
    let set = |name: &str, id| (name.to_owned(), Some(id));
    let gone = |name: &str| (name.to_owned(), None);
    let told = async || {
        let mut all = catalog.aliases().await.unwrap();
        all.sort();
        all
    };
    catalog.change_aliases(tenant, vec![set("live", blue.id)]).await.unwrap();
    catalog.change_aliases(tenant, vec![set("live", green.id), set("old", blue.id)]).await.unwrap();
    let both = [(tenant, "live".into(), green.id), (tenant, "old".into(), blue.id)];
    assert_eq!(told().await, both);
    let nobody = CollectionId(Uuid::new_v4());
    for (bad, why) in [
        (set("blue", green.id), ErrorKind::Conflict),
        (gone("blue"), ErrorKind::Conflict),
        (set("x", nobody), ErrorKind::NotFound),
    ] {
        let changes = vec![gone("live"), set("old", green.id), bad];
        assert_eq!(kind(catalog.change_aliases(tenant, changes).await), why);
        assert_eq!(told().await, both, "all or none");
    }
    assert_eq!(kind(catalog.create_collection(&schema(31, "live")).await), ErrorKind::Conflict);
    catalog.change_aliases(TenantId(32), vec![gone("old")]).await.unwrap();
    assert_eq!(told().await, both, "another tenant's");
    assert!(catalog.drop_collection(tenant, green.id).await.unwrap());
    assert_eq!(told().await, [(tenant, "old".into(), blue.id)], "aliases go with it");
    catalog.change_aliases(tenant, vec![gone("old"), gone("never there")]).await.unwrap();
    assert_eq!(told().await, []);
}

async fn revisions(catalog: Arc<dyn Catalog>) {
    let one = schema(41, "a");
    catalog.create_collection(&one).await.unwrap();
    catalog.create_collection(&schema(41, "b")).await.unwrap();
    let two = CollectionSchema { revision: 2, created_at: 99, ..one.clone() };
    catalog.update_collection(&two).await.unwrap();
    for wrong in [&one, &two, &CollectionSchema { revision: 4, ..one.clone() }] {
        assert_eq!(kind(catalog.update_collection(wrong).await), ErrorKind::Conflict);
    }
    assert_eq!(get(&catalog, one.id).await, Some(two.clone()));
    let renamed = CollectionSchema { revision: 3, name: "c".into(), ..two.clone() };
    let clash = CollectionSchema { name: "b".into(), ..renamed.clone() };
    assert_eq!(kind(catalog.update_collection(&clash).await), ErrorKind::Conflict);
    catalog.update_collection(&renamed).await.unwrap();
    catalog.create_collection(&schema(41, "a")).await.expect("the old name is free");
    assert_eq!(kind(catalog.update_collection(&schema(41, "z")).await), ErrorKind::NotFound);
}

async fn staged_collections(catalog: Arc<dyn Catalog>) {
    let tenant = catalog.create_tenant("staging", 1).await.unwrap().id;
    let (old, new) = (schema(tenant.0, "a"), schema(tenant.0, "a"));
    catalog.create_collection(&old).await.unwrap();
    catalog.change_aliases(tenant, vec![("alias".to_owned(), Some(old.id))]).await.unwrap();
    assert_eq!(kind(catalog.install_collection(&new, Some(old.id)).await), ErrorKind::NotFound, "not staged");
    catalog.stage_collection(&new).await.unwrap();
    assert!(catalog.dropped().await.unwrap().contains(&new), "a crash leaves it to be removed");
    assert_eq!(get(&catalog, new.id).await, None);
    assert_eq!(kind(catalog.install_collection(&new, None).await), ErrorKind::Conflict);
    assert_eq!(kind(catalog.install_collection(&new, Some(new.id)).await), ErrorKind::Conflict);
    assert_eq!(get(&catalog, old.id).await, Some(old.clone()), "a refusal changes nothing");
    catalog.install_collection(&new, Some(old.id)).await.unwrap();
    assert_eq!((get(&catalog, old.id).await, get(&catalog, new.id).await), (None, Some(new.clone())));
    let dropped = catalog.dropped().await.unwrap();
    assert!(dropped.contains(&old) && !dropped.contains(&new));
    let aliases = catalog.aliases().await.unwrap();
    assert!(aliases.contains(&(new.tenant, "alias".into(), new.id)));
    let other = schema(tenant.0, "b");
    catalog.stage_collection(&other).await.unwrap();
    assert_eq!(kind(catalog.install_collection(&other, Some(new.id)).await), ErrorKind::Conflict);
    catalog.install_collection(&other, None).await.unwrap();
    assert_eq!(get(&catalog, other.id).await, Some(other.clone()));
    // A tenant that goes while a collection is put together does not come back with it.
    let late = schema(tenant.0, "late");
    catalog.stage_collection(&late).await.unwrap();
    catalog.drop_collection(tenant, new.id).await.unwrap();
    catalog.drop_collection(tenant, other.id).await.unwrap();
    assert!(catalog.drop_tenant(tenant).await.unwrap());
    assert_eq!(kind(catalog.install_collection(&late, None).await), ErrorKind::NotFound);
    assert_eq!(get(&catalog, late.id).await, None);
}

async fn epochs_only_grow<F, Fut>(make: &F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Catalog>>,
{
    let mut last = 0;
    for _ in 0..3 {
        let catalog = make().await;
        for _ in 0..2 {
            let next = catalog.next_epoch().await.unwrap();
            assert!(next == last + 1 || last == 0);
            last = next;
        }
    }
}

async fn receipts<F, Fut>(make: &F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Catalog>>,
{
    let catalog = make().await;
    let running = catalog.put_receipt(receipt(51, 1, "running")).await.unwrap();
    assert_eq!((running.hash.as_str(), running.previous_hash.as_str()), ("", ""));
    let failed = catalog.put_receipt(receipt(51, 2, "failed")).await.unwrap();
    assert_eq!((failed.hash.as_str(), failed.previous_hash.as_str()), ("", ""), "it is tried again");
    drop(catalog);
    let catalog = make().await;
    catalog.put_receipt(receipt(51, 2, "failed")).await.unwrap();
    let second = catalog.put_receipt(receipt(51, 2, "complete")).await.unwrap();
    drop(catalog);
    let catalog = make().await;
    let first =
        catalog.put_receipt(Receipt { points_erased: 7, ..receipt(51, 1, "complete") }).await.unwrap();
    assert_eq!(first.previous_hash, second.hash, "linked when it became final");
    assert_eq!(first.hash, first.computed_hash().unwrap());
    for state in ["running", "complete", "failed"] {
        assert_eq!(kind(catalog.put_receipt(receipt(51, 1, state)).await), ErrorKind::Conflict);
    }
    assert_eq!(kind(catalog.put_receipt(receipt(51, 9, "odd")).await), ErrorKind::Invalid);
    let theirs = catalog.put_receipt(receipt(52, 3, "complete")).await.unwrap();
    assert_eq!(theirs.previous_hash, first.hash, "one chain for all tenants");
    let third = catalog.put_receipt(receipt(51, 4, "running")).await.unwrap();
    let page = async |before, limit| catalog.receipts(TenantId(51), before, limit).await.unwrap();
    assert_eq!(page(None, 9).await, [third.clone(), second.clone(), first.clone()]);
    assert_eq!(page(None, 1).await, std::slice::from_ref(&third));
    assert_eq!(page(Some(&third.id), 1).await, std::slice::from_ref(&second));
    assert_eq!(page(Some(&second.id), 9).await, std::slice::from_ref(&first));
    assert_eq!(page(Some(&first.id), 9).await, []);
    assert_eq!(catalog.receipts(TenantId(5), None, 9).await.unwrap(), []);
    assert_eq!(catalog.receipt(TenantId(51), &third.id).await.unwrap().as_ref(), Some(&third));
    assert_eq!(catalog.receipt(TenantId(52), &third.id).await.unwrap(), None, "another tenant's");
    large_receipts_come_in_pages(&catalog).await;
    let chain = [first, theirs, second];
    verify_chain(&chain).unwrap();
    for (n, change) in (0..3).zip([7, 0, 1]) {
        let mut bad = chain.to_vec();
        bad[n].points_erased += change + 1;
        assert_eq!(kind(verify_chain(&bad)), ErrorKind::Corrupt, "changed");
    }
    assert_eq!(kind(verify_chain(&chain[..2])), ErrorKind::Corrupt, "the first is missing");
    assert_eq!(kind(verify_chain(&chain[1..])), ErrorKind::Corrupt, "one in the middle is missing");
    let doubled = [chain[0].clone(), chain[0].clone(), chain[1].clone(), chain[2].clone()];
    assert_eq!(kind(verify_chain(&doubled)), ErrorKind::Corrupt);
}

async fn large_receipts_come_in_pages(catalog: &Arc<dyn Catalog>) {
    let file = FileChange { path: "x".repeat(1 << 20), ..FileChange::default() };
    for id in 1..=9 {
        let large = Receipt { removed: vec![file.clone()], ..receipt(53, id, "running") };
        catalog.put_receipt(large).await.unwrap();
    }
    let (mut seen, mut before): (Vec<String>, Option<String>) = (Vec::new(), None);
    loop {
        let page = catalog.receipts(TenantId(53), before.as_deref(), 9).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() < 9, "all were read at once");
        before = Some(last.id.clone());
        seen.extend(page.into_iter().map(|receipt| receipt.id));
    }
    let want: Vec<_> = (1..=9).rev().map(|id| receipt(53, id, "").id).collect();
    assert_eq!(seen, want);
}

async fn tenants<F, Fut>(make: &F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Catalog>>,
{
    let catalog = make().await;
    assert_eq!(catalog.tenants().await.unwrap(), [], "the default tenant is not stored");
    let first = catalog.create_tenant("acme", 5).await.unwrap();
    let second = catalog.create_tenant("with/slash", 6).await.unwrap();
    assert!(first.id != DEFAULT_TENANT && second.id != DEFAULT_TENANT && first.id != second.id);
    assert_eq!(kind(catalog.create_tenant("acme", 7).await), ErrorKind::Conflict);
    assert_eq!(catalog.tenants().await.unwrap(), [first.clone(), second.clone()]);
    let docs = schema(second.id.0, "docs");
    catalog.create_collection(&docs).await.unwrap();
    assert_eq!(kind(catalog.drop_tenant(second.id).await), ErrorKind::Conflict, "it has a collection");
    catalog.drop_collection(second.id, docs.id).await.unwrap();
    catalog.put_key(&key(second.id, 1)).await.unwrap();
    assert!(catalog.drop_tenant(second.id).await.unwrap());
    assert!(!catalog.drop_tenant(second.id).await.unwrap());
    assert_eq!(catalog.keys().await.unwrap(), [], "keys go with their tenant");
    drop(catalog);
    let catalog = make().await;
    let third = catalog.create_tenant("with/slash", 8).await.unwrap();
    assert!(third.id > second.id, "an id is never given again");
    assert_eq!(catalog.tenants().await.unwrap(), [first.clone(), third.clone()]);
    assert!(catalog.drop_tenant(first.id).await.unwrap() && catalog.drop_tenant(third.id).await.unwrap());
}

async fn keys<F, Fut>(make: &F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Catalog>>,
{
    let catalog = make().await;
    let tenant = catalog.create_tenant("keys", 5).await.unwrap().id;
    let (own, other) = (key(DEFAULT_TENANT, 1), key(tenant, 1));
    catalog.put_key(&own).await.unwrap();
    catalog.put_key(&other).await.unwrap();
    let lost = key(TenantId(tenant.0 + 1), 1);
    assert_eq!(kind(catalog.put_key(&lost).await), ErrorKind::NotFound, "no such tenant");
    let changed = Key { revoked_at: Some(3), secrets: vec![], scope: Scope::All, ..other.clone() };
    catalog.put_key(&changed).await.unwrap();
    assert_eq!(catalog.keys().await.unwrap(), [own.clone(), changed.clone()]);
    let uses = vec![(tenant, KeyId(1), 50), (tenant, KeyId(2), 50), (TenantId(99), KeyId(1), 50)];
    catalog.touch_keys(uses).await.unwrap();
    catalog.touch_keys(vec![(tenant, KeyId(1), 40)]).await.unwrap();
    drop(catalog);
    let catalog = make().await;
    let used = Key { last_used: Some(50), ..changed };
    assert_eq!(catalog.keys().await.unwrap(), [own, used]);
    assert!(!catalog.forget_key(TenantId(99), KeyId(1)).await.unwrap());
    assert!(catalog.forget_key(tenant, KeyId(1)).await.unwrap());
    assert!(!catalog.forget_key(tenant, KeyId(1)).await.unwrap());
    assert!(catalog.forget_key(DEFAULT_TENANT, KeyId(1)).await.unwrap());
    assert_eq!(catalog.keys().await.unwrap(), []);
}

async fn everything_survives<F, Fut>(make: &F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Catalog>>,
{
    let catalog = make().await;
    let (mine, gone) = (schema(61, "mine"), schema(61, "gone"));
    catalog.create_collection(&mine).await.unwrap();
    catalog.create_collection(&gone).await.unwrap();
    catalog.change_aliases(mine.tenant, vec![("alias".to_owned(), Some(mine.id))]).await.unwrap();
    catalog.drop_collection(gone.tenant, gone.id).await.unwrap();
    let aliases = catalog.aliases().await.unwrap();
    drop(catalog);
    let catalog = make().await;
    assert_eq!(get(&catalog, mine.id).await, Some(mine));
    assert!(catalog.dropped().await.unwrap().contains(&gone));
    assert_eq!(catalog.aliases().await.unwrap(), aliases);
}

async fn one_of_many_creators_wins(catalog: Arc<dyn Catalog>) {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let catalog = catalog.clone();
        tasks.spawn(async move { catalog.create_collection(&schema(71, "one")).await.is_ok() });
    }
    let won = tasks.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let catalog = catalog.clone();
        tasks.spawn(async move { catalog.next_epoch().await.unwrap() });
    }
    let mut epochs = tasks.join_all().await;
    epochs.sort_unstable();
    assert!(epochs.windows(2).all(|w| w[0] + 1 == w[1]), "each epoch is given once: {epochs:?}");
}
