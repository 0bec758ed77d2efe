//! Auth tokens of sessions: opaque to gateways, checked by nobody but us
//! (go-livepeer `core/orchestrator.go`, `AuthToken`).
//!
//! With a data folder the key outlives the process, and so do the sessions of
//! gateways; without one every token dies with it.

use hmac::{Hmac, KeyInit, Mac};
use livepeer_proto::net::AuthToken;
use sha2::Sha256;

/// How long a token is good for (`core/orchestrator.go`).
pub(crate) const LIFETIME_SECONDS: i64 = 1800;

/// Why a token is refused; the texts are the wire's (`server/segment_rpc.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("missing auth token")]
    Missing,
    #[error("invalid auth token")]
    Invalid,
    #[error("expired auth token")]
    Expired,
}

/// Issues and checks tokens with one key.
pub(crate) struct Tokens {
    key: [u8; 32],
}

impl Tokens {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// A token for a new session, given the time in Unix seconds.
    pub(crate) fn issue(&self, now: i64) -> AuthToken {
        self.sign(hex::encode(rand::random::<[u8; 4]>()), now)
    }

    /// For the reply to a segment: the gateway's own token, or in its second half one
    /// for the same session that lasts longer. go-livepeer sends the same one until it
    /// expires, and the gateway asks for another session then, which it does not get
    /// from an orchestrator that is full. Its gateways take any token of their session
    /// (`server/broadcast.go`, `updateSession`).
    pub(crate) fn renew(&self, token: AuthToken, now: i64) -> AuthToken {
        if token.expiration.saturating_sub(now) > LIFETIME_SECONDS / 2 {
            return token;
        }
        self.sign(token.session_id, now)
    }

    fn sign(&self, session_id: String, now: i64) -> AuthToken {
        let expiration = now.saturating_add(LIFETIME_SECONDS);
        AuthToken {
            token: self
                .mac(&session_id, expiration)
                .finalize()
                .into_bytes()
                .to_vec(),
            session_id,
            expiration,
        }
    }

    /// Whether `token` is ours and still good.
    pub(crate) fn check(&self, token: Option<&AuthToken>, now: i64) -> Result<(), TokenError> {
        let token = token.ok_or(TokenError::Missing)?;
        if !self.is_ours(token) {
            return Err(TokenError::Invalid);
        }
        if token.expiration < now {
            return Err(TokenError::Expired);
        }
        Ok(())
    }

    /// Whether we issued `token`, good or expired. Takes constant time.
    pub(crate) fn is_ours(&self, token: &AuthToken) -> bool {
        self.mac(&token.session_id, token.expiration)
            .verify_slice(&token.token)
            .is_ok()
    }

    fn mac(&self, session_id: &str, expiration: i64) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(session_id.as_bytes());
        // as Go's big.Int.Bytes: big-endian without leading zeros
        let bytes = expiration.to_be_bytes();
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        mac.update(bytes.get(zeros..).unwrap_or_default());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::{LIFETIME_SECONDS, TokenError, Tokens};
    use hmac::Mac;

    // wire reference §8: key "foo", session "bar", expiration 100
    #[test]
    fn the_mac_is_that_of_go_livepeer() {
        let mut key = [0; 32];
        // HMAC pads short keys with zeros, so this is the key "foo"
        key[..3].copy_from_slice(b"foo");
        let mac = Tokens::new(key).mac("bar", 100).finalize().into_bytes();
        assert_eq!(
            hex::encode(mac),
            "e896e58f32128ad59566fbef0ae8d4b702f6f08cdfe3f17b544696016f5e5423"
        );
    }

    #[test]
    fn a_token_in_its_second_half_is_renewed_for_the_same_session() {
        let tokens = Tokens::new([7; 32]);
        let token = tokens.issue(0);
        let half = LIFETIME_SECONDS / 2;
        assert_eq!(tokens.renew(token.clone(), half - 1), token);
        let renewed = tokens.renew(token.clone(), half);
        assert_eq!(renewed.session_id, token.session_id);
        assert_eq!(renewed.expiration, half + LIFETIME_SECONDS);
        assert_eq!(tokens.check(Some(&renewed), LIFETIME_SECONDS + 1), Ok(()));
    }

    #[test]
    fn a_token_is_good_until_it_expires_and_only_unchanged() {
        let tokens = Tokens::new([7; 32]);
        let token = tokens.issue(1_000);
        assert_eq!(token.session_id.len(), 8);
        let end = 1_000 + LIFETIME_SECONDS;
        assert_eq!(tokens.check(Some(&token), end), Ok(()));
        assert_eq!(
            tokens.check(Some(&token), end + 1),
            Err(TokenError::Expired)
        );
        assert!(tokens.is_ours(&token));
        let mut forged = token.clone();
        forged.expiration += 1;
        assert_eq!(tokens.check(Some(&forged), 0), Err(TokenError::Invalid));
        assert_eq!(tokens.check(None, 0), Err(TokenError::Missing));
        assert_eq!(
            Tokens::new([8; 32]).check(Some(&token), 0),
            Err(TokenError::Invalid)
        );
    }
}
