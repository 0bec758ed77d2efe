//! What is wrong with a pod, read from its status: pure.
//!
//! Kubernetes spreads it over conditions, waiting reasons and last terminations; a
//! person wants one word and the container's own words.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

use crate::reason::Reason;

/// Exit status of a node that refuses its settings (house style §13).
const EXIT_SETTINGS_REFUSED: i32 = 64;

/// A pod that cannot run, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub reason: Reason,
    pub message: String,
}

/// The gravest problem among `pods`; `None` when all are well or merely starting.
#[must_use]
pub fn find<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Option<Problem> {
    pods.into_iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .filter_map(of_pod)
        .max_by_key(|problem| gravity(problem.reason))
}

/// What a person must mend comes before what may heal.
fn gravity(reason: Reason) -> u8 {
    match reason {
        Reason::SettingsRefused => 5,
        Reason::OutOfMemory => 4,
        Reason::ImagePullFailed => 3,
        Reason::CrashLoop => 2,
        _ => 1,
    }
}

fn of_pod(pod: &Pod) -> Option<Problem> {
    let name = pod.metadata.name.as_deref().unwrap_or("");
    let status = pod.status.as_ref()?;
    let unschedulable = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
            && !condition.message.as_deref().is_some_and(waits_for_claim)
    });
    if let Some(condition) = unschedulable {
        let why = condition.message.as_deref().unwrap_or("no node fits");
        return Some(Problem {
            reason: Reason::Unschedulable,
            message: format!("pod {name}: {why}"),
        });
    }
    let containers = status.container_statuses.iter().flatten();
    containers
        .filter_map(of_container)
        .max_by_key(|(reason, _)| gravity(*reason))
        .map(|(reason, why)| Problem {
            reason,
            message: format!("pod {name}: {why}"),
        })
}

/// The StatefulSet controller makes the claim just before the pod, and the scheduler may hear of
/// the pod first (`persistentvolumeclaim "data-a-0" not found`); it looks again by itself.
fn waits_for_claim(message: &str) -> bool {
    message.contains("persistentvolumeclaim") && message.contains("not found")
}

fn of_container(container: &ContainerStatus) -> Option<(Reason, String)> {
    let state = container.state.as_ref()?;
    // past its start-up probe it tells by itself why it is not ready; how an earlier run
    // ended is history
    if state.running.is_some() && container.started == Some(true) {
        return None;
    }
    let waiting = state.waiting.as_ref();
    let word = waiting.and_then(|waiting| waiting.reason.as_deref());
    if let Some(
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "RegistryUnavailable",
    ) = word
    {
        let why = waiting.and_then(|waiting| waiting.message.as_deref());
        let image = &container.image;
        return Some((
            Reason::ImagePullFailed,
            format!(
                "image {image}: {}",
                why.or(word).unwrap_or("cannot be pulled")
            ),
        ));
    }
    if let Some("CreateContainerConfigError" | "CreateContainerError" | "RunContainerError") = word
    {
        let why = waiting.and_then(|waiting| waiting.message.as_deref());
        let why = why.or(word).unwrap_or_default();
        return Some((not_started(why), why.to_owned()));
    }
    let last = container
        .last_state
        .as_ref()
        .and_then(|last| last.terminated.as_ref());
    let ended = state.terminated.as_ref().or(last)?;
    of_termination(
        ended,
        container.restart_count,
        word == Some("CrashLoopBackOff"),
    )
}

/// runc's word for a memory limit in which not even its own first process fits
/// (libcontainer/process_linux.go: `container init was OOM-killed`).
fn not_started(why: &str) -> Reason {
    if why.contains("OOM-killed") {
        Reason::OutOfMemory
    } else {
        Reason::CrashLoop
    }
}

