//! Wrong credentials. Each is counted; the log, which whoever reaches the port could fill,
//! tells of one in a while, and of how many it did not tell.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Several that try again and again are all told sooner or later.
const TELL_EVERY: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Told {
    last: Option<Instant>,
    untold: u64,
}

impl Told {
    /// One more; if it is to be told, how many since the last one were not.
    fn note(&mut self, now: Instant) -> Option<u64> {
        if self
            .last
            .is_some_and(|last| now.duration_since(last) < TELL_EVERY)
        {
            self.untold += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

/// What was told of them.
#[derive(Default)]
pub(super) struct Refusals(Mutex<Told>);

impl Refusals {
    /// `what` came from `address` with a credential that is nobody's.
    pub(super) fn tell(&self, what: &str, address: Option<&str>) {
        let untold = {
            let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            told.note(Instant::now())
        };
        if let Some(untold) = untold {
            tracing::warn!(what, address, untold, "wrong credential refused");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{TELL_EVERY, Told};
    use tokio::time::Instant;

    #[test]
    fn one_in_a_while_is_told_and_says_how_many_were_not() {
        let (mut told, now) = (Told::default(), Instant::now());
        assert_eq!(told.note(now), Some(0));
        for _ in 0..3 {
            assert_eq!(told.note(now + TELL_EVERY / 2), None);
        }
        assert_eq!(told.note(now + TELL_EVERY), Some(3));
        assert_eq!(told.note(now + TELL_EVERY * 3 / 2), None);
        assert_eq!(told.note(now + TELL_EVERY * 2), Some(1));
    }
}
