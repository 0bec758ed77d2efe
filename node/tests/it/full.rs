//! A gateway whose orchestrators take no more, or nobody's work at all.

use std::time::Duration;

use livepeer_proto::headers::encode;
use tokio::time::Instant;

use crate::client::{answer, assert_complete, curl, reply};
use crate::clips;
use crate::node::{Node, SECRET};
use crate::wire::{Gateway, SEGMENT, Transcoder};

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

#[test]
fn without_orchestrators_a_push_is_told_so() {
    let gateway = Node::gateway(&[], "");
    let why = "No sessions available\nno orchestrator is configured\n\n503";
    assert_eq!(reply(gateway.push(&clips::good(), 0)), why);
}

/// An orchestrator, its transcoder, and the gateway that has its one session.
async fn full() -> (Node, Transcoder, Gateway) {
    let orchestrator = Node::orchestrator("max_sessions = 1");
    let mut transcoder = Transcoder::register(orchestrator.addr, SECRET)
        .await
        .unwrap();
    let other = Gateway::at(orchestrator.addr).await;
    let segment = encode(&other.segment());
    let post = other.post(&other.h2, "", &segment).body(SEGMENT).send();
    let work = async {
        let task = transcoder.task().await.task_id;
        transcoder.deliver(task).await;
    };
    let (response, ()) = tokio::join!(post, work);
    assert_eq!(response.unwrap().status(), 200);
    (orchestrator, transcoder, other)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_is_answered_by_a_full_orchestrator_too() {
    let (_full, _transcoder, other) = full().await;
    let signature = other.ping(b"who is there").await.unwrap();
    assert_eq!(signature, b"", "off-chain");
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_full_ones_only_those_it_served_wait_for_one_without_a_transcoder() {
    let (full, _transcoder, _other) = full().await;
    let deserted = Node::orchestrator("");
    let gateway = Node::gateway(&[full.addr, deserted.addr], "");
    gateway.wait_until_ready();
    let is_deserted =
        || gateway.status()["orchestrators"][1]["reason"] == "has no transcoder connected";
    gateway.wait_for("it has asked both", is_deserted);
    // after the deadline it would be without this reason
    let why = "No sessions available\nevery orchestrator is full or without a transcoder\n\n503";
    assert_eq!(reply(gateway.push(&clips::good(), 0)), why);

    let mut transcoder = Transcoder::register(deserted.addr, SECRET).await.unwrap();
    gateway.wait_for("it can be used", || !is_deserted());
    let push = gateway.push(&clips::good(), 1);
    let task = transcoder.task().await.task_id;
    transcoder.deliver(task).await;
    assert_complete(push);

    drop(transcoder);
    gateway.wait_for("it cannot be used", is_deserted);
    let begun = Instant::now();
    let push = gateway.push(&clips::good(), 2);
    gateway.wait_for("longer than a full one is", || {
        begun.elapsed() > Duration::from_secs(6)
    });
    let mut transcoder = Transcoder::register(deserted.addr, SECRET).await.unwrap();
    let task = transcoder.task().await.task_id;
    transcoder.deliver(task).await;
    assert_complete(push);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_orchestrator_is_said_to_be_full_once_and_soon() {
    let (orchestrator, mut transcoder, other) = full().await;
    let gateway = Node::gateway(&[orchestrator.addr], "");
    gateway.wait_until_ready();
    let retried = || gateway.metric("livepeer_gateway_attempts_retried_total");
    for seq in 0..2 {
        let before = retried();
        let said = reply(gateway.push(&clips::good(), seq));
        let why = "No sessions available\n\
                   every orchestrator is full: 1 of 1 sessions are taken\n\n503";
        assert_eq!(said, why);
        let tries = retried() - before;
        assert!((3.0..15.0).contains(&tries), "{tries} tries");
    }
    let log = gateway.log();
    let warned = |of: &str| {
        let lines = log.lines().filter(|line| line.contains("WARN"));
        lines.filter(|line| line.contains(of)).count()
    };
    assert_eq!(warned("orchestrator has no room"), 1, "{log}");
    assert_eq!(warned("segment lost"), 1, "{log}");
    assert_eq!(gateway.status()["sessions"], 0, "none has begun");
    let streams = format!("http://{}/api/streams", gateway.addr);
    assert_eq!(curl(&[&streams]), r#"{"streams":[]}"#, "nothing to play");

    // its end makes room
    let push = gateway.push(&clips::good(), 2);
    other.end_session().await;
    let told = transcoder.task().await;
    assert_eq!(told.url, "", "that the session is over");
    let task = transcoder.task().await.task_id;
    transcoder.deliver(task).await;
    assert_complete(push);
    assert_eq!(gateway.status()["sessions"], 1);
    let (status, streams) = answer(&[&streams]);
    assert!(status == 200 && streams.contains("hello"), "{streams}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_no_orchestrator_can_decode_is_refused_at_once_and_said_once() {
    let orchestrator = Node::orchestrator("");
    let _transcoder = Transcoder::register(orchestrator.addr, SECRET).await;
    let gateway = Node::gateway(&[orchestrator.addr], "");
    gateway.wait_until_ready();
    for seq in 0..2 {
        let why = "No sessions available\n\
                   no orchestrator can transcode this: \
                   it lacks a capability that the job needs (HEVC decoding)\n\n503";
        assert_eq!(reply(gateway.push(&clips::hevc(), seq)), why);
    }
    let tries = gateway.metric("livepeer_gateway_attempts_retried_total");
    assert!(tries <= 2.0, "{tries} tries");
    let log = gateway.log();
    let warned = log.lines().filter(|line| line.contains("WARN"));
    let warned = warned.filter(|line| line.contains("orchestrator cannot do the job"));
    assert_eq!(warned.count(), 1, "{log}");
}
