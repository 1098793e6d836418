//! What a client sent and what was acknowledged, kept outside the server, so that it survives the server's crash.
//!
//! Each key has at most one write under way at a time, so after a crash a key is either as its last acknowledged
//! write left it or as the unanswered one would: anything else is a loss or a ghost.

use std::collections::{BTreeMap, BTreeSet};

use engram_proto::v1::Point;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::{corpus, wire};

/// Content of a point: which write made it, and which payload change came after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Number of the upsert: vector and payload follow from it and the key.
    pub seq: u64,
    /// Number of the payload change after it, 0 for none.
    pub set: u64,
}

/// What a key holds; `None` for no point.
pub type State = Option<Content>;

/// Unanswered write of a key.
#[derive(Clone, Debug)]
struct Pending {
    /// What the key holds if it happened.
    state: State,
    /// Keys with the same number were sent in one atomic piece.
    piece: u64,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    state: State,
    pending: Option<Pending>,
    /// Largest version seen.
    version: u64,
}

/// The journal of one collection.
#[derive(Debug, Default)]
pub struct Journal {
    entries: BTreeMap<u64, Entry>,
    next_piece: u64,
    /// Keys with an acknowledged write.
    pub acked: u64,
    /// Keys with an acknowledged delete.
    pub acked_deletes: u64,
}

/// What a check after a crash found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Acknowledged writes that are gone or wrong, resurrected points, torn batches: one sentence each.
    pub violations: Vec<String>,
    /// Unanswered writes that happened.
    pub happened: u64,
    /// Unanswered writes that did not.
    pub vanished: u64,
    /// Keys checked.
    pub keys: u64,
}

/// Dimension of the vectors of journalled points.
pub const DIMENSION: usize = 16;

/// The point `id` as upsert `seq` writes it.
pub fn point(id: u64, seq: u64) -> Point {
    let mut rng = StdRng::seed_from_u64(id.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seq);
    let vector = corpus::floats(&mut rng, DIMENSION);
    wire::point(id, &vector, &json!({"seq": seq, "key": id, "fill": format!("{id:08x}").repeat(8)}))
}

/// What a stored point is, or how it differs from everything that was ever written to its key.
fn content(p: &Point) -> Result<Content, String> {
    let id = wire::number(p.id.as_ref()).ok_or("no numeric id")?;
    let payload = wire::payload(p);
    let seq =
        payload.get("seq").and_then(Value::as_u64).ok_or_else(|| format!("payload {payload} has no seq"))?;
    let set = payload.get("set").and_then(Value::as_u64).unwrap_or(0);
    let written = point(id, seq);
    let mut expected = wire::payload(&written);
    if set != 0 {
        expected["set"] = json!(set);
    }
    if payload != expected {
        return Err(format!("payload is {payload}, expected {expected}"));
    }
    if wire::default_vector(p) != wire::default_vector(&written) {
        return Err(format!("vector of write {seq} is {:?}", wire::default_vector(p)));
    }
    Ok(Content { seq, set })
}

impl Journal {
    /// What the key holds, by its acknowledged writes.
    pub fn state(&self, id: u64) -> State {
        self.entries.get(&id).and_then(|e| e.state)
    }

    /// Largest version seen of the key; 0 where it holds nothing.
    pub fn version(&self, id: u64) -> u64 {
        self.entries.get(&id).filter(|e| e.state.is_some()).map_or(0, |e| e.version)
    }

    /// Number of points by acknowledged writes.
    pub fn len(&self) -> usize {
        self.entries.values().filter(|e| e.state.is_some()).count()
    }

    /// True without points.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes what a write, which is about to be sent in one atomic piece, will make of these keys.
    pub fn begin(&mut self, writes: &[(u64, State)]) {
        self.next_piece += 1;
        for (id, state) in writes {
            let pending = Pending { state: *state, piece: self.next_piece };
            self.entries.entry(*id).or_default().pending = Some(pending);
        }
    }

    /// The write of this key was acknowledged; `version` is 0 where the answer did not say.
    ///
    /// # Errors
    /// Where the version did not grow.
    pub fn acknowledged(&mut self, id: u64, version: u64) -> Result<(), String> {
        let entry = self.entries.entry(id).or_default();
        let Some(pending) = entry.pending.take() else { return Ok(()) };
        self.acked += 1;
        self.acked_deletes += u64::from(pending.state.is_none());
        entry.state = pending.state;
        if version != 0 && version <= entry.version {
            return Err(format!("key {id}: version {version} after version {}", entry.version));
        }
        entry.version = entry.version.max(version);
        Ok(())
    }

    /// The write of this key was refused: nothing changed.
    pub fn refused(&mut self, id: u64) {
        self.entries.entry(id).or_default().pending = None;
    }

    /// Settles unanswered writes of these keys that are known to have happened by now.
    pub fn certainly_happened(&mut self, ids: impl Iterator<Item = u64>) {
        for id in ids {
            let entry = self.entries.entry(id).or_default();
            if let Some(pending) = entry.pending.take() {
                entry.state = pending.state;
            }
        }
    }

