//! When a new template is tried, and when the StatefulSet gets it.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::{AGAIN_AFTER, Step, decide, is_over_quota};
use crate::apply::tests::Table;

const MADE: &str = "2026-01-01T00:00:00Z";

fn now(after: std::time::Duration) -> Timestamp {
    MADE.parse::<Timestamp>().unwrap() + after
}

fn rehearsal(template: &str, phase: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "r", "creationTimestamp": MADE,
            "annotations": {"livepeer.org/template": template}},
        "status": {"phase": phase},
    }))
    .unwrap()
}

/// One whose node has ended, beside a container that runs on.
fn ended(template: &str, exit_code: i32) -> Pod {
    let mut pod = rehearsal(template, "Running");
    let container = |name: &str, state: Value| {
        json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": state})
    };
    let ended = container("node", json!({"terminated": {"exitCode": exit_code}}));
    let beside = container("mesh", json!({"running": {}}));
    let status = json!({"phase": "Running", "containerStatuses": [ended, beside]});
    pod.status = Some(serde_json::from_value(status).unwrap());
    pod
}

fn next(pod: &Pod) -> Step {
    decide(&[], Some(pod), "new", now(AGAIN_AFTER))
}

#[test]
fn the_statefulset_is_held_until_a_rehearsal_of_the_newest_template_has_succeeded() {
    assert_eq!(decide(&[], None, "new", now(AGAIN_AFTER)), Step::Make);
    for phase in ["Pending", "Running", "Unknown"] {
        assert_eq!(next(&rehearsal("new", phase)), Step::Wait, "{phase}");
    }
    assert_eq!(next(&ended("new", 64)), Step::Wait);
    assert_eq!(next(&ended("new", 0)), Step::Roll);
    assert_eq!(next(&ended("older", 0)), Step::Remove);
}

#[test]
fn a_rehearsal_that_was_turned_away_is_made_again_and_not_at_once() {
    let failed = rehearsal("new", "Failed");
    assert_eq!(next(&failed), Step::Remove);
    assert_eq!(
        decide(&[], Some(&failed), "new", now(AGAIN_AFTER / 2)),
        Step::Wait
    );
}

#[test]
fn a_rehearsal_on_its_way_out_says_nothing_more() {
    let mut leaving = ended("new", 0);
    leaving.metadata.deletion_timestamp = leaving.metadata.creation_timestamp.clone();
    assert_eq!(next(&leaving), Step::Wait);
}

fn pod(status: &str) -> Pod {
    let waiting = json!({"waiting": {"reason": "ImagePullBackOff"}});
    let containers = json!([{"name": "node", "image": "i", "imageID": "", "ready": false,
        "restartCount": 0, "state": waiting}]);
    let status = match status {
        "broken" => json!({"containerStatuses": containers}),
        _ => json!({}),
    };
    serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap()
}

#[test]
fn what_heals_a_broken_pod_is_not_tried_first() {
    let under_way = rehearsal("new", "Pending");
    for tried in [None, Some(&under_way)] {
        let step = |there: &[Pod]| decide(there, tried, "new", now(AGAIN_AFTER));
        assert_eq!(step(&[pod("broken")]), Step::Roll);
        assert_ne!(step(&[pod("well")]), Step::Roll);
        assert_ne!(step(&[pod("well"), pod("broken")]), Step::Roll);
        assert_ne!(step(&[]), Step::Roll, "one comes back in a moment");
    }
}

#[test]
fn one_that_drains_is_followed_by_what_was_tried() {
    let mut drains = pod("broken");
    drains.metadata.deletion_timestamp = rehearsal("", "").metadata.creation_timestamp;
    let step = decide(&[drains], None, "new", now(AGAIN_AFTER));
    assert_eq!(step, Step::Make);
}

#[tokio::test]
async fn a_quota_without_room_is_told_from_every_other_refusal() {
    let pod = json!({"metadata": {"name": "r"}, "spec": {"containers": []}});
    for (code, says, over) in [
        (403, "pods \"r\" is forbidden: exceeded quota: q", true),
        (403, "pods \"r\" is forbidden: no PriorityClass", false),
        (422, "exceeded quota", false),
    ] {
        let code = http::StatusCode::from_u16(code).unwrap();
        let mut table = Table::refusing(code, []);
        table.says = says.to_owned();
        let pods: Api<Pod> = Api::namespaced(Client::new(table, "ns"), "ns");
        assert_eq!(is_over_quota(&pods, &pod).await.unwrap(), over, "{says}");
    }
}
