//! A warning that would be said of each segment: once, and then how often it was so. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// How often it is said that something still is so: there is a segment every few seconds,
/// and each may try a few times.
const TOLD: Duration = Duration::from_secs(60);

/// How often something has happened, and when that was told last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    count: u32,
    told: Option<Instant>,
}

impl Tally {
    /// It has happened once more. When it is time to say so: how often that was.
    pub(super) fn add(&mut self, now: Instant) -> Option<u32> {
        self.count = self.count.saturating_add(1);
        let lately = |told| now.saturating_duration_since(told) < TOLD;
        if self.told.is_some_and(lately) {
            return None;
        }
        self.told = Some(now);
        Some(self.count)
    }

    /// It is so no more: how often it was, if at all.
    pub(super) fn end(&mut self) -> Option<u32> {
        let ended = std::mem::take(self);
        (ended.count > 0).then_some(ended.count)
    }
}

#[cfg(test)]
mod tests {
    use super::{TOLD, Tally};
    use tokio::time::Instant;

    #[test]
    fn it_is_told_at_once_and_then_counted_for_a_while() {
        let mut tally = Tally::default();
        let now = Instant::now();
        assert_eq!(tally.end(), None);
        assert_eq!(tally.add(now), Some(1));
        assert_eq!(tally.add(now), None);
        assert_eq!(tally.add(now + TOLD), Some(3));
        assert_eq!(tally.add(now + TOLD), None);
        assert_eq!(tally.end(), Some(4));
        assert_eq!(tally.add(now + TOLD), Some(1));
    }
}
