//! What a gateway hashes and signs about a segment (go-livepeer `core/streamdata.go`,
//! `SegTranscodingMetadata.Flatten`), and what an orchestrator signs about its
//! results (`core/orchestrator.go`). The signing itself belongs to a wallet.

use sha3::{Digest, Keccak256};

/// Keccak-256 of `bytes`.
#[must_use]
pub fn keccak256(bytes: &[u8]) -> [u8; 32] {
    Keccak256::digest(bytes).into()
}

/// The bytes whose signature is `SegData.sig`: manifest id, sequence number as a
/// 256-bit big-endian integer, hash, and eight hex characters a profile name.
#[must_use]
pub fn segment_bytes<'a>(
    manifest_id: &str,
    seq: i64,
    hash: &[u8; 32],
    profile_names: impl IntoIterator<Item = &'a str>,
) -> Vec<u8> {
    let mut bytes = manifest_id.as_bytes().to_vec();
    bytes.extend([0; 24]);
    bytes.extend(seq.to_be_bytes());
    bytes.extend(hash);
    for name in profile_names {
        bytes.extend(profile_id(name).as_bytes());
    }
    bytes
}

/// The first four bytes of the hash of a profile's name, as hex
/// (`common/videoprofile_ids.go`).
#[must_use]
pub fn profile_id(name: &str) -> String {
    let [a, b, c, d, ..] = keccak256(name.as_bytes());
    hex::encode([a, b, c, d])
}

/// What `TranscodeData.sig` is a signature over: the hash of the renditions' hashes.
#[must_use]
pub fn results_hash<'a>(renditions: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut all = Keccak256::new();
    for rendition in renditions {
        all.update(keccak256(rendition));
    }
    all.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::{keccak256, profile_id, results_hash, segment_bytes};

    // core/stream_test.go, TestSegmentFlatten
    #[test]
    fn segment_bytes_match_go_livepeer() {
        let mut hash = [0; 32];
        hash[..6].copy_from_slice(b"browns");
        let bytes = segment_bytes("abcdef", 1234, &hash, ["P144p30fps16x9", "P240p30fps16x9"]);
        assert_eq!(
            hex::encode(keccak256(&bytes)),
            "08a398e7e7a5a545b0b07d9e7e1eab52b4131e0df1621bd53ee6e7550a15465b"
        );
    }

    #[test]
    fn profile_ids_match_go_livepeer() {
        assert_eq!(profile_id("P720p60fps16x9"), "a7ac137a");
        assert_eq!(profile_id("P144p25fps16x9"), "03f01d1f");
    }

    #[test]
    fn results_hash_is_the_hash_of_hashes() {
        let renditions: [&[u8]; 2] = [b"foo", b"bar"];
        assert_eq!(
            hex::encode(results_hash(renditions)),
            "744766909640c85c19ca00139e7af3c5d9cb8dbfbc6635812eedc4e3cbf4fce6"
        );
    }
}
