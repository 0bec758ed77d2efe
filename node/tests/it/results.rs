//! What transcoders bring and should not: dropped, refused, or asked of another.

use bytes::Bytes;
use livepeer_proto::headers::encode;
use livepeer_proto::net::{self, transcode_result};
use prost::Message as _;

use crate::node::{Node, SECRET};
use crate::wire::{
    Gateway, MULTIPART, RENDITION, SEGMENT, Transcoder, multipart, results, results_client,
};

const WRONG: &str = "a-wrong-secret-that-no-log-may-have";

/// An orchestrator with one transcoder, and a gateway that has a session there.
async fn network() -> (Node, Gateway, Transcoder) {
    let orchestrator = Node::orchestrator("max_sessions = 1");
    let gateway = Gateway::at(orchestrator.addr).await;
    let transcoder = Transcoder::register(orchestrator.addr, SECRET).await;
    (orchestrator, gateway, transcoder.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_credential_is_refused_counted_and_not_logged() {
    let orchestrator = Node::orchestrator("max_sessions = 1");
    let refused = Transcoder::register(orchestrator.addr, WRONG).await.err();
    assert_eq!(refused.unwrap().message(), "invalid secret");
    let sent = results(&results_client(), orchestrator.addr, WRONG, 1, MULTIPART)
        .body(multipart(1))
        .send()
        .await
        .unwrap();
    assert_eq!(sent.status(), 401);
    assert_eq!(sent.text().await.unwrap(), "Unauthorized\n");
    assert_eq!(
        orchestrator.metric("livepeer_orchestrator_refused_credentials_total"),
        2.0
    );
    let log = orchestrator.log();
    let told = log.matches("wrong credential refused").count();
    assert_eq!(told, 1, "anybody could fill the log: {log}");
    assert!(!log.contains(WRONG) && !log.contains(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_of_the_reply_comes_before_the_work_is_done() {
    let (_orchestrator, gateway, mut transcoder) = network().await;
    let segment = encode(&gateway.segment());
    for client in [&gateway.h1, &gateway.h2] {
        let post = gateway.post(client, "", &segment).body(SEGMENT);
        // a head that waits for the work waits in vain: nobody does it yet
        let response = post.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let task = transcoder.task().await.task_id;
        transcoder.deliver(task).await;
        assert_eq!(renditions(response).await.len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_credential_still_brings_the_segment_that_was_under_way() {
    let (orchestrator, gateway, mut transcoder) = network().await;
    let segment = encode(&gateway.segment());
    let post = gateway.post(&gateway.h2, "", &segment).body(SEGMENT).send();
    let work = async {
        let task = transcoder.task().await.task_id;
        std::fs::write(orchestrator.file("credentials/pool"), "another").unwrap();
        while Transcoder::register(orchestrator.addr, SECRET)
            .await
            .is_ok()
        {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        transcoder.deliver(task).await;
    };
    let (response, ()) = tokio::join!(post, work);
    assert_eq!(renditions(response.unwrap()).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_nobody_waits_for_is_taken_dropped_and_counted() {
    let (orchestrator, gateway, mut transcoder) = network().await;
    transcoder.deliver(4711).await;
    let late = "livepeer_orchestrator_results_total{result=\"Late\"}";
    assert_eq!(orchestrator.metric(late), 1.0);
    let segment = encode(&gateway.segment());
    let done = gateway.post(&gateway.h2, "", &segment).body(SEGMENT).send();
    let work = async {
        let task = transcoder.task().await.task_id;
        transcoder.deliver(task).await;
        transcoder.deliver(task).await;
    };
    let (response, ()) = tokio::join!(done, work);
    assert_eq!(response.unwrap().status(), 200);
    assert_eq!(orchestrator.metric(late), 2.0);
}

/// Where a reply to a segment says that its renditions are.
async fn renditions(response: reqwest::Response) -> Vec<String> {
    let body = response.bytes().await.unwrap();
    let reply = net::TranscodeResult::decode(body).unwrap();
    let Some(transcode_result::Result::Data(data)) = reply.result else {
        panic!("no renditions: {reply:?}");
    };
    data.segments.into_iter().map(|one| one.url).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_of_a_session_that_ended_under_way() {
    let (orchestrator, gateway, mut transcoder) = network().await;
    let segment = encode(&gateway.segment());
    let post = gateway.post(&gateway.h2, "", &segment).body(SEGMENT).send();
    let work = async {
        let task = transcoder.task().await.task_id;
        gateway.end_session().await;
        transcoder.deliver(task).await;
    };
    let (response, ()) = tokio::join!(post, work);
    for url in renditions(response.unwrap()).await {
        assert_eq!(gateway.h1.get(url).send().await.unwrap().status(), 404);
    }
    assert_eq!(orchestrator.status()["transcoders"][0]["sessions"], 0);
}

/// A result that ends in its first rendition.
fn cut() -> reqwest::Body {
    let pieces = [
        Ok(Bytes::from_static(
            b"--0123456789abcdef0123\r\nPixels: 7\r\n\r\nhalf",
        )),
        Err(std::io::Error::other("the connection broke")),
    ];
    reqwest::Body::wrap_stream(futures::stream::iter(pieces))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_cut_off_may_be_sent_again() {
    let (_orchestrator, gateway, mut transcoder) = network().await;
    let segment = encode(&gateway.segment());
    let post = gateway.post(&gateway.h2, "", &segment).body(SEGMENT);
    let work = async {
        let task = transcoder.task().await.task_id;
        let sent = transcoder.result(task).body(cut()).send().await;
        assert!(sent.is_err(), "{sent:?}");
        transcoder.deliver(task).await;
    };
    let (response, ()) = tokio::join!(post.send(), work);
    assert_eq!(renditions(response.unwrap()).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_cut_off_or_wrong_is_asked_of_another_at_once() {
    let orchestrator = Node::orchestrator("max_sessions = 1");
    let gateway = Gateway::at(orchestrator.addr).await;
    let segment = encode(&gateway.segment());
    let post = gateway.post(&gateway.h2, "", &segment).body(SEGMENT);
    let work = async {
        let mut first = Transcoder::register(orchestrator.addr, SECRET)
            .await
            .unwrap();
        let task = first.task().await.task_id;
        let mut second = Transcoder::register(orchestrator.addr, SECRET)
            .await
            .unwrap();
        let sent = first.result(task).body(cut()).send().await;
        assert!(sent.is_err(), "{sent:?}");

        let task = second.task().await.task_id;
        let mut third = Transcoder::register(orchestrator.addr, SECRET)
            .await
            .unwrap();
        let sent = second.result_without_pixels(task).body(multipart(2)).send();
        assert_eq!(sent.await.unwrap().status(), 400);

        let task = third.task().await.task_id;
        third.deliver(task).await;
    };
    let (response, ()) = tokio::join!(post.send(), work);
    let urls = renditions(response.unwrap()).await;
    assert_eq!(urls.len(), 2);
    for url in urls {
        let rendition = gateway.h1.get(url).send().await.unwrap();
        assert_eq!(rendition.text().await.unwrap(), RENDITION);
    }
    // not because it took long
    let lost = "livepeer_orchestrator_attempts_total{reason=\"Lost\"}";
    assert_eq!(orchestrator.metric(lost), 2.0);
}
