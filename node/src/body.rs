//! Reads a body of bounded size into one counted buffer, hashing while it arrives.
//!
//! Bytes are taken from the role's budget as they arrive, and stay counted as long as
//! anybody holds the buffer: who announces much and sends nothing holds little, and not
//! for long.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use sha3::{Digest, Keccak256};
use tokio::time::timeout;

use livepeer_media::budget::{Budget, Held};

/// How a buffer comes to its size: so much at once on a peer's word alone, then twice as
/// much each time as has really arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    pub trusted: u64,
    /// The least after that.
    pub step: u64,
}

/// Of a segment: most live ones fit in what is trusted, and are read without a copy.
pub const SEGMENT: Growth = Growth {
    trusted: 2 << 20,
    step: 1 << 20,
};
/// Longest pause between two pieces of a body.
const IDLE: Duration = Duration::from_secs(15);

/// Why a buffer does not take more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    #[error("the body has more than {0} bytes")]
    TooLarge(u64),
    #[error("too many bytes in flight")]
    OverBudget,
}

/// Why a body was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    #[error("the body was not sent in time")]
    Slow,
    #[error("the body ended early: {0}")]
    Broken(String),
}

/// A whole body.
#[derive(Debug)]
pub struct Received {
    pub bytes: Bytes,
    /// Keccak-256 of `bytes`.
    pub hash: [u8; 32],
}

/// A buffer that grows within a limit and a budget: the one way in which bodies come into
/// memory. What it has taken from the budget is what its vector has, not what is in it.
#[derive(Debug)]
pub struct Buffer {
    data: Vec<u8>,
    held: Held,
    limit: u64,
    step: u64,
    /// What will come at most, by the peer's word.
    announced: u64,
}

impl Buffer {
    /// For `length` bytes, if the peer said how many, and at most `limit`.
    pub fn new(
        length: Option<u64>,
        limit: u64,
        Growth { trusted, step }: Growth,
        budget: &Budget,
    ) -> Result<Self, NoRoom> {
        let announced = length.unwrap_or(limit);
        if announced > limit {
            return Err(NoRoom::TooLarge(limit));
        }
        let first = length.unwrap_or(0).min(trusted);
        let held = budget.take(first).ok_or(NoRoom::OverBudget)?;
        Ok(Self {
            data: Vec::with_capacity(to_usize(first)),
            held,
            limit,
            step,
            announced,
        })
    }

    /// Adds bytes.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), NoRoom> {
        let total = (self.data.len() + chunk.len()) as u64;
        if total > self.limit {
            return Err(NoRoom::TooLarge(self.limit));
        }
        let held = self.held.bytes();
        if total > held {
            let doubled = (2 * held).max(self.step).min(self.announced);
            let grown = doubled.max(total);
            if !self.held.grow(grown - held) {
                return Err(NoRoom::OverBudget);
            }
            self.data.reserve_exact(to_usize(grown) - self.data.len());
        }
        self.data.extend_from_slice(chunk);
        Ok(())
    }

    /// How many bytes have been added.
    #[must_use]
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether none has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The bytes, counted as long as anybody holds them.
    #[must_use]
    pub fn seal(self) -> Bytes {
        self.held.seal(self.data)
    }
}

