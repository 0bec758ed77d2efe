//! Peers that go in the middle of a segment: it costs time, and nothing else.

use std::net::TcpListener;
use std::process::Command;

use livepeer_proto::headers::encode;
use livepeer_proto::net::{self, transcode_result};
use prost::Message as _;

use crate::client::assert_complete;
use crate::clips;
use crate::node::{Node, SECRET};
use crate::proxy::Proxy;
use crate::wire::{Gateway, SEGMENT, Transcoder};

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_costs_neither_the_segment_nor_its_session() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let service = format!("https://{}", listener.local_addr().unwrap());
    // room for one session: a second one could not be had
    let orchestrator =
        Node::orchestrator(&format!("max_sessions = 1\nservice_uri = \"{service}\""));
    let proxy = Proxy::new(listener, orchestrator.addr);
    let mut transcoder = Transcoder::register(orchestrator.addr, SECRET)
        .await
        .unwrap();
    let gateway = Node::gateway(&[proxy.addr], "");
    gateway.wait_until_ready();

    let push = gateway.push(&clips::good(), 0);
    let before = transcoder.task().await;
    proxy.cut();
    let after = transcoder.task().await;
    transcoder.deliver(after.task_id).await;
    assert_complete(push);
    let session = |notice: &net::NotifySegment| {
        let data = notice.seg_data.as_ref()?;
        Some(data.auth_token.as_ref()?.session_id.clone())
    };
    assert_eq!(session(&before), session(&after));
    assert_eq!(orchestrator.status()["sessions"], 1);
}

/// As while its orchestrator is deleted, and has no name and no Service any more.
#[test]
fn a_transcoder_that_cannot_register_anew_works_on_as_it_is() {
    let orchestrator = Node::orchestrator("");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::new(listener, orchestrator.addr);
    let transcoder = Node::transcoder(proxy.addr, SECRET);
    transcoder.wait_until_ready();
    let gateway = Node::gateway(&[orchestrator.addr], "");
    gateway.wait_until_ready();
    assert_complete(gateway.push(&clips::good(), 0));

    proxy.close();
    let file = transcoder.file("settings.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    let fewer = settings.replace("max_sessions = 4", "max_sessions = 3");
    assert_ne!(settings, fewer);
    std::fs::write(&file, fewer).unwrap();
    transcoder.wait_for("it cannot register", || {
        transcoder.log().contains("cannot register anew")
    });
    assert_complete(gateway.push(&clips::good(), 1));
    assert_eq!(orchestrator.status()["capacity"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transcoder_cut_off_from_the_network_loses_its_segment_to_another() {
    let orchestrator = Node::orchestrator("max_sessions = 1");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::new(listener, orchestrator.addr);
    let gateway = Gateway::at(orchestrator.addr).await;
    let segment = encode(&gateway.segment());
    let post = gateway.post(&gateway.h2, "", &segment).body(SEGMENT);
    let work = async {
        let mut first = Transcoder::register(proxy.addr, SECRET).await.unwrap();
        first.task().await;
        proxy.go_dead();
        let mut second = Transcoder::register(orchestrator.addr, SECRET)
            .await
            .unwrap();
        let task = second.task().await.task_id;
        second.deliver(task).await;
    };
    let (response, ()) = tokio::join!(post.send(), work);
    let reply = net::TranscodeResult::decode(response.unwrap().bytes().await.unwrap()).unwrap();
    assert!(
        matches!(reply.result, Some(transcode_result::Result::Data(_))),
        "{reply:?}"
    );
}

#[test]
fn a_transcoder_that_dies_or_freezes_in_a_segment_costs_nothing() {
    let orchestrator = Node::orchestrator("");
    let transcoders = [(); 2].map(|()| Node::transcoder(orchestrator.addr, SECRET));
    let gateway = Node::gateway(&[orchestrator.addr], "");
    transcoders.iter().for_each(Node::wait_until_ready);
    gateway.wait_until_ready();
    let attempts = |reason: &str| {
        let start = format!("livepeer_orchestrator_attempts_total{{reason=\"{reason}\"}}");
        orchestrator.metric(&start)
    };
    let begun = |segments: f64| {
        orchestrator.wait_for("a transcoder is at work", || attempts("First") >= segments);
    };

    let push = gateway.push(&clips::good(), 0);
    begun(1.0);
    let sessions = |node: &&Node| node.status()["sessions"].as_u64() > Some(0);
    orchestrator.wait_for("it says so", || {
        transcoders.iter().any(|node| sessions(&node))
    });
    let at_work = transcoders.iter().position(|node| sessions(&node)).unwrap();
    transcoders[at_work].signal("STOP");
    assert_complete(push);
    assert!(
        attempts("Lost") + attempts("Slow") > 0.0,
        "STOP hit nothing"
    );

    transcoders[at_work].signal("CONT");
    orchestrator.wait_for("it is registered again", || {
        orchestrator.metric("livepeer_orchestrator_transcoders") > 1.5
    });
    let before = attempts("Lost");
    let push = gateway.push(&clips::good(), 1);
    begun(2.0);
    // the session has stayed where it went
    transcoders[1 - at_work].signal("KILL");
    assert_complete(push);
    assert!(attempts("Lost") > before, "KILL hit nothing");
}

#[test]
fn workers_that_are_lost_are_counted_by_their_role() {
    let orchestrator = Node::orchestrator("");
    let transcoder = Node::transcoder(orchestrator.addr, SECRET);
    transcoder.wait_until_ready();
    let lost = "livepeer_transcoder_engine_workers_lost_total{cause=\"Idle\"}";
    let none = transcoder.metric(lost);
    assert!(none < 0.5, "{none}");
    let parent = transcoder.pid().to_string();
    let killed = Command::new("pkill")
        .args(["-KILL", "--parent", &parent])
        .status();
    assert!(killed.unwrap().success(), "it has no worker");
    transcoder.wait_for("it is counted", || transcoder.metric(lost) > 0.5);
}

#[test]
fn a_transcoder_with_a_wrong_credential_waits_for_the_right_one() {
    let orchestrator = Node::orchestrator("");
    let wrong = "a-wrong-secret-that-no-log-may-have";
    let transcoder = Node::transcoder(orchestrator.addr, wrong);
    transcoder.wait_for("it is refused", || {
        orchestrator.metric("livepeer_orchestrator_refused_credentials_total") > 0.0
    });
    std::fs::write(transcoder.file("secret"), SECRET).unwrap();
    transcoder.wait_until_ready();
    let log = transcoder.log() + &orchestrator.log();
    assert!(!log.contains(wrong) && !log.contains(SECRET), "{log}");
}
