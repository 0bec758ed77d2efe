//! Pools that left their orchestrator a moment ago: deleted, or moved to another.
//!
//! Their transcoders are told to stop and still have segments; results that came with a
//! revoked credential would be refused, and the segments lost. So the credential stays
//! good for [`GRACE`], and is revoked well within the 10 s that are promised.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::credential::PoolIdentity;

/// Twice the time of a live segment, and its way back; the kubelet and the node take
/// about a second more to act on the revocation.
pub const GRACE: Duration = Duration::from_secs(6);
/// Pools that are remembered; beyond it the oldest is revoked early.
const MAX_DEPARTED: usize = 4096;

#[derive(Debug)]
struct Entry {
    namespace: String,
    orchestrator: String,
    pool: PoolIdentity,
    ends: Instant,
}

/// The pools of a scope that left.
#[derive(Debug, Default)]
pub struct Departed(Mutex<Vec<Entry>>);

impl Departed {
    pub fn add(&self, namespace: &str, orchestrator: &str, pool: PoolIdentity, now: Instant) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| entry.ends > now);
        if entries.len() >= MAX_DEPARTED {
            entries.remove(0);
        }
        entries.push(Entry {
            namespace: namespace.to_owned(),
            orchestrator: orchestrator.to_owned(),
            pool,
            ends: now + GRACE,
        });
    }

    /// Those whose credentials an orchestrator still takes, and until when.
    pub fn of(
        &self,
        namespace: &str,
        orchestrator: &str,
        now: Instant,
    ) -> Vec<(PoolIdentity, Instant)> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .iter()
            .filter(|entry| entry.ends > now)
            .filter(|entry| entry.namespace == namespace && entry.orchestrator == orchestrator)
            .map(|entry| (entry.pool.clone(), entry.ends))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Departed, GRACE};
    use crate::credential::PoolIdentity;
    use tokio::time::Instant;

    #[test]
    fn a_pool_that_left_is_taken_a_moment_longer_by_its_orchestrator_alone() {
        let pool = PoolIdentity {
            name: "a".into(),
            uid: "u".into(),
            epoch: "0".into(),
        };
        let departed = Departed::default();
        let now = Instant::now();
        departed.add("ns", "o", pool.clone(), now);
        assert_eq!(departed.of("ns", "o", now), [(pool, now + GRACE)]);
        assert_eq!(departed.of("ns", "p", now), []);
        assert_eq!(departed.of("ns2", "o", now), []);
        assert_eq!(departed.of("ns", "o", now + GRACE), []);
    }
}
