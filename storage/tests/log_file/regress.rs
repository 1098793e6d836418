//! Failures that other vector databases had with their logs; see the regression list of the design.

use std::collections::BTreeMap;

use super::*;

/// T-01 qdrant: a power loss left an illegal segment header, and the node did not start.
#[tokio::test]
async fn regress_t01_torn_or_zero_header_is_recoverable() {
    let root = tempfile::tempdir().unwrap();
    for content in [vec![], vec![0; 96], vec![0; 1 << 20], b"ENGRAMLG".to_vec()] {
        restore(root.path(), &BTreeMap::from([(format!("{:020}.log", 1), content)]));
        let (log, report) = reopen(root.path(), TINY).await.unwrap();
        assert!(report.cut.is_some());
        expect_usable(root.path(), &log, 0).await;
    }
}

/// T-02 qdrant: a forced shutdown corrupted the log.
#[tokio::test]
async fn regress_t02_a_kill_at_any_byte_of_any_append_loses_nothing_acknowledged() {
    let root = tempfile::tempdir().unwrap();
    let image = tempfile::tempdir().unwrap();
    let (log, _) = reopen(root.path(), TINY).await.unwrap();
    for tail in 0..25u64 {
        let before = files(root.path());
        log.append(tail, bodies(tail + 1..=tail + 1)).await.unwrap();
        for (name, after) in &files(root.path()) {
            let had = before.get(name).map_or(0, Vec::len);
            for len in (had..after.len()).step_by(11) {
                let mut killed = before.clone();
                killed.insert(name.clone(), after[..len].to_vec());
                restore(image.path(), &killed);
                let (log, _) = reopen(image.path(), TINY).await.unwrap();
                assert_eq!(
                    read_all(&log).await.unwrap().len() as u64,
                    tail,
                    "killed at byte {len} of {name}"
                );
            }
        }
    }
}

/// T-03 qdrant, T-09 weaviate: a temporary file broke the start.
#[tokio::test]
async fn regress_t03_stray_files_do_not_matter() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), TINY, 20, 1).await;
    let mut strange = files(root.path());
    for name in ["seal.tmp", "x.tmp", "x.combined.tmp", ".atomicwrite123", "notes.txt", "1.log", "lost+found"]
    {
        strange.insert(name.to_owned(), b"junk".to_vec());
    }
    restore(root.path(), &strange);
    std::fs::create_dir(log_dir(root.path()).join("00000000000000000099.log")).unwrap();
    let (log, report) = reopen(root.path(), TINY).await.unwrap();
    assert_eq!(report.cut, None);
    assert!(
        !log_dir(root.path()).join("seal.tmp").exists() && log_dir(root.path()).join("notes.txt").exists()
    );
    assert_eq!(read_all(&log).await.unwrap().len(), 20);
    log.append(20, bodies(21..=21)).await.unwrap();
}

/// T-08 weaviate: a damaged length made recovery ask for a huge block of memory.
#[tokio::test]
async fn regress_t08_lengths_are_bounded_before_memory_is_taken() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), FileLogOptions::default(), 2, 1).await;
    let whole = files(root.path());
    let file = whole.values().next().unwrap();
    let last = (0..file.len()).rev().find(|i| file[*i..].starts_with(b"EGFR")).unwrap();
    for (field, value) in
        [(60, u32::MAX), (64, u32::MAX), (60, 0xbe00_0000), (64, 0xbe00_0000), (60, 60 << 20)]
    {
        let mut bad = file.clone();
        bad[last + field..last + field + 4].copy_from_slice(&value.to_le_bytes());
        if field == 60 && value == 60 << 20 {
            // Allowed, but more than the file holds.
            bad[last + 64..last + 68].copy_from_slice(&value.to_le_bytes());
        }
        // With a checksum that fits, so that only the bounds stand between the length and the allocator.
        let crc = crc_fast::crc32_iscsi(&bad[last..last + 92]);
        bad[last + 92..last + 96].copy_from_slice(&crc.to_le_bytes());
        restore(root.path(), &whole.keys().map(|k| (k.clone(), bad.clone())).collect());
        match reopen(root.path(), TINY).await {
            Ok((log, report)) => {
                assert!(report.cut.is_some());
                assert_eq!(log.extent().await.unwrap().tail, 1);
            }
            Err(e) => assert!(matches!(e, LogError::Corrupt { .. }), "{e}"),
        }
    }
}

/// T-09 weaviate: a log that ended in the middle of a record made the start fail again and again.
#[tokio::test]
async fn regress_t09_an_early_end_is_cut_once() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), FileLogOptions::default(), 5, 1).await;
    let mut torn = files(root.path());
    torn.values_mut().for_each(|f| f.truncate(f.len() - 3));
    restore(root.path(), &torn);
    assert!(reopen(root.path(), TINY).await.unwrap().1.cut.is_some());
    for _ in 0..5 {
        assert_eq!(reopen(root.path(), TINY).await.unwrap().1.cut, None);
    }
    let (log, _) = reopen(root.path(), TINY).await.unwrap();
    expect_usable(root.path(), &log, 4).await;
}

/// T-10 weaviate: recovery wrote new records, so each failed start made the next one harder.
#[tokio::test]
async fn regress_t10_recovery_writes_nothing() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), TINY, 30, 2).await;
    let times = || -> Vec<_> {
        let list = std::fs::read_dir(log_dir(root.path())).unwrap().map(|e| e.unwrap());
        list.map(|e| (e.file_name(), e.metadata().unwrap().modified().unwrap())).collect()
    };
    let (before, written) = (files(root.path()), times());
    for epoch in 1..20 {
        let (log, report) = provider(root.path(), TINY).open(&shard(0), epoch).await.unwrap();
        assert_eq!(report.cut, None);
        assert_eq!(read_all(&log).await.unwrap().len(), 60);
    }
    assert_eq!(files(root.path()), before);
    assert_eq!(times(), written);
    let nowhere = tempfile::tempdir().unwrap();
    reopen(nowhere.path(), TINY).await.unwrap();
    assert_eq!(std::fs::read_dir(nowhere.path()).unwrap().count(), 0, "opening an empty log makes no files");
}

/// T-11 weaviate: a kill while old logs were replaced left a state that no start could read.
#[tokio::test]
async fn regress_t11_a_kill_at_any_step_of_a_trim_is_harmless() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), TINY, 40, 1).await;
    let before = files(root.path());
    let (log, _) = reopen(root.path(), TINY).await.unwrap();
    log.trim(40).await.unwrap();
    let after = files(root.path());
    let (name, header) = after.first_key_value().unwrap();
    // The new file appears first (torn, then whole), then the old ones go one by one.
    let mut states = vec![];
    for len in [0, 50, 95, 96] {
        let mut state = before.clone();
        state.insert(name.clone(), header[..len].to_vec());
        states.push((1, state));
    }
    let mut state = states.pop().unwrap().1;
    for old in before.keys() {
        state.remove(old);
        let first = state.keys().next().unwrap().strip_suffix(".log").unwrap().parse().unwrap();
        states.push((first, state.clone()));
    }
    for (first, state) in states {
        restore(root.path(), &state);
        let (log, _) = reopen(root.path(), TINY).await.unwrap();
        let extent = log.extent().await.unwrap();
        assert_eq!((extent.first, extent.tail), (first, 40));
        assert_eq!(read_all(&log).await.unwrap().len() as u64, 41 - first);
        log.trim(40).await.unwrap();
        assert_eq!(log.append(40, bodies(41..=41)).await, Ok(41));
    }
}
