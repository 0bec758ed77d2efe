//! How an orchestrator stands by its last answer. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::client::{DESERTED, DRAINING, InfoError, Load};

/// What the last answer said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    NotAsked,
    /// `latency` is how long that took.
    Answers {
        latency: Duration,
        room: Room,
    },
    Down {
        reason: String,
        since: Instant,
    },
}

/// What one that answers has for a new stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Open,
    /// It works, for those who have a session; there are no more to be had.
    Full(Option<Load>),
    /// It works, for those who have a session, until they are done.
    Draining,
    /// Nobody transcodes for it: who has a session there may wait for a transcoder to come
    /// back, and nobody should count on it.
    Deserted,
}

impl Standing {
    /// Of one that was asked just now; `latency` is how long it took to answer.
    pub(super) fn of(
        answer: Result<Option<Load>, &InfoError>,
        latency: Duration,
        asked: Instant,
    ) -> Self {
        let room = match answer {
            Ok(Some(load)) | Err(&InfoError::Capped(Some(load))) if load.is_deserted() => {
                Room::Deserted
            }
            Ok(_) => Room::Open,
            Err(&InfoError::Capped(load)) => Room::Full(load),
            Err(InfoError::Draining) => Room::Draining,
            Err(error) => {
                let reason = error.to_string();
                return Self::Down {
                    reason,
                    since: asked,
                };
            }
        };
        Self::Answers { latency, room }
    }

    /// `None` when it does not answer, or was not asked yet.
    pub(super) fn room(&self) -> Option<Room> {
        match self {
            Self::Answers { room, .. } => Some(*room),
            Self::NotAsked | Self::Down { .. } => None,
        }
    }

    /// Why it cannot be used; `None` when it can, or was not asked yet.
    pub(super) fn trouble(&self) -> Option<&str> {
        match self {
            Self::NotAsked => None,
            Self::Answers { room, .. } => match room {
                Room::Open | Room::Full(_) => None,
                Room::Draining => Some(DRAINING),
                Room::Deserted => Some(DESERTED),
            },
            Self::Down { reason, .. } => Some(reason),
        }
    }

    /// It may be another in a moment. One that drains is not: it may for minutes.
    pub(super) fn is_passing(&self) -> bool {
        self.trouble().is_some() && self.room() != Some(Room::Draining)
    }
}
