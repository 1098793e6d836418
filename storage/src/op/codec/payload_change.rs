//! Bytes of a [`PayloadChange`]: a tag and what the change names. A tag says also which limits held when it was decided.

use super::{Reader, Writer};
use crate::error::Result;
use crate::op::PayloadChange;

const MERGE: u8 = 1;
const OVERWRITE: u8 = 2;
const DELETE_KEYS: u8 = 3;
const CLEAR: u8 = 4;
const MERGE_AT: u8 = 5;
const HELD_MERGE: u8 = 6;
const HELD_MERGE_AT: u8 = 7;
const TEXT_DELETE_KEYS: u8 = 8;

impl Writer {
    pub(super) fn change(&mut self, change: &PayloadChange, bytes_only: bool) {
        match change {
            PayloadChange::Merge(b) => {
                self.out.push(if bytes_only { MERGE } else { HELD_MERGE });
                self.bytes(b);
            }
            PayloadChange::MergeAt { path, update } => {
                self.out.push(if bytes_only { MERGE_AT } else { HELD_MERGE_AT });
                self.bytes(path.as_bytes());
                self.bytes(update);
            }
            PayloadChange::Overwrite(b) => {
                self.out.push(OVERWRITE);
                self.bytes(b);
            }
            PayloadChange::DeleteKeys(keys) => {
                self.out.push(if bytes_only { DELETE_KEYS } else { TEXT_DELETE_KEYS });
                self.varint(keys.len());
                for key in keys {
                    self.bytes(key.as_bytes());
                }
            }
            PayloadChange::Clear => self.out.push(CLEAR),
        }
    }
}

impl Reader<'_> {
    /// A change, and whether it is decided as servers did before version 4.
    pub(super) fn change(&mut self) -> Result<(PayloadChange, bool)> {
        let kind = self.u8()?;
        let change = match kind {
            MERGE | HELD_MERGE => PayloadChange::Merge(self.bytes()?),
            MERGE_AT | HELD_MERGE_AT => PayloadChange::MergeAt { path: self.text()?, update: self.bytes()? },
            OVERWRITE => PayloadChange::Overwrite(self.bytes()?),
            DELETE_KEYS | TEXT_DELETE_KEYS => {
                let count = self.count(1)?;
                let mut keys = Vec::with_capacity(count.min(64));
                for _ in 0..count {
                    keys.push(self.text()?);
                }
                PayloadChange::DeleteKeys(keys)
            }
            CLEAR => PayloadChange::Clear,
            _ => return Err(self.corrupt("unknown change of a payload")),
        };
        Ok((change, [MERGE, MERGE_AT, DELETE_KEYS].contains(&kind)))
    }
}
