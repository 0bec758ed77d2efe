//! The checks of `/segment` and `/payment` before a body is read, in go-livepeer's
//! order and with its statuses (`server/segment_rpc.go`). Pure: what they need comes in.
//!
//! | # | Check | Status |
//! |---|---|---|
//! | 1 | payment: base64, protobuf | 402 |
//! | 2 | segment data: base64, protobuf | 403 |
//! | 3 | profiles, duration | 403 |
//! | 4 | signature of the sender: always good off-chain | 403 |
//! | 5 | capabilities | 403 |
//! | 6 | auth token | 403 |
//!
//! What follows (sessions, payment, body, hash) needs state: see `segment`.

use http::{HeaderMap, HeaderValue, StatusCode};
use livepeer_proto::capabilities;
use livepeer_proto::headers::{self, HeaderError};
use livepeer_proto::net::{self, Payment, SegData};

use super::refusal::Refusal;
use super::tokens::Tokens;
use crate::segdata::Asked;

/// A request whose headers are in order.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) data: SegData,
    pub(crate) asked: Asked,
    /// The gateway's token, and so the session.
    pub(crate) token: net::AuthToken,
}

/// Checks the headers at the time `now`, in Unix seconds.
pub(crate) fn check(
    headers: &HeaderMap,
    offered: &net::Capabilities,
    tokens: &Tokens,
    now: i64,
) -> Result<Checked, Refusal> {
    let value = |name| headers.get(name).map_or(&b""[..], HeaderValue::as_bytes);
    let _payment: Payment = headers::parse(value(headers::PAYMENT))
        .map_err(|error| Refusal::new(StatusCode::PAYMENT_REQUIRED, with_source(&error)))?;
    let data: SegData = headers::parse(value(headers::SEGMENT)).map_err(|error| match error {
        HeaderError::Base64(_) => Refusal::forbidden("ErrorSegEncoding"),
        HeaderError::Protobuf(_) => Refusal::forbidden(with_source(&error)),
    })?;
    let asked = Asked::parse(&data).map_err(|error| Refusal::forbidden(error.to_string()))?;
    let job = data.capabilities.as_ref();
    if job.is_some_and(|job| capabilities::compatible(job, offered).is_err()) {
        return Err(Refusal::forbidden("incompatible capabilities"));
    }
    tokens
        .check(data.auth_token.as_ref(), now)
        .map_err(|error| Refusal::forbidden(error.to_string()))?;
    let token = data.auth_token.clone().unwrap_or_default();
    Ok(Checked { data, asked, token })
}

fn with_source(error: &HeaderError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::orchestrator::tokens::{LIFETIME_SECONDS, Tokens};
    use http::{HeaderMap, HeaderValue};
    use livepeer_proto::net::{self, SegData, VideoProfile};
    use livepeer_proto::{capabilities, headers};

    const NOW: i64 = 1_000_000;

    fn good(tokens: &Tokens) -> SegData {
        SegData {
            full_profiles: vec![VideoProfile {
                name: "p".to_owned(),
                ..VideoProfile::default()
            }],
            auth_token: Some(tokens.issue(NOW)),
            ..SegData::default()
        }
    }

    fn refused(tokens: &Tokens, payment: &str, segment: &str) -> (u16, String) {
        let mut map = HeaderMap::new();
        map.insert(headers::PAYMENT, HeaderValue::from_str(payment).unwrap());
        map.insert(headers::SEGMENT, HeaderValue::from_str(segment).unwrap());
        let offered = capabilities::message(&capabilities::software(), 1, "0.9.1");
        let refusal = check(&map, &offered, tokens, NOW).unwrap_err();
        (refusal.status.as_u16(), refusal.text)
    }

    #[test]
    fn each_fault_has_the_status_of_the_wire() {
        let tokens = Tokens::new([1; 32]);
        let good = good(&tokens);
        let encoded = headers::encode(&good);
        let (status, text) = refused(&tokens, "*", &encoded);
        assert!(
            status == 402 && text.starts_with("base64 decode error: "),
            "{text}"
        );
        let (status, text) = refused(&tokens, "/////w==", &encoded);
        assert!(
            status == 402 && text.starts_with("protobuf unmarshal error: "),
            "{text}"
        );
        assert_eq!(
            refused(&tokens, "", "*"),
            (403, "ErrorSegEncoding".to_owned())
        );
        assert_eq!(refused(&tokens, "", "/////w==").0, 403);
        let changed = |change: fn(&mut SegData)| {
            let mut data = good.clone();
            change(&mut data);
            refused(&tokens, "", &headers::encode(&data))
        };
        let forbidden = |text: &str| (403, text.to_owned());
        assert_eq!(
            changed(|data| data.duration = 300_001),
            forbidden("invalid duration")
        );
        assert_eq!(
            changed(|data| data.full_profiles.clear()),
            forbidden("no profiles")
        );
        assert_eq!(
            changed(|data| {
                data.capabilities = Some(net::Capabilities {
                    bitstring: vec![1 << 40],
                    ..net::Capabilities::default()
                });
            }),
            forbidden("incompatible capabilities")
        );
        assert_eq!(
            changed(|data| data.auth_token = None),
            forbidden("missing auth token")
        );
        assert_eq!(
            changed(|data| data.auth_token.as_mut().unwrap().session_id = "other".to_owned()),
            forbidden("invalid auth token")
        );
        let expired = SegData {
            auth_token: Some(tokens.issue(NOW - LIFETIME_SECONDS - 1)),
            ..good
        };
        assert_eq!(
            refused(&tokens, "", &headers::encode(&expired)),
            forbidden("expired auth token")
        );
    }

    #[test]
    fn the_payment_is_looked_at_before_the_segment() {
        assert_eq!(refused(&Tokens::new([1; 32]), "*", "*").0, 402);
    }

    #[test]
    fn a_good_request_passes_with_no_payment_at_all() {
        let tokens = Tokens::new([1; 32]);
        let mut map = HeaderMap::new();
        let encoded = headers::encode(&good(&tokens));
        map.insert(headers::SEGMENT, HeaderValue::from_str(&encoded).unwrap());
        let offered = capabilities::message(&capabilities::software(), 1, "0.9.1");
        let checked = check(&map, &offered, &tokens, NOW).unwrap();
        assert_eq!(checked.token.expiration, NOW + LIFETIME_SECONDS);
    }
}