/// Bodies are far smaller than the address space.
fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Reads `chunks`, of `length` bytes if the peer said so, at most `limit`.
pub async fn read<E: std::fmt::Display>(
    chunks: impl Stream<Item = Result<Bytes, E>>,
    length: Option<u64>,
    limit: u64,
    budget: &Budget,
) -> Result<Received, BodyError> {
    let mut buffer = Buffer::new(length, limit, SEGMENT, budget)?;
    let mut hash = Keccak256::new();
    let mut chunks = std::pin::pin!(chunks);
    while let Some(chunk) = timeout(IDLE, chunks.next())
        .await
        .map_err(|_| BodyError::Slow)?
    {
        let chunk = chunk.map_err(|error| BodyError::Broken(error.to_string()))?;
        buffer.push(&chunk)?;
        hash.update(&chunk);
    }
    Ok(Received {
        bytes: buffer.seal(),
        hash: hash.finalize().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::{BodyError, Buffer, Growth, IDLE, NoRoom, SEGMENT, read};
    use bytes::Bytes;
    use futures::stream;
    use livepeer_media::budget::Budget;
    use livepeer_proto::credentials::keccak256;

    fn chunks(
        data: &'static [u8],
        size: usize,
    ) -> impl futures::Stream<Item = Result<Bytes, String>> {
        stream::iter(data.chunks(size).map(|chunk| Ok(Bytes::from_static(chunk))))
    }

    #[tokio::test]
    async fn any_split_gives_the_same_bytes_and_hash() {
        let data = b"some bytes that arrive in pieces";
        for size in 1..=data.len() {
            let budget = Budget::new(4 << 20);
            let body = read(chunks(data, size), None, 1000, &budget).await.unwrap();
            assert_eq!(body.bytes, data.as_slice());
            assert_eq!(body.hash, keccak256(data));
            drop(body);
            assert_eq!(budget.used(), 0);
        }
    }

    #[tokio::test]
    async fn one_byte_over_the_limit_is_refused_and_holds_nothing() {
        let budget = Budget::new(4 << 20);
        let told = read(chunks(b"123", 3), Some(3), 2, &budget).await;
        assert!(matches!(told, Err(BodyError::NoRoom(NoRoom::TooLarge(2)))));
        let untold = read(chunks(b"123", 1), None, 2, &budget).await;
        assert!(matches!(
            untold,
            Err(BodyError::NoRoom(NoRoom::TooLarge(2)))
        ));
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn a_body_beyond_the_budget_is_refused_before_it_is_read() {
        let budget = Budget::new(2);
        let refused = read(chunks(b"123", 3), Some(3), 10, &budget).await;
        assert!(matches!(
            refused,
            Err(BodyError::NoRoom(NoRoom::OverBudget))
        ));
    }

    #[test]
    fn bytes_are_counted_as_they_come_and_not_as_they_are_announced() {
        let budget = Budget::new(1 << 30);
        let cautious = Growth {
            trusted: 0,
            step: 256 << 10,
        };
        let chunk = vec![7; 1 << 20];
        for growth in [SEGMENT, cautious] {
            let mut buffer = Buffer::new(Some(300 << 20), 300 << 20, growth, &budget).unwrap();
            assert_eq!(budget.used(), growth.trusted);
            for mebibytes in 1..=100_u64 {
                buffer.push(&chunk).unwrap();
                assert!(budget.used() <= growth.trusted.max(mebibytes << 21));
            }
            let data = buffer.seal();
            assert!(budget.used() >= data.len() as u64);
        }
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_body_that_tells_its_length_takes_no_more_than_that() {
        let budget = Budget::new(1 << 30);
        let length = (2 << 20) + 7;
        let mut buffer = Buffer::new(Some(length), 300 << 20, SEGMENT, &budget).unwrap();
        for _ in 0..2 {
            buffer.push(&vec![7; 1 << 20]).unwrap();
        }
        buffer.push(&[7; 7]).unwrap();
        assert_eq!((buffer.len() as u64, budget.used()), (length, length));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_stops_sending_is_not_waited_for() {
        let budget = Budget::new(4 << 20);
        let silent = stream::pending::<Result<Bytes, String>>();
        let began = tokio::time::Instant::now();
        let refused = read(silent, Some(1000), 1000, &budget).await;
        assert!(matches!(refused, Err(BodyError::Slow)));
        assert_eq!((began.elapsed(), budget.used()), (IDLE, 0));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_an_error() {
        let budget = Budget::new(4 << 20);
        let broken = stream::iter([Ok(Bytes::from_static(b"1")), Err("reset".to_owned())]);
        assert!(matches!(
            read(broken, None, 10, &budget).await,
            Err(BodyError::Broken(_))
        ));
    }
}
