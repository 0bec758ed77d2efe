//! Who pushes, for the log: the connection's other end, or whom a proxy in front of us names.
//! Anybody can send the header, so nothing is decided by it.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The other end of a request's connection, in its extensions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// The first address of `X-Forwarded-For`, as go-livepeer takes it (`server/mediaserver.go`),
/// or else the peer's.
pub(super) fn of(headers: &HeaderMap, Peer(peer): Peer) -> IpAddr {
    headers
        .get(FORWARDED_FOR)
        .and_then(|value| parse(value.to_str().ok()?.split(',').next()?.trim()))
        .unwrap_or(peer.ip())
}

/// Some proxies name the port, too.
fn parse(text: &str) -> Option<IpAddr> {
    let with_port = || Some(text.parse::<SocketAddr>().ok()?.ip());
    text.parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};

    use super::{FORWARDED_FOR, Peer, of};

    #[test]
    fn the_first_entry_is_the_client_and_what_is_no_address_is_not_believed() {
        let peer = Peer("10.0.0.1:4000".parse().unwrap());
        let client = |text: Option<&'static str>| {
            let value = text.map(|text| (FORWARDED_FOR, HeaderValue::from_static(text)));
            let headers = value.into_iter().map(|(name, value)| {
                let name = axum::http::HeaderName::from_static(name);
                (name, value)
            });
            of(&HeaderMap::from_iter(headers), peer).to_string()
        };
        assert_eq!(client(None), "10.0.0.1");
        for (text, expected) in [
            ("203.0.113.7", "203.0.113.7"),
            (" 203.0.113.7 , 10.0.0.2", "203.0.113.7"),
            ("203.0.113.7:5000", "203.0.113.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]:5000", "2001:db8::7"),
            ("", "10.0.0.1"),
            ("unknown, 203.0.113.7", "10.0.0.1"),
        ] {
            assert_eq!(client(Some(text)), expected, "{text}");
        }
    }
}
