//! What a crash leaves behind: an append that was cut short is cut off, whole and reported.

use super::*;

/// Length of the only file after each append.
async fn lengths(root: &Path, appends: u64, each: u64) -> Vec<usize> {
    let (log, _) = reopen(root, FileLogOptions::default()).await.unwrap();
    let mut out = vec![];
    for n in 0..appends {
        log.append(n * each, bodies(n * each + 1..=n * each + each)).await.unwrap();
        out.push(files(root).values().next().unwrap().len());
    }
    out
}

#[tokio::test]
async fn log_truncation_at_every_byte_of_the_last_record() {
    let root = tempfile::tempdir().unwrap();
    let ends = lengths(root.path(), 3, 1).await;
    let whole = files(root.path());
    for len in ends[1]..ends[2] {
        let mut torn = whole.clone();
        torn.values_mut().for_each(|f| f.truncate(len));
        restore(root.path(), &torn);
        let (log, report) = reopen(root.path(), TINY).await.unwrap();
        let cut = report.cut.map(|(_, at, bytes)| (at, bytes));
        assert_eq!(cut, (len > ends[1]).then_some((ends[1] as u64, (len - ends[1]) as u64)), "length {len}");
        expect_usable(root.path(), &log, 2).await;
    }
}

#[tokio::test]
async fn log_truncation_at_every_byte_of_the_first_append_with_its_header() {
    let root = tempfile::tempdir().unwrap();
    let ends = lengths(root.path(), 1, 2).await;
    let whole = files(root.path());
    for len in 0..ends[0] {
        let mut torn = whole.clone();
        torn.values_mut().for_each(|f| f.truncate(len));
        restore(root.path(), &torn);
        let (log, report) = reopen(root.path(), TINY).await.unwrap();
        assert_eq!(report.cut.is_some(), len != 96, "length {len}");
        expect_usable(root.path(), &log, 0).await;
    }
}

#[tokio::test]
async fn log_an_append_of_many_records_is_kept_or_cut_as_a_whole() {
    let root = tempfile::tempdir().unwrap();
    let ends = lengths(root.path(), 2, 6).await;
    let whole = files(root.path());
    for len in ends[0] + 1..ends[1] {
        let mut torn = whole.clone();
        torn.values_mut().for_each(|f| f.truncate(len));
        restore(root.path(), &torn);
        let (log, report) = reopen(root.path(), TINY).await.unwrap();
        assert_eq!(report.cut.map(|c| c.1), Some(ends[0] as u64));
        assert_eq!(log.extent().await.unwrap().tail, 6, "length {len}");
    }
    // Pages of one write reach the disk in any order: a hole in the middle of the append is a torn tail too.
    for hole in (ends[0]..ends[1]).step_by(16) {
        let mut torn = whole.clone();
        torn.values_mut().for_each(|f| f[hole..(hole + 300).min(ends[1])].fill(0));
        restore(root.path(), &torn);
        let (log, report) = reopen(root.path(), TINY).await.unwrap();
        assert_eq!(report.cut.map(|c| c.1), Some(ends[0] as u64));
        expect_usable(root.path(), &log, 6).await;
    }
}

#[tokio::test]
async fn log_garbage_and_zeros_after_the_last_record_are_cut() {
    let root = tempfile::tempdir().unwrap();
    let ends = lengths(root.path(), 4, 1).await;
    let whole = files(root.path());
    let noise = |n: usize| (0..n).map(|i| (i * 31 + i / 7) as u8).collect::<Vec<_>>();
    let mut tails =
        vec![vec![0], vec![0; 4096], vec![0; 3 << 20], noise(1), noise(95), noise(10_000), vec![b'E'; 5000]];
    tails.push(b"EGFR".repeat(1000));
    // A frame of another log, as a file system may leave that did not zero its blocks.
    let other = tempfile::tempdir().unwrap();
    lengths(other.path(), 6, 1).await;
    tails.push(files(other.path()).values().next().unwrap()[96..].to_vec());
    for tail in tails {
        let mut torn = whole.clone();
        torn.values_mut().for_each(|f| f.extend(&tail));
        restore(root.path(), &torn);
        let (log, report) = reopen(root.path(), TINY).await.unwrap();
        let cut = report.cut.map(|(_, at, bytes)| (at, bytes));
        assert_eq!(cut, Some((ends[3] as u64, tail.len() as u64)));
        expect_usable(root.path(), &log, 4).await;
    }
}

#[tokio::test]
async fn log_a_torn_file_after_whole_ones_is_dropped() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), TINY, 40, 1).await;
    let whole = files(root.path());
    let next = format!("{:020}.log", 41);
    assert!(!whole.contains_key(&next) && whole.len() > 2);
    let header = whole.values().next().unwrap()[..96].to_vec();
    for content in [vec![], vec![0; 96], vec![0; 8192], header[..95].to_vec()] {
        let mut torn = whole.clone();
        torn.insert(next.clone(), content.clone());
        restore(root.path(), &torn);
        let (log, report) = reopen(root.path(), TINY).await.unwrap();
        let (path, at, bytes) = report.cut.unwrap();
        assert!(path.ends_with(&next) && at == 0 && bytes == content.len() as u64);
        expect_usable(root.path(), &log, 40).await;
    }
    // But where the file before does not reach it, records are missing.
    let mut gap = whole.clone();
    gap.insert(format!("{:020}.log", 50), vec![]);
    restore(root.path(), &gap);
    assert!(matches!(reopen(root.path(), TINY).await.err(), Some(LogError::Corrupt { .. })));
    assert_eq!(files(root.path()), gap, "a refused log is left as it is");
}

#[tokio::test]
async fn log_the_tail_is_never_forgotten_after_a_trim() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), TINY, 30, 1).await;
    let (log, _) = reopen(root.path(), TINY).await.unwrap();
    log.trim(30).await.unwrap();
    let empty = files(root.path());
    assert_eq!(empty.len(), 1);
    for damage in [vec![], vec![0; 96], vec![1; 96]] {
        let bad = empty.keys().map(|name| (name.clone(), damage.clone())).collect();
        restore(root.path(), &bad);
        assert!(matches!(reopen(root.path(), TINY).await.err(), Some(LogError::Corrupt { .. })));
    }
}
