//! How long to wait before the next try to register. Pure.
//!
//! go-livepeer's grow without limit and never start over (`server/ot_rpc.go`); ours
//! start over after each success, and stay short: an orchestrator that restarts, or
//! that accepts a new pool's credential, has its transcoders back at once.

use std::time::Duration;

/// The first wait: a restarted process is up within this or a few of them.
const FIRST: Duration = Duration::from_millis(100);
/// How it grows, in tenths.
const GROWTH_TENTHS: u32 = 15;
/// An orchestrator that cannot be reached costs nothing to try.
const UNREACHABLE_CAP: Duration = Duration::from_secs(1);
/// One that refuses us logs each try; a credential must work within 10 s.
const REFUSED_CAP: Duration = Duration::from_secs(5);

/// Why the last try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was registered, and the stream ended.
    Registered,
    /// It could not be reached.
    Unreachable,
    /// It answered no.
    Refused,
}

/// The waits of one transcoder.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The wait after a try that ended so; `jitter` is from 0 to 1.
    pub(crate) fn after(&mut self, ended: Ended, jitter: f64) -> Duration {
        let cap = match ended {
            Ended::Registered => {
                self.tries = 0;
                UNREACHABLE_CAP
            }
            Ended::Unreachable => UNREACHABLE_CAP,
            Ended::Refused => REFUSED_CAP,
        };
        let mut wait = FIRST;
        for _ in 0..self.tries {
            wait = wait * GROWTH_TENTHS / 10;
            if wait >= cap {
                break;
            }
        }
        self.tries = self.tries.saturating_add(1);
        // plus or minus a half, so that many transcoders do not come at once
        wait.min(cap).mul_f64(0.5 + jitter.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, Ended, FIRST, REFUSED_CAP, UNREACHABLE_CAP};

    #[test]
    fn waits_grow_to_their_cap_and_start_over_after_a_success() {
        let mut backoff = Backoff::default();
        let mut last = FIRST;
        assert_eq!(backoff.after(Ended::Unreachable, 0.5), FIRST);
        for _ in 0..50 {
            let wait = backoff.after(Ended::Unreachable, 0.5);
            assert!(wait >= last);
            last = wait;
        }
        assert_eq!(last, UNREACHABLE_CAP);
        assert_eq!(backoff.after(Ended::Refused, 0.5), REFUSED_CAP);
        assert_eq!(backoff.after(Ended::Registered, 0.5), FIRST);
    }

    #[test]
    fn jitter_is_half_either_way() {
        assert_eq!(Backoff::default().after(Ended::Refused, 0.0), FIRST / 2);
        assert_eq!(Backoff::default().after(Ended::Refused, 1.0), FIRST * 3 / 2);
    }
}
