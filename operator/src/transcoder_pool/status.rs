//! Is a pool doing its job? It is when every wanted replica is registered, as its
//! orchestrator reports it.

use kube::ResourceExt as _;

use crate::api::TranscoderPool;
use crate::apply::Owner;
use crate::build::service;
use crate::conditions::{Truth, Verdict, Verdicts};
use crate::context::Context;
use crate::kind::{Facts, PoolFacts, ReconcileError};
use crate::names::Component;
use crate::observe::{self, PodReport, rollout};
use crate::orchestrator::PORT;
use crate::reason::Reason;

/// What was seen.
#[derive(Debug)]
pub struct Observed {
    pub pods: Vec<PodReport>,
    /// What the API server said of a pod that is not there.
    pub refused: Option<String>,
    /// See [`registered`].
    pub registered: Option<u32>,
}

pub async fn observe(
    context: &Context,
    owner: &Owner,
    pool: &TranscoderPool,
    pods: Vec<PodReport>,
    refused: Option<String>,
) -> Result<Observed, ReconcileError> {
    let registered = registered(context, &owner.namespace, pool).await?;
    Ok(Observed {
        pods,
        refused,
        registered,
    })
}

/// Transcoders with the pool's credential, as its Orchestrator reports them; `None` when that
/// one does not answer, or is not ours to ask.
pub async fn registered(
    context: &Context,
    namespace: &str,
    pool: &TranscoderPool,
) -> Result<Option<u32>, kube::Error> {
    let Some(orchestrator) = pool.orchestrator_name() else {
        return Ok(None);
    };
    let pods = observe::pods(
        &context.client,
        &context.http,
        namespace,
        Component::Orchestrator,
        orchestrator,
        "",
    )
    .await?;
    let nodes: Vec<_> = pods.iter().filter_map(|pod| pod.node.as_ref()).collect();
    let name = pool.name_any();
    let ours = nodes
        .iter()
        .flat_map(|node| &node.transcoders)
        .filter(|transcoder| transcoder.credential == name);
    Ok((!nodes.is_empty()).then(|| rollout::count(ours.count())))
}

/// The verdict, from what was seen. Pure.
#[must_use]
pub fn status(pool: &TranscoderPool, owner: &Owner, observed: &Observed) -> (Verdicts, Facts) {
    let Observed {
        pods,
        refused,
        registered,
    } = observed;
    let wanted = pool.spec.replicas;
    let gpu = pool.spec.gpu.as_ref().map(|_| rollout::gpu(pods));
    let (sessions, capacity) = rollout::load(pods);
    let ready = gpu
        .clone()
        .filter(|gpu| gpu.truth == Truth::False)
        .or_else(|| rollout::verdict(pods, wanted, refused.as_deref()))
        .unwrap_or_else(|| registration(pool, wanted, *registered));
    let endpoint = match (pool.orchestrator_name(), &pool.spec.orchestrator.external) {
        (Some(name), _) => {
            let inside = service::inside(Component::Orchestrator, name, &owner.namespace, PORT);
            Some(format!("https://{inside}"))
        }
        (None, Some(external)) => Some(external.address.clone()),
        (None, None) => None,
    };
    let verdicts = Verdicts {
        ready,
        reconciling: rollout::reconciling(pods, wanted),
        gpu,
        draining: rollout::draining(pods),
    };
    let facts = Facts {
        sessions: Some(sessions),
        capacity: Some(capacity),
        endpoint,
        devices: rollout::devices(pods),
        pool: Some(PoolFacts {
            replicas: rollout::running(pods),
            registered: registered.unwrap_or(0),
            orchestrators: orchestrators(pool, pods),
            selector: observe::selector(Component::Pool, &owner.reference.name),
        }),
    };
    (verdicts, facts)
}

/// The orchestrators that its pods work for. Older pods may work for any that was there
/// before: those stay until the last of these pods has ended.
fn orchestrators(pool: &TranscoderPool, pods: &[PodReport]) -> Vec<String> {
    let all = pods.iter().all(|pod| pod.current);
    let orchestrators = if all {
        pool.wanted().into_iter().collect()
    } else {
        pool.works_for()
    };
    orchestrators.into_iter().map(str::to_owned).collect()
}

