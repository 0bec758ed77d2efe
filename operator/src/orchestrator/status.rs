//! Is an orchestrator doing its job? It is when GetOrchestrator answers through its
//! Service and it has capacity.

use k8s_openapi::api::core::v1::Service;

use super::PORT;
use crate::api::orchestrator::{Orchestrator, Transcoding};
use crate::apply::Owner;
use crate::build::service;
use crate::conditions::{Truth, Verdict, Verdicts};
use crate::kind::Facts;
use crate::names::Component;
use crate::observe::{PodReport, ask, rollout};
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
    /// GetOrchestrator through that Service; not asked before a pod is ready.
    pub answers: Option<Result<(), String>>,
}

pub async fn observe(
    owner: &Owner,
    service: Option<Service>,
    pods: Vec<PodReport>,
    refused: Option<String>,
) -> Observed {
    let name = &owner.reference.name;
    let inside = service::inside(Component::Orchestrator, name, &owner.namespace, PORT);
    let answers = if pods.iter().any(|pod| pod.ready) {
        Some(ask::orchestrator_answers(&inside).await)
    } else {
        None
    };
    Observed {
        pods,
        refused,
        service,
        inside,
        answers,
    }
}

/// The verdict, from what was seen. Pure.
#[must_use]
pub fn status(orchestrator: &Orchestrator, observed: &Observed) -> (Verdicts, Facts) {
    let Observed {
        pods,
        refused,
        service,
        inside,
        answers,
    } = observed;
    let spec = &orchestrator.spec;
    let gpu = spec.gpu.as_ref().map(|_| rollout::gpu(pods));
    let (sessions, capacity) = rollout::load(pods);
    let pending = service::pending(spec.exposure.service_type, service.as_ref());
    let ready = gpu
        .clone()
        .filter(|gpu| gpu.truth == Truth::False)
        .or_else(|| rollout::verdict(pods, 1, refused.as_deref()))
        .unwrap_or_else(|| match answers {
            Some(Ok(())) if capacity > 0 => Verdict::ready(format!(
                "GetOrchestrator answers; {capacity} sessions fit{pending}"
            )),
            Some(Ok(())) => without_capacity(spec.transcoding),
            Some(Err(why)) => Verdict::not_ready(Reason::NotAnswering, why),
            None => Verdict::not_ready(Reason::Starting, "no pod is ready"),
        });
    let host_ip = pods.iter().find_map(PodReport::host_ip);
    let endpoint = spec.service_uri.clone().or_else(|| {
        let authority = service::endpoint(
            spec.exposure.service_type,
            inside,
            service.as_ref(),
            host_ip,
        )?;
        Some(format!("https://{authority}"))
    });
    let verdicts = Verdicts {
        ready,
        reconciling: rollout::reconciling(pods, 1),
        gpu,
        draining: rollout::draining(pods),
    };
    let facts = Facts {
        sessions: Some(sessions),
        capacity: Some(capacity),
        endpoint,
        devices: rollout::devices(pods),
        pool: None,
    };
    (verdicts, facts)
}

fn without_capacity(transcoding: Transcoding) -> Verdict {
    match transcoding {
        Transcoding::Pools => {
            Verdict::not_ready(Reason::NoTranscoders, "no transcoder is registered")
        }
        Transcoding::Embedded => {
            Verdict::not_ready(Reason::Starting, "its engine offers no session yet")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Observed, status};
    use crate::api::Orchestrator;
    use crate::conditions::Truth;
    use crate::observe::rollout::tests::pod;
    use crate::orchestrator::rehearsal;
    use crate::reason::Reason;
    use serde_json::{Value, json};

    fn orchestrator(spec: Value) -> Orchestrator {
        serde_json::from_value(
            json!({"apiVersion": "livepeer.org/v1alpha1", "kind": "Orchestrator",
            "metadata": {"name": "video", "namespace": "ns"}, "spec": spec}),
        )
        .unwrap()
    }

    fn observed(capacity: u32, answers: Result<(), String>) -> Observed {
        let mut pod = pod("video-orchestrator-0", true, true);
        pod.node.as_mut().unwrap().capacity = capacity;
        Observed {
            pods: vec![pod],
            refused: None,
            service: None,
            inside: "video-orchestrator.ns.svc:8935".into(),
            answers: Some(answers),
        }
    }

    #[test]
    fn it_is_ready_when_get_orchestrator_answers_and_sessions_fit() {
        let (verdicts, facts) = status(&orchestrator(json!({})), &observed(4, Ok(())));
        assert_eq!(
            (verdicts.ready.truth, verdicts.ready.reason),
            (Truth::True, Reason::Serving)
        );
        assert_eq!(facts.capacity, Some(4));
        assert_eq!(
            facts.endpoint.unwrap(),
            "https://video-orchestrator.ns.svc:8935"
        );
        assert_eq!(verdicts.reconciling, None);
    }

    #[test]
    fn without_transcoders_it_is_not_ready_whatever_its_pod_says() {
        let (verdicts, _) = status(&orchestrator(json!({})), &observed(0, Ok(())));
        assert_eq!(verdicts.ready.reason, Reason::NoTranscoders);
    }

    #[test]
    fn a_service_that_does_not_answer_is_told_with_the_error() {
        let (verdicts, _) = status(
            &orchestrator(json!({})),
            &observed(4, Err("refused".into())),
        );
        assert_eq!(
            (verdicts.ready.reason, verdicts.ready.message.as_str()),
            (Reason::NotAnswering, "refused")
        );
    }

    #[test]
    fn a_load_balancer_without_an_address_is_told_of_while_the_pod_serves() {
        let spec = json!({"exposure": {"type": "LoadBalancer"}});
        let (verdicts, facts) = status(&orchestrator(spec), &observed(1, Ok(())));
        assert_eq!(verdicts.ready.truth, Truth::True);
        assert!(verdicts.ready.message.ends_with("has no address yet"));
        assert_eq!(facts.endpoint, None);
    }

    #[test]
    fn what_keeps_a_rehearsal_is_the_reason_although_the_old_pod_serves() {
        let mut observed = observed(4, Ok(()));
        observed.pods[0].current = false;
        let spec = orchestrator(json!({}));
        let (verdicts, _) = status(&spec, &observed);
        assert_eq!(verdicts.ready.reason, Reason::RollingOut);
        let waiting = json!({"reason": "ImagePullBackOff", "message": "not found"});
        let container = json!({"name": "node", "image": "i", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"waiting": waiting}});
        let pod = json!({"metadata": {"name": "video-orchestrator-rehearsal"},
            "status": {"containerStatuses": [container]}});
        let pod = serde_json::from_value(pod).unwrap();
        observed.pods.push(rehearsal::report(pod));
        let (verdicts, facts) = status(&spec, &observed);
        assert_eq!(verdicts.ready.reason, Reason::ImagePullFailed);
        let says = "pod video-orchestrator-rehearsal: image i: not found";
        assert_eq!(verdicts.ready.message, says);
        assert_eq!(facts.capacity, Some(4));
    }

    #[test]
    fn the_address_of_the_spec_is_the_endpoint() {
        let orchestrator = orchestrator(json!({"serviceUri": "https://o.example:8935"}));
        let (_, facts) = status(&orchestrator, &observed(1, Ok(())));
        assert_eq!(facts.endpoint.unwrap(), "https://o.example:8935");
    }
}
