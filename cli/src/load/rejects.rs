//! Rows that could not be loaded: written down one by one, and too many of them stop the load.
//!
//! The journal keeps how much of the reject file belongs to the rows it has noted. What a killed load wrote after that is
//! cut off when it goes on: those rows are read again, and rejected again.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Reasons that are repeated in the final message.
const SAMPLES: usize = 3;

/// A reject file and its length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Absolute path: a load may go on with another reject file, which is not cut.
    pub file: String,
    /// Bytes.
    pub bytes: u64,
}

/// Counts and keeps rejected rows.
pub struct Rejects {
    path: Option<PathBuf>,
    file: Option<BufWriter<File>>,
    /// Where the file stands, with what is still buffered; `None` for what cannot be cut, and before [`Self::begin`].
    mark: Option<Mark>,
    /// Something was written that is not synced.
    dirty: bool,
    limit: u64,
    count: u64,
    samples: Vec<String>,
}

impl Rejects {
    /// Rejects go to `path` as JSON Lines, where one is given; more than `limit` stop the load.
    pub fn new(path: Option<PathBuf>, limit: u64) -> Self {
        Self { path, file: None, mark: None, dirty: false, limit, count: 0, samples: Vec::new() }
    }

    /// Cuts the file to what the journal noted of it, where it did; call before the first row.
    pub fn begin(&mut self, noted: Option<&Mark>) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        self.mark = cut(path, noted)
            .with_context(|| format!("cannot go on with the reject file {}", path.display()))?;
        Ok(())
    }

    /// Where the file stands.
    pub fn mark(&self) -> Option<Mark> {
        self.mark.clone()
    }

    /// Number of rejected rows.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Takes one rejected row.
    ///
    /// # Errors
    /// Says why the load stops once the limit is passed, or that the file cannot be written.
    pub fn add(&mut self, file: &Path, row: u64, reason: &str) -> Result<()> {
        self.count += 1;
        if self.samples.len() < SAMPLES {
            self.samples.push(format!("{} row {row}: {reason}", file.display()));
        }
        self.write(file, row, reason)?;
        if self.count > self.limit {
            self.sync()?;
            bail!("{}", self.stop_message());
        }
        Ok(())
    }

    fn write(&mut self, file: &Path, row: u64, reason: &str) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let context = || format!("cannot write the reject file {}", path.display());
        if self.file.is_none() {
            // Appends: a load that goes on keeps what it rejected before.
            let opened = File::options().create(true).append(true).open(path).with_context(context)?;
            self.file = Some(BufWriter::new(opened));
        }
        if let Some(out) = &mut self.file {
            let line = json!({ "file": file.display().to_string(), "row": row, "reason": reason });
            let line = format!("{line}\n");
            self.dirty = true;
            out.write_all(line.as_bytes()).with_context(context)?;
            if let Some(mark) = &mut self.mark {
                mark.bytes += line.len() as u64;
            }
        }
        Ok(())
    }

    /// Brings what was written to the disk.
    pub fn sync(&mut self) -> Result<()> {
        if let (true, Some(out), Some(path)) = (self.dirty, &mut self.file, &self.path) {
            put(out, path).with_context(|| format!("cannot write the reject file {}", path.display()))?;
            self.dirty = false;
        }
        Ok(())
    }

    fn stop_message(&self) -> String {
        let place = match &self.path {
            Some(path) => format!("all reasons are in {}", path.display()),
            None => "see all reasons with --reject-file FILE".to_owned(),
        };
        format!(
            "stopped after {} bad rows (--max-errors {}); {place}. What came before is loaded; mend the file or raise \
             the limit and run the same command to go on. The first:\n  {}",
            self.count,
            self.limit,
            self.samples.join("\n  ")
        )
    }

    /// The first reasons, for the summary.
    pub fn samples(&self) -> &[String] {
        &self.samples
    }
}

/// Cuts the file at `path` to what was noted of it, if that is less than it holds; returns where it stands then.
fn cut(path: &Path, noted: Option<&Mark>) -> std::io::Result<Option<Mark>> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        // Pipes cannot be cut, and a link may be /dev/stdout: whatever it leads to is not ours alone.
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    let file = std::path::absolute(path)?.display().to_string();
    let bytes = noted.filter(|mark| mark.file == file).map_or(found, |mark| mark.bytes.min(found));
    if bytes < found {
        let opened = File::options().write(true).open(path)?;
        opened.set_len(bytes)?;
        opened.sync_all()?;
    }
    Ok(Some(Mark { file, bytes }))
}