/// All pods are ready: does the other side see them?
fn registration(pool: &TranscoderPool, wanted: u32, registered: Option<u32>) -> Verdict {
    let Some(orchestrator) = pool.orchestrator_name() else {
        // a transcoder is ready when its orchestrator took it; there is nobody to ask
        return Verdict::ready(format!("{wanted} of {wanted} replicas are registered"));
    };
    match registered {
        _ if wanted == 0 => Verdict::ready("scaled to 0"),
        Some(registered) if registered >= wanted => Verdict::ready(format!(
            "{registered} of {wanted} replicas are registered with {orchestrator}"
        )),
        Some(registered) => Verdict::not_ready(
            Reason::NotRegistered,
            format!("{registered} of {wanted} replicas are registered with {orchestrator}"),
        ),
        None => Verdict::not_ready(
            Reason::NotAnswering,
            format!("Orchestrator {orchestrator} does not say who is registered"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{Observed, status};
    use crate::build::tests::owner;
    use crate::conditions::Truth;
    use crate::observe::rollout::tests::pod;
    use crate::reason::Reason;
    use crate::transcoder_pool::build::tests::pool;
    use livepeer_settings::status::DeviceReport;
    use serde_json::json;

    fn observed(registered: Option<u32>) -> Observed {
        Observed {
            pods: vec![pod("a", true, true), pod("b", true, true)],
            refused: None,
            registered,
        }
    }

    #[test]
    fn it_is_ready_when_its_orchestrator_reports_every_replica() {
        let pool = pool(json!({"orchestrator": {"ref": {"name": "video"}}, "replicas": 2}));
        let (verdicts, facts) = status(&pool, &owner("TranscoderPool", "fast"), &observed(Some(2)));
        assert_eq!(verdicts.ready.truth, Truth::True);
        assert_eq!(facts.capacity, Some(4));
        let facts = facts.pool.unwrap();
        assert_eq!((facts.replicas, facts.registered), (2, 2));
        assert!(facts.selector.contains("app.kubernetes.io/instance=fast"));
    }

    #[test]
    fn ready_pods_that_the_orchestrator_does_not_know_are_not_enough() {
        let pool = pool(json!({"orchestrator": {"ref": {"name": "video"}}, "replicas": 2}));
        let owner = owner("TranscoderPool", "fast");
        let (verdicts, _) = status(&pool, &owner, &observed(Some(1)));
        assert_eq!(verdicts.ready.reason, Reason::NotRegistered);
        let (verdicts, _) = status(&pool, &owner, &observed(None));
        assert_eq!(verdicts.ready.reason, Reason::NotAnswering);
    }

    #[test]
    fn a_pool_scaled_to_zero_is_ready() {
        let pool = pool(json!({"orchestrator": {"ref": {"name": "video"}}, "replicas": 0}));
        let none = Observed {
            pods: vec![],
            refused: None,
            registered: None,
        };
        let (verdicts, _) = status(&pool, &owner("TranscoderPool", "fast"), &none);
        assert_eq!(verdicts.ready.truth, Truth::True);
    }

    #[test]
    fn the_orchestrator_of_before_is_its_own_until_its_last_older_pod_has_ended() {
        let mut pool = pool(json!({"orchestrator": {"ref": {"name": "new"}}, "replicas": 2}));
        let before = ["https://192.0.2.7:8935", "old"];
        pool.status = serde_json::from_value(json!({ "orchestrators": before })).unwrap();
        let names: Vec<_> = pool.orchestrators().into_iter().collect();
        assert_eq!(names, ["new", "old"]);
        let elsewhere: Vec<_> = pool.addresses_left().into_iter().collect();
        assert_eq!(elsewhere, ["https://192.0.2.7:8935"]);
        let of = |pods| {
            let observed = Observed {
                pods,
                refused: None,
                registered: None,
            };
            let (_, facts) = status(&pool, &owner("TranscoderPool", "fast"), &observed);
            facts.pool.unwrap().orchestrators
        };
        let mut ending = pod("a", false, true);
        ending.terminating = true;
        let all = ["https://192.0.2.7:8935", "new", "old"];
        assert_eq!(of(vec![ending, pod("b", true, true)]), all);
        assert_eq!(of(vec![pod("b", true, true)]), ["new"]);
    }

    #[test]
    fn a_card_that_does_not_work_makes_it_not_ready_whatever_else() {
        let pool = pool(json!({"orchestrator": {"ref": {"name": "video"}}, "gpu": {"count": 1}}));
        let mut observed = observed(Some(2));
        observed.pods[0].node.as_mut().unwrap().device = Some(DeviceReport {
            name: "cuda:0".into(),
            usable: false,
            reason: "no NVIDIA driver".into(),
        });
        let (verdicts, _) = status(&pool, &owner("TranscoderPool", "fast"), &observed);
        assert_eq!(verdicts.ready.reason, Reason::NoUsableDevice);
        assert_eq!(verdicts.gpu.unwrap().truth, Truth::False);
    }
}
