//! The catalog in redb: contract, reopening as after a kill, and damage of its file.

use std::path::Path;
use std::sync::Arc;

use engram_storage::catalog::conformance::{self, key, receipt, schema};
use engram_storage::catalog::redb::RedbCatalog;
use engram_storage::catalog::{Catalog, Key, Receipt, Tenant, verify_chain};
use engram_storage::{CollectionId, CollectionSchema, ErrorKind, StorageError, TenantId};

#[tokio::test]
async fn catalog_redb_passes_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.redb");
    conformance::run(async || RedbCatalog::open(&path).await.unwrap() as Arc<dyn Catalog>).await;
    let all = RedbCatalog::open(&path).await.unwrap().all_receipts().await.unwrap();
    verify_chain(&all).unwrap();
}

type State = (
    (Vec<CollectionSchema>, Vec<CollectionSchema>),
    Vec<(TenantId, String, CollectionId)>,
    Vec<Receipt>,
    (Vec<Tenant>, Vec<Key>),
);

async fn state(c: &RedbCatalog) -> Result<State, StorageError> {
    let collections = (c.collections().await?, c.dropped().await?);
    Ok((collections, c.aliases().await?, c.all_receipts().await?, (c.tenants().await?, c.keys().await?)))
}

async fn fill(catalog: &RedbCatalog) {
    for n in 0..12 {
        let s = schema(n % 3, &format!("collection {n}"));
        catalog.create_collection(&s).await.unwrap();
        catalog.change_aliases(s.tenant, vec![(format!("alias {n}"), Some(s.id))]).await.unwrap();
        if n % 4 == 0 {
            catalog.drop_collection(s.tenant, s.id).await.unwrap();
        }
        catalog.put_receipt(receipt(n % 3, n, "complete")).await.unwrap();
        let tenant = catalog.create_tenant(&format!("tenant {n}"), 3).await.unwrap();
        catalog.put_key(&key(tenant.id, u64::from(n))).await.unwrap();
        catalog.next_epoch().await.unwrap();
    }
}

#[tokio::test]
async fn catalog_a_kill_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.redb");
    let catalog = RedbCatalog::open(&path).await.unwrap();
    for n in 0..15 {
        let s = schema(1, &format!("c{n}"));
        catalog.create_collection(&s).await.unwrap();
        catalog.put_receipt(receipt(1, n, "complete")).await.unwrap();
        // The file as a kill leaves it: never closed.
        let copy = dir.path().join(format!("copy{n}.redb"));
        std::fs::copy(&path, &copy).unwrap();
        let reopened = RedbCatalog::open(&copy).await.unwrap();
        assert_eq!(state(&reopened).await.unwrap(), state(&catalog).await.unwrap());
    }
}

#[tokio::test]
async fn catalog_of_a_time_without_tenants_and_keys_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.redb");
    let catalog = RedbCatalog::open(&path).await.unwrap();
    let docs = schema(1, "docs");
    catalog.create_collection(&docs).await.unwrap();
    drop(catalog);
    let db = redb::Database::open(&path).unwrap();
    let txn = db.begin_write().unwrap();
    for table in ["tenants", "keys"] {
        let table = redb::TableDefinition::<&str, &[u8]>::new(table);
        assert!(txn.delete_table(table).unwrap());
    }
    txn.commit().unwrap();
    drop(db);
    let catalog = RedbCatalog::open(&path).await.unwrap();
    assert_eq!(catalog.collections().await.unwrap(), [docs]);
    assert_eq!((catalog.tenants().await.unwrap(), catalog.keys().await.unwrap()), (vec![], vec![]));
    assert!(!catalog.drop_tenant(TenantId(2)).await.unwrap());
    let tenant = catalog.create_tenant("first", 1).await.unwrap();
    assert_eq!(tenant.id, TenantId(2));
    catalog.put_key(&key(tenant.id, 1)).await.unwrap();
    drop(catalog);
    assert_eq!(RedbCatalog::open(&path).await.unwrap().keys().await.unwrap(), [key(tenant.id, 1)]);
}

