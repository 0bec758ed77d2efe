//! HTTP heads as the recorder writes them, the parts of a multipart body, and the reply of
//! a gateway to a push.

use crate::golden::{THEIRS, bytes};

/// A head, or the head of a part, and what follows it.
pub(crate) struct Head {
    /// Request or status line; empty in a part.
    pub(crate) first: String,
    fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Head {
    /// The head of a capture.
    pub(crate) fn of(name: &str) -> Self {
        Self::parse(&bytes(name), true)
    }

    fn parse(bytes: &[u8], has_first_line: bool) -> Self {
        let end = find(bytes, b"\r\n\r\n").expect("a head ends in an empty line");
        let text = std::str::from_utf8(&bytes[..end]).expect("a head is text");
        let mut lines = text.split("\r\n");
        let first = if has_first_line {
            lines.next().unwrap_or_default().to_owned()
        } else {
            String::new()
        };
        let fields = lines
            .map(|line| line.split_once(": ").expect("a field has a name"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self {
            first,
            fields,
            body: bytes[end + 4..].to_vec(),
        }
    }

    /// The value of a field, whatever the case of its name.
    pub(crate) fn value(&self, name: &str) -> &str {
        let found = self
            .fields
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name));
        &found.unwrap_or_else(|| panic!("no {name}")).1
    }

    /// The names of all fields, in order.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.fields.iter().map(|(name, _)| name.as_str()).collect()
    }
}

/// The parts of a multipart body, cut as the recorder cut them.
pub(crate) fn parts(head: &Head) -> Vec<Head> {
    let (kind, boundary) = head
        .value("Content-Type")
        .split_once("; boundary=")
        .expect("multipart");
    assert_eq!(kind, "multipart/mixed");
    // Go's boundary is 10 random bytes in hex.
    assert_eq!(hex::decode(boundary).unwrap().len(), 10);
    let delimiter = format!("--{boundary}");
    let mut parts = Vec::new();
    let mut rest = head.body.as_slice();
    loop {
        rest = rest
            .strip_prefix(delimiter.as_bytes())
            .expect("a delimiter before each part");
        if rest == b"--\r\n" {
            return parts;
        }
        let end = find(rest, delimiter.as_bytes()).expect("a closing delimiter");
        let part = rest[..end].strip_prefix(b"\r\n").expect("a line's end");
        parts.push(Head::parse(part, false));
        rest = &rest[end..];
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

#[test]
fn a_gateway_answers_a_push_with_one_part_a_rendition() {
    let head = Head::of(&format!("push-reply-gateway-to-client-{THEIRS}.http"));
    assert_eq!(head.first, "HTTP/1.1 200");
    assert_eq!(head.value("Transfer-Encoding"), "chunked");
    let parts = parts(&head);
    assert_eq!(parts.len(), 4);
    for (part, name) in parts.iter().zip(["720p", "480p", "360p", "240p"]) {
        assert_eq!(
            part.names(),
            [
                "Content-Disposition",
                "Content-Length",
                "Content-Type",
                "Rendition-Name"
            ]
        );
        assert_eq!(
            part.value("Content-Disposition"),
            format!("attachment; filename=\"{name}_0.ts\"")
        );
        assert_eq!(
            part.value("Content-Type"),
            format!("video/mp2t; name=\"{name}_0.ts\"")
        );
        assert_eq!(part.value("Rendition-Name"), name);
        assert_eq!(part.body.first(), Some(&0x47), "a TS packet");
    }
}
