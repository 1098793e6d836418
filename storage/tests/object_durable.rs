//! The object store: paths, put-if-absent, staging files, mapped reads.

use std::io::Write;

use engram_storage::StorageError;
use engram_storage::object::{DurableStore, ObjectRef};

#[tokio::test]
async fn object_put_get_map_list_delete() {
    let dir = tempfile::tempdir().unwrap();
    let store = DurableStore::local(dir.path()).unwrap();
    store.put_if_absent("a/b/one", "1".into()).await.unwrap();
    let again = store.put_if_absent("a/b/one", "2".into()).await.unwrap_err();
    assert!(matches!(again, StorageError::Conflict(_)), "{again}");
    store.put("a/b/two", "22".into()).await.unwrap();
    store.put("a/b/two", "222".into()).await.unwrap();
    store.put("a/bb", "".into()).await.unwrap();
    assert_eq!(store.get("a/b/one").await.unwrap(), "1");
    assert_eq!(store.map("a/b/two").await.unwrap(), "222");
    assert_eq!(store.map("a/bb").await.unwrap(), "");
    let listed: Vec<_> = store.list("a/b").await.unwrap().into_iter().map(|o| (o.path, o.bytes)).collect();
    assert_eq!(listed, [("a/b/one".to_owned(), 1), ("a/b/two".to_owned(), 3)]);
    assert_eq!(store.list("nowhere").await.unwrap(), []);
    // A mapped object outlives its removal.
    let mapped = store.map("a/b/two").await.unwrap();
    store.delete("a/b/two").await.unwrap();
    store.delete("a/b/two").await.unwrap();
    assert_eq!(mapped, "222");
    for gone in [store.get("a/b/two").await, store.map("a/b/two").await] {
        assert!(matches!(gone, Err(StorageError::NotFound(_))));
    }
    assert_eq!(store.delete_prefix("a").await.unwrap().len(), 2);
    assert!(!dir.path().join("a").exists());
}

#[tokio::test]
async fn object_paths_stay_inside() {
    let dir = tempfile::tempdir().unwrap();
    let store = DurableStore::local(&dir.path().join("in")).unwrap();
    for path in ["", "..", "../x", "a/../../x", "/x", "a//x", "./x", "a#1", "a\\x", "a\nb"] {
        if path == "a//x" {
            continue;
        }
        let put = store.put(path, "x".into()).await;
        assert!(matches!(put, Err(StorageError::Invalid(_))), "{path:?}");
        for other in [store.get(path).await, store.map(path).await] {
            assert!(matches!(other, Err(StorageError::Invalid(_))), "{path:?}");
        }
        assert!(store.delete(path).await.is_err());
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn object_staging_files_are_swept_but_not_those_in_use() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("s/seg")).unwrap();
    let left = |name: &str| std::fs::write(dir.path().join(name), "bytes of points").unwrap();
    left("s/seg/x.parquet#1");
    left("top#22");
    left("s/seg/kept#x");
    let store = DurableStore::local(dir.path()).unwrap();
    let names = |dir: &std::path::Path| -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names(&dir.path().join("s/seg")), ["kept#x"], "swept at the start");
    assert_eq!(names(dir.path()), ["s"]);

    left("s/seg/y.parquet#1");
    left("s/seg/busy#7");
    let (writing, handle) = (store.clone(), tokio::runtime::Handle::current());
    let written = tokio::task::spawn_blocking(move || {
        writing.write_blocking("s/seg/busy", |sink| {
            // Large enough that parts are on the disk already.
            sink.write_all(&vec![7; 20 << 20]).unwrap();
            let swept = handle.block_on(writing.sweep_staging("s")).unwrap();
            assert_eq!(swept.len(), 1, "{swept:?}");
            assert_eq!((swept[0].path.as_str(), swept[0].bytes), ("s/seg/y.parquet#1", 15));
            Ok(())
        })
    });
    let object = written.await.unwrap().unwrap();
    assert_eq!(object, ObjectRef::of("s/seg/busy", &vec![7; 20 << 20]));
    object.verify(&store.map("s/seg/busy").await.unwrap()).unwrap();
    assert_eq!(store.sweep_staging("").await.unwrap().len(), 1, "the one that a kill left beside it");
}

#[tokio::test]
async fn object_that_fails_half_way_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = DurableStore::local(dir.path()).unwrap();
    let writing = store.clone();
    let failed = tokio::task::spawn_blocking(move || {
        writing.write_blocking("d/x", |sink| {
            sink.write_all(&vec![7; 20 << 20]).unwrap();
            Err(StorageError::Internal("no".to_owned()))
        })
    });
    failed.await.unwrap().unwrap_err();
    assert_eq!(std::fs::read_dir(dir.path().join("d")).unwrap().count(), 0);
}

#[tokio::test]
async fn object_remote_reads_are_aligned() {
    let store = DurableStore::remote(std::sync::Arc::new(object_store::memory::InMemory::new()));
    for bytes in [0, 1, 63, 64, 65, 1000] {
        store.put("x", vec![9; bytes].into()).await.unwrap();
        let mapped = store.map("x").await.unwrap();
        assert_eq!(mapped, vec![9; bytes]);
        assert!(bytes == 0 || mapped.as_ptr().align_offset(64) == 0);
    }
}
