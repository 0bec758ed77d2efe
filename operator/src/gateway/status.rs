//! Is a gateway doing its job? It is when its ingest answers and it can use at least
//! one orchestrator.

use k8s_openapi::api::core::v1::Service;

use super::PORT;
use super::fetch::Fetched;
use crate::api::Gateway;
use crate::api::exposure::ServiceType;
use crate::apply::Owner;
use crate::build::service;
use crate::conditions::{Verdict, Verdicts};
use crate::context::Context;
use crate::kind::{Facts, ReconcileError};
use crate::names::Component;
use crate::observe::{self, PodReport, ask, rollout};
use crate::reason::Reason;

/// What was seen.
#[derive(Debug)]
pub struct Observed {
    pub pods: Vec<PodReport>,
    /// What the API server said of a pod that is not there.
    pub refused: Option<String>,
    pub service: Option<Service>,
    /// `host:port` of its Service inside the cluster.
    pub inside: String,
    /// HTTP through that Service; not asked before a pod is ready.
    pub answers: Option<Result<(), String>>,
}

pub async fn observe(
    context: &Context,
    owner: &Owner,
    gateway: &Gateway,
    pods: Vec<PodReport>,
    refused: Option<String>,
) -> Result<Observed, ReconcileError> {
    let name = &owner.reference.name;
    let inside = service::inside(Component::Gateway, name, &owner.namespace, PORT);
    let answers = if pods.iter().any(|pod| pod.ready) {
        Some(ask::http_answers(&context.http, &inside).await)
    } else {
        None
    };
    let service = match gateway.spec.exposure.service_type {
        ServiceType::ClusterIP => None,
        ServiceType::NodePort | ServiceType::LoadBalancer => {
            observe::service(&context.client, &owner.namespace, Component::Gateway, name).await?
        }
    };
    Ok(Observed {
        pods,
        refused,
        service,
        inside,
        answers,
    })
}

/// The verdict, from what was seen. Pure.
#[must_use]
pub fn status(gateway: &Gateway, fetched: &Fetched, observed: &Observed) -> (Verdicts, Facts) {
    let Observed {
        pods,
        refused,
        service,
        inside,
        answers,
    } = observed;
    let exposure = gateway.spec.exposure.service_type;
    let pending = service::pending(exposure, service.as_ref());
    let ready = dependencies(fetched)
        .or_else(|| rollout::verdict(pods, 1, refused.as_deref()))
        .unwrap_or_else(|| match answers {
            Some(Ok(())) => orchestrators(pods, pending),
            Some(Err(why)) => Verdict::not_ready(Reason::NotAnswering, why),
            None => Verdict::not_ready(Reason::Starting, "no pod is ready"),
        });
    let (sessions, capacity) = rollout::load(pods);
    let host_ip = pods.iter().find_map(PodReport::host_ip);
    let endpoint = service::endpoint(exposure, inside, service.as_ref(), host_ip);
    let verdicts = Verdicts {
        ready,
        reconciling: rollout::reconciling(pods, 1),
        gpu: None,
        draining: rollout::draining(pods),
    };
    let facts = Facts {
        sessions: Some(sessions),
        capacity: Some(capacity),
        endpoint: endpoint.map(|authority| format!("http://{authority}")),
        devices: Vec::new(),
        pool: None,
    };
    (verdicts, facts)
}

/// What the spec names and is not there, all of it: who mends one thing should not wait to
/// hear of the next. The reason is that of the first.
fn dependencies(fetched: &Fetched) -> Option<Verdict> {
    let token = fetched
        .token_problem
        .clone()
        .map(|problem| (Reason::SecretNotFound, problem));
    let missing = match fetched.missing.as_slice() {
        [] => None,
        [one] => Some(format!(
            "Orchestrator {one} does not exist in this namespace"
        )),
        several => Some(format!(
            "Orchestrators {} do not exist in this namespace",
            several.join(", ")
        )),
    };
    let missing = missing.map(|problem| format!("{problem}{}", kept(fetched)));
    let orchestrators = missing.map(|problem| (Reason::OrchestratorNotFound, problem));
    let (reasons, problems): (Vec<_>, Vec<_>) = token.into_iter().chain(orchestrators).unzip();
    let reason = *reasons.first()?;
    Some(Verdict::not_ready(reason, problems.join("; ")))
}

/// What the gateway goes on with meanwhile, to be added to what is missing.
fn kept(fetched: &Fetched) -> String {
    let kept: Vec<_> = fetched.kept.iter().map(|uri| uri.as_str()).collect();
    if kept.is_empty() {
        return String::new();
    }
    format!(", and the gateway keeps {}", kept.join(", "))
}

/// One usable orchestrator is enough; without any, each says why. `pending` is added where
/// all is well.
fn orchestrators(pods: &[PodReport], pending: &str) -> Verdict {
    let reports: Vec<_> = pods
        .iter()
        .filter(|pod| pod.current)
        .filter_map(|pod| pod.node.as_ref())
        .flat_map(|node| &node.orchestrators)
        .collect();
    let usable = reports.iter().filter(|report| report.usable).count();
    // of those that can be used too: that every session is taken is good to know
    let why: Vec<_> = reports
        .iter()
        .filter(|report| !report.reason.is_empty())
        .map(|report| format!("{}: {}", report.uri, report.reason))
        .collect();
    if usable > 0 {
        let so = format!(
            "ingest answers; {usable} of {} orchestrators are usable{pending}",
            reports.len()
        );
        return Verdict::ready([&[so], why.as_slice()].concat().join("; "));
    }
    let why = if why.is_empty() {
        "none is known".to_owned()
    } else {
        why.join("; ")
    };
    Verdict::not_ready(Reason::NoUsableOrchestrator, why)
}

