//! Which settings stay, and what reaches them.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::DynamicObject;
use livepeer_settings::{LogLevel, Role, Settings};
use serde_json::{Value, json};

use super::{MAX_UNREAD, kept};
use crate::apply::child::{Child, ChildKind};
use crate::build::settings::{common, render};
use crate::build::tests::owner;

/// Settings with this drain, which rolls, and this level, which is live.
fn settings(drain_seconds: u64, level: LogLevel) -> Settings {
    let drain = Duration::from_secs(drain_seconds);
    common(Role::Orchestrator, level, drain, false)
}

fn older(keys: &[&str]) -> BTreeMap<String, String> {
    let file = render(&settings(1, LogLevel::Info));
    let keys = keys.iter().map(|key| (*key).to_owned());
    keys.map(|key| (key, file.clone())).collect()
}

/// The spec of a pod that reads `key`.
fn reads(key: &str) -> Value {
    let items = json!([{"key": key, "path": "settings.toml"}]);
    let map = json!({"name": "a-settings", "items": items});
    json!({"containers": [], "volumes": [{"name": "settings", "configMap": map}]})
}

fn pod(key: &str, phase: &str) -> Pod {
    serde_json::from_value(json!({"spec": reads(key), "status": {"phase": phase}})).unwrap()
}

/// A workload of one pod, of which this many are available, and whose pods read `key`.
fn workload(key: &str, available: u32) -> DynamicObject {
    let status = json!({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1,
        "availableReplicas": available});
    let spec = json!({"replicas": 1, "template": {"spec": reads(key)}});
    let object = json!({"metadata": {"generation": 2}, "spec": spec, "status": status});
    serde_json::from_value(object).unwrap()
}

fn keys(older: BTreeMap<String, String>, workload: &DynamicObject, pods: &[Pod]) -> Vec<String> {
    let newest = settings(2, LogLevel::Info);
    let kept = kept(older, &newest, Some(workload), pods);
    kept.into_keys().collect()
}

#[test]
fn older_settings_stay_as_they_are_and_only_what_is_live_follows_the_spec() {
    let newest = settings(2, LogLevel::Debug);
    let held = workload("old", 1);
    let kept = kept(older(&["old", "by-hand"]), &newest, Some(&held), &[]);
    let wanted = render(&settings(1, LogLevel::Debug));
    assert_eq!(kept, [("old".to_owned(), wanted)].into());
}

#[test]
fn what_another_version_wrote_is_left_as_it_is() {
    let newest = settings(2, LogLevel::Debug);
    let file = [("old".to_owned(), "unknown = 1\n".to_owned())];
    let kept = kept(file.clone().into(), &newest, Some(&workload("old", 1)), &[]);
    assert_eq!(kept, file.into());
}

#[test]
fn settings_stay_while_a_pod_reads_them_and_go_with_the_last_one() {
    let rolled = workload("new", 1);
    let drains = [pod("old", "Running"), pod("new", "Running")];
    assert_eq!(keys(older(&["old"]), &rolled, &drains), ["old"]);
    let ended = [pod("old", "Failed"), pod("new", "Running")];
    assert_eq!(keys(older(&["old"]), &rolled, &ended), [""; 0]);
}

#[test]
fn a_pod_of_a_roll_out_that_is_stuck_may_come_back_and_finds_its_settings() {
    let stuck = workload("new", 0);
    assert_eq!(keys(older(&["old"]), &stuck, &[]), ["old"]);
    let mut unseen = workload("new", 1);
    unseen.metadata.generation = Some(3);
    assert_eq!(keys(older(&["old"]), &unseen, &[]), ["old"]);
    let many: Vec<_> = (0..=MAX_UNREAD).map(|at| format!("old-{at}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let there = [pod("old-0", "Running")];
    assert_eq!(keys(older(&many), &stuck, &there), ["old-0"]);
}

#[test]
fn pods_made_before_there_was_a_key_for_each_template_read_the_one_that_there_was() {
    let mut before = pod("old", "Running");
    let volumes = before.spec.as_mut().unwrap().volumes.as_mut().unwrap();
    volumes[0].config_map.as_mut().unwrap().items = None;
    let keys = keys(older(&["settings.toml"]), &workload("new", 1), &[before]);
    assert_eq!(keys, ["settings.toml"]);
}

#[test]
fn a_child_with_more_in_it_is_another_one_and_the_same_each_time() {
    let owner = owner("Gateway", "a").reference;
    let data = json!({"data": {"new": "x"}});
    let plain = Child::new(ChildKind::ConfigMap, "a-gateway-settings", &data, &owner);
    let with = |keys: &[&str]| {
        let mut child = plain.clone();
        child.add_data(&older(keys));
        child
    };
    let more = with(&["old"]);
    assert_eq!(more.object["data"]["old"], older(&["old"])["old"]);
    assert_eq!(more.object["data"]["new"], "x");
    let annotation = &more.object["metadata"]["annotations"]["livepeer.org/applied"];
    assert_eq!(*annotation, more.hash);
    assert_eq!(more, with(&["old"]));
    assert_ne!(more.hash, plain.hash);
    assert_ne!(more.hash, with(&["older"]).hash);
}
