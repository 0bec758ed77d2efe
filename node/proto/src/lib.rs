//! The Livepeer wire protocol: generated messages and the rules around them.
//!
//! * [`net`]: messages and services, generated from `proto/net/livepeer.proto`
//! * [`headers`]: the headers of `POST /segment` and `POST /transcodeResults`
//! * [`capabilities`]: bit strings, the subset test, versions
//! * [`credentials`]: what a gateway signs and hashes about a segment
//! * [`errors`]: error texts that a peer compares letter by letter
//! * [`dial`]: TLS to a peer, as all of them do it: without verification
//!
//! Facts are from go-livepeer v0.9.1, named file by file. Nothing here decides
//! anything about a session; that is the node's.

pub mod capabilities;
pub mod credentials;
pub mod dial;
pub mod errors;
pub mod headers;

/// Messages and services of package `net`.
pub mod net {
    #![allow(
        unreachable_pub,
        clippy::all,
        clippy::pedantic,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]
    tonic::include_proto!("net");
}