#[cfg(test)]
mod tests {
    use super::{Observed, status};
    use crate::api::exposure::ServiceType;
    use crate::conditions::Truth;
    use crate::gateway::build::tests::gateway;
    use crate::gateway::fetch::Fetched;
    use crate::observe::rollout::tests::pod;
    use crate::reason::Reason;
    use livepeer_settings::status::OrchestratorReport;
    use serde_json::json;

    fn observed(usable: bool) -> Observed {
        let mut pod = pod("a", true, true);
        pod.node.as_mut().unwrap().orchestrators = vec![OrchestratorReport {
            uri: "https://o:8935".into(),
            usable,
            reason: if usable { "" } else { "connection refused" }.into(),
        }];
        Observed {
            pods: vec![pod],
            refused: None,
            service: None,
            inside: "video-gateway.ns.svc:9935".into(),
            answers: Some(Ok(())),
        }
    }

    fn simple() -> crate::api::Gateway {
        gateway(
            json!({"orchestrators": {"refs": [{"name": "o"}]}, "ingest": {"http": {"allowUnauthenticated": true}}}),
        )
    }

    #[test]
    fn it_is_ready_when_ingest_answers_and_an_orchestrator_is_usable() {
        let (verdicts, facts) = status(&simple(), &Fetched::default(), &observed(true));
        assert_eq!(verdicts.ready.truth, Truth::True);
        assert_eq!(facts.endpoint.unwrap(), "http://video-gateway.ns.svc:9935");
    }

    #[test]
    fn a_load_balancer_without_an_address_is_told_of_while_the_pod_serves() {
        let mut waits = simple();
        waits.spec.exposure.service_type = ServiceType::LoadBalancer;
        let (verdicts, facts) = status(&waits, &Fetched::default(), &observed(true));
        assert_eq!(verdicts.ready.truth, Truth::True);
        assert!(verdicts.ready.message.ends_with("has no address yet"));
        assert_eq!(facts.endpoint, None);
    }

    #[test]
    fn without_a_usable_orchestrator_each_says_why() {
        let (verdicts, _) = status(&simple(), &Fetched::default(), &observed(false));
        assert_eq!(verdicts.ready.reason, Reason::NoUsableOrchestrator);
        assert_eq!(verdicts.ready.message, "https://o:8935: connection refused");
    }

    #[test]
    fn an_orchestrator_without_transcoders_is_named_beside_one_that_is_usable() {
        let mut observed = observed(true);
        let reports = &mut observed.pods[0].node.as_mut().unwrap().orchestrators;
        reports.push(OrchestratorReport {
            uri: "https://p:8935".into(),
            usable: false,
            reason: "has no transcoder connected".into(),
        });
        let (verdicts, _) = status(&simple(), &Fetched::default(), &observed);
        assert_eq!(verdicts.ready.truth, Truth::True);
        let said = "ingest answers; 1 of 2 orchestrators are usable; \
                    https://p:8935: has no transcoder connected";
        assert_eq!(verdicts.ready.message, said);
    }

    #[test]
    fn a_missing_orchestrator_is_named_even_while_another_serves() {
        let fetched = Fetched {
            missing: vec!["gone".into()],
            ..Fetched::default()
        };
        let (verdicts, _) = status(&simple(), &fetched, &observed(true));
        assert_eq!(verdicts.ready.reason, Reason::OrchestratorNotFound);
        assert!(verdicts.ready.message.contains("gone"));
    }

    #[test]
    fn what_a_gateway_keeps_for_want_of_its_orchestrators_is_told() {
        let fetched = Fetched {
            missing: vec!["vidoe".into()],
            kept: vec!["https://video-orchestrator.ns.svc:8935".parse().unwrap()],
            ..Fetched::default()
        };
        let (verdicts, _) = status(&simple(), &fetched, &observed(true));
        assert_eq!(verdicts.ready.reason, Reason::OrchestratorNotFound);
        let said = "Orchestrator vidoe does not exist in this namespace, \
                    and the gateway keeps https://video-orchestrator.ns.svc:8935/";
        assert_eq!(verdicts.ready.message, said);
    }

    #[test]
    fn everything_that_is_missing_is_told_at_once_and_the_token_first() {
        let fetched = Fetched {
            missing: vec!["gone".into(), "lost".into()],
            token_problem: Some("Secret t does not exist".into()),
            ..Fetched::default()
        };
        let (verdicts, _) = status(&simple(), &fetched, &observed(true));
        assert_eq!(verdicts.ready.reason, Reason::SecretNotFound);
        assert_eq!(
            verdicts.ready.message,
            "Secret t does not exist; Orchestrators gone, lost do not exist in this namespace"
        );
    }
}
