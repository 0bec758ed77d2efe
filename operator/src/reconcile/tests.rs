//! What a turn makes of errors, and what it tells of them.

use super::status::{same, weight};
use super::stay::{is_refused, kept, seen, told};
use super::{RECONCILE_LIMIT, contained, no_later};
use crate::api::{Gateway, Orchestrator, TranscoderPool};
use crate::apply::ApplyError;
use crate::conditions::{self, RECONCILING, STALLED, Verdict, Verdicts};
use crate::kind::{Facts, Kind, PoolFacts, ReconcileError};
use crate::observe::rollout;
use crate::observe::rollout::tests::pod;
use crate::reason::Reason;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::events::EventType;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

fn told_again<K: Kind + DeserializeOwned>(spec: Value, facts: Value) {
    let mut status = json!({"observedGeneration": 3, "conditions": []});
    status
        .as_object_mut()
        .unwrap()
        .extend(facts.as_object().unwrap().clone());
    let object: K = serde_json::from_value(json!({
        "apiVersion": "livepeer.org/v1alpha1", "kind": K::kind(&()),
        "metadata": {"name": "a", "namespace": "ns"}, "spec": spec, "status": status,
    }))
    .unwrap();
    let again = object.stored_facts().status(3, Vec::new());
    assert!(same(&object.stored_status(), &again), "{again}");
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_panics_or_hangs_is_an_error_of_its_resource() {
    let panics = contained(async { unreachable!("the test wants it") }).await;
    assert!(matches!(panics, Err(ReconcileError::Panicked)));
    let hangs = contained(std::future::pending()).await;
    assert!(matches!(hangs, Err(ReconcileError::TimedOut(limit)) if limit == RECONCILE_LIMIT));
}

#[test]
fn an_invalid_child_waits_for_a_person_and_a_refused_one_is_tried_again() {
    let object = "Deployment a-pool".to_owned();
    let message = "no".to_owned();
    let invalid = ApplyError::Invalid {
        object: object.clone(),
        message: message.clone(),
    };
    let refused = ApplyError::Refused { object, message };
    for (error, reason, also) in [
        (invalid, Reason::InvalidSpec, STALLED),
        (refused, Reason::ApplyRefused, RECONCILING),
    ] {
        let error = ReconcileError::Apply(error);
        assert!(is_refused(&error), "not with every look");
        let verdicts = kept(told(error).unwrap(), None, None);
        assert_eq!(verdicts.ready.reason, reason);
        let now = Time(Timestamp::UNIX_EPOCH);
        let conditions = conditions::build(&verdicts, 1, &[], &now);
        let types: Vec<_> = conditions.iter().map(|one| one.type_.as_str()).collect();
        assert_eq!(types, [conditions::READY, also]);
    }
}

#[test]
fn what_ends_is_looked_at_then_however_long_a_refusal_is_waited_for() {
    let (minute, soon) = (Duration::from_secs(60), Duration::from_secs(6));
    let now = Instant::now();
    assert_eq!(no_later(minute, Some(now + soon), now), soon);
    assert_eq!(no_later(soon, Some(now + minute), now), soon);
    assert_eq!(no_later(minute, None, now), minute);
    let ended = no_later(minute, Some(now), now + soon);
    assert_eq!(ended, Duration::ZERO, "it ended during the turn");
}

#[test]
fn one_that_is_told_no_says_what_its_pods_say_now() {
    let mut drains = pod("a", true, true);
    let node = drains.node.as_mut().unwrap();
    node.sessions = 1;
    node.draining = true;
    let device = json!({"name": "T4", "usable": true, "reason": ""});
    node.device = Some(serde_json::from_value(device).unwrap());
    let pods = [drains];
    let stored = Facts {
        sessions: Some(7),
        capacity: Some(8),
        endpoint: Some("e".into()),
        devices: vec!["older".into()],
        pool: Some(PoolFacts {
            replicas: 3,
            registered: 3,
            orchestrators: vec!["o".into()],
            selector: "s".into(),
        }),
    };
    let facts = seen(stored, &pods, 0);
    assert_eq!((facts.sessions, facts.capacity), (Some(1), Some(0)));
    assert_eq!(facts.devices, ["T4"]);
    assert_eq!(facts.endpoint.as_deref(), Some("e"));
    let pool = facts.pool.unwrap();
    assert_eq!((pool.replicas, pool.registered), (1, 0));
    assert_eq!(pool.orchestrators, ["o"]);

    let ready = Verdict::not_ready(Reason::OrchestratorNotFound, "");
    let gpu = Some(rollout::gpu(&pods));
    let verdicts = kept(ready, gpu, rollout::draining(&pods));
    let now = Time(Timestamp::UNIX_EPOCH);
    let conditions = conditions::build(&verdicts, 1, &[], &now);
    let found = |kind: &str| {
        let found = conditions.iter().find(|one| one.type_ == kind);
        found.map(|found| (found.status.as_str(), found.reason.as_str()))
    };
    assert_eq!(found(conditions::GPU_READY), Some(("True", "DeviceReady")));
    let draining = Some(("True", "SessionsRunning"));
    assert_eq!(found(conditions::DRAINING), draining);
}

fn ready(verdict: Verdict) -> Condition {
    let now = Time(Timestamp::UNIX_EPOCH);
    conditions::build(&Verdicts::only(verdict), 1, &[], &now).remove(0)
}

fn warns(old: &Condition, reason: Reason) -> bool {
    let new = ready(Verdict::not_ready(reason, ""));
    matches!(weight(Some(old), &new), EventType::Warning)
}

#[test]
fn resources_that_are_made_together_warn_of_nothing_that_goes_by_itself() {
    let starting = ready(Verdict::not_ready(Reason::Starting, ""));
    for reason in [
        Reason::OrchestratorNotFound,
        Reason::NoTranscoders,
        Reason::NoUsableOrchestrator,
        Reason::NotRegistered,
        Reason::NotAnswering,
    ] {
        assert!(!warns(&starting, reason), "{reason:?}");
    }
    for reason in [
        Reason::CrashLoop,
        Reason::SecretNotFound,
        Reason::InvalidSpec,
    ] {
        assert!(warns(&starting, reason), "{reason:?}");
    }
}

#[test]
fn one_that_was_ready_warns_of_all_but_a_roll_out() {
    let serving = ready(Verdict::ready(""));
    assert!(warns(&serving, Reason::NoTranscoders));
    assert!(warns(&serving, Reason::NotAnswering));
    assert!(!warns(&serving, Reason::RollingOut));
}

#[test]
fn a_status_that_is_told_again_is_not_written_again() {
    let facts = json!({"sessions": 1, "capacity": 2, "endpoint": "e", "devices": ["cpu"]});
    told_again::<Orchestrator>(json!({}), facts.clone());
    let gateway = json!({"orchestrators": {"refs": [{"name": "o"}]}, "ingest": {"http": {"allowUnauthenticated": true}}});
    told_again::<Gateway>(gateway, facts.clone());
    let selector = "app.kubernetes.io/component=pool,app.kubernetes.io/instance=a,app.kubernetes.io/name=livepeer";
    let mut facts = facts;
    facts["replicas"] = 0.into();
    facts["registered"] = 0.into();
    facts["selector"] = selector.into();
    told_again::<TranscoderPool>(json!({"orchestrator": {"ref": {"name": "o"}}}), facts);
}
