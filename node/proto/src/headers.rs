//! Header names and content types, and the base64 of protobuf that some carry.
//!
//! Sources: go-livepeer `server/segment_rpc.go`, `server/ot_rpc.go`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message;

/// Base64 of [`crate::net::SegData`], on `POST /segment` and `/payment`.
pub const SEGMENT: &str = "Livepeer-Segment";
/// Base64 of [`crate::net::Payment`]; may be empty.
pub const PAYMENT: &str = "Livepeer-Payment";
/// `Authorization` of `POST /transcodeResults`.
pub const TRANSCODER_PROTOCOL: &str = "Livepeer-Transcoder-1.0";
/// The transcoder's secret, on `POST /transcodeResults`.
pub const CREDENTIALS: &str = "Credentials";
/// The task that a result belongs to, decimal.
pub const TASK_ID: &str = "TaskId";
/// Decoded pixels on a whole result, encoded pixels on a part of one, decimal.
pub const PIXELS: &str = "Pixels";
/// Ours alone: a draining orchestrator says so on its `/segment` replies, refusals
/// included, and as metadata where it refuses `GetOrchestrator` for that. Peers that do not
/// know it ignore it. In lower case, as gRPC has metadata.
pub const DRAINING: &str = "livepeer-draining";
/// Ours alone: sessions that an orchestrator has, and how many it could have at once, as
/// metadata of its answers to `GetOrchestrator`, refusals included. By these a gateway
/// tells one that is full from one for which nobody transcodes.
pub const SESSIONS: &str = "livepeer-sessions";
pub const CAPACITY: &str = "livepeer-capacity";

/// MPEG-TS, as a source.
pub const VIDEO_MPEG_TS: &str = "video/MP2T";
/// A body that is a URL to fetch the segment from.
pub const SEGMENT_URI: &str = "application/vnd+livepeer.uri";
/// A result that is an error text.
pub const TRANSCODING_ERROR: &str = "livepeer/transcoding-error";
/// Largest segment or rendition: 300 s of 8,000 kbit/s (`common/util.go`).
pub const MAX_SEGMENT_BYTES: u64 = 300_000_000;

/// Why a header is not what it should be. The texts are on the wire
/// (`server/segment_rpc.go`): which status they go with is the caller's.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    #[error("base64 decode error")]
    Base64(#[source] base64::DecodeError),
    #[error("protobuf unmarshal error")]
    Protobuf(#[source] prost::DecodeError),
}

/// A message as the text of a header: standard base64 with padding.
#[must_use]
pub fn encode(message: &impl Message) -> String {
    STANDARD.encode(message.encode_to_vec())
}

/// Reads [`encode`]'s text back.
pub fn parse<M: Message + Default>(text: &[u8]) -> Result<M, HeaderError> {
    let bytes = STANDARD.decode(text).map_err(HeaderError::Base64)?;
    M::decode(bytes.as_slice()).map_err(HeaderError::Protobuf)
}

#[cfg(test)]
mod tests {
    use super::{HeaderError, encode, parse};
    use crate::net::{Payment, SegData};

    #[test]
    fn an_empty_payment_header_is_an_empty_payment() {
        assert_eq!(parse::<Payment>(b"").unwrap(), Payment::default());
    }

    #[test]
    fn a_message_survives_its_header() {
        let data = SegData {
            manifest_id: "stream".into(),
            seq: 7,
            ..SegData::default()
        };
        assert_eq!(parse::<SegData>(encode(&data).as_bytes()).unwrap(), data);
    }

    #[test]
    fn bad_base64_and_bad_protobuf_are_told_apart() {
        assert!(matches!(
            parse::<SegData>(b"*"),
            Err(HeaderError::Base64(_))
        ));
        assert!(matches!(
            parse::<SegData>(b"/////w=="),
            Err(HeaderError::Protobuf(_))
        ));
    }
}
