//! Which exchange of the Livepeer wire a request belongs to, told from its path.
//! Pure: the recorder asks here what a body means and how to keep it; nothing here
//! reads a socket or writes a file.

use std::fmt;

/// A party of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Gateway,
    Orchestrator,
    Transcoder,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Client => "client",
            Role::Gateway => "gateway",
            Role::Orchestrator => "orchestrator",
            Role::Transcoder => "transcoder",
        })
    }
}

/// How a body is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Length-prefixed gRPC messages: one file a message, without the prefix.
    Grpc,
    /// The whole body is one protobuf message.
    Message,
    /// The head alone: the body is media, or of no interest.
    Head,
    /// The head and the body, each part of a multipart cut to `PART_KEPT` bytes.
    Multipart,
}

/// One direction of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leg {
    pub(crate) what: &'static str,
    pub(crate) from: Role,
    pub(crate) to: Role,
    pub(crate) shape: Shape,
}

/// Both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) request: Leg,
    pub(crate) reply: Leg,
}

/// How much of a part's body is kept: one MPEG-TS packet, enough to see what it was.
pub(crate) const PART_KEPT: usize = 188;

/// The exchange of a path, or nothing when the path is not one worth keeping.
pub(crate) fn classify(path: &str) -> Option<Exchange> {
    use Role::{Client, Gateway, Orchestrator, Transcoder};
    use Shape::{Grpc, Head, Message, Multipart};
    let (asker, answerer, request, reply) = match path {
        "/net.Orchestrator/GetOrchestrator" => (
            Gateway,
            Orchestrator,
            ("orchestrator-request", Grpc),
            ("orchestrator-info", Grpc),
        ),
        "/net.Orchestrator/EndTranscodingSession" => (
            Gateway,
            Orchestrator,
            ("end-session-request", Grpc),
            ("end-session-response", Grpc),
        ),
        // An orchestrator pings its own service URI at start-up.
        "/net.Orchestrator/Ping" => (
            Orchestrator,
            Orchestrator,
            ("ping", Grpc),
            ("ping-answer", Grpc),
        ),
        "/net.Transcoder/RegisterTranscoder" => (
            Transcoder,
            Orchestrator,
            ("register-request", Grpc),
            ("notify-segment", Grpc),
        ),
        "/segment" => (
            Gateway,
            Orchestrator,
            ("segment-request", Head),
            ("transcode-result", Message),
        ),
        "/transcodeResults" => (
            Transcoder,
            Orchestrator,
            ("transcode-results", Multipart),
            ("transcode-results-answer", Multipart),
        ),
        path if path.starts_with("/live/") => {
            (Client, Gateway, ("push", Head), ("push-reply", Multipart))
        }
        path if path.starts_with("/stream/") && path.ends_with(".tempfile") => (
            Transcoder,
            Orchestrator,
            ("source-fetch", Head),
            ("source", Head),
        ),
        path if path.starts_with("/stream/") => (
            Gateway,
            Orchestrator,
            ("rendition-fetch", Head),
            ("rendition", Head),
        ),
        _ => return None,
    };
    Some(Exchange {
        request: Leg {
            what: request.0,
            from: asker,
            to: answerer,
            shape: request.1,
        },
        reply: Leg {
            what: reply.0,
            from: answerer,
            to: asker,
            shape: reply.1,
        },
    })
}

/// Takes the first whole gRPC message off the front of `buffer`, if there is one.
pub(crate) fn take_grpc_message(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let prefix = buffer.first_chunk::<5>()?;
    let [_compressed, a, b, c, d] = *prefix;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
    if buffer.len() < 5 + length {
        return None;
    }
    let message = buffer[5..5 + length].to_vec();
    buffer.drain(..5 + length);
    Some(message)
}

/// A multipart body with every part's content cut to `PART_KEPT` bytes; its framing
/// and part headers byte for byte. A body that is not multipart is cut as one part.
pub(crate) fn cut_parts(boundary: Option<&str>, body: &[u8]) -> Vec<u8> {
    let Some(boundary) = boundary else {
        return body[..body.len().min(PART_KEPT)].to_vec();
    };
    let delimiter = format!("--{boundary}");
    let mut kept = Vec::new();
    let mut rest = body;
    while let Some(at) = find(rest, delimiter.as_bytes()) {
        kept.extend_from_slice(&rest[..at.min(PART_KEPT)]);
        if at > PART_KEPT {
            kept.extend_from_slice(b"\r\n");
        }
        rest = &rest[at..];
        // The delimiter line and the part's header block stay whole.
        let head = find(rest, b"\r\n\r\n").map_or(rest.len(), |end| end + 4);
        kept.extend_from_slice(&rest[..head]);
        rest = &rest[head..];
    }
    kept.extend_from_slice(rest);
    kept
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::{PART_KEPT, Role, classify, cut_parts, take_grpc_message};

    #[test]
    fn a_source_fetch_is_the_transcoders_and_a_rendition_fetch_the_gateways() {
        let source = classify("/stream/0a1b2c3d/4.tempfile").expect("known");
        let rendition = classify("/stream/0a1b2c3d/P360/4.ts").expect("known");
        assert_eq!(source.request.from, Role::Transcoder);
        assert_eq!(rendition.request.from, Role::Gateway);
        assert_eq!(classify("/healthz"), None);
    }

    #[test]
    fn a_grpc_message_is_taken_only_when_whole() {
        let mut buffer = vec![0, 0, 0, 0, 2, 7];
        assert_eq!(take_grpc_message(&mut buffer), None);
        buffer.extend([8, 0, 0]);
        assert_eq!(take_grpc_message(&mut buffer), Some(vec![7, 8]));
        assert_eq!(buffer, [0, 0]);
    }

    #[test]
    fn parts_are_cut_and_their_headers_kept() {
        let long = "x".repeat(PART_KEPT + 9);
        let body = format!("--b\r\nPixels: 5\r\n\r\n{long}\r\n--b\r\nA: 1\r\n\r\nok\r\n--b--\r\n");
        let cut = cut_parts(Some("b"), body.as_bytes());
        let kept = "x".repeat(PART_KEPT);
        assert_eq!(
            String::from_utf8(cut).expect("text"),
            format!("--b\r\nPixels: 5\r\n\r\n{kept}\r\n--b\r\nA: 1\r\n\r\nok\r\n--b--\r\n")
        );
    }
}
