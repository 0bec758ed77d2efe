//! From start to stop: the phases of a process and the two tokens that end it.
//!
//! SIGTERM: not ready at once, go on accepting for the lame-duck time (endpoints lag
//! behind), then drain until sessions end or the deadline passes, then stop. A second
//! signal stops at once.

use std::time::Duration;

use livepeer_settings::Drain;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What a process is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Not every component is up yet.
    Starting,
    Serving,
    /// Told to stop: not ready, still taking everything.
    LameDuck,
    /// Takes no new sessions; finishes those it has.
    Draining,
    /// Out of time: what still runs is cut off.
    Stopped,
}

/// Handle on the phases; cheap to clone.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    phase: watch::Sender<Phase>,
    draining: CancellationToken,
    stop: CancellationToken,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Starting),
            draining: CancellationToken::new(),
            stop: CancellationToken::new(),
        }
    }
}

impl Lifecycle {
    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Follows the phase.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Cancelled when no new session may begin.
    #[must_use]
    pub fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }

    /// Cancelled when everything must end now.
    #[must_use]
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Every component has started; has no effect once stopping.
    pub fn serving(&self) {
        self.advance(Phase::Serving);
    }

    /// Ends at once: a role failed, or ended by itself.
    pub fn stop_now(&self) {
        self.advance(Phase::Stopped);
        self.draining.cancel();
        self.stop.cancel();
    }

    /// Phases only go forward.
    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let forward = to > *phase;
            if forward {
                *phase = to;
            }
            forward
        });
    }

    /// Goes through the stopping phases. Returns when time is up; the caller stops
    /// waiting earlier when all roles have returned.
    pub async fn wind_down(&self, drain: &Drain) {
        self.advance(Phase::LameDuck);
        tokio::select! {
            () = tokio::time::sleep(drain.lame_duck) => {}
            () = self.stop.cancelled() => return,
        }
        self.advance(Phase::Draining);
        self.draining.cancel();
        tokio::select! {
            () = tokio::time::sleep(drain.deadline) => {}
            () = self.stop.cancelled() => return,
        }
        self.stop_now();
    }
}

/// SIGTERM and SIGINT as one stream of requests to stop.
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Starts listening; from now on the signals no longer kill the process.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one and gives its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// How long roles may take to return once everything is cancelled: they only close
/// sockets and flush. Past it the process ends without them.
pub const LAST_GRACE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Lifecycle, Phase};
    use livepeer_settings::Drain;

    #[tokio::test(start_paused = true)]
    async fn sigterm_goes_through_lame_duck_and_drain_to_the_deadline() {
        let lifecycle = Lifecycle::default();
        lifecycle.serving();
        let drain = Drain {
            lame_duck: Duration::from_secs(5),
            deadline: Duration::from_secs(60),
        };
        let winding = lifecycle.wind_down(&drain);
        tokio::pin!(winding);
        let step = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
        tokio::select! { () = &mut winding => unreachable!("too early"), () = step(4) => {} }
        assert_eq!(lifecycle.phase(), Phase::LameDuck);
        assert!(!lifecycle.draining().is_cancelled());
        tokio::select! { () = &mut winding => unreachable!("too early"), () = step(2) => {} }
        assert_eq!(lifecycle.phase(), Phase::Draining);
        assert!(!lifecycle.stop().is_cancelled());
        winding.await;
        assert_eq!(lifecycle.phase(), Phase::Stopped);
        assert!(lifecycle.stop().is_cancelled());
    }

    #[tokio::test]
    async fn phases_never_go_back() {
        let lifecycle = Lifecycle::default();
        lifecycle.stop_now();
        lifecycle.serving();
        assert_eq!(lifecycle.phase(), Phase::Stopped);
    }
}
