//! What our roles sent to each other and to a go-livepeer gateway, in a run whose 15
//! segments all came back: what a peer is known to take from us.

use livepeer_proto::{headers, net};

use crate::golden::{JOB, exact, profiles};
use crate::heads::{Head, parts};
use crate::session::no_constraints;

const OURS: &str = "livepeer-node-v0.1.0";
const SERVICE_URI: &str = "https://127.0.0.1:33051";
const SESSION: &str = "bb9c6a72";
/// Our task ids start anywhere, so that a late result of a former process finds no task.
const TASK: i64 = 3_400_808_894_069_473_280;

fn auth_token() -> net::AuthToken {
    let token = "98d548003c6717694fadd8371781a7b98577cbe240300dc6d4c4bbeef75ef91f";
    net::AuthToken {
        token: hex::decode(token).unwrap(),
        session_id: SESSION.to_owned(),
        expiration: 1_795_229_115,
    }
}

/// H.264 and its profiles, MPEG-TS, MP4, GOPs, fractional rates; no object stores, no AI.
fn capabilities() -> net::Capabilities {
    let bits = (0..=4).chain(7..=12).chain(21..=26);
    net::Capabilities {
        bitstring: vec![bits.clone().map(|bit| 1 << bit).sum()],
        mandatories: Vec::new(),
        capacities: bits.map(|bit| (bit, 1)).collect(),
        version: "0.9.1+livepeer-node-0.1.0".to_owned(),
        constraints: Some(no_constraints()),
    }
}

fn offer() -> net::OrchestratorInfo {
    net::OrchestratorInfo {
        transcoder: SERVICE_URI.to_owned(),
        ticket_params: None,
        price_info: None,
        address: vec![0; 20],
        capabilities: Some(capabilities()),
        auth_token: Some(auth_token()),
        hardware: Vec::new(),
        storage: Vec::new(),
        capabilities_prices: Vec::new(),
        nodes: Vec::new(),
    }
}

#[test]
fn our_offer_is_one_that_a_go_livepeer_gateway_accepts() {
    let name = format!("orchestrator-info-orchestrator-to-gateway-{OURS}.bin");
    assert_eq!(exact::<net::OrchestratorInfo>(&name), offer());
}

#[test]
fn our_result_repeats_the_offer_with_the_same_token() {
    let name = format!("transcode-result-orchestrator-to-gateway-{OURS}.bin");
    let segments = [("360p", 640 * 360 * 50), ("240p", 426 * 240 * 50)]
        .map(|(name, pixels)| net::TranscodedSegmentData {
            url: format!("{SERVICE_URI}/stream/{SESSION}/{name}/0.ts"),
            pixels,
            perceptual_hash_url: String::new(),
        })
        .to_vec();
    let result = net::transcode_result::Result::Data(net::TranscodeData {
        segments,
        sig: Vec::new(),
    });
    assert_eq!(
        exact::<net::TranscodeResult>(&name),
        net::TranscodeResult {
            seq: 0,
            info: Some(offer()),
            result: Some(result),
        }
    );
}

#[test]
fn our_transcoder_registers_with_what_it_measured() {
    let name = format!("register-request-transcoder-to-orchestrator-{OURS}.bin");
    assert_eq!(
        exact::<net::RegisterRequest>(&name),
        net::RegisterRequest {
            secret: "interop-secret".to_owned(),
            capacity: 1,
            capabilities: Some(capabilities()),
        }
    );
}

#[test]
fn our_notification_leaves_the_job_as_the_gateway_sent_it() {
    let name = format!("notify-segment-orchestrator-to-transcoder-{OURS}.bin");
    let segment = net::SegData {
        manifest_id: "their-gateway".into(),
        seq: 0,
        hash: vec![0; 32].into(),
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
        full_profiles: profiles().split_off(2),
        full_profiles2: Vec::new(),
        full_profiles3: Vec::new(),
        segment_parameters: None,
        force_session_reinit: false,
    };
    assert_eq!(
        exact::<net::NotifySegment>(&name),
        net::NotifySegment {
            url: format!("{SERVICE_URI}/stream/{SESSION}/0.tempfile"),
            seg_data: Some(segment),
            task_id: TASK,
            profiles: b"invalid".to_vec(),
            orch_id: "offchain".to_owned(),
        }
    );
}

#[test]
fn our_results_have_the_headers_and_part_headers_of_theirs() {
    let name = format!("transcode-results-transcoder-to-orchestrator-{OURS}.http");
    let head = Head::of(&name);
    assert_eq!(head.first, "POST /transcodeResults HTTP/2.0");
    assert_eq!(head.value("Authorization"), headers::TRANSCODER_PROTOCOL);
    assert_eq!(head.value(headers::CREDENTIALS), "interop-secret");
    assert_eq!(head.value(headers::TASK_ID), TASK.to_string());
    assert_eq!(head.value(headers::PIXELS), "46080000");
    let parts = parts(&head);
    let pixels: Vec<_> = parts
        .iter()
        .map(|part| part.value(headers::PIXELS))
        .collect();
    assert_eq!(pixels, ["11520000", "5112000"]);
    for part in &parts {
        assert_eq!(part.names(), ["Content-Length", "Content-Type", "Pixels"]);
        assert_eq!(part.value("Content-Type"), "video/mp2t");
    }
}
