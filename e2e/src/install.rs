//! Installs the product on the local cluster as its README says: the Helm chart for
//! the operator, a manifest for the resources, and then waiting until they are ready.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use kube::discovery::ApiResource;
use serde_json::json;
use tokio::time::Instant;

use crate::cluster::{Cluster, command, health};
use crate::demo;

/// The kinds, as the API server spells them.
pub const KINDS: [&str; 3] = ["Orchestrator", "TranscoderPool", "Gateway"];

/// Keys of the chart's values for the two images, and how `e2e/images.sh` names these.
const IMAGES: [(&str, &str); 2] = [
    ("image", "livepeer.local/operator"),
    ("node.image", "livepeer.local/node"),
];

/// A file of the checkout.
#[must_use]
pub fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Label of the pods that may scrape the nodes, in each namespace.
pub const SCRAPER: (&str, &str) = ("app.kubernetes.io/name", "scraper");

/// Name of the Helm release.
pub const RELEASE: &str = "livepeer";

/// `helm uninstall` of the operator; waits until its pods are gone.
pub async fn uninstall(cluster: &Cluster, namespace: &str) -> Result<()> {
    let waiting = ["--namespace", namespace, "--wait", "--timeout", "2m"];
    let mut args = vec!["uninstall", RELEASE];
    args.extend(waiting);
    cluster.helm(&args).await?;
    let pods = [
        "wait",
        "--for=delete",
        "pod",
        "-l",
        "app.kubernetes.io/name=livepeer-operator",
    ];
    let mut args = vec!["--namespace", namespace];
    args.extend(pods);
    args.push("--timeout=2m");
    cluster.kubectl(&args).await?;
    Ok(())
}

/// One operator a cluster, and one user of its cores: who comes after `make demo` takes its
/// place.
async fn take_the_place(cluster: &Cluster, namespace: &str) -> Result<()> {
    if namespace != demo::NAMESPACE {
        demo::remove(cluster).await?;
    }
    let filter = format!("^{RELEASE}$");
    let list = [
        "list",
        "--all-namespaces",
        "--filter",
        &filter,
        "--output",
        "json",
    ];
    let releases: Vec<Release> = serde_json::from_str(&cluster.helm(&list).await?)?;
    for release in releases {
        if release.namespace != namespace {
            uninstall(cluster, &release.namespace).await?;
        }
    }
    Ok(())
}

/// What `helm list` says of a release.
#[derive(serde::Deserialize)]
struct Release {
    namespace: String,
}

/// `helm upgrade --install` of the operator, watching `namespaces`; none means all.
pub async fn operator(cluster: &Cluster, namespace: &str, namespaces: &[&str]) -> Result<()> {
    operator_of(cluster, &checkout("charts/livepeer"), namespace, namespaces).await
}

/// The same from another chart: an older one, say.
pub async fn operator_of(
    cluster: &Cluster,
    chart: &Path,
    namespace: &str,
    namespaces: &[&str],
) -> Result<()> {
    take_the_place(cluster, namespace).await?;
    let chart = chart.display().to_string();
    let watched = serde_json::to_string(namespaces)?;
    let watch = format!("watchNamespaces={watched}");
    let (label, value) = SCRAPER;
    let scraper = json!([{"podSelector": {"matchLabels": {label: value}}}]);
    let scrape = format!("scrapeFrom={scraper}");
    let mut args = vec![
        "upgrade",
        "--install",
        RELEASE,
        &chart,
        "--namespace",
        namespace,
        "--create-namespace",
        // the CRDs, which an uninstalled release of another namespace leaves behind
        "--take-ownership",
        "--wait",
        "--timeout",
        "3m",
        "--set-json",
        &watch,
        "--set-json",
        &scrape,
    ];
    let mut images = Vec::new();
    for (key, repository) in IMAGES {
        let tag = tag_by_digest(repository).await?;
        images.push(format!("{key}.repository={repository},{key}.tag={tag}"));
    }
    for image in &images {
        args.extend(["--set-string", image]);
    }
    cluster
        .helm(&args)
        .await
        .context("helm cannot install the operator")?;
    Ok(())
}

