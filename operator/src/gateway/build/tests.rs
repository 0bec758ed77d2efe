//! The children of a gateway.

use serde_json::{Value, json};

use super::build;
use crate::api::Gateway;
use crate::apply::child::ChildKind;
use crate::build::Built;
use crate::build::tests::{check_all, child, owner, pod_spec, settings_file, surroundings};
use crate::gateway::fetch::Fetched;
use crate::gateway::validate::validate;
use crate::kind::ReconcileError;
use crate::reason::Reason;

/// A gateway called `live`.
pub(crate) fn gateway(spec: Value) -> Gateway {
    serde_json::from_value(
        json!({"apiVersion": "livepeer.org/v1alpha1", "kind": "Gateway",
        "metadata": {"name": "live", "namespace": "ns", "uid": "u-1"}, "spec": spec}),
    )
    .unwrap()
}

fn made(extra: Value, fetched: &Fetched) -> Built {
    let mut spec = json!({"orchestrators": {"refs": [{"name": "video"}]}, "ingest": {"http": {"allowUnauthenticated": true}}});
    spec.as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    let gateway = gateway(spec);
    let owner = owner("Gateway", "live");
    let valid = validate(&gateway, &owner, fetched).unwrap();
    build(&owner, &valid, fetched, &surroundings())
}

fn present(names: &[&str]) -> Fetched {
    Fetched {
        present: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Fetched::default()
    }
}

fn settings(built: &Built) -> livepeer_settings::GatewaySettings {
    let text = settings_file(built);
    livepeer_settings::parse("f", text).unwrap().gateway
}

#[test]
fn it_makes_everything_restricted_and_matching() {
    let built = made(json!({}), &present(&["video"]));
    check_all(&built);
    let settings = settings(&built);
    assert_eq!(
        settings.orchestrators[0].as_str(),
        "https://video-orchestrator.ns.svc:8935/"
    );
    assert_eq!(settings.http_addr.to_string(), "0.0.0.0:9935");
}

#[test]
fn without_any_orchestrator_the_list_is_empty_and_not_the_default() {
    assert!(
        settings(&made(json!({}), &present(&[])))
            .orchestrators
            .is_empty()
    );
}

#[test]
fn settings_without_any_orchestrator_of_the_spec_stay_as_they_are() {
    let before = made(json!({}), &present(&["video"]));
    let mistyped = json!({"orchestrators": {"refs": [{"name": "vidoe"}]}});
    let fetched = Fetched {
        missing: vec!["vidoe".into()],
        kept: settings(&before).orchestrators,
        ..Fetched::default()
    };
    let after = made(mistyped, &fetched);
    let text = |built| child(built, ChildKind::ConfigMap, "-settings")["data"].clone();
    assert_eq!(text(&after), text(&before));
    assert_eq!(after.mounted_hash, before.mounted_hash);
}

#[test]
fn addresses_are_taken_as_they_are() {
    let built = made(
        json!({"orchestrators": {"addresses": ["https://a.example:8935"]}}),
        &present(&[]),
    );
    assert_eq!(
        settings(&built).orchestrators[0].as_str(),
        "https://a.example:8935/"
    );
}

#[test]
fn orchestrators_profiles_and_the_service_are_live() {
    let plain = made(json!({}), &present(&["video"]));
    let other = made(json!({}), &present(&["video", "more"]));
    assert_eq!(plain.template_hash, other.template_hash);
    assert_ne!(plain.mounted_hash, other.mounted_hash);
    let profiles = made(
        json!({"profiles": [{"name": "P144p30fps16x9"}], "exposure": {"type": "LoadBalancer"}}),
        &present(&["video"]),
    );
    assert_eq!(plain.template_hash, profiles.template_hash);
    assert_eq!(settings(&profiles).profiles.len(), 1);
    assert_eq!(
        child(&profiles, ChildKind::Service, "")["spec"]["type"],
        "LoadBalancer"
    );
}

#[test]
fn the_ingest_token_is_mounted_as_a_file_and_a_new_value_touches_the_pod() {
    let spec = json!({"ingest": {"http": {"tokenSecretRef": {"name": "s", "key": "t"}}}});
    let token = |hash: &str| Fetched {
        token_hash: Some(hash.into()),
        ..present(&["video"])
    };
    let built = made(spec.clone(), &token("1"));
    check_all(&built);
    let volume = &pod_spec(child(&built, ChildKind::Deployment, ""))["volumes"][2];
    assert_eq!(
        volume["secret"]["items"],
        json!([{"key": "t", "path": "token"}])
    );
    assert_eq!(
        settings(&built).ingest_token_file.unwrap().to_str(),
        Some("/etc/livepeer/ingest/token")
    );
    let rotated = made(spec, &token("2"));
    assert_eq!(built.template_hash, rotated.template_hash);
    assert_ne!(built.mounted_hash, rotated.mounted_hash);
}

#[test]
fn the_next_pod_is_ready_before_the_old_one_goes() {
    let built = made(json!({}), &present(&["video"]));
    let strategy = &child(&built, ChildKind::Deployment, "")["spec"]["strategy"]["rollingUpdate"];
    assert_eq!(*strategy, json!({"maxSurge": 1, "maxUnavailable": 0}));
}

#[test]
fn a_preset_that_does_not_exist_is_refused_before_anything_is_built() {
    let gateway = gateway(json!({
        "orchestrators": {"refs": [{"name": "video"}]},
        "ingest": {"http": {"allowUnauthenticated": true}},
        "profiles": [{"name": "P240p30fps16x10"}],
    }));
    let refused = validate(&gateway, &owner("Gateway", "live"), &present(&["video"]));
    let Err(ReconcileError::Told { reason, message }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(reason, Reason::InvalidSpec);
    let start = "spec.profiles[0].name: there is no preset `P240p30fps16x10`, expected one of P720p60fps16x9, ";
    assert!(message.starts_with(start), "{message}");
}
