//! The ingest token: who may push. A file that is read again when it changes, so that
//! a rotated Secret needs no restart.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// How long a read token is believed: a rotation takes effect within this.
const FRESH: Duration = Duration::from_secs(1);
/// Largest token file that is read.
const MAX_TOKEN_BYTES: usize = 4096;

/// Why a push may not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// No `Authorization: Bearer`: 401.
    Missing,
    /// Another token: 403.
    Wrong,
}

/// The gate of a gateway.
#[derive(Debug)]
pub(super) struct IngestToken {
    path: Option<PathBuf>,
    read: Mutex<Option<(Instant, [u8; 32])>>,
}

impl IngestToken {
    /// No path: everyone may push.
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        Self {
            path,
            read: Mutex::new(None),
        }
    }

    /// Whether a request with this `Authorization` may push.
    pub(super) async fn check(&self, authorization: Option<&[u8]>) -> Result<(), Denied> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let given = authorization.and_then(bearer).ok_or(Denied::Missing)?;
        let kept = *self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = match kept {
            Some((at, digest)) if at.elapsed() < FRESH => digest,
            Some(_) | None => {
                // a token that cannot be read lets nobody in
                let file = tokio::fs::read(path).await.map_err(|error| {
                    tracing::error!(path = %path.display(), %error, "ingest token unreadable");
                    Denied::Wrong
                })?;
                let token = file.trim_ascii();
                if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
                    tracing::error!(path = %path.display(), "ingest token empty or too long");
                    return Err(Denied::Wrong);
                }
                let digest = digest(token);
                *self.read.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((Instant::now(), digest));
                digest
            }
        };
        if equal(&digest(given), &wanted) {
            Ok(())
        } else {
            Err(Denied::Wrong)
        }
    }
}

/// The token of `Bearer <token>`; the scheme in any case (RFC 9110 §11.1).
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Digests of equal length, compared in constant time: neither the token's length nor
/// how much of it was right can be timed.
fn equal(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.iter()
        .zip(other)
        .fold(0, |difference, (a, b)| difference | (a ^ b))
        == 0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Denied, IngestToken};

    #[tokio::test]
    async fn without_a_file_everyone_may_push() {
        assert_eq!(IngestToken::new(None).check(None).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_token_of_the_file_opens_and_a_changed_file_counts_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "first\n").unwrap();
        let gate = IngestToken::new(Some(path.clone()));
        assert_eq!(gate.check(Some(b"Bearer first")).await, Ok(()));
        assert_eq!(gate.check(Some(b"bearer first ")).await, Ok(()));
        assert_eq!(gate.check(Some(b"Bearer other")).await, Err(Denied::Wrong));
        for missing in [None, Some(&b"Basic first"[..]), Some(b"Bearer "), Some(b"")] {
            assert_eq!(gate.check(missing).await, Err(Denied::Missing));
        }
        std::fs::write(&path, "second").unwrap();
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(gate.check(Some(b"Bearer first")).await, Err(Denied::Wrong));
        assert_eq!(gate.check(Some(b"Bearer second")).await, Ok(()));
        std::fs::remove_file(&path).unwrap();
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(gate.check(Some(b"Bearer second")).await, Err(Denied::Wrong));
    }
}
