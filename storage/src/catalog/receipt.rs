//! The hash chain of receipts.

use std::collections::HashMap;

use super::Receipt;
use crate::error::{Result, StorageError};

impl Receipt {
    /// State of a purge that was accepted and not yet ended.
    pub const RUNNING: &str = "running";
    /// State of a purge whose last attempt failed; another may complete it.
    pub const FAILED: &str = "failed";
    /// State of a purge whose bytes are gone.
    pub const COMPLETE: &str = "complete";

    /// Whether the purge has done all it was asked for.
    pub fn is_complete(&self) -> bool {
        self.state == Self::COMPLETE
    }

    /// Whether the receipt is part of the chain and never changes again: a complete one, or a failed one that an early
    /// build has linked.
    pub fn is_final(&self) -> bool {
        self.is_complete() || !self.hash.is_empty()
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
/// and that none was changed. Others are passed over.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::conformance::receipt;

    #[test]
    fn a_failed_receipt_that_an_early_build_linked_stays_in_the_chain() {
        let mut linked = receipt(1, 1, Receipt::FAILED);
        linked.link("").unwrap();
        let mut next = receipt(1, 2, Receipt::COMPLETE);
        next.link(&linked.hash).unwrap();
        let failed = receipt(1, 3, Receipt::FAILED);
        assert!(linked.is_final() && next.is_final() && !failed.is_final());
        assert_eq!(chain_head(&[failed, next.clone(), linked]).unwrap(), next.hash);
        assert!(verify_chain(&[next]).is_err(), "the first is missing");
    }
}
