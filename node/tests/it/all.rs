//! `livepeer-node all`, from a push with curl to SIGTERM.

use crate::client::{assert_complete, curl};
use crate::clips;
use crate::node::Node;

#[test]
fn one_process_answers_a_push_with_renditions_and_serves_them() {
    let node = Node::all();
    for seq in 0..2 {
        assert_complete(node.push(&clips::good(), seq));
    }
    let playlist = curl(&[&format!("http://{}/stream/hello.m3u8", node.addr)]);
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
    let push = node.push(&clips::good(), 0);
    node.wait_for("a segment has arrived", || {
        node.status()["sessions"].as_u64() > Some(0)
    });
    let ended = node.terminate();
    assert_complete(push);
    assert_eq!(ended.code(), Some(0));
}
