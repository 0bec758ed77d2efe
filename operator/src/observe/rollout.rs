//! How far the pods are, and what keeps them: pure.
//!
//! What every kind asks before its own question: are as many pods of the newest
//! template ready as wanted, does the device work, does anything drain?

use super::PodReport;
use crate::conditions::{Truth, Verdict};
use crate::pod_problems;
use crate::reason::Reason;

/// What keeps pods from being what was asked for; `None` when they are. `refused` is what the
/// API server said of one that is not there.
#[must_use]
pub fn verdict(pods: &[PodReport], wanted: u32, refused: Option<&str>) -> Option<Verdict> {
    let current: Vec<_> = pods
        .iter()
        .filter(|pod| pod.current && !pod.terminating)
        .collect();
    if let Some(problem) = pod_problems::find(current.iter().map(|report| &report.pod)) {
        return Some(Verdict::not_ready(problem.reason, problem.message));
    }
    let ready = count(current.iter().filter(|pod| pod.ready).count());
    if ready >= wanted {
        return None;
    }
    if let Some(refused) = refused {
        let message = format!("{ready} of {wanted} pods are ready: {refused}");
        return Some(Verdict::not_ready(Reason::ApplyRefused, message));
    }
    let reasons: Vec<_> = current
        .iter()
        .filter(|pod| !pod.ready)
        .filter_map(|pod| pod.node.as_ref())
        .flat_map(|node| node.reasons.iter().map(String::as_str))
        .collect();
    let why = if reasons.is_empty() {
        String::new()
    } else {
        format!(": {}", reasons.join("; "))
    };
    Some(Verdict::not_ready(
        on_the_way(pods),
        format!("{ready} of {wanted} pods are ready{why}"),
    ))
}

/// Why the operator is still at work on the pods; `None` when it is not.
#[must_use]
pub fn reconciling(pods: &[PodReport], wanted: u32) -> Option<(Reason, String)> {
    let serving = pods.iter().filter(|pod| !pod.terminating);
    let older = count(serving.clone().filter(|pod| !pod.current).count());
    let ready = count(serving.filter(|pod| pod.current && pod.ready).count());
    if older > 0 {
        Some((
            Reason::RollingOut,
            format!("{older} pods of an older template are left"),
        ))
    } else if ready < wanted {
        Some((
            on_the_way(pods),
            format!("{ready} of {wanted} pods are ready"),
        ))
    } else {
        None
    }
}

/// Where an older pod goes first, it may drain for minutes before the next one is made.
fn on_the_way(pods: &[PodReport]) -> Reason {
    if pods.iter().any(|pod| !pod.current) {
        Reason::RollingOut
    } else {
        Reason::Starting
    }
}

/// `GpuReady` from what the engines say of their device.
#[must_use]
pub fn gpu(pods: &[PodReport]) -> Verdict {
    let current = || pods.iter().filter(|pod| pod.current && !pod.terminating);
    let devices: Vec<_> = current()
        .filter_map(|pod| Some((pod.name(), pod.node.as_ref()?.device.as_ref()?)))
        .collect();
    if let Some((pod, device)) = devices.iter().find(|(_, device)| !device.usable) {
        let message = format!("pod {pod}: {}", device.reason);
        return Verdict::not_ready(Reason::NoUsableDevice, message);
    }
    let engines = current().count();
    let message = format!(
        "{} of {engines} engines have opened their device",
        devices.len()
    );
    if devices.is_empty() || devices.len() < engines {
        return Verdict::new(Truth::Unknown, Reason::Starting, message);
    }
    Verdict::new(Truth::True, Reason::DeviceReady, message)
}

