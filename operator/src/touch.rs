//! Makes kubelets sync a pod's mounted files at once.
//!
//! A kubelet looks at ConfigMaps and Secrets of a pod about once a minute, and at once
//! when the pod itself changes. An annotation with the hash of the files changes it; no
//! container restarts for that.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::names::{ANNOTATION_MOUNTED, FIELD_MANAGER};
use crate::observe::PodReport;

/// Puts `hash` on each pod that has another.
pub async fn pods(
    client: &Client,
    namespace: &str,
    pods: &[PodReport],
    hash: &str,
) -> Result<(), kube::Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    for report in pods.iter().filter(|report| wants(report, hash)) {
        let patch = json!({"metadata": {
            "uid": report.pod.uid(),
            "annotations": {ANNOTATION_MOUNTED: hash},
        }});
        match api
            .patch(&report.name(), &parameters, &Patch::Merge(&patch))
            .await
        {
            Ok(_) => {}
            // gone since it was listed
            Err(kube::Error::Api(error)) if matches!(error.code, 404 | 409) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A pod without an IP has not mounted its files yet, and will find the newest.
fn wants(report: &PodReport, hash: &str) -> bool {
    let mounted = report
        .pod
        .status
        .as_ref()
        .is_some_and(|status| status.pod_ip.is_some());
    let touched = report.pod.annotations().get(ANNOTATION_MOUNTED);
    mounted && !report.terminating && touched.is_none_or(|touched| touched != hash)
}

#[cfg(test)]
mod tests {
    use super::wants;
    use crate::names::ANNOTATION_MOUNTED;
    use crate::observe::rollout::tests::pod;
    use k8s_openapi::api::core::v1::PodStatus;

    #[test]
    fn a_running_pod_is_touched_once_for_each_change_of_its_files() {
        let mut report = pod("a", true, true);
        assert!(!wants(&report, "1"), "nothing is mounted yet");
        report.pod.status = Some(PodStatus {
            pod_ip: Some("10.0.0.1".into()),
            ..PodStatus::default()
        });
        assert!(wants(&report, "1"));
        report.pod.metadata.annotations =
            Some([(ANNOTATION_MOUNTED.to_owned(), "1".to_owned())].into());
        assert!(!wants(&report, "1"));
        assert!(wants(&report, "2"));
        report.terminating = true;
        assert!(!wants(&report, "2"));
    }
}
