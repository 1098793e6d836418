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
    /// The same content was applied at this offset.
    Repeat(Offset),
    /// Other content was applied under the key.
    Mismatch,
}

/// The table; entries stay in the order of their offsets.
#[derive(Default)]
pub(super) struct Dedupe {
    by_key: HashMap<[u8; 16], DedupeEntry>,
    order: VecDeque<[u8; 16]>,
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
        match self.by_key.get(&write.key) {
            None => Seen::New,
            Some(entry) if entry.content == write.content => Seen::Repeat(entry.offset),
            Some(_) => Seen::Mismatch,
        }
    }

    /// Remembers that this write was applied at `offset`.
    pub fn note(&mut self, write: &Idempotency, offset: Offset) {
        self.insert(DedupeEntry { key: write.key, content: write.content, at: write.at, offset });
    }

    /// Entries to keep in the manifest of `checkpoint`: those applied up to it and still inside the window.
    pub fn entries(&self, checkpoint: Offset) -> Vec<DedupeEntry> {
        let newest = self.by_key.values().map(|e| e.at).max().unwrap_or(0);
        let kept = self.order.iter().filter_map(|k| self.by_key.get(k));
        kept.filter(|e| e.offset <= checkpoint && e.at >= newest.saturating_sub(WINDOW_MS)).copied().collect()
    }

    fn insert(&mut self, entry: DedupeEntry) {
        if self.by_key.insert(entry.key, entry).is_none() {
            self.order.push_back(entry.key);
        }
        while self.order.len() > MAX_ENTRIES {
            if let Some(oldest) = self.order.pop_front() {
                self.by_key.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(key: u8, content: u8, at: i64) -> Idempotency {
        Idempotency { key: [key; 16], content: [content; 8], at }
    }

    #[test]
    fn a_repeat_is_told_from_other_content() {
        let mut table = Dedupe::default();
        assert_eq!(table.check(&write(1, 1, 0)), Seen::New);
        table.note(&write(1, 1, 0), 7);
        assert_eq!(table.check(&write(1, 1, 5)), Seen::Repeat(7));
        assert_eq!(table.check(&write(1, 2, 5)), Seen::Mismatch);
    }

    #[test]
    fn the_manifest_gets_only_what_its_checkpoint_covers_and_the_window_holds() {
        let mut table = Dedupe::default();
        table.note(&write(1, 1, 0), 1);
        table.note(&write(2, 1, WINDOW_MS + 1), 2);
        table.note(&write(3, 1, WINDOW_MS + 2), 3);
        let offsets: Vec<_> = table.entries(2).iter().map(|e| e.offset).collect();
        assert_eq!(offsets, [2]);
        assert_eq!(Dedupe::restore(&table.entries(3)).check(&write(3, 1, 0)), Seen::Repeat(3));
    }
}