fn put(out: &mut BufWriter<File>, path: &Path) -> std::io::Result<()> {
    out.flush()?;
    let file = out.get_ref();
    // Pipes and terminals cannot be synced.
    if !file.metadata()?.is_file() {
        return Ok(());
    }
    file.sync_all()?;
    // The file may be new: its name must last as well.
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::journal::{Journal, Position};
    use super::*;

    #[test]
    fn the_limit_stops_and_the_file_keeps_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.jsonl");
        let mut rejects = Rejects::new(Some(path.clone()), 2);
        rejects.add(Path::new("a.parquet"), 7, "odd \"id\"").unwrap();
        rejects.add(Path::new("a.parquet"), 8, "x").unwrap();
        let stop = rejects.add(Path::new("b.parquet"), 9, "y").unwrap_err().to_string();
        assert!(stop.contains("3 bad rows") && stop.contains("a.parquet row 7"), "{stop}");
        let lines: Vec<serde_json::Value> = std::fs::read_to_string(&path)
            .unwrap()
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        assert_eq!(lines[0], json!({ "file": "a.parquet", "row": 7, "reason": "odd \"id\"" }));
        assert_eq!(lines.len(), 3);
        assert!(
            Rejects::new(None, 0)
                .add(Path::new("a"), 0, "z")
                .unwrap_err()
                .to_string()
                .contains("--reject-file")
        );
    }

    /// A run that rejects `noted` and books it, then rejects `lost` and is killed.
    fn killed(path: &Path, journal: &Path, noted: &[u64], lost: &[u64]) {
        let mut journal = Journal::open(journal.to_owned(), "a").unwrap();
        let mut rejects = Rejects::new(Some(path.to_owned()), 100);
        rejects.begin(journal.rejects()).unwrap();
        journal.begin(rejects.mark()).unwrap();
        noted.iter().for_each(|row| rejects.add(Path::new("f"), *row, "bad").unwrap());
        journal.note("f", Position::default(), rejects.mark());
        rejects.sync().unwrap();
        journal.write().unwrap();
        lost.iter().for_each(|row| rejects.add(Path::new("f"), *row, "bad").unwrap());
        rejects.sync().unwrap();
    }

    fn rows(path: &Path) -> Vec<u64> {
        let text = std::fs::read_to_string(path).unwrap();
        let row = |l: &str| serde_json::from_str::<serde_json::Value>(l).unwrap()["row"].as_u64().unwrap();
        text.lines().map(row).collect()
    }

    #[test]
    fn a_resumed_load_cuts_what_the_journal_does_not_know() {
        let folder = tempfile::tempdir().unwrap();
        let (path, journal) = (folder.path().join("bad.jsonl"), folder.path().join("journal.json"));
        killed(&path, &journal, &[1, 2], &[3, 4]);
        assert_eq!(rows(&path), [1, 2, 3, 4]);
        killed(&path, &journal, &[3], &[4]);
        assert_eq!(rows(&path), [1, 2, 3, 4]);
        // Half a line is what a kill may leave.
        File::options().append(true).open(&path).unwrap().write_all(b"{\"file").unwrap();
        killed(&path, &journal, &[4, 5], &[]);
        assert_eq!(rows(&path), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn what_is_not_known_is_not_cut() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("bad.jsonl"), folder.path().join("other.jsonl"));
        killed(&other, &folder.path().join("other.json"), &[1], &[]);
        killed(&path, &folder.path().join("journal.json"), &[1], &[]);
        // The load goes on with another file; a new load appends.
        killed(&other, &folder.path().join("journal.json"), &[2], &[]);
        killed(&path, &folder.path().join("new.json"), &[3], &[]);
        assert_eq!((rows(&other), rows(&path)), (vec![1, 2], vec![1, 3]));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        killed(&link, &folder.path().join("link.json"), &[], &[4]);
        killed(&link, &folder.path().join("link.json"), &[4], &[]);
        assert_eq!(rows(&path), [1, 3, 4, 4]);
    }
}
