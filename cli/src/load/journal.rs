//! The progress journal: how far each file of a load was acknowledged.
//!
//! One small file, written anew and put in place as a whole, so that a kill leaves the old or the new one. It may lag
//! behind the acknowledgements; the batches in between are sent again, which changes nothing since their points and
//! their idempotency keys are the same. The keys hold the id of the load, which is drawn when its journal is begun: once
//! the journal is gone, the same files are loaded anew.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::rejects::Mark;

/// Time between two writes: a sync costs about as much as a batch.
const EVERY: Duration = Duration::from_millis(250);

/// Where a file stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Rows from the start of the file that are durable in the server (or rejected).
    pub rows: u64,
    /// The whole file is.
    pub done: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct State {
    /// What is loaded into what: a journal of another load is not used.
    load: String,
    /// Tells this load from earlier and later ones of the same files. Journals from before there were ids get one.
    #[serde(default = "Uuid::new_v4")]
    id: Uuid,
    /// What the reject file holds of the rows in `files`, and no more.
    rejects: Option<Mark>,
    files: BTreeMap<String, Position>,
}

/// The journal of one load.
pub struct Journal {
    path: PathBuf,
    state: State,
    load_id: String,
    dirty: bool,
    written: Instant,
}

impl Journal {
    /// Opens the journal at `path`, or begins one. `load` names server, collection and settings.
    pub fn open(path: PathBuf, load: &str) -> Result<Self> {
        let fresh =
            || State { load: load.to_owned(), id: Uuid::new_v4(), rejects: None, files: BTreeMap::new() };
        let state = match std::fs::read(&path) {
            // An unreadable or foreign journal means: from the start, which is always right.
            Ok(bytes) => serde_json::from_slice::<State>(&bytes).ok().filter(|s| s.load == load),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let state = state.unwrap_or_else(fresh);
        let load_id = state.id.to_string();
        Ok(Self { path, state, load_id, dirty: false, written: Instant::now() })
    }

    /// Id of the load: random, and the same in every run until the load is done.
    pub fn load_id(&self) -> &str {
        &self.load_id
    }

    /// What the reject file held when the journal was written.
    pub fn rejects(&self) -> Option<&Mark> {
        self.state.rejects.as_ref()
    }

    /// Writes the journal before the first batch is sent: a load whose id is lost could not be resumed under its keys.
    pub fn begin(&mut self, rejects: Option<Mark>) -> Result<()> {
        self.state.rejects = rejects;
        self.dirty = true;
        self.write()
    }

    /// Where a file stands.
    pub fn position(&self, identity: &str) -> Position {
        self.state.files.get(identity).copied().unwrap_or_default()
    }

    /// Notes where a file stands, and the reject file with the rejected rows up to there; on disk with [`Self::write`].
    pub fn note(&mut self, identity: &str, position: Position, rejects: Option<Mark>) {
        self.state.files.insert(identity.to_owned(), position);
        self.state.rejects = rejects;
        self.dirty = true;
    }

    /// Whether it is time to write.
    pub fn due(&self) -> bool {
        self.dirty && self.written.elapsed() >= EVERY
    }

    /// Writes what was noted, durably. The rejects must be durable before: rows that are noted are not read again.
    pub fn write(&mut self) -> Result<()> {
        if self.dirty {
            self.put()
                .with_context(|| format!("cannot write the progress journal {}", self.path.display()))?;
            self.dirty = false;
            self.written = Instant::now();
        }
        Ok(())
    }

    fn put(&self) -> Result<()> {
        let staged = self.path.with_extension("part");
        let mut file = File::create(&staged)?;
        file.write_all(&serde_json::to_vec(&self.state)?)?;
        file.sync_all()?;
        std::fs::rename(&staged, &self.path)?;
        let folder = self.path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
        Ok(())
    }

    /// Removes the journal: the load is done, and the same command later is another load.
    pub fn remove(self) -> Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// Where journals are kept unless the user names a file: `$XDG_STATE_HOME/engram`.
pub fn standard_path(load: &str) -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let folder =
        std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(home).unwrap_or_else(|| ".".into());
    let name = blake3::hash(load.as_bytes()).to_hex();
    folder.join("engram").join(format!("load-{}.json", &name[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_load_finds_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/journal.json");
        let mut journal = Journal::open(path.clone(), "a").unwrap();
        assert_eq!(journal.position("f"), Position::default());
        let mark = Mark { file: "bad.jsonl".into(), bytes: 7 };
        journal.note("f", Position { rows: 10, done: false }, Some(mark.clone()));
        journal.write().unwrap();
        journal.note("f", Position { rows: 20, done: true }, None);
        // Killed here: the last note may be lost, the one before is not.
        drop(journal);
        let journal = Journal::open(path.clone(), "a").unwrap();
        assert_eq!(journal.position("f").rows, 10);
        assert_eq!(journal.rejects(), Some(&mark));
        assert_eq!(Journal::open(path.clone(), "b").unwrap().position("f").rows, 0);
        std::fs::write(&path, "torn{").unwrap();
        assert_eq!(Journal::open(path.clone(), "a").unwrap().position("f").rows, 0);
        journal.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_journal_without_an_id_keeps_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.json");
        std::fs::write(&path, r#"{"load":"a","files":{"f":{"rows":10,"done":false}}}"#).unwrap();
        let journal = Journal::open(path, "a").unwrap();
        assert_eq!((journal.position("f").rows, journal.rejects()), (10, None));
    }

    #[test]
    fn standard_paths_differ_by_load() {
        assert_ne!(standard_path("a"), standard_path("b"));
    }
}
