//! Which ordinals a search may return.

use roaring::RoaringBitmap;

/// Which ordinals a search may return. Ordinals outside the index are ignored.
#[derive(Clone, Copy, Debug)]
pub enum Mask<'a> {
    /// Every ordinal.
    All,
    /// Only these.
    Allow(&'a RoaringBitmap),
    /// All but these.
    Deny(&'a RoaringBitmap),
}

impl Mask<'_> {
    /// Whether `ordinal` may be returned.
    pub fn allows(&self, ordinal: u32) -> bool {
        match self {
            Mask::All => true,
            Mask::Allow(set) => set.contains(ordinal),
            Mask::Deny(set) => !set.contains(ordinal),
        }
    }
}
