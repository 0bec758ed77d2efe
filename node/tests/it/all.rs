//! `livepeer-node all`, from a push with curl to SIGTERM.

use crate::node::{Node, curl, reply};

#[test]
fn one_process_answers_a_push_with_renditions_and_serves_them() {
    let node = Node::all();
    let segment = node.segment();
    for seq in 0..2 {
        let reply = reply(node.push(&segment, seq));
        assert!(reply.ends_with("\n200"), "{}", tail(&reply));
        assert_eq!(reply.matches("Rendition-Name: ").count(), 2);
    }
    let playlist = curl(&[&format!("http://{}/stream/hello.m3u8", node.gateway)]);
    // the source and two renditions
    assert_eq!(
        playlist.matches("#EXT-X-STREAM-INF").count(),
        3,
        "{playlist}"
    );
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", node.pid())).unwrap();
    assert!(maps.contains("livepeer-node"));
    for library in ["libav", "libswscale", "libx264"] {
        assert!(!maps.contains(library), "{library} is mapped");
    }
    assert_eq!(node.terminate().code(), Some(0));
}

#[test]
fn a_push_in_flight_is_answered_whole_after_sigterm() {
    let node = Node::all();
    let segment = node.segment();
    let push = node.push(&segment, 0);
    node.wait_for_session();
    let ended = node.terminate();
    let reply = reply(push);
    assert!(reply.ends_with("\n200"), "{}", tail(&reply));
    assert_eq!(reply.matches("Rendition-Name: ").count(), 2);
    assert_eq!(ended.code(), Some(0));
}

/// The end of a reply, whose middle is video.
fn tail(reply: &str) -> String {
    reply
        .chars()
        .rev()
        .take(200)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect()
}
