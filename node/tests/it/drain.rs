//! The end of a process that somebody could hold up.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, SystemTime};

use livepeer_proto::errors::TRANSCODER_STOPPED;
use livepeer_proto::headers::{DRAINING, encode};

use crate::client::{answer, assert_complete};
use crate::clips;
use crate::node::{Node, SECRET, free};
use crate::wire::{Gateway, SEGMENT, Transcoder};

#[test]
fn a_request_that_is_never_whole_does_not_hold_up_the_end() {
    let [nobody] = free();
    let gateway = Node::gateway(&[nobody], "");
    let _open = [gateway.addr, gateway.probes].map(|addr| {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
        stream
    });
    assert_eq!(gateway.terminate().code(), Some(0));
}

#[test]
fn a_client_that_keeps_its_connection_is_sent_elsewhere_while_its_segments_are_taken() {
    let [nobody] = free();
    let gateway = Node::gateway(&[nobody], "");
    let segment = std::fs::read(clips::good()).unwrap();
    let mut kept = TcpStream::connect(gateway.addr).unwrap();
    let (status, goes_on) = push(&mut kept, &segment);
    assert!(status == 200 && goes_on);

    gateway.signal("TERM");
    let deadline = SystemTime::now() + Duration::from_secs(20);
    loop {
        let (status, goes_on) = push(&mut kept, &segment);
        assert_eq!(status, 200);
        if !goes_on {
            break;
        }
        assert!(SystemTime::now() < deadline, "the connection is kept");
    }
    assert_eq!(kept.read(&mut [0; 1]).unwrap(), 0, "it is closed");

    // nobody else is there: who comes back is served
    let mut new = TcpStream::connect(gateway.addr).unwrap();
    let (status, goes_on) = push(&mut new, &segment);
    assert!(status == 200 && !goes_on);
    assert_eq!(gateway.terminate().code(), Some(0));
}

/// Pushes a segment of which nothing is to be made: the status, and whether the
/// connection stays.
fn push(stream: &mut TcpStream, segment: &[u8]) -> (u16, bool) {
    let head = format!(
        "PUT /live/a/0.ts HTTP/1.1\r\nHost: g\r\nContent-Length: {}\r\n\
         Livepeer-Transcode-Configuration: {{\"profiles\":[]}}\r\n\r\n",
        segment.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(segment).unwrap();
    let mut reply = Vec::new();
    while !reply.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        reply.extend(byte);
    }
    let reply = String::from_utf8(reply).unwrap().to_lowercase();
    let status = reply.split(' ').nth(1).unwrap().parse().unwrap();
    (status, !reply.contains("\r\nconnection: close\r\n"))
}

/// A gateway whose session has had a segment done, and the transcoder that did it.
async fn session_at(orchestrator: &Node) -> (Gateway, Transcoder) {
    let mut transcoder = Transcoder::register(orchestrator.addr, SECRET)
        .await
        .unwrap();
    let gateway = Gateway::at(orchestrator.addr).await;
    let segment = encode(&gateway.segment());
    let post = gateway.post(&gateway.h2, "", &segment).body(SEGMENT).send();
    let work = async {
        let task = transcoder.task().await.task_id;
        transcoder.deliver(task).await;
    };
    let (response, ()) = tokio::join!(post, work);
    assert_eq!(response.unwrap().status(), 200);
    (gateway, transcoder)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_orchestrator_without_transcoders_leaves_its_sessions() {
    let orchestrator = Node::orchestrator("");
    let (gateway, transcoder) = session_at(&orchestrator).await;
    drop(transcoder);
    let ended = tokio::task::spawn_blocking(move || orchestrator.terminate());
    let segment = encode(&gateway.segment());
    let sends_on = async {
        loop {
            // refused once it is gone
            let _ = gateway
                .post(&gateway.h2, "", &segment)
                .body(SEGMENT)
                .send()
                .await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = sends_on => {}
        status = ended => assert_eq!(status.unwrap().code(), Some(0)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_only_orchestrator_drains_is_not_ready_and_serves_the_streams_it_has() {
    let orchestrator = Node::orchestrator("");
    let mut transcoder = Transcoder::register(orchestrator.addr, SECRET)
        .await
        .unwrap();
    let gateway = Node::gateway(&[orchestrator.addr], "");
    gateway.wait_until_ready();
    let mut serve = async |seq| {
        let push = gateway.push(&clips::good(), seq);
        let task = transcoder.task().await.task_id;
        transcoder.deliver(task).await;
        assert_complete(push);
    };
    serve(0).await;

    orchestrator.signal("TERM");
    let drains = "is draining: takes no new streams";
    gateway.wait_for("it knows", || {
        let report = &gateway.status()["orchestrators"][0];
        report["usable"] == false && report["reason"] == drains
    });
    assert!(gateway.probe("readyz").contains(drains));
    assert_eq!(gateway.probe("servingz"), "ok\n");
    serve(1).await;

    let url = format!("http://{}/live/new/0.ts", gateway.addr);
    let refused = answer(&["-T", clips::good().to_str().unwrap(), &url]);
    // after the deadline it would be without this reason
    let why = "No sessions available\n\
               every orchestrator is draining and takes no new streams";
    assert_eq!(refused, (503, why.to_owned()));
    assert_eq!(gateway.status()["sessions"], 1);
    serve(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_orchestrator_says_so_when_it_refuses_too() {
    let orchestrator = Node::orchestrator("");
    let (gateway, _transcoder) = session_at(&orchestrator).await;
    orchestrator.signal("TERM");
    orchestrator.wait_for("it drains", || orchestrator.log().contains("stopping"));
    let refused = gateway
        .post(&gateway.h2, "", "*")
        .body(SEGMENT)
        .send()
        .await;
    let refused = refused.unwrap();
    assert_eq!(refused.status(), 403);
    assert_eq!(refused.headers()[DRAINING], "1");
}

/// Nobody delivers the segment in flight, and the drain deadline is 30 s away.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once_what_has_a_segment_in_flight() {
    let orchestrator = Node::orchestrator("");
    let (gateway, mut transcoder) = session_at(&orchestrator).await;
    let segment = encode(&gateway.segment());
    let post = gateway.post(&gateway.h2, "", &segment).body(SEGMENT).send();
    let stop_twice = async {
        transcoder.task().await;
        orchestrator.signal("TERM");
        orchestrator.wait_for("it drains", || orchestrator.log().contains("stopping"));
        orchestrator.signal("TERM");
        let ended = tokio::task::spawn_blocking(move || orchestrator.end());
        ended.await.unwrap()
    };
    let reply = async { post.await?.bytes().await };
    let ((status, log), reply) = tokio::join!(stop_twice, reply);
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("second signal: stopping at once"), "{log}");
    assert!(!log.contains("drained"), "it did not wait: {log}");
    // its head came before the work
    if let Ok(reply) = reply {
        let text = String::from_utf8_lossy(&reply);
        assert!(text.contains(TRANSCODER_STOPPED), "{text}");
    }
}