    /// Keys with an unanswered write.
    pub fn unanswered(&self) -> Vec<u64> {
        self.entries.iter().filter(|(_, e)| e.pending.is_some()).map(|(id, _)| *id).collect()
    }

    /// Compares what the server holds with this journal, which then takes over what it saw.
    pub fn check(&mut self, held: &[Point]) -> Verdict {
        let mut verdict = Verdict { keys: self.entries.len() as u64, ..Verdict::default() };
        let mut seen = BTreeMap::new();
        for p in held {
            let Some(id) = wire::number(p.id.as_ref()) else {
                verdict.violations.push(format!("an id that nobody wrote: {:?}", p.id));
                continue;
            };
            match content(p) {
                Ok(_) if !self.entries.contains_key(&id) => {
                    verdict.violations.push(format!("key {id}: nobody wrote it"))
                }
                Ok(c) => {
                    if seen.insert(id, (c, p.version)).is_some() {
                        verdict.violations.push(format!("key {id}: returned twice"));
                    }
                }
                Err(why) => verdict.violations.push(format!("key {id}: {why}")),
            }
        }
        let mut pieces: BTreeMap<u64, BTreeSet<bool>> = BTreeMap::new();
        for (id, entry) in &mut self.entries {
            let (state, version) = seen.get(id).map_or((None, 0), |(c, v)| (Some(*c), *v));
            let pending = entry.pending.take();
            match pending {
                Some(p) if p.state == state && p.state != entry.state => {
                    verdict.happened += 1;
                    pieces.entry(p.piece).or_default().insert(true);
                    if version != 0 && version <= entry.version {
                        let before = entry.version;
                        verdict
                            .violations
                            .push(format!("key {id}: version {version} after version {before}"));
                    }
                }
                Some(p) if state == entry.state => {
                    verdict.vanished += 1;
                    if p.state != entry.state {
                        pieces.entry(p.piece).or_default().insert(false);
                    }
                }
                _ if state == entry.state => {
                    if version != 0 && version < entry.version {
                        let before = entry.version;
                        verdict
                            .violations
                            .push(format!("key {id}: version went back from {before} to {version}"));
                    }
                }
                pending => {
                    let may = pending.map_or_else(String::new, |p| format!(" or {:?} (unanswered)", p.state));
                    verdict
                        .violations
                        .push(format!("key {id}: holds {state:?}, expected {:?}{may}", entry.state));
                }
            }
            entry.state = state;
            entry.version = entry.version.max(version);
        }
        let torn = pieces.values().filter(|s| s.len() > 1).count();
        if torn > 0 {
            verdict.violations.push(format!("{torn} batches of one shard were applied in part"));
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(id: u64, seq: u64, version: u64) -> Point {
        Point { version, ..point(id, seq) }
    }

    const WRITE: State = Some(Content { seq: 1, set: 0 });

    #[test]
    fn a_lost_write_and_a_ghost_are_seen() {
        let mut journal = Journal::default();
        journal.begin(&[(1, WRITE), (2, WRITE)]);
        journal.acknowledged(1, 5).unwrap();
        journal.acknowledged(2, 5).unwrap();
        journal.begin(&[(2, None)]);
        journal.acknowledged(2, 0).unwrap();
        assert!(journal.check(&[held(1, 1, 5)]).violations.is_empty());
        assert_eq!(journal.check(&[]).violations.len(), 1, "a lost write");
        let mut journal = Journal::default();
        journal.begin(&[(2, WRITE)]);
        journal.acknowledged(2, 5).unwrap();
        journal.begin(&[(2, None)]);
        journal.acknowledged(2, 0).unwrap();
        assert_eq!(journal.check(&[held(2, 1, 5)]).violations.len(), 1, "a resurrected point");
    }

    #[test]
    fn an_unanswered_write_may_go_either_way_but_as_a_whole() {
        for present in [true, false] {
            let mut journal = Journal::default();
            journal.begin(&[(1, WRITE), (2, WRITE)]);
            let held = if present { vec![held(1, 1, 3), held(2, 1, 3)] } else { vec![] };
            let verdict = journal.check(&held);
            assert!(verdict.violations.is_empty(), "{verdict:?}");
            assert_eq!(verdict.happened + verdict.vanished, 2);
        }
        let mut journal = Journal::default();
        journal.begin(&[(1, WRITE), (2, WRITE)]);
        assert_eq!(journal.check(&[held(1, 1, 3)]).violations.len(), 1, "half a batch");
    }

    #[test]
    fn changed_content_and_falling_versions_are_seen() {
        let mut journal = Journal::default();
        journal.begin(&[(1, WRITE)]);
        journal.acknowledged(1, 9).unwrap();
        let mut wrong = held(1, 1, 9);
        wrong.vectors.insert(String::new(), wire::vector(&[0.0; DIMENSION]));
        assert!(!journal.check(&[wrong]).violations.is_empty());
        let mut journal = Journal::default();
        journal.begin(&[(1, WRITE)]);
        journal.acknowledged(1, 9).unwrap();
        assert_eq!(journal.check(&[held(1, 1, 8)]).violations.len(), 1);
        journal.begin(&[(1, WRITE)]);
        assert!(journal.acknowledged(1, 9).is_err());
    }
}