/// Tags an image as it was loaded last by its digest. `e2e/images.sh` gives every build the
/// same tag; on a cluster that was left up, one that stays would replace no pod.
async fn tag_by_digest(repository: &str) -> Result<String> {
    let loaded = format!("{repository}:dev");
    let name = format!("name=={loaded}");
    let listed = command::output(health::ctr(&["images", "ls", &name])).await?;
    let tag = tag(&listed).with_context(|| format!("{loaded} is not loaded (make images)"))?;
    let tagged = format!("{repository}:{tag}");
    command::output(health::ctr(&["images", "tag", &loaded, &tagged])).await?;
    Ok(tag.to_owned())
}

/// The first half of the digest in what `ctr images ls` says of one image.
fn tag(listed: &str) -> Option<&str> {
    listed
        .split_whitespace()
        .find_map(|word| word.strip_prefix("sha256:")?.get(..32))
}

/// Waits until no pod of our resources in the namespace has another image.
pub async fn runs(
    cluster: &Cluster,
    namespace: &str,
    image: &str,
    patience: Duration,
) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(cluster.client(), namespace);
    let ours = ListParams::default().labels("app.kubernetes.io/name=livepeer");
    let what = format!("the pods' image {image}");
    health::until(Instant::now() + patience, &what, || async {
        for pod in pods.list(&ours).await? {
            let spec = pod.spec.unwrap_or_default();
            let other = spec
                .containers
                .iter()
                .find(|container| container.image.as_deref() != Some(image));
            if let Some(other) = other {
                bail!("{:?} has {:?}", pod.metadata.name, other.image);
            }
        }
        Ok(())
    })
    .await
}

/// The node's image as it was loaded last, by the name that the operator is told.
pub async fn node_image() -> Result<String> {
    let (_, repository) = IMAGES[1];
    Ok(format!("{repository}:{}", tag_by_digest(repository).await?))
}

/// Applies a manifest of the checkout.
pub async fn apply(cluster: &Cluster, namespace: &str, manifest: &str) -> Result<()> {
    let path = checkout(manifest).display().to_string();
    cluster
        .kubectl(&["-n", namespace, "apply", "-f", &path])
        .await?;
    Ok(())
}

/// Waits until every Livepeer resource of the namespace is `Ready` for its present
/// generation; when time is up, says which is not, and why.
pub async fn ready(cluster: &Cluster, namespace: &str, patience: Duration) -> Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        let waiting = not_ready(cluster, namespace).await?;
        if waiting.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "not ready after {} s: {}",
                patience.as_secs(),
                waiting.join("; ")
            );
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Each resource that is not ready, with its reason.
async fn not_ready(cluster: &Cluster, namespace: &str) -> Result<Vec<String>> {
    let mut waiting = Vec::new();
    let mut seen = 0;
    for kind in KINDS {
        for object in resources(cluster, namespace, kind)
            .list(&Default::default())
            .await?
        {
            seen += 1;
            let ready = condition(&object, "Ready");
            let fresh = ready["observedGeneration"].as_i64() == object.metadata.generation;
            if ready["status"] != "True" || !fresh {
                let name = object.metadata.name.clone().unwrap_or_default();
                waiting.push(format!(
                    "{kind} {name}: {} {}",
                    ready["reason"], ready["message"]
                ));
            }
        }
    }
    if seen == 0 {
        waiting.push("no resource is there yet".to_owned());
    }
    Ok(waiting)
}

/// The API of one kind, without its types: what a user's tools see.
#[must_use]
pub fn resources(cluster: &Cluster, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "livepeer.org".into(),
        version: "v1alpha1".into(),
        api_version: "livepeer.org/v1alpha1".into(),
        kind: kind.into(),
        plural: format!("{}s", kind.to_lowercase()),
    };
    Api::namespaced_with(cluster.client(), namespace, &resource)
}

/// A condition of a resource, or JSON null.
#[must_use]
pub fn condition(object: &DynamicObject, name: &str) -> serde_json::Value {
    object.data["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == name)
        .cloned()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::tag;

    #[test]
    fn another_build_has_another_tag() {
        let listed = |digit: &str| {
            let digest = digit.repeat(64);
            format!(
                "REF TYPE DIGEST SIZE PLATFORMS LABELS\nr:dev application/x sha256:{digest} 9.1 MiB linux/amd64 -\n"
            )
        };
        assert_eq!(tag(&listed("a")), Some("a".repeat(32).as_str()));
        assert_ne!(tag(&listed("a")), tag(&listed("b")));
        assert_eq!(tag("REF TYPE DIGEST SIZE PLATFORMS LABELS\n"), None);
    }
}
