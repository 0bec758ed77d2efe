//! `livepeer-node all`, from a push with curl to SIGTERM.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::client::{assert_complete, curl};
use crate::clips;
use crate::node::{Node, engine};

/// What a worker of the engine is given at least (`livepeer_media`, `engine::limits`).
const LEAST_WORKER_BYTES: u64 = 192 << 20;

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
fn a_role_whose_engine_does_not_start_ends_the_whole_process() {
    // of many workers each gets the least memory; the two that look into segments get more
    let node = Node::all_with(|folder| {
        let program = folder.join("engine");
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in *--memory-limit\\ {LEAST_WORKER_BYTES}) exit 3;; esac\n\
             exec {} \"$@\"\n",
            engine().display()
        );
        std::fs::write(&program, script).unwrap();
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&program, executable).unwrap();
        format!("[engine]\nprogram = {program:?}\nworkers = 5000\n")
    });
    let (status, log) = node.end();
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("transcoder: cannot start the engine"), "{log}");
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

#[test]
fn a_node_that_starts_again_does_not_measure_its_engine_again() {
    let cache = tempfile::tempdir().unwrap();
    let first = Node::measured(cache.path());
    let file = cache.path().join("self-test.json");
    let mut kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(first.terminate().code(), Some(0));

    // of which four fifths are offered
    kept["speed"] = 1000.0.into();
    std::fs::write(&file, kept.to_string()).unwrap();
    let second = Node::measured(cache.path());
    assert_eq!(second.status()["capacity"], 800);
    // nobody has registered it: the engine alone makes nobody ready
    assert!(second.probe("readyz").contains("registration"));
    assert_eq!(second.terminate().code(), Some(0));
}
