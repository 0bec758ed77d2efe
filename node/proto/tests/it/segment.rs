//! A segment from gateway to orchestrator, and its result.

use livepeer_proto::{headers, net};

use crate::golden::{JOB, SERVICE_URI, SESSION, THEIRS, auth_token, exact, profiles, reordered};
use crate::heads::Head;
use crate::session::{no_constraints, offer};

/// The segment as go-livepeer's gateway describes it to an orchestrator.
fn segment() -> net::SegData {
    let hash = "e84e50b9dd8a76e03d48b7a043a334ecd5afbeec3e2a76ccf9f646956c09f31e";
    net::SegData {
        manifest_id: "all-theirs".into(),
        seq: 0,
        hash: hex::decode(hash).unwrap().into(),
        profiles: "invalid".into(),
        sig: "".into(),
        duration: 2000,
        capabilities: Some(net::Capabilities {
            bitstring: JOB.to_vec(),
            mandatories: Vec::new(),
            capacities: [].into(),
            version: String::new(),
            constraints: Some(no_constraints()),
        }),
        auth_token: Some(auth_token()),
        calc_perceptual_hash: false,
        storage: Vec::new(),
        full_profiles: profiles(),
        full_profiles2: Vec::new(),
        full_profiles3: Vec::new(),
        segment_parameters: None,
        force_session_reinit: false,
    }
}

#[test]
fn a_segment_carries_its_profiles_and_its_session() {
    let name = format!("segment-data-gateway-to-orchestrator-{THEIRS}.bin");
    assert_eq!(exact::<net::SegData>(&name), segment());
}

#[test]
fn a_segment_request_carries_segment_and_payment_in_headers() {
    let name = format!("segment-request-gateway-to-orchestrator-{THEIRS}.http");
    let head = Head::of(&name);
    assert_eq!(head.first, "POST /segment HTTP/2.0");
    let value = head.value(headers::SEGMENT);
    assert_eq!(headers::encode(&segment()), value);
    assert_eq!(
        headers::parse::<net::SegData>(value.as_bytes()).unwrap(),
        segment()
    );
    // Off-chain nothing is paid, and the header is there all the same.
    assert_eq!(head.value(headers::PAYMENT), "");
    assert_eq!(head.value("Content-Type"), headers::VIDEO_MPEG_TS);
    assert_eq!(head.value("Content-Length"), "1045468");
}

#[test]
fn a_result_names_a_url_and_the_encoded_pixels_of_each_rendition() {
    let name = format!("transcode-result-orchestrator-to-gateway-{THEIRS}.bin");
    let result: net::TranscodeResult = reordered(&name);
    let segments = profiles()
        .into_iter()
        .map(|profile| net::TranscodedSegmentData {
            url: format!("{SERVICE_URI}/stream/{SESSION}/{}/0.ts", profile.name),
            pixels: 50 * i64::from(profile.width) * i64::from(profile.height),
            perceptual_hash_url: String::new(),
        })
        .collect();
    assert_eq!(
        result,
        net::TranscodeResult {
            seq: 0,
            info: Some(offer()),
            result: Some(net::transcode_result::Result::Data(net::TranscodeData {
                segments,
                sig: Vec::new(),
            })),
        }
    );
}
