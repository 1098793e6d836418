//! Damage of any byte: refused with the place named, or an exact prefix with the cut reported. Never other data.

use super::*;

/// What became of a log that was damaged.
#[derive(Debug, PartialEq)]
enum Outcome {
    Refused,
    Cut(u64),
    Whole,
}

/// Opens and reads a damaged log of `tail` records; panics if it gives anything but what was written.
async fn outcome(root: &Path, tail: u64) -> Outcome {
    let (log, report) = match reopen(root, TINY).await {
        Ok(opened) => opened,
        Err(LogError::Corrupt { path, .. }) => {
            assert!(path.contains("/log/"), "the file is named: {path}");
            return Outcome::Refused;
        }
        Err(e) => panic!("{e}"),
    };
    let mut next = 1;
    let mut stream = log.read(1);
    while let Some(record) = stream.next().await {
        match record {
            Ok((offset, record)) => {
                assert_eq!((offset, &record.body), (next, &body(next)));
                next += 1;
            }
            Err(LogError::Corrupt { .. }) => {
                assert!(stream.next().await.is_none(), "a stream ends with its error");
                return Outcome::Refused;
            }
            Err(e) => panic!("{e}"),
        }
    }
    let got = next - 1;
    assert_eq!(log.extent().await.unwrap().tail, got);
    assert_eq!(report.cut.is_some(), got < tail, "what is lost is reported: {report:?} with {got} records");
    if got < tail { Outcome::Cut(got) } else { Outcome::Whole }
}

#[tokio::test]
async fn log_every_flipped_byte_is_found() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), TINY, 16, 1).await;
    let whole = files(root.path());
    assert!(whole.len() >= 2, "several files");
    assert_eq!(outcome(root.path(), 16).await, Outcome::Whole);
    let last = whole.keys().last().unwrap().clone();
    let (mut refused, mut cut) = (0, 0);
    for (name, bytes) in &whole {
        for at in 0..bytes.len() {
            let mut bad = whole.clone();
            bad.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
            restore(root.path(), &bad);
            match outcome(root.path(), 16).await {
                Outcome::Refused => {
                    refused += 1;
                    assert_eq!(files(root.path()), bad, "a refused log is left as it is");
                }
                Outcome::Cut(tail) => {
                    assert!(
                        *name == last && tail == 15,
                        "only the last append may look torn: {name} {at} {tail}"
                    );
                    cut += 1;
                }
                Outcome::Whole => panic!("byte {at} of {name} is not checked"),
            }
        }
    }
    println!("flipped bytes: {refused} refused, {cut} cut as a torn last append, 0 served");
}

#[tokio::test]
async fn log_lost_doubled_and_swapped_pieces_are_found() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), TINY, 80, 1).await;
    let whole = files(root.path());
    let names: Vec<_> = whole.keys().cloned().collect();
    assert!(names.len() >= 4);
    // A missing file, but the first: that looks trimmed.
    for name in &names[1..names.len() - 1] {
        let mut bad = whole.clone();
        bad.remove(name);
        restore(root.path(), &bad);
        assert_eq!(outcome(root.path(), 80).await, Outcome::Refused, "{name} is missing");
    }
    // Two files that changed names, and a file under two names.
    let mut bad = whole.clone();
    bad.insert(names[0].clone(), whole[&names[1]].clone());
    bad.insert(names[1].clone(), whole[&names[0]].clone());
    restore(root.path(), &bad);
    assert_eq!(outcome(root.path(), 80).await, Outcome::Refused);
    // Frames cut out, doubled or swapped within a file.
    let (name, file) = whole.iter().nth(1).unwrap();
    let starts: Vec<_> = (0..file.len()).filter(|i| file[*i..].starts_with(b"EGFR")).collect();
    let (a, b, c) = (starts[1], starts[2], starts[3]);
    let pieces = |order: &[(usize, usize)]| -> Vec<u8> {
        order.iter().flat_map(|p| &file[p.0..p.1]).copied().collect()
    };
    let end = file.len();
    for bytes in [
        pieces(&[(0, a), (b, end)]),
        pieces(&[(0, b), (a, end)]),
        pieces(&[(0, a), (b, c), (a, b), (c, end)]),
        pieces(&[(0, starts[0]), (a, end)]),
        pieces(&[(0, c)]),
    ] {
        let mut bad = whole.clone();
        bad.insert(name.clone(), bytes);
        restore(root.path(), &bad);
        assert_eq!(outcome(root.path(), 80).await, Outcome::Refused);
    }
}

#[tokio::test]
async fn log_zeroed_blocks_in_the_middle_are_found() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), FileLogOptions::default(), 60, 1).await;
    let whole = files(root.path());
    let (name, file) = whole.first_key_value().unwrap();
    let last = (0..file.len()).rev().find(|i| file[*i..].starts_with(b"EGFR")).unwrap();
    for at in (0..last).step_by(37) {
        let mut bad = whole.clone();
        bad.get_mut(name).unwrap()[at..(at + 512).min(last)].fill(0);
        restore(root.path(), &bad);
        assert_eq!(outcome(root.path(), 60).await, Outcome::Refused, "zeros at {at}");
    }
}

#[tokio::test]
async fn log_a_file_of_another_shard_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let provider = provider(root.path(), TINY);
    provider.open(&shard(1), 1).await.unwrap().0.append(0, bodies(1..=3)).await.unwrap();
    let strange = root.path().join(shard(1).path()).join("log");
    std::fs::create_dir_all(log_dir(root.path()).parent().unwrap()).unwrap();
    std::fs::rename(strange, log_dir(root.path())).unwrap();
    assert!(matches!(provider.open(&shard(0), 1).await.err(), Some(LogError::Corrupt { .. })));
}
