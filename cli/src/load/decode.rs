//! The thread that reads files.

use std::sync::Arc;

use anyhow::{Context, Result};
use engram_datasets::{ReadOptions, readers};
use tokio::sync::mpsc;

use super::batch::{Prepared, Shape, prepare};
use super::files::LoadFile;

/// Batches that wait decoded: enough that neither side waits for the other, little enough to be no memory.
const QUEUE: usize = 4;

/// A file and the row its load goes on at.
pub struct Start {
    /// The file.
    pub file: Arc<LoadFile>,
    /// Rows that are done.
    pub row: u64,
}

/// Reads the files one after the other on a thread of its own; the queue ends after the last batch or an error.
pub fn spawn(
    files: Vec<Start>,
    options: ReadOptions,
    shape: Shape,
) -> Result<mpsc::Receiver<Result<Prepared>>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let work = move || {
        for start in files {
            match read(&start, &options, &shape, &sender) {
                Ok(true) => {}
                // Nobody listens any more.
                Ok(false) => return,
                Err(error) => {
                    let _ = sender.blocking_send(Err(error));
                    return;
                }
            }
        }
    };
    std::thread::Builder::new().name("decode".to_owned()).spawn(work).context("cannot start a thread")?;
    Ok(receiver)
}

fn read(
    start: &Start,
    options: &ReadOptions,
    shape: &Shape,
    sender: &mpsc::Sender<Result<Prepared>>,
) -> Result<bool> {
    let options = ReadOptions { start_row: start.row, ..options.clone() };
    let mut end_row = start.row;
    for batch in readers::open(&start.file.path, &options)? {
        for prepared in prepare(batch?, &start.file, shape) {
            end_row = prepared.end_row;
            if sender.blocking_send(Ok(prepared)).is_err() {
                return Ok(false);
            }
        }
    }
    let end = Prepared {
        request: None,
        file: start.file.clone(),
        end_row,
        rows: Vec::new(),
        rejects: Vec::new(),
        last: true,
    };
    Ok(sender.blocking_send(Ok(end)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_end_with_a_mark_and_go_on_where_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, "{\"id\":1}\n{\"id\":2}\nbroken\n{\"id\":4}\n").unwrap();
        let file = Arc::new(LoadFile { path, identity: "a".into() });
        let shape = Shape { collection: "c".into(), region: None, settings: String::new() };
        let run = |row| {
            let starts = vec![Start { file: file.clone(), row }];
            let mut queue = spawn(starts, ReadOptions::default(), shape.clone()).unwrap();
            let mut all = Vec::new();
            while let Some(next) = queue.blocking_recv() {
                all.push(next.unwrap());
            }
            all
        };
        let all = run(0);
        assert_eq!(all[0].request.as_ref().unwrap().num_ids, [1, 2, 4]);
        assert_eq!(all[0].rejects[0].0, 2);
        assert!(all[1].last && all[1].end_row == 4 && all.len() == 2);
        assert_eq!(run(3)[0].request.as_ref().unwrap().num_ids, [4]);
        assert!(run(4)[0].last);
    }
}
