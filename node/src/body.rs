//! Reads a body of bounded size into one counted buffer, hashing while it arrives.
//!
//! Bytes are taken from the role's budget before they are read, and stay counted as
//! long as anybody holds the buffer.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use sha3::{Digest, Keccak256};

use crate::budget::{Budget, Held};

/// A buffer is made this large at once on a peer's word alone; beyond it, it grows
/// with what really arrives.
const TRUSTED_BYTES: u64 = 16 << 20;
/// A body that does not tell its length is counted so much at a time.
const STEP_BYTES: u64 = 1 << 20;

/// Why a body was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the body has more than {0} bytes")]
    TooLarge(u64),
    #[error("too many bytes in flight")]
    OverBudget,
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

/// A buffer that grows within a limit and a budget.
pub struct Buffer {
    data: Vec<u8>,
    held: Held,
    limit: u64,
}

impl Buffer {
    /// For `length` bytes, if the peer said how many, and at most `limit`.
    pub fn new(length: Option<u64>, limit: u64, budget: &Budget) -> Result<Self, BodyError> {
        let length = length.unwrap_or(0);
        if length > limit {
            return Err(BodyError::TooLarge(limit));
        }
        let held = budget.take(length).ok_or(BodyError::OverBudget)?;
        let trusted = usize::try_from(length.min(TRUSTED_BYTES)).unwrap_or(0);
        Ok(Self {
            data: Vec::with_capacity(trusted),
            held,
            limit,
        })
    }

    /// Adds bytes.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), BodyError> {
        let total = (self.data.len() + chunk.len()) as u64;
        if total > self.limit {
            return Err(BodyError::TooLarge(self.limit));
        }
        let missing = total.saturating_sub(self.held.bytes());
        if missing > 0 && !self.held.grow(missing.max(STEP_BYTES.min(self.limit))) {
            return Err(BodyError::OverBudget);
        }
        self.data.extend_from_slice(chunk);
        Ok(())
    }

    /// The bytes, counted as long as anybody holds them.
    #[must_use]
    pub fn seal(self) -> Bytes {
        self.held.seal(self.data)
    }
}

/// Reads `chunks`, of `length` bytes if the peer said so, at most `limit`.
pub async fn read<E: std::fmt::Display>(
    chunks: impl Stream<Item = Result<Bytes, E>>,
    length: Option<u64>,
    limit: u64,
    budget: &Budget,
) -> Result<Received, BodyError> {
    let mut buffer = Buffer::new(length, limit, budget)?;
    let mut hash = Keccak256::new();
    let mut chunks = std::pin::pin!(chunks);
    while let Some(chunk) = chunks.next().await {
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
    use super::{BodyError, read};
    use crate::budget::Budget;
    use bytes::Bytes;
    use futures::stream;
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
        assert!(matches!(told, Err(BodyError::TooLarge(2))));
        let untold = read(chunks(b"123", 1), None, 2, &budget).await;
        assert!(matches!(untold, Err(BodyError::TooLarge(2))));
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn a_body_beyond_the_budget_is_refused_before_it_is_read() {
        let budget = Budget::new(2);
        let refused = read(chunks(b"123", 3), Some(3), 10, &budget).await;
        assert!(matches!(refused, Err(BodyError::OverBudget)));
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
