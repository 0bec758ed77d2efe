//! What an orchestrator lacks for a job, in words: who pushes knows nothing of bits. Pure.

use livepeer_proto::capabilities::{BitString, Capability, Mismatch};
use livepeer_proto::net;

/// The capabilities as a person calls them.
const WORDS: [(Capability, &str); 26] = [
    (Capability::H264, "H.264"),
    (Capability::MpegTs, "MPEG-TS"),
    (Capability::Mp4, "MP4"),
    (Capability::FractionalFramerates, "fractional frame rates"),
    (Capability::StorageDirect, "direct storage"),
    (Capability::StorageS3, "storage in S3"),
    (Capability::StorageGcs, "storage in GCS"),
    (Capability::ProfileH264Baseline, "H.264 baseline profile"),
    (Capability::ProfileH264Main, "H.264 main profile"),
    (Capability::ProfileH264High, "H.264 high profile"),
    (
        Capability::ProfileH264ConstrainedHigh,
        "H.264 constrained high profile",
    ),
    (Capability::Gop, "a GOP of its own"),
    (Capability::AuthToken, "auth tokens"),
    (Capability::Mpeg7VideoSignature, "MPEG-7 video signatures"),
    (Capability::HevcDecode, "HEVC decoding"),
    (Capability::HevcEncode, "HEVC encoding"),
    (Capability::Vp8Decode, "VP8 decoding"),
    (Capability::Vp9Decode, "VP9 decoding"),
    (Capability::Vp8Encode, "VP8 encoding"),
    (Capability::Vp9Encode, "VP9 encoding"),
    (
        Capability::H264Decode444Bits8,
        "decoding of 8-bit 4:4:4 H.264",
    ),
    (
        Capability::H264Decode422Bits8,
        "decoding of 8-bit 4:2:2 H.264",
    ),
    (
        Capability::H264Decode444Bits10,
        "decoding of 10-bit 4:4:4 H.264",
    ),
    (
        Capability::H264Decode422Bits10,
        "decoding of 10-bit 4:2:2 H.264",
    ),
    (
        Capability::H264Decode420Bits10,
        "decoding of 10-bit 4:2:0 H.264",
    ),
    (Capability::SegmentSlicing, "slicing of segments"),
];

/// Why what is `offered` is not enough for `job`.
pub(super) fn text(
    mismatch: Mismatch,
    job: &net::Capabilities,
    offered: &net::Capabilities,
) -> String {
    let offered = BitString(offered.bitstring.clone());
    let needed = BitString(job.bitstring.clone());
    let missing: Vec<_> = needed
        .bits()
        .filter(|bit| !offered.contains(*bit))
        .map(words)
        .collect();
    match mismatch {
        // more words of bits are too many, even of zeros
        Mismatch::Missing if !missing.is_empty() => format!("{mismatch} ({})", missing.join(", ")),
        Mismatch::Version | Mismatch::Mandatory | Mismatch::Missing => mismatch.to_string(),
    }
}

fn words(bit: u32) -> String {
    let known = WORDS.iter().find(|(named, _)| *named as u32 == bit);
    known.map_or_else(
        || format!("capability {bit}"),
        |(_, words)| (*words).to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::text;
    use livepeer_proto::capabilities::{BitString, Capability, Mismatch, message, software};

    #[test]
    fn what_is_missing_is_named() {
        let offered = message(&software(), 1, "0.9.1");
        let said = |bits: &[u32], mismatch| {
            let job = message(&BitString::of(bits.iter().copied()), 1, "");
            text(mismatch, &job, &offered)
        };
        let (h264, hevc) = (Capability::H264 as u32, Capability::HevcDecode as u32);
        assert_eq!(
            said(&[h264, hevc, 99], Mismatch::Missing),
            "it lacks a capability that the job needs (HEVC decoding, capability 99)"
        );
        for mismatch in [Mismatch::Missing, Mismatch::Mandatory, Mismatch::Version] {
            assert_eq!(said(&[h264], mismatch), mismatch.to_string());
        }
    }
}
