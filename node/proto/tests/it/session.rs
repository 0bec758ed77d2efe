//! A session between gateway and orchestrator: asked for, offered, ended.

use livepeer_proto::net;

use crate::golden::{
    JOB, SERVICE_URI, SOFTWARE, THEIRS, VERSION, auth_token, capacities, exact, reordered,
};

#[test]
fn an_orchestrator_request_is_unsigned_off_chain() {
    let name = format!("orchestrator-request-gateway-to-orchestrator-{THEIRS}.bin");
    let request: net::OrchestratorRequest = exact(&name);
    assert_eq!(
        request,
        net::OrchestratorRequest {
            address: vec![0; 20],
            sig: Vec::new(),
            capabilities: Some(net::Capabilities {
                bitstring: JOB.to_vec(),
                mandatories: Vec::new(),
                capacities: [].into(),
                version: String::new(),
                constraints: Some(no_constraints()),
            }),
            ignore_capacity_check: false,
        }
    );
}

/// The offer of an orchestrator with one software transcoder: the default capabilities
/// count twice, since an orchestrator without a transcoder of its own claims them too.
pub(crate) fn offer() -> net::OrchestratorInfo {
    net::OrchestratorInfo {
        transcoder: SERVICE_URI.to_owned(),
        ticket_params: None,
        price_info: None,
        address: vec![0; 20],
        capabilities: Some(net::Capabilities {
            bitstring: SOFTWARE.to_vec(),
            mandatories: Vec::new(),
            capacities: capacities(2, 1),
            version: VERSION.to_owned(),
            constraints: Some(net::capabilities::Constraints {
                min_version: VERSION.to_owned(),
                per_capability: [].into(),
            }),
        }),
        auth_token: Some(auth_token()),
        hardware: Vec::new(),
        storage: Vec::new(),
        capabilities_prices: Vec::new(),
        nodes: Vec::new(),
    }
}

pub(crate) fn no_constraints() -> net::capabilities::Constraints {
    net::capabilities::Constraints {
        min_version: String::new(),
        per_capability: [].into(),
    }
}

#[test]
fn an_offer_has_no_price_and_no_tickets_off_chain() {
    let name = format!("orchestrator-info-orchestrator-to-gateway-{THEIRS}.bin");
    let info: net::OrchestratorInfo = reordered(&name);
    assert_eq!(info, offer());
}

#[test]
fn a_session_ends_by_its_token() {
    let name = format!("end-session-request-gateway-to-orchestrator-{THEIRS}.bin");
    let request: net::EndTranscodingSessionRequest = exact(&name);
    assert_eq!(request.auth_token, Some(auth_token()));
}

#[test]
fn an_orchestrator_pings_itself_with_a_hash() {
    let name = format!("ping-orchestrator-to-orchestrator-{THEIRS}.bin");
    let ping: net::PingPong = exact(&name);
    assert_eq!(
        hex::encode(ping.value),
        "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    );
}
