//! `POST /segment` that no gateway sends: statuses of the wire, over HTTP/1.1 and HTTP/2.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::map_request;
use axum::routing::get;
use bytes::Bytes;
use futures::StreamExt as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use livepeer_proto::headers::{SEGMENT_URI, encode};
use livepeer_proto::net::{self, transcode_result};
use prost::Message as _;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::node::Node;
use crate::wire::{Gateway, SEGMENT};

/// The longest head that an orchestrator takes.
const LIMIT: usize = 1 << 20;
/// For what takes a moment.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

/// A token of the orchestrator that expired in 1970, signed with its own key.
fn expired(orchestrator: &Node) -> net::AuthToken {
    let key = std::fs::read(orchestrator.file("data/token.key")).unwrap();
    let (session_id, expiration) = ("5c".to_owned(), 100_u8);
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(session_id.as_bytes());
    mac.update(&[expiration]);
    net::AuthToken {
        token: mac.finalize().into_bytes().to_vec(),
        session_id,
        expiration: expiration.into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_a_segment_has_the_status_of_the_wire() {
    let orchestrator = Node::orchestrator("max_sessions = 2");
    let gateway = Gateway::at(orchestrator.addr).await;
    let good = gateway.segment();
    let changed = |change: &dyn Fn(&mut net::SegData)| {
        let mut data = good.clone();
        change(&mut data);
        encode(&data)
    };
    let rows = [
        ("*", encode(&good), 402, "base64 decode error: "),
        ("/////w==", encode(&good), 402, "protobuf unmarshal error: "),
        ("", "*".to_owned(), 403, "ErrorSegEncoding"),
        ("", "/////w==".to_owned(), 403, "protobuf unmarshal error: "),
        (
            "",
            changed(&|data| data.duration = 300_001),
            403,
            "invalid duration",
        ),
        (
            "",
            changed(&|data| data.duration = -1),
            403,
            "invalid duration",
        ),
        ("", changed(&incapable), 403, "incompatible capabilities"),
        (
            "",
            changed(&|data| data.auth_token = None),
            403,
            "missing auth token",
        ),
        ("", changed(&another_session), 403, "invalid auth token"),
        (
            "",
            changed(&|data| data.auth_token = Some(expired(&orchestrator))),
            403,
            "expired auth token",
        ),
        (
            "",
            changed(&|data| data.hash = Bytes::from_static(&[7; 32])),
            403,
            "Forbidden",
        ),
    ];
    for client in [&gateway.h1, &gateway.h2] {
        for (payment, segment, status, text) in &rows {
            let request = gateway.post(client, payment, segment).body(SEGMENT);
            let response = request.send().await.unwrap();
            let got = (response.status().as_u16(), response.text().await.unwrap());
            assert!(
                got.0 == *status && got.1.starts_with(text),
                "{got:?}, not {text}"
            );
        }
        let request = gateway.post(client, "", &encode(&good)).body(SEGMENT);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let reply = net::TranscodeResult::decode(response.bytes().await.unwrap()).unwrap();
        let error = transcode_result::Result::Error("no transcoders available".to_owned());
        assert_eq!(reply.result, Some(error));
    }
    assert_eq!(orchestrator.status()["sessions"], 1, "of the good segments");
    orchestrator.assert_no_panic();
}

fn incapable(data: &mut net::SegData) {
    data.capabilities = Some(net::Capabilities {
        bitstring: vec![1 << 40],
        ..net::Capabilities::default()
    });
}

fn another_session(data: &mut net::SegData) {
    data.auth_token.as_mut().unwrap().session_id = "other".to_owned();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_long_is_refused_and_other_requests_go_on() {
    let orchestrator = Node::orchestrator("max_sessions = 2");
    let gateway = Gateway::at(orchestrator.addr).await;
    // with the rest of the head, just above it: all of it is sent before the answer comes
    let long = "x".repeat(LIMIT);
    let refused = gateway.post(&gateway.h1, &long, "").send().await.unwrap();
    assert_eq!(refused.status(), 431);

    // one whose body is on its way, on the only connection of this client
    let (body, pieces) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(2);
    let pieces = tokio_stream::wrappers::ReceiverStream::new(pieces).boxed();
    let segment = encode(&gateway.segment());
    let request = gateway.post(&gateway.h2, "", &segment);
    let under_way = request.body(reqwest::Body::wrap_stream(pieces)).send();
    let beside = async {
        let (first, rest) = SEGMENT.split_at(7);
        body.send(Ok(Bytes::from_static(first))).await.unwrap();
        tokio::time::timeout(PATIENCE, admitted(&orchestrator))
            .await
            .unwrap();
        let connections = orchestrator.metric("livepeer_orchestrator_connections");
        let refused = gateway.post(&gateway.h2, &long.repeat(3), "").send().await;
        assert_eq!(refused.unwrap().status(), 431);
        body.send(Ok(Bytes::from_static(rest))).await.unwrap();
        drop(body);
        connections
    };
    let (response, connections) = tokio::join!(under_way, beside);
    assert_eq!(response.unwrap().status(), 200);
    let now = orchestrator.metric("livepeer_orchestrator_connections");
    assert_eq!(now, connections, "no further connection was made");
    orchestrator.assert_no_panic();
}

/// Waits until the orchestrator has let a segment in, whose body it then reads.
async fn admitted(orchestrator: &Node) {
    while orchestrator.status()["sessions"] != 1 {
        tokio::time::sleep(LOOK).await;
    }
}

/// Where segments lie that are only named: at `/1.ts` and another one at `/2.ts`. How often
/// somebody asked.
async fn segments_on_loopback(tasks: &mut JoinSet<()>) -> (String, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let routes = Router::new()
        .route("/1.ts", get(async || SEGMENT))
        .route("/2.ts", get(async || "another one"))
        .layer(map_request(move |request: Request| {
            count.fetch_add(1, Ordering::SeqCst);
            std::future::ready(request)
        }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn(async { axum::serve(listener, routes).await.unwrap() });
    (base, asked)
}

/// The answer to a segment whose body only names it.
async fn named(gateway: &Gateway, url: String) -> (u16, Bytes) {
    let by_url = HeaderValue::from_static(SEGMENT_URI);
    let request = gateway
        .post(&gateway.h2, "", &encode(&gateway.segment()))
        .headers([(CONTENT_TYPE, by_url)].into_iter().collect());
    let response = request.body(url).send().await.unwrap();
    (response.status().as_u16(), response.bytes().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_is_only_named_is_fetched() {
    let mut tasks = JoinSet::new();
    let (base, _) = segments_on_loopback(&mut tasks).await;
    let orchestrator = Node::orchestrator("max_sessions = 2\nprivate_sources = true");
    let gateway = Gateway::at(orchestrator.addr).await;
    let (status, body) = named(&gateway, format!("{base}/1.ts")).await;
    assert_eq!(status, 200);
    let reply = net::TranscodeResult::decode(body).unwrap();
    let error = transcode_result::Result::Error("no transcoders available".to_owned());
    assert_eq!(reply.result, Some(error));
    for (url, status, text) in [
        (format!("{base}/2.ts"), 403, "Forbidden"),
        (format!("{base}/none.ts"), 400, "BadRequest"),
        ("ftp://127.0.0.1/1.ts".to_owned(), 400, "BadRequest"),
        ("no url".to_owned(), 400, "BadRequest"),
    ] {
        let (got, body) = named(&gateway, url.clone()).await;
        assert_eq!(got, status, "{url}");
        assert!(body.starts_with(text.as_bytes()), "{url}: {body:?}");
    }
    orchestrator.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_in_the_orchestrators_own_network_is_asked_for_a_segment() {
    let mut tasks = JoinSet::new();
    let (base, asked) = segments_on_loopback(&mut tasks).await;
    let by_name = base.replace("127.0.0.1", "localhost");
    let orchestrator = Node::orchestrator("max_sessions = 2");
    let gateway = Gateway::at(orchestrator.addr).await;
    for base in [base, by_name] {
        let (status, _) = named(&gateway, format!("{base}/1.ts")).await;
        assert_eq!(status, 400, "{base}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    orchestrator.assert_no_panic();
}
