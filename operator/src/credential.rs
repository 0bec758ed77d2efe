//! The credential of a pool, derived from its orchestrator's key.
//!
//! Derived and not drawn, so that a deleted or edited Secret comes back the same and
//! no running transcoder notices. The pool's UID is in it: a pool made again under the
//! same name has another credential. Raising the epoch replaces it.

use hmac::{Hmac, KeyInit, Mac};
use kube::ResourceExt;
use sha2::Sha256;

use crate::names::ANNOTATION_CREDENTIAL_EPOCH;

/// What a pool's credential is derived from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolIdentity {
    pub name: String,
    pub uid: String,
    pub epoch: String,
}

impl PoolIdentity {
    /// From a pool, which need not be readable; `None` for one that the API server has not
    /// given a UID.
    #[must_use]
    pub fn of(pool: &impl ResourceExt) -> Option<Self> {
        let epoch = pool.annotations().get(ANNOTATION_CREDENTIAL_EPOCH);
        Some(Self {
            name: pool.name_any(),
            uid: pool.uid()?,
            epoch: epoch.cloned().unwrap_or_else(|| "0".to_owned()),
        })
    }
}

/// `hex(HMAC-SHA256(key, uid ‖ "/" ‖ epoch))`.
#[must_use]
pub fn derive(key: &[u8], pool_uid: &str, epoch: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(pool_uid.as_bytes());
    mac.update(b"/");
    mac.update(epoch.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::derive;

    #[test]
    fn the_same_pool_gets_the_same_credential_and_any_difference_another() {
        let first = derive(b"key", "uid", "0");
        assert_eq!(first, derive(b"key", "uid", "0"));
        assert_eq!(first.len(), 64);
        for other in [
            derive(b"yek", "uid", "0"),
            derive(b"key", "diu", "0"),
            derive(b"key", "uid", "1"),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn it_is_hmac_sha256_as_others_compute_it() {
        // printf 'uid/0' | openssl dgst -sha256 -hmac key
        assert_eq!(
            derive(b"key", "uid", "0"),
            "50a896acd5f0dfb8a53959c12ae7bd260975e68ed8120832ddf8e1d1fdb7629b"
        );
    }
}