/// Names of the devices in use, each once.
#[must_use]
pub fn devices(pods: &[PodReport]) -> Vec<String> {
    let mut names: Vec<_> = pods
        .iter()
        .filter_map(|pod| pod.node.as_ref()?.device.as_ref())
        .filter(|device| device.usable)
        .map(|device| device.name.clone())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// What is draining, in words; `None` when nothing is.
#[must_use]
pub fn draining(pods: &[PodReport]) -> Option<String> {
    let draining: Vec<_> = pods
        .iter()
        .filter_map(|pod| pod.node.as_ref())
        .filter(|node| node.draining && node.sessions > 0)
        .collect();
    let sessions: u32 = draining.iter().map(|node| node.sessions).sum();
    (!draining.is_empty()).then(|| format!("{} pods drain {sessions} sessions", draining.len()))
}

/// Sessions now and sessions that fit, over all pods that answer.
#[must_use]
pub fn load(pods: &[PodReport]) -> (u32, u32) {
    let nodes = || pods.iter().filter_map(|pod| pod.node.as_ref());
    let sessions = nodes().map(|node| node.sessions).sum();
    let capacity = nodes()
        .filter(|node| !node.draining)
        .map(|node| node.capacity)
        .sum();
    (sessions, capacity)
}

/// Pods that were not told to stop.
#[must_use]
pub fn running(pods: &[PodReport]) -> u32 {
    count(pods.iter().filter(|pod| !pod.terminating).count())
}

/// Pods are counted in thousands at most.
#[must_use]
pub fn count(pods: usize) -> u32 {
    u32::try_from(pods).unwrap_or(u32::MAX)
}

#[cfg(test)]
pub mod tests {
    use super::{devices, draining, gpu, load, reconciling, verdict};
    use crate::conditions::Truth;
    use crate::observe::PodReport;
    use crate::reason::Reason;
    use livepeer_settings::Role;
    use livepeer_settings::status::{DeviceReport, NodeStatus};
    use serde_json::json;

    /// A pod whose node says that it is well.
    pub fn pod(name: &str, current: bool, ready: bool) -> PodReport {
        let mut node = NodeStatus::starting(Role::Transcoder);
        node.ready = ready;
        node.capacity = 2;
        PodReport {
            pod: serde_json::from_value(json!({"metadata": {"name": name}})).unwrap(),
            current,
            ready,
            terminating: false,
            node: Some(node),
        }
    }

    #[test]
    fn enough_ready_pods_of_the_newest_template_are_no_obstacle() {
        assert_eq!(verdict(&[pod("a", true, true)], 1, None), None);
        assert_eq!(reconciling(&[pod("a", true, true)], 1), None);
        assert_eq!(verdict(&[], 0, None), None);
    }

    #[test]
    fn a_ready_pod_of_an_older_template_does_not_make_it_ready() {
        let pods = [pod("a", false, true), pod("b", true, false)];
        assert_eq!(verdict(&pods, 1, None).unwrap().reason, Reason::RollingOut);
        assert_eq!(reconciling(&pods, 1).unwrap().0, Reason::RollingOut);
    }

    #[test]
    fn while_the_old_pod_drains_and_no_other_is_there_it_rolls_out() {
        let mut drains = pod("a", false, true);
        drains.terminating = true;
        let pods = [drains];
        assert_eq!(verdict(&pods, 1, None).unwrap().reason, Reason::RollingOut);
        assert_eq!(reconciling(&pods, 1).unwrap().0, Reason::RollingOut);
        assert_eq!(verdict(&[], 1, None).unwrap().reason, Reason::Starting);
    }

    #[test]
    fn a_pod_that_the_api_server_refuses_is_told_in_its_words_while_it_is_missed() {
        let said = Some("no PriorityClass with name x was found");
        let told = verdict(&[pod("a", false, true)], 1, said).unwrap();
        assert_eq!(told.reason, Reason::ApplyRefused);
        assert_eq!(
            told.message,
            "0 of 1 pods are ready: no PriorityClass with name x was found"
        );
        assert_eq!(verdict(&[pod("a", true, true)], 1, said), None);
    }

    #[test]
    fn a_node_that_is_not_ready_says_why() {
        let mut waiting = pod("a", true, false);
        waiting.node.as_mut().unwrap().reasons = vec!["not registered".into()];
        let verdict = verdict(&[waiting], 1, None).unwrap();
        assert_eq!(verdict.message, "0 of 1 pods are ready: not registered");
    }

    #[test]
    fn a_device_that_does_not_work_is_told_with_its_reason() {
        let mut broken = pod("a", true, false);
        let device = |usable, reason: &str| DeviceReport {
            name: "T4".into(),
            usable,
            reason: reason.into(),
        };
        assert_eq!(gpu(std::slice::from_ref(&broken)).truth, Truth::Unknown);
        broken.node.as_mut().unwrap().device = Some(device(false, "no driver"));
        let told = gpu(std::slice::from_ref(&broken));
        assert_eq!(
            (told.reason, told.message.as_str()),
            (Reason::NoUsableDevice, "pod a: no driver")
        );
        broken.node.as_mut().unwrap().device = Some(device(true, ""));
        assert_eq!(gpu(std::slice::from_ref(&broken)).truth, Truth::True);
        assert_eq!(devices(&[broken.clone(), broken]), ["T4"]);
    }

    #[test]
    fn the_device_is_not_ready_while_an_engine_has_not_said_so() {
        let mut said = pod("a", true, true);
        said.node.as_mut().unwrap().device = Some(DeviceReport {
            name: "T4".into(),
            usable: true,
            reason: String::new(),
        });
        assert_eq!(gpu(&[said.clone(), said.clone()]).truth, Truth::True);
        let told = gpu(&[said, pod("b", true, false)]);
        assert_eq!(
            (told.truth, told.reason),
            (Truth::Unknown, Reason::Starting)
        );
    }

    #[test]
    fn only_pods_with_sessions_drain_and_draining_ones_offer_no_capacity() {
        let mut leaving = pod("a", true, false);
        leaving.node.as_mut().unwrap().draining = true;
        assert_eq!(draining(std::slice::from_ref(&leaving)), None);
        leaving.node.as_mut().unwrap().sessions = 3;
        assert_eq!(
            draining(std::slice::from_ref(&leaving)).unwrap(),
            "1 pods drain 3 sessions"
        );
        assert_eq!(load(&[leaving, pod("b", true, true)]), (3, 2));
    }
}
