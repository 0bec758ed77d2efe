//! The multipart reply of a push: one part a rendition, byte for byte as
//! go-livepeer's `server/mediaserver.go` writes it (Go `mime/multipart`: headers
//! sorted, CRLF, no preamble).
//!
//! The renditions themselves are passed on, never copied into a larger buffer.

use bytes::Bytes;
use livepeer_media::Format;
use rand::RngExt as _;

/// The one `Accept` value that asks for renditions in the reply.
pub(super) const ACCEPT: &str = "multipart/mixed";

/// A rendition to send.
pub(super) struct Part {
    pub(super) name: String,
    pub(super) format: Format,
    pub(super) data: Bytes,
}

/// 20 hex digits, new for each reply.
pub(super) fn boundary() -> String {
    let mut random = [0_u8; 10];
    rand::rng().fill(&mut random);
    hex::encode(random)
}

/// `Content-Type` of the whole reply.
pub(super) fn content_type(boundary: &str) -> String {
    format!("{ACCEPT}; boundary={boundary}")
}

/// The reply's body in the order it is sent.
pub(super) fn encode(boundary: &str, seq: u64, parts: Vec<Part>) -> Vec<Bytes> {
    let mut chunks = Vec::with_capacity(parts.len() * 2 + 1);
    for (index, part) in parts.into_iter().enumerate() {
        let start = if index == 0 { "" } else { "\r\n" };
        let Part { name, format, data } = part;
        let file = format!("{name}_{seq}.{}", format.extension());
        chunks.push(Bytes::from(format!(
            "{start}--{boundary}\r\n\
             Content-Disposition: attachment; filename=\"{file}\"\r\n\
             Content-Length: {}\r\n\
             Content-Type: {}; name=\"{file}\"\r\n\
             Rendition-Name: {name}\r\n\r\n",
            data.len(),
            format.mime(),
        )));
        chunks.push(data);
    }
    chunks.push(Bytes::from(format!("\r\n--{boundary}--\r\n")));
    chunks
}

#[cfg(test)]
mod tests {
    use super::{Part, boundary, encode};
    use bytes::Bytes;
    use livepeer_media::Format;

    #[test]
    fn the_bytes_are_those_of_go_livepeer() {
        let part = |name: &str, format, data: &'static [u8]| Part {
            name: name.to_owned(),
            format,
            data: Bytes::from_static(data),
        };
        let parts = vec![
            part("P240p30fps16x9", Format::MpegTs, b"abc"),
            part("mine", Format::Mp4, b""),
        ];
        let text = encode("0123456789abcdef0123", 7, parts).concat();
        let expected = "--0123456789abcdef0123\r\n\
            Content-Disposition: attachment; filename=\"P240p30fps16x9_7.ts\"\r\n\
            Content-Length: 3\r\n\
            Content-Type: video/mp2t; name=\"P240p30fps16x9_7.ts\"\r\n\
            Rendition-Name: P240p30fps16x9\r\n\r\n\
            abc\r\n--0123456789abcdef0123\r\n\
            Content-Disposition: attachment; filename=\"mine_7.mp4\"\r\n\
            Content-Length: 0\r\n\
            Content-Type: video/mp4; name=\"mine_7.mp4\"\r\n\
            Rendition-Name: mine\r\n\r\n\
            \r\n--0123456789abcdef0123--\r\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn a_boundary_has_twenty_hex_digits_and_is_new_each_time() {
        let (one, other) = (boundary(), boundary());
        assert_eq!(one.len(), 20);
        assert_ne!(one, other);
    }
}
