//! A gateway whose orchestrators take no more, or nobody's work at all.

use crate::node::{Node, SECRET};
use crate::wire::Transcoder;

/// What the gateway says of its only orchestrator.
fn said(gateway: &Node) -> (bool, String) {
    let report = gateway.status()["orchestrators"][0].clone();
    let reason = report["reason"].as_str().unwrap_or_default().to_owned();
    (report["usable"] == true, reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orchestrator_without_a_transcoder_makes_no_gateway_ready() {
    // with room by its settings, and with as much as transcoders offer
    for settings in ["max_sessions = 1", ""] {
        let orchestrator = Node::orchestrator(settings);
        let gateway = Node::gateway(&[orchestrator.addr], "");
        let deserted = (false, "has no transcoder connected".to_owned());
        gateway.wait_for("it has asked", || said(&gateway) == deserted);
        let ready = gateway.probe("readyz");
        assert!(ready.contains(&deserted.1), "{ready}");
        gateway.wait_for("it serves all the same", || {
            gateway.probe("servingz") == "ok\n"
        });

        let _transcoder = Transcoder::register(orchestrator.addr, SECRET).await;
        gateway.wait_until_ready();
        assert_eq!(said(&gateway), (true, String::new()));
    }
}
