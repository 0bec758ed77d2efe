//! A transcoder registers, is given work, posts what it made, and hears of a session's end.

use livepeer_proto::{headers, net};

use crate::golden::{
    JOB, SERVICE_URI, SESSION, SOFTWARE, THEIRS, VERSION, auth_token, capacities, exact, profiles,
    reordered,
};
use crate::heads::{Head, parts};
use crate::session::no_constraints;

#[test]
fn a_registration_offers_a_capacity_of_one_for_each_capability() {
    let name = format!("register-request-transcoder-to-orchestrator-{THEIRS}.bin");
    let request: net::RegisterRequest = reordered(&name);
    assert_eq!(
        request,
        net::RegisterRequest {
            secret: "interop-secret".to_owned(),
            capacity: 10,
            capabilities: Some(net::Capabilities {
                bitstring: SOFTWARE.to_vec(),
                mandatories: Vec::new(),
                capacities: capacities(1, 1),
                version: VERSION.to_owned(),
                constraints: Some(no_constraints()),
            }),
        }
    );
}

#[test]
fn a_notification_has_no_hash_and_capacities_that_the_job_had_not() {
    let name = format!("notify-segment-orchestrator-to-transcoder-{THEIRS}.bin");
    let notification: net::NotifySegment = reordered(&name);
    assert_eq!(
        notification,
        net::NotifySegment {
            url: format!("{SERVICE_URI}/stream/{SESSION}/0.tempfile"),
            seg_data: Some(net::SegData {
                manifest_id: "all-theirs".into(),
                seq: 0,
                hash: vec![0; 32].into(),
                profiles: "invalid".into(),
                sig: "".into(),
                duration: 2000,
                capabilities: Some(net::Capabilities {
                    bitstring: JOB.to_vec(),
                    mandatories: Vec::new(),
                    capacities: [(0, 1), (1, 1), (12, 1), (26, 1)].into(),
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
            }),
            task_id: 0,
            profiles: b"invalid".to_vec(),
            orch_id: "offchain".to_owned(),
        }
    );
}

#[test]
fn a_teardown_is_a_notification_of_nothing_but_the_session() {
    let name = format!("notify-segment-teardown-orchestrator-to-transcoder-{THEIRS}.bin");
    let notification: net::NotifySegment = exact(&name);
    let session = net::AuthToken {
        session_id: SESSION.to_owned(),
        ..net::AuthToken::default()
    };
    let teardown = net::NotifySegment {
        seg_data: Some(net::SegData {
            auth_token: Some(session),
            ..net::SegData::default()
        }),
        ..net::NotifySegment::default()
    };
    assert_eq!(notification, teardown);
}

#[test]
fn results_say_whose_they_are_and_count_decoded_and_encoded_pixels() {
    let name = format!("transcode-results-transcoder-to-orchestrator-{THEIRS}.http");
    let head = Head::of(&name);
    assert_eq!(head.first, "POST /transcodeResults HTTP/2.0");
    assert_eq!(head.value("Authorization"), headers::TRANSCODER_PROTOCOL);
    assert_eq!(head.value(headers::CREDENTIALS), "interop-secret");
    assert_eq!(head.value(headers::TASK_ID), "0");
    // 50 frames of the source, decoded once
    assert_eq!(head.value(headers::PIXELS), "46080000");
    let parts = parts(&head);
    let pixels: Vec<_> = parts
        .iter()
        .map(|part| part.value(headers::PIXELS))
        .collect();
    assert_eq!(pixels, ["46080000", "20496000", "11520000", "5112000"]);
    for part in &parts {
        assert_eq!(part.names(), ["Content-Length", "Content-Type", "Pixels"]);
        assert_eq!(part.value("Content-Type"), "video/mp2t");
        assert_eq!(part.body.first(), Some(&0x47), "a TS packet");
    }
}
