//! The hash chain of receipts.

use std::collections::HashMap;

use super::Receipt;
use crate::error::{Result, StorageError};

/// A receipt of a run that has not ended.
pub(super) const RUNNING: &str = "running";

impl Receipt {
    /// Whether the run has ended: only then the receipt is part of the chain.
    pub fn is_final(&self) -> bool {
        self.state != RUNNING
    }

    /// BLAKE3 (hex) over the canonical JSON, which is that of the fields in the order of their definition with an
    /// empty `hash`.
    ///
    /// # Errors
    /// `Internal` if the receipt cannot be written as JSON.
    pub fn computed_hash(&self) -> Result<String> {
        let bare = Self { hash: String::new(), ..self.clone() };
        let json = serde_json::to_vec(&bare).map_err(|e| StorageError::Internal(e.to_string()))?;
        Ok(blake3::hash(&json).to_hex().to_string())
    }

    /// Links a final receipt behind the one whose hash is `head`.
    pub(super) fn link(&mut self, head: &str) -> Result<()> {
        head.clone_into(&mut self.previous_hash);
        self.hash = self.computed_hash()?;
        Ok(())
    }

    pub(super) fn check_hash(&self) -> Result<()> {
        if self.computed_hash()? == self.hash {
            return Ok(());
        }
        Err(broken(format!("receipt {} was changed after it was written", self.id)))
    }
}

fn broken(why: String) -> StorageError {
    StorageError::corrupt("chain of receipts", why)
}

/// Checks that the final receipts among these form one unbroken chain from the first on, whatever their order here,
/// and that none was changed. Running receipts are passed over.
///
/// # Errors
/// [`StorageError::Corrupt`] naming the receipt that does not fit.
pub fn verify_chain(receipts: &[Receipt]) -> Result<()> {
    chain_head(receipts).map(|_| ())
}

/// As [`verify_chain`]; the hash of the last receipt, empty for none.
pub(super) fn chain_head(receipts: &[Receipt]) -> Result<String> {
    let mut after = HashMap::new();
    let all: Vec<_> = receipts.iter().filter(|r| r.is_final()).collect();
    for receipt in &all {
        receipt.check_hash()?;
        if after.insert(receipt.previous_hash.as_str(), *receipt).is_some() {
            return Err(broken(format!("two receipts follow the same one, {} is one of them", receipt.id)));
        }
    }
    let mut head = "";
    while let Some(receipt) = after.remove(head) {
        head = &receipt.hash;
    }
    match after.values().next() {
        Some(lost) => Err(broken(format!("the receipt before {} is missing", lost.id))),
        None => Ok(head.to_owned()),
    }
}
