//! Addresses to listen on, as people write them: `127.0.0.1:8935`.
//!
//! The plain type says of a wrong one that its syntax is invalid, and not what would be
//! right; most who get it wrong write a name, or leave the port out.

use std::fmt;
use std::net::SocketAddr;

use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// For `#[serde(deserialize_with)]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<SocketAddr, D::Error> {
    input.deserialize_str(Address)
}

/// The same for a setting that may be absent.
pub(crate) fn deserialize_some<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<SocketAddr>, D::Error> {
    deserialize(input).map(Some)
}

struct Address;

impl Visitor<'_> for Address {
    type Value = SocketAddr;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(
            "an IP address and a port, such as `127.0.0.1:8935`; `0.0.0.0:8935` is every address",
        )
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<SocketAddr, E> {
        text.parse()
            .map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}
