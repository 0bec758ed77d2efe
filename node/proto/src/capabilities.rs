//! Capabilities: what a job needs and what a peer can do (go-livepeer
//! `core/capabilities.go`).
//!
//! On the wire they are a bit string of 64-bit words. Only the video capabilities
//! are named here; bits that we do not know are carried and compared all the same.

use crate::net;

/// The video capabilities, by their bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Capability {
    H264 = 0,
    MpegTs = 1,
    Mp4 = 2,
    FractionalFramerates = 3,
    StorageDirect = 4,
    StorageS3 = 5,
    StorageGcs = 6,
    ProfileH264Baseline = 7,
    ProfileH264Main = 8,
    ProfileH264High = 9,
    ProfileH264ConstrainedHigh = 10,
    Gop = 11,
    AuthToken = 12,
    Mpeg7VideoSignature = 14,
    HevcDecode = 15,
    HevcEncode = 16,
    Vp8Decode = 17,
    Vp9Decode = 18,
    Vp8Encode = 19,
    Vp9Encode = 20,
    H264Decode444Bits8 = 21,
    H264Decode422Bits8 = 22,
    H264Decode444Bits10 = 23,
    H264Decode422Bits10 = 24,
    H264Decode420Bits10 = 25,
    SegmentSlicing = 26,
}

/// A set of capabilities as the wire has it: capability `c` is bit `c % 64` of word
/// `c / 64`, words only as far as needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BitString(pub Vec<u64>);

impl BitString {
    /// The set of these bits.
    #[must_use]
    pub fn of(bits: impl IntoIterator<Item = u32>) -> Self {
        let mut set = Self::default();
        for bit in bits {
            set.insert(bit);
        }
        set
    }

    /// Adds a bit, and the words up to it.
    pub fn insert(&mut self, bit: u32) {
        let word = (bit / 64) as usize;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            *word |= 1 << (bit % 64);
        }
    }

    /// Whether a bit is set.
    #[must_use]
    pub fn contains(&self, bit: u32) -> bool {
        let word = self.0.get((bit / 64) as usize).copied().unwrap_or(0);
        word & (1 << (bit % 64)) != 0
    }

    /// All set bits, lowest first.
    pub fn bits(&self) -> impl Iterator<Item = u32> + '_ {
        let last = u32::try_from(self.0.len() * 64).unwrap_or(u32::MAX);
        (0..last).filter(|bit| self.contains(*bit))
    }

    /// The subset test of the wire: more words are never a subset, even of zeros
    /// (go-livepeer `CapabilityString.CompatibleWith`).
    #[must_use]
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.0.len() <= other.0.len() && self.0.iter().zip(&other.0).all(|(a, b)| a & b == *a)
    }
}

/// What a software node of this project can do: H.264 in and out, MPEG-TS and MP4,
/// every profile, GOP, fractional rates, a part of a segment.
///
/// go-livepeer's HTTP ingest sets [`Capability::SegmentSlicing`] on every job, so a
/// node that does not carry the bit gets no work from it.
#[must_use]
pub fn software() -> BitString {
    use Capability as C;
    BitString::of(
        [
            C::H264,
            C::MpegTs,
            C::Mp4,
            C::FractionalFramerates,
            C::StorageDirect,
            C::ProfileH264Baseline,
            C::ProfileH264Main,
            C::ProfileH264High,
            C::ProfileH264ConstrainedHigh,
            C::Gop,
            C::AuthToken,
            C::H264Decode444Bits8,
            C::H264Decode422Bits8,
            C::H264Decode444Bits10,
            C::H264Decode422Bits10,
            C::H264Decode420Bits10,
            C::SegmentSlicing,
        ]
        .map(|capability| capability as u32),
    )
}

/// The message for a set, with a capacity for each bit.
#[must_use]
pub fn message(bits: &BitString, capacity: u32, version: &str) -> net::Capabilities {
    net::Capabilities {
        bitstring: bits.0.clone(),
        mandatories: Vec::new(),
        capacities: bits.bits().map(|bit| (bit, capacity)).collect(),
        version: version.to_owned(),
        constraints: Some(net::capabilities::Constraints::default()),
    }
}

/// Whether a node with `offered` may do a job with `job`, and which rule said no.
pub fn compatible(job: &net::Capabilities, offered: &net::Capabilities) -> Result<(), Mismatch> {
    let minimum = job
        .constraints
        .as_ref()
        .map_or("", |constraints| constraints.min_version.as_str());
    if !version_at_least(&offered.version, minimum) {
        return Err(Mismatch::Version);
    }
    let needed = BitString(job.bitstring.clone());
    if !BitString(offered.mandatories.clone()).is_subset_of(&needed) {
        return Err(Mismatch::Mandatory);
    }
    if !needed.is_subset_of(&BitString(offered.bitstring.clone())) {
        return Err(Mismatch::Missing);
    }
    Ok(())
}

/// The rule by which a node cannot do a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    #[error("its version is older than the job asks for")]
    Version,
    #[error("the job lacks a capability that it insists on")]
    Mandatory,
    #[error("it lacks a capability that the job needs")]
    Missing,
}

/// `version >= minimum` by major, minor and patch, suffixes ignored. An empty or
/// unreadable minimum passes; an empty, `undefined` or unreadable version does not
/// (go-livepeer `LivepeerVersionCompatibleWith`).
#[must_use]
pub fn version_at_least(version: &str, minimum: &str) -> bool {
    let Some(minimum) = parse_version(minimum) else {
        return true;
    };
    parse_version(version).is_some_and(|version| version >= minimum)
}

fn parse_version(text: &str) -> Option<[u64; 3]> {
    let core = text.split(['-', '+']).next()?;
    let mut parts = core.split('.').map(|part| part.parse().ok());
    let version = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(version)
}

#[cfg(test)]
mod tests {
    use super::{BitString, compatible, message, software, version_at_least};

    // vectors of go-livepeer core/capabilities_test.go
    #[test]
    fn bit_strings_match_go_livepeer() {
        assert_eq!(BitString::of(0..=5).0, [63]);
        assert_eq!(BitString::of([193, 192]).0, [0, 0, 0, 3]);
        assert_eq!(
            BitString::of([193, 54, 192, 79]).0,
            [1 << 54, 1 << 15, 0, 3]
        );
    }

    #[test]
    fn more_words_are_never_a_subset() {
        assert!(BitString::of(0..4).is_subset_of(&BitString(vec![15])));
        assert!(!BitString(vec![1, 0]).is_subset_of(&BitString(vec![15])));
        assert!(BitString(vec![1]).is_subset_of(&BitString(vec![15, 0])));
    }

    #[test]
    fn versions_compare_without_their_suffix() {
        for (version, minimum, good) in [
            ("0.4.1", "0.4.1", true),
            ("0.4.1-b3278dce-dirty", "0.4.1", true),
            ("0.4.1", "0.4.2", false),
            ("0.4.1-dirty", "0.4.2", false),
            ("", "", true),
            ("", "0.4.0", false),
            ("undefined", "0.4.0", false),
            ("0.4.1", "not a version", true),
            ("not a version", "0.4.1", false),
        ] {
            assert_eq!(
                version_at_least(version, minimum),
                good,
                "{version} {minimum}"
            );
        }
    }

    // [67112963]: the job of a go-livepeer gateway, H.264 to MPEG-TS by HTTP push
    #[test]
    fn a_push_from_go_livepeer_is_a_job_we_can_do() {
        let job = message(&BitString(vec![67_112_963]), 1, "");
        let offer = message(&software(), 1, "0.9.1");
        assert_eq!(compatible(&job, &offer), Ok(()));
    }
}