/// A termination counts when it says what is wrong, or when it happened again.
fn of_termination(
    ended: &ContainerStateTerminated,
    restarts: i32,
    backing_off: bool,
) -> Option<(Reason, String)> {
    let said = ended
        .message
        .as_deref()
        .map(str::trim)
        .filter(|said| !said.is_empty());
    if ended.exit_code == EXIT_SETTINGS_REFUSED {
        let why = said.unwrap_or("the node gave no reason");
        return Some((Reason::SettingsRefused, why.to_owned()));
    }
    if ended.reason.as_deref() == Some("OOMKilled") {
        return Some((
            Reason::OutOfMemory,
            format!("the container was killed at its memory limit, {restarts} restarts"),
        ));
    }
    let never_started = ended.reason.as_deref() == Some("StartError");
    if backing_off || never_started || restarts > 1 {
        let why = said.unwrap_or("no message");
        let code = ended.exit_code;
        return Some((
            not_started(why),
            format!("exit status {code}, {restarts} restarts: {why}"),
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::find;
    use crate::reason::Reason;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap()
    }

    fn container(rest: Value) -> Pod {
        let mut container =
            json!({"name": "node", "image": "i", "imageID": "", "ready": false, "restartCount": 0});
        container
            .as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        pod(json!({"containerStatuses": [container]}))
    }

    #[test]
    fn a_pod_that_fits_on_no_node_is_unschedulable_in_the_schedulers_words() {
        let pod = pod(
            json!({"conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient cpu."}]}),
        );
        let problem = find([&pod]).unwrap();
        assert_eq!(problem.reason, Reason::Unschedulable);
        assert!(problem.message.contains("Insufficient cpu"));
    }

    #[test]
    fn a_claim_that_the_scheduler_has_not_heard_of_yet_is_no_problem() {
        let pod = pod(
            json!({"conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message":
            "0/1 nodes are available: persistentvolumeclaim \"data-a-0\" not found. not found"}]}),
        );
        assert_eq!(find([&pod]), None);
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_named() {
        let pod = container(
            json!({"state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}),
        );
        let problem = find([&pod]).unwrap();
        assert_eq!(problem.reason, Reason::ImagePullFailed);
        assert_eq!(problem.message, "pod p: image i: not found");
    }

    #[test]
    fn refused_settings_carry_the_termination_message() {
        let pod = container(
            json!({"restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 64, "message": "key `gateway.x`: unknown\n"}}}),
        );
        let problem = find([&pod]).unwrap();
        assert_eq!(problem.reason, Reason::SettingsRefused);
        assert_eq!(problem.message, "pod p: key `gateway.x`: unknown");
    }

    #[test]
    fn the_out_of_memory_killer_is_told_from_a_crash() {
        let pod = container(
            json!({"restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}),
        );
        assert_eq!(find([&pod]).unwrap().reason, Reason::OutOfMemory);
        let pod = container(
            json!({"restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 1, "message": "port in use"}}}),
        );
        let problem = find([&pod]).unwrap();
        assert_eq!(problem.reason, Reason::CrashLoop);
        assert!(problem.message.contains("port in use"));
    }

    #[test]
    fn a_pod_that_starts_or_restarted_once_and_runs_has_no_problem() {
        let starting = container(json!({"state": {"waiting": {"reason": "ContainerCreating"}}}));
        let again = container(
            json!({"ready": true, "started": true, "restartCount": 9, "state": {"running": {}},
            "lastState": {"terminated": {"exitCode": 1}}}),
        );
        assert_eq!(find([&starting, &again]), None);
    }

    #[test]
    fn how_an_earlier_run_ended_says_nothing_of_one_that_has_started() {
        for earlier in [
            json!({"exitCode": 64, "message": "key `x`: unknown"}),
            json!({"exitCode": 137, "reason": "OOMKilled"}),
            json!({"exitCode": 1}),
        ] {
            let mut now = json!({"restartCount": 5, "started": true, "state": {"running": {}},
                "lastState": {"terminated": earlier}});
            assert_eq!(find([&container(now.clone())]), None, "{now}");
            now["started"] = false.into();
            assert!(find([&container(now.clone())]).is_some(), "{now}");
        }
    }

    #[test]
    fn a_limit_in_which_nothing_can_start_is_out_of_memory() {
        let message = "runc create failed: container init was OOM-killed (memory limit too low?)";
        let waiting = container(
            json!({"state": {"waiting": {"reason": "RunContainerError", "message": message}}}),
        );
        let ended = container(
            json!({"restartCount": 1, "state": {"terminated": {"exitCode": 128, "reason": "StartError", "message": message}}}),
        );
        for pod in [waiting, ended] {
            assert_eq!(find([&pod]).unwrap().reason, Reason::OutOfMemory);
        }
    }

    #[test]
    fn a_pod_on_its_way_out_has_no_problem() {
        let mut pod = container(json!({"state": {"waiting": {"reason": "ImagePullBackOff"}}}));
        pod.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        assert_eq!(find([&pod]), None);
    }
}
