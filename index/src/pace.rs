//! Work that ends soon after nobody waits for it any more.

use std::cell::Cell;

/// Work between two looks, about a nanosecond each: a look costs far less.
const BETWEEN_LOOKS: usize = 1 << 18;

/// Looks now and then, after so much work and not after so many rows, at whether it is late: one row may cost more than a
/// million others.
pub struct Pace<'a> {
    is_late: &'a dyn Fn() -> bool,
    /// Work until the next look.
    left: Cell<usize>,
    late: Cell<bool>,
}

static NEVER: fn() -> bool = || false;

impl<'a> Pace<'a> {
    /// Asks `is_late`, at first at once.
    pub fn new(is_late: &'a dyn Fn() -> bool) -> Self {
        Self { is_late, left: Cell::new(0), late: Cell::new(false) }
    }

    /// Never late.
    pub fn endless() -> Pace<'static> {
        Pace::new(&NEVER)
    }

    /// Whether to begin `work`, in nanoseconds or so. Once it says no it always does, and what was computed since is of no
    /// meaning.
    #[inline]
    pub fn go_on(&self, work: usize) -> bool {
        let left = self.left.get();
        if work < left {
            self.left.set(left - work);
            return true;
        }
        self.look()
    }

    /// As [`Pace::go_on`], and looks at once.
    pub fn look(&self) -> bool {
        if !self.late.get() {
            self.late.set((self.is_late)());
        }
        // Without anything left every question comes back here.
        self.left.set(if self.late.get() { 0 } else { BETWEEN_LOOKS });
        !self.late.get()
    }

    /// Whether it said no.
    pub fn is_late(&self) -> bool {
        self.late.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_by_work_done_and_stays_late() {
        let looks = Cell::new(0);
        let late = Cell::new(false);
        let is_late = || {
            looks.set(looks.get() + 1);
            late.get()
        };
        let pace = Pace::new(&is_late);
        assert!(pace.go_on(1) && looks.get() == 1, "the first look is at once");
        for _ in 0..BETWEEN_LOOKS - 1 {
            assert!(pace.go_on(1));
        }
        assert_eq!(looks.get(), 1);
        assert!(pace.go_on(1) && looks.get() == 2);
        assert!(pace.go_on(usize::MAX) && looks.get() == 3, "so much is not begun without a look");
        late.set(true);
        assert!(pace.go_on(1) && !pace.is_late());
        assert!(!pace.look() && pace.is_late());
        late.set(false);
        assert!(!pace.go_on(0) && !pace.look());
        assert!(Pace::endless().go_on(usize::MAX));
    }
}
