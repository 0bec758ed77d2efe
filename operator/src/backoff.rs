//! How long to wait after failed reconciles: exponential, a count per object, with
//! jitter so that a thousand objects that failed together do not return together.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::names::Component;

/// After the first failure: most are write conflicts, gone at once.
const FIRST: Duration = Duration::from_millis(500);
/// At most: an API server that was away an hour is not hammered, and found within a minute.
const LONGEST: Duration = Duration::from_secs(60);

/// One resource.
pub type Key = (Component, String, String);

/// Failures in a row, of every object that has any.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: Mutex<HashMap<Key, u32>>,
}

impl Backoff {
    /// Counts a failure and says how long to wait. `jitter` is from 0 to 1.
    pub fn failed(&self, key: Key, jitter: f64) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(key).or_insert(0);
        let wait = delay(*count, jitter);
        *count = count.saturating_add(1);
        wait
    }

    /// The object was reconciled.
    pub fn succeeded(&self, key: &Key) {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
    }
}

/// Doubles with each failure; the jitter takes away up to half.
#[must_use]
pub fn delay(failures: u32, jitter: f64) -> Duration {
    // 2^7 × 500 ms is over the longest already
    let full = FIRST.saturating_mul(1 << failures.min(7)).min(LONGEST);
    full.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::{Backoff, LONGEST, delay};
    use crate::names::Component;
    use std::time::Duration;

    #[test]
    fn waits_double_up_to_a_minute_and_jitter_takes_at_most_half() {
        assert_eq!(delay(0, 0.0), Duration::from_millis(500));
        assert_eq!(delay(1, 0.0), Duration::from_secs(1));
        assert_eq!(delay(1, 1.0), Duration::from_millis(500));
        assert_eq!(delay(u32::MAX, 0.0), LONGEST);
    }

    #[test]
    fn success_starts_anew_and_objects_do_not_share_failures() {
        let backoff = Backoff::default();
        let key = |name: &str| (Component::Pool, "ns".to_owned(), name.to_owned());
        backoff.failed(key("a"), 0.0);
        assert_eq!(backoff.failed(key("a"), 0.0), Duration::from_secs(1));
        assert_eq!(backoff.failed(key("b"), 0.0), Duration::from_millis(500));
        backoff.succeeded(&key("a"));
        assert_eq!(backoff.failed(key("a"), 0.0), Duration::from_millis(500));
    }
}
