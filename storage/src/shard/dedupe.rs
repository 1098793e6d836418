//! Writes that a client may repeat: which idempotency keys were applied, and with what content.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::log::Offset;
use crate::manifest::DedupeEntry;
use crate::op::Idempotency;

/// Keys are kept at least this long.
const WINDOW_MS: i64 = 15 * 60 * 1000;
/// Keys kept at most; the oldest go first.
const MAX_ENTRIES: usize = 100_000;

/// What is known of an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Never seen, or forgotten.
    New,
    /// The same content was applied.
    Repeat {
        /// Where.
        offset: Offset,
        /// Points that it left as they were, since their payload would have passed a limit.
        too_large: u64,
    },
    /// Other content was applied under the key.
    Mismatch,
}

/// The table; entries stay in the order of their offsets.
#[derive(Default)]
pub(super) struct Dedupe {
    by_key: HashMap<[u8; 16], DedupeEntry>,
    order: VecDeque<[u8; 16]>,
    /// Time of the newest write: the window ends here, not at the clock, so that a replay decides the same.
    newest: i64,
}

impl Dedupe {
    /// The table as a manifest kept it.
    pub fn restore(entries: &[DedupeEntry]) -> Self {
        let mut table = Self::default();
        for entry in entries {
            table.insert(*entry);
        }
        table
    }

    /// What is known of this write.
    pub fn check(&self, write: &Idempotency) -> Seen {
        match self.by_key.get(&write.key).filter(|entry| self.is_recent(entry)) {
            None => Seen::New,
            Some(entry) if entry.content == write.content => {
                Seen::Repeat { offset: entry.offset, too_large: entry.too_large }
            }
            Some(_) => Seen::Mismatch,
        }
    }

    /// Remembers that this write was applied at `offset`.
    pub fn note(&mut self, write: &Idempotency, offset: Offset) {
        let Idempotency { key, content, at } = *write;
        self.insert(DedupeEntry { key, content, at, offset, too_large: 0 });
    }

    /// Remembers how many points a write that was noted left as they were.
    pub fn note_too_large(&mut self, write: &Idempotency, too_large: u64) {
        if let Some(entry) = self.by_key.get_mut(&write.key) {
            entry.too_large = too_large;
        }
    }

    /// Entries to keep in the manifest of `checkpoint`: those applied up to it and still inside the window.
    pub fn entries(&self, checkpoint: Offset) -> Vec<DedupeEntry> {
        let kept = self.order.iter().filter_map(|k| self.by_key.get(k));
        kept.filter(|e| e.offset <= checkpoint && self.is_recent(e)).copied().collect()
    }

    /// Whether an entry counts: the manifest keeps no others, so no other may decide anything before a restart either.
    fn is_recent(&self, entry: &DedupeEntry) -> bool {
        entry.at >= self.newest.saturating_sub(WINDOW_MS)
    }

    fn insert(&mut self, entry: DedupeEntry) {
        self.newest = self.newest.max(entry.at);
        if self.by_key.insert(entry.key, entry).is_none() {
            self.order.push_back(entry.key);
        }
        while self.order.front().is_some_and(|oldest| self.is_surplus(oldest)) {
            if let Some(oldest) = self.order.pop_front() {
                self.by_key.remove(&oldest);
            }
        }
    }

    fn is_surplus(&self, key: &[u8; 16]) -> bool {
        self.order.len() > MAX_ENTRIES || self.by_key.get(key).is_none_or(|entry| !self.is_recent(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(key: u8, content: u8, at: i64) -> Idempotency {
        Idempotency { key: [key; 16], content: [content; 8], at }
    }

    fn repeat(offset: Offset, too_large: u64) -> Seen {
        Seen::Repeat { offset, too_large }
    }

    #[test]
    fn a_repeat_is_told_from_other_content() {
        let mut table = Dedupe::default();
        assert_eq!(table.check(&write(1, 1, 0)), Seen::New);
        table.note(&write(1, 1, 0), 7);
        assert_eq!(table.check(&write(1, 1, 5)), repeat(7, 0));
        assert_eq!(table.check(&write(1, 2, 5)), Seen::Mismatch);
    }

    #[test]
    fn what_the_manifest_would_forget_is_forgotten_at_once() {
        let mut live = Dedupe::default();
        live.note(&write(1, 1, 0), 1);
        live.note(&write(2, 1, WINDOW_MS + 1), 2);
        let restored = Dedupe::restore(&live.entries(2));
        for key in [1, 2] {
            assert_eq!(live.check(&write(key, 1, 0)), restored.check(&write(key, 1, 0)), "key {key}");
        }
        assert_eq!(live.check(&write(1, 9, 0)), Seen::New);
    }

    #[test]
    fn the_manifest_gets_only_what_its_checkpoint_covers_and_the_window_holds() {
        let mut table = Dedupe::default();
        table.note(&write(1, 1, 0), 1);
        table.note(&write(2, 1, WINDOW_MS + 1), 2);
        table.note(&write(3, 1, WINDOW_MS + 2), 3);
        let offsets: Vec<_> = table.entries(2).iter().map(|e| e.offset).collect();
        assert_eq!(offsets, [2]);
        assert_eq!(Dedupe::restore(&table.entries(3)).check(&write(3, 1, 0)), repeat(3, 0));
    }

    #[test]
    fn what_was_refused_is_told_again_also_from_the_manifest() {
        let mut table = Dedupe::default();
        for key in 1..=2 {
            table.note(&write(key, 1, 0), u64::from(key));
        }
        table.note_too_large(&write(2, 1, 0), 5);
        for table in [&table, &Dedupe::restore(&table.entries(2))] {
            assert_eq!(table.check(&write(1, 1, 9)), repeat(1, 0));
            assert_eq!(table.check(&write(2, 1, 9)), repeat(2, 5));
        }
    }
}