#[tokio::test]
async fn catalog_files_that_are_none_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.redb");
    for content in [vec![], vec![0; 4096], b"redb".to_vec(), vec![0xff; 100_000]] {
        std::fs::write(&path, &content).unwrap();
        let e = RedbCatalog::open(&path).await.err().unwrap();
        assert!(matches!(&e, StorageError::Corrupt { path, .. } if path.contains("catalog.redb")), "{e}");
        assert_eq!(std::fs::read(&path).unwrap(), content, "the file is left as it is");
    }
    // What a kill during the very first start leaves does not matter.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(dir.path().join("catalog.tmp"), b"half").unwrap();
    RedbCatalog::open(&path).await.unwrap();
    assert!(!dir.path().join("catalog.tmp").exists());
}

#[tokio::test]
async fn catalog_a_second_owner_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.redb");
    let _first = RedbCatalog::open(&path).await.unwrap();
    assert_eq!(RedbCatalog::open(&path).await.err().unwrap().kind(), ErrorKind::Fenced);
}

/// Opens a damaged file: refused, or everything as it was. Returns whether it was refused.
async fn refused(path: &Path, bytes: &[u8], want: &State, what: &str) -> bool {
    std::fs::write(path, bytes).unwrap();
    match RedbCatalog::open(path).await {
        Ok(catalog) => {
            assert_eq!(&state(&catalog).await.unwrap(), want, "{what}");
            // The last commit raised the epoch: going back to the one before would show here.
            assert_eq!(catalog.next_epoch().await.unwrap(), 13, "{what}");
            false
        }
        Err(e) => {
            assert_eq!(e.kind(), ErrorKind::Corrupt, "{what}: {e}");
            assert_eq!(std::fs::read(path).unwrap(), bytes, "{what}: the file is left as it is");
            true
        }
    }
}

#[tokio::test]
async fn catalog_damage_is_found_or_hits_unused_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.redb");
    let catalog = RedbCatalog::open(&path).await.unwrap();
    fill(&catalog).await;
    let want = state(&catalog).await.unwrap();
    // Once as a kill leaves the file, once closed in order.
    let killed = std::fs::read(&path).unwrap();
    drop(catalog);
    let closed = std::fs::read(&path).unwrap();
    let target = dir.path().join("damaged.redb");
    for (name, whole) in [("killed", killed), ("closed", closed)] {
        let used: Vec<_> = (0..whole.len()).filter(|i| whole[*i] != 0).collect();
        let (mut found, mut harmless) = (0, 0);
        let step = (used.len() / 700).max(1);
        let header = used.iter().filter(|i| **i < 512).copied();
        for at in header.chain(used.iter().step_by(step).copied()) {
            let mut bad = whole.clone();
            bad[at] ^= 1 << (at % 8);
            let refused = refused(&target, &bad, &want, &format!("{name}: byte {at} flipped")).await;
            *(if refused { &mut found } else { &mut harmless }) += 1;
        }
        for len in (0..whole.len()).step_by(whole.len() / 20 + 1) {
            refused(&target, &whole[..len], &want, &format!("{name}: cut to {len}")).await;
        }
        let pages: Vec<_> =
            (0..whole.len() / 4096).filter(|p| whole[p * 4096..][..4096].iter().any(|b| *b != 0)).collect();
        for page in pages.windows(2) {
            let (a, b) = (page[0] * 4096, page[1] * 4096);
            let mut bad = whole.clone();
            bad[a..a + 4096].fill(0);
            refused(&target, &bad, &want, &format!("{name}: page at {a} zeroed")).await;
            bad[a..a + 4096].copy_from_slice(&whole[b..b + 4096]);
            bad[b..b + 4096].copy_from_slice(&whole[a..a + 4096]);
            refused(&target, &bad, &want, &format!("{name}: pages {a} and {b} swapped")).await;
        }
        println!("{name}: {found} flips refused, {harmless} in unused bytes, 0 wrong values served");
        assert!(found > 50);
    }
}
