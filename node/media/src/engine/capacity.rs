//! How many sessions to advertise, and word of it when that changes. Pure.
//!
//! The self-test gives a speed; what segments really take corrects it downwards, and back.

use std::time::Duration;

use tokio::sync::watch;

/// Share of the measured speed that is advertised: the rest is for uneven segments, the node's
/// own work, and sources heavier than the self-test's.
const ADVERTISED_SHARE: f64 = 0.8;

/// Segments looked at before the number moves.
const WINDOW: u32 = 20;

/// Late segments in a window that lower the number by one.
const TOO_MANY_LATE: u32 = 4;

/// Sessions to advertise.
#[derive(Debug)]
pub(super) struct Capacity {
    /// What the self-test or the setting says; never exceeded.
    most: usize,
    now: watch::Sender<usize>,
    /// A setting is not corrected: a person decided.
    fixed: bool,
    seen: u32,
    late: u32,
}

impl Capacity {
    pub(super) fn fixed(sessions: usize) -> Self {
        Self {
            most: sessions,
            now: watch::Sender::new(sessions),
            fixed: true,
            seen: 0,
            late: 0,
        }
    }

    /// From how many times faster than real time one session runs alone.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounded down and clamped"
    )]
    pub(super) fn measured(speed: f64) -> Self {
        let sessions = ((speed * ADVERTISED_SHARE).floor() as usize).max(1);
        Self {
            fixed: false,
            ..Self::fixed(sessions)
        }
    }

    pub(super) fn sessions(&self) -> usize {
        *self.now.borrow()
    }

    /// Follows the number.
    pub(super) fn follow(&self) -> watch::Receiver<usize> {
        self.now.subscribe()
    }

    /// Looks at a finished segment: how long it plays, how long it took, how many ran with it.
    pub(super) fn record(&mut self, plays: Duration, took: Duration, running: usize) {
        // A burst beyond what was advertised says nothing about what was.
        let now = self.sessions();
        if self.fixed || plays.is_zero() || running > now {
            return;
        }
        self.seen += 1;
        self.late += u32::from(took > plays);
        if self.late >= TOO_MANY_LATE {
            self.set((now - 1).max(1));
        } else if self.seen >= WINDOW {
            if self.late == 0 {
                self.set((now + 1).min(self.most));
            }
        } else {
            return;
        }
        (self.seen, self.late) = (0, 0);
    }

    fn set(&self, sessions: usize) {
        self.now
            .send_if_modified(|now| std::mem::replace(now, sessions) != sessions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: Duration = Duration::from_secs(2);

    #[test]
    fn four_fifths_of_the_speed_are_advertised_and_never_none() {
        assert_eq!(Capacity::measured(10.0).sessions(), 8);
        assert_eq!(Capacity::measured(0.3).sessions(), 1);
    }

    #[test]
    fn late_segments_lower_it_and_a_clean_window_raises_it_again() {
        let mut capacity = Capacity::measured(5.0);
        let followed = capacity.follow();
        for _ in 0..TOO_MANY_LATE {
            capacity.record(SEGMENT, SEGMENT * 2, 1);
        }
        assert_eq!(capacity.sessions(), 3);
        assert!(followed.has_changed().unwrap());
        for _ in 0..WINDOW * 3 {
            capacity.record(SEGMENT, SEGMENT / 2, 1);
        }
        assert_eq!(capacity.sessions(), 4);
    }

    #[test]
    fn a_setting_is_not_corrected() {
        let mut capacity = Capacity::fixed(2);
        for _ in 0..100 {
            capacity.record(SEGMENT, SEGMENT * 2, 1);
        }
        assert_eq!(capacity.sessions(), 2);
    }
}
