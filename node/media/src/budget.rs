//! The byte budget: how many bytes of segments and renditions a process holds at once.
//!
//! Bytes are taken from the budget before they are read, and given back when the last
//! reference to the buffer is dropped: [`Held::seal`] ties the two together, so that
//! nothing can be forgotten and nothing is counted twice. Beyond the limit `take`
//! refuses and the caller answers 503; nobody waits, since a wait would hold the peer's
//! connection and its socket buffers instead.
//!
//! A role has one for the segments that it takes and gives, its engine one for the memory
//! files of its jobs ([`crate::EngineConfig::files`]).
//!
//! Not here: how the bytes are read, and which of them may be thrown away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// A process's budget; clones share it.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: u64,
    used: AtomicU64,
    refused: AtomicU64,
    /// How often a part had spent its own limit.
    parts_refused: AtomicU64,
    /// What this is a part of: its bytes count there as well.
    whole: Option<Budget>,
}

impl Budget {
    /// A budget of `limit` bytes, none of them used.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self::within(None, limit)
    }

    /// A budget whose bytes come out of this one, and are at most `limit`: what it cannot
    /// take is left to others.
    #[must_use]
    pub fn part(&self, limit: u64) -> Self {
        Self::within(Some(self.clone()), limit)
    }

    fn within(whole: Option<Self>, limit: u64) -> Self {
        Self(Arc::new(Inner {
            limit,
            used: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            parts_refused: AtomicU64::new(0),
            whole,
        }))
    }

    /// Takes `bytes`, or refuses and counts the refusal.
    #[must_use]
    pub fn take(&self, bytes: u64) -> Option<Held> {
        let mut held = Held {
            budget: self.clone(),
            bytes: 0,
        };
        held.grow(bytes).then_some(held)
    }

    /// Bytes in use now.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Most bytes in use at once.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    /// How often something was refused for want of budget.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// How often a part of this one refused something that would have been more than its
    /// own limit.
    #[must_use]
    pub fn parts_refused(&self) -> u64 {
        self.0.parts_refused.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: u64) -> bool {
        let limit = self.0.limit;
        let add = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        let fits = self
            .0
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .is_ok();
        let added = fits && self.0.whole.as_ref().is_none_or(|whole| whole.add(bytes));
        if fits && !added {
            self.0.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        if let (false, Some(whole)) = (fits, &self.0.whole) {
            whole.0.parts_refused.fetch_add(1, Ordering::Relaxed);
        }
        if !added {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
        }
        added
    }

    fn give_back(&self, bytes: u64) {
        self.0.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.0.whole {
            whole.give_back(bytes);
        }
    }
}

/// Bytes taken from a budget; dropping it gives them back.
#[derive(Debug)]
pub struct Held {
    budget: Budget,
    bytes: u64,
}

impl Held {
    /// How many bytes are held.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes `more` bytes; when that is refused, what was held stays held.
    #[must_use]
    pub fn grow(&mut self, more: u64) -> bool {
        let grown = self.budget.add(more);
        if grown {
            self.bytes += more;
        }
        grown
    }

    /// Gives back all but `bytes`; has no effect when fewer are held.
    pub fn shrink_to(&mut self, bytes: u64) {
        let surplus = self.bytes.saturating_sub(bytes);
        self.budget.give_back(surplus);
        self.bytes -= surplus;
    }

    /// Hands `bytes` of these over to another holder, or all when fewer are held.
    #[must_use]
    pub fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self {
            budget: self.budget.clone(),
            bytes,
        }
    }

    /// Makes `data` one immutable counted buffer that holds its share of the budget
    /// until its last clone is dropped. No byte is copied.
    #[must_use]
    pub fn seal(mut self, data: Vec<u8>) -> Bytes {
        self.shrink_to(data.capacity() as u64);
        Bytes::from_owner(Sealed { data, _held: self })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

/// The owner behind a sealed buffer.
struct Sealed {
    data: Vec<u8>,
    _held: Held,
}

impl AsRef<[u8]> for Sealed {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;

    #[test]
    fn what_does_not_fit_is_refused_and_counted() {
        let budget = Budget::new(10);
        let first = budget.take(6).unwrap();
        assert!(budget.take(5).is_none());
        assert_eq!((budget.used(), budget.refused()), (6, 1));
        drop(first);
        assert!(budget.take(10).is_some());
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_part_leaves_the_rest_to_others_and_is_counted_in_the_whole() {
        let whole = Budget::new(10);
        let part = whole.part(6);
        assert!(part.take(7).is_none());
        let held = part.take(6).unwrap();
        let rest = whole.take(4).unwrap();
        assert_eq!((part.used(), whole.used()), (6, 10));
        drop(held);
        let other = whole.take(3).unwrap();
        assert!(part.take(4).is_none(), "the whole is spent");
        assert_eq!(whole.parts_refused(), 1, "once by the part itself");
        assert_eq!(part.used(), 0);
        drop((rest, other));
        assert_eq!(whole.used(), 0);
    }

    #[test]
    fn a_holder_grows_within_the_limit_only() {
        let budget = Budget::new(10);
        let mut held = budget.take(4).unwrap();
        assert!(held.grow(6));
        assert!(!held.grow(1) && !held.grow(u64::MAX));
        assert_eq!(held.bytes(), 10);
        held.shrink_to(3);
        assert_eq!(budget.used(), 3);
    }

    #[test]
    fn what_is_handed_over_is_given_back_by_the_other_holder() {
        let budget = Budget::new(10);
        let mut held = budget.take(10).unwrap();
        let part = held.split(4);
        drop(held);
        assert_eq!((part.bytes(), budget.used()), (4, 4));
        drop(part);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_sealed_buffer_is_counted_until_its_last_clone_is_gone() {
        let budget = Budget::new(100);
        let held = budget.take(50).unwrap();
        let data = held.seal(Vec::from([7; 20]));
        assert_eq!(budget.used(), 20, "what was taken too much is back");
        let part = data.slice(5..6);
        drop(data);
        assert_eq!(budget.used(), 20);
        drop(part);
        assert_eq!(budget.used(), 0);
    }
}
