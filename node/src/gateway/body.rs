//! Reads a pushed body into one buffer: within the byte budget, within a size, within
//! time, and hashed on the way.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use livepeer_proto::headers::MAX_SEGMENT_BYTES;
use sha3::{Digest, Keccak256};
use tokio::time::{Instant, timeout, timeout_at};

use crate::body::{Buffer, NoRoom, SEGMENT};
use livepeer_media::budget::Budget;

/// Longest pause between two pieces of a body.
const IDLE: Duration = Duration::from_secs(15);
/// Longest time for a body: the longest segment pushed while it is being recorded.
const WHOLE: Duration = Duration::from_secs(330);
/// What is read and thrown away of a refused body, so that a client that sends before
/// it reads still gets the answer.
const DISCARD: u64 = MAX_SEGMENT_BYTES + (16 << 20);
const DISCARD_TIME: Duration = Duration::from_secs(10);

/// A body in memory.
#[derive(Debug)]
pub(super) struct ReadBody {
    pub(super) data: Bytes,
    /// Keccak-256.
    pub(super) hash: [u8; 32],
}

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("input bigger than max buffer size")]
    TooLarge,
    #[error("no memory left for more segments")]
    Budget,
    #[error("body not sent in time")]
    Slow,
    #[error("body unreadable")]
    Broken(#[source] axum::Error),
}

impl From<NoRoom> for BodyError {
    fn from(error: NoRoom) -> Self {
        match error {
            NoRoom::TooLarge(_) => Self::TooLarge,
            NoRoom::OverBudget => Self::Budget,
        }
    }
}

/// Room for a body whose announced length is `length`, before any of it is asked for. One
/// for which there is not enough now is refused here; for the others it is taken as they
/// arrive, so that who announces much and sends nothing keeps nobody else out.
pub(super) fn room(length: Option<u64>, budget: &Budget) -> Result<Buffer, BodyError> {
    let buffer = Buffer::new(length, MAX_SEGMENT_BYTES, SEGMENT, budget)?;
    let rest = length.unwrap_or(0).saturating_sub(SEGMENT.trusted);
    let fits = budget.take(rest).ok_or(BodyError::Budget)?;
    drop(fits);
    Ok(buffer)
}

/// Reads `body` into its room.
pub(super) async fn read(body: &mut Body, mut room: Buffer) -> Result<ReadBody, BodyError> {
    let whole = Instant::now() + WHOLE;
    let mut hash = Keccak256::new();
    while let Some(piece) = next(body, whole).await? {
        room.push(&piece)?;
        hash.update(&piece);
    }
    Ok(ReadBody {
        data: room.seal(),
        hash: hash.finalize().into(),
    })
}

/// Lets a refused request's body go by.
pub(super) async fn discard(mut body: Body) {
    let by = Instant::now() + DISCARD_TIME;
    let mut left = DISCARD;
    while let Ok(Some(piece)) = next(&mut body, by).await {
        left = left.saturating_sub(piece.len() as u64);
        if left == 0 {
            return;
        }
    }
}

async fn next(body: &mut Body, whole: Instant) -> Result<Option<Bytes>, BodyError> {
    loop {
        let frame = timeout_at(whole, timeout(IDLE, body.frame()))
            .await
            .map_err(|_| BodyError::Slow)?
            .map_err(|_| BodyError::Slow)?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(BodyError::Broken(error)),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use bytes::Bytes;
    use livepeer_proto::credentials::keccak256;
    use livepeer_proto::headers::MAX_SEGMENT_BYTES;

    use super::{BodyError, read, room};
    use livepeer_media::budget::Budget;

    fn pieces(pieces: Vec<Bytes>) -> Body {
        let pieces = pieces.into_iter().map(Ok::<_, std::convert::Infallible>);
        Body::from_stream(futures::stream::iter(pieces))
    }

    #[tokio::test]
    async fn any_split_of_a_body_gives_the_same_bytes_and_hash() {
        let budget = Budget::new(10 << 20);
        let whole = vec![7_u8; 3 << 20];
        for size in [1 << 20, 1000, 3 << 20] {
            let mut body = pieces(whole.chunks(size).map(Bytes::copy_from_slice).collect());
            let room = room(None, &budget).unwrap();
            let got = read(&mut body, room).await.unwrap();
            assert_eq!(got.hash, keccak256(&whole));
            assert_eq!(got.data, whole);
        }
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn one_byte_too_many_is_refused_before_it_is_read() {
        let budget = Budget::new(u64::MAX);
        let refused = room(Some(MAX_SEGMENT_BYTES + 1), &budget);
        assert!(matches!(refused, Err(BodyError::TooLarge)));
        assert_eq!(
            refused.unwrap_err().to_string(),
            "input bigger than max buffer size"
        );
    }

    #[test]
    fn who_announces_much_and_sends_nothing_keeps_nobody_out() {
        let budget = Budget::new(MAX_SEGMENT_BYTES);
        let _silent = room(Some(MAX_SEGMENT_BYTES), &budget).unwrap();
        assert!(room(Some(MAX_SEGMENT_BYTES / 2), &budget).is_ok());
    }

    #[tokio::test]
    async fn a_body_beyond_the_budget_is_refused_announced_or_not() {
        let budget = Budget::new(2 << 20);
        let refused = room(Some(3 << 20), &budget);
        assert!(matches!(refused, Err(BodyError::Budget)));
        let mut unannounced = pieces(vec![Bytes::from(vec![0; 3 << 20])]);
        let refused = read(&mut unannounced, room(None, &budget).unwrap()).await;
        assert!(matches!(refused, Err(BodyError::Budget)));
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stops_sending_is_not_waited_for() {
        let budget = Budget::new(2 << 20);
        let mut body = Body::from_stream(futures::stream::pending::<Result<Bytes, axum::Error>>());
        let refused = read(&mut body, room(Some(1000), &budget).unwrap()).await;
        assert!(matches!(refused, Err(BodyError::Slow)));
    }
}
