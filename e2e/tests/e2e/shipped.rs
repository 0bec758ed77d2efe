//! What the repository ships beside the programs, put to the real API server and to helm:
//! samples, kustomize bases, the chart's values, the texts of `kubectl explain`.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use livepeer_e2e::cluster::Cluster;
use livepeer_e2e::install::{self, checkout};
use livepeer_e2e::network::{REACTS, STARTS};
use serde_json::{Value, json};

use crate::support::{OPERATOR, network, network_without_operator, nothing_was_forbidden};

#[tokio::test(flavor = "multi_thread")]
async fn samples_and_bases_are_taken_by_the_api_server() -> Result<()> {
    network("shipped", |network| async move {
        let cluster = &network.cluster;
        for sample in ["smallest", "two-pools", "two-orchestrators-one-gateway"] {
            let path = checkout(&format!("config/samples/{sample}.yaml"));
            let path = path.display().to_string();
            let dry = [
                "-n",
                &network.namespace,
                "apply",
                "--dry-run=server",
                "-f",
                &path,
            ];
            cluster.kubectl(&dry).await.context(sample)?;
        }
        for base in ["default", "cluster-wide", "own-images"] {
            let path = checkout(&format!("config/{base}")).display().to_string();
            let built = cluster.kubectl(&["kustomize", &path]).await?;
            // the operator of these tests has the namespace of that name
            let built = built.replace(OPERATOR, &network.namespace);
            let file = tempfile::NamedTempFile::new()?;
            std::fs::write(file.path(), built)?;
            let path = file.path().display().to_string();
            let dry = [
                "apply",
                "--server-side",
                "--force-conflicts",
                "--dry-run=server",
                "-f",
                &path,
            ];
            cluster.kubectl(&dry).await.context(base)?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_images_of_a_kustomization_reach_the_operator_and_the_nodes() -> Result<()> {
    network("images", |network| async move {
        let path = checkout("config/own-images").display().to_string();
        let built = network.cluster.kubectl(&["kustomize", &path]).await?;
        for (field, image) in [("image", "livepeer-operator"), ("value", "livepeer-node")] {
            let line = format!("{field}: registry.example.com/{image}:0.1.0\n");
            ensure!(built.contains(&line), "no {line}");
            let plain = format!("{field}: {image}:");
            ensure!(!built.contains(&plain), "{plain} is still there");
        }
        let given = "- --node-image=$(NODE_IMAGE)\n";
        ensure!(built.contains(given), "the operator is not told");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn chart_and_base_make_the_same_pods_of_the_operator() -> Result<()> {
    network("alike", |network| async move {
        let base = checkout("config/default").display().to_string();
        let base = network.cluster.kubectl(&["kustomize", &base]).await?;
        let chart = template(&network.cluster, &[]).await?;
        let (chart, base) = (operator_pods(&chart)?, operator_pods(&base)?);
        ensure!(chart == base, "chart {chart:#}\nbase {base:#}");
        Ok(())
    })
    .await
}

/// What the pods of the operator's Deployment are, but for names, labels and what is given to
/// the program, which the two do by different means.
fn operator_pods(manifests: &str) -> Result<Value> {
    let documents = manifests.split("\n---\n");
    let deployment = documents
        .filter_map(|document| serde_saphyr::from_str::<Value>(document).ok())
        .find(|object| object["kind"] == "Deployment")
        .context("there is no Deployment")?;
    let mut pods = deployment["spec"]["template"]["spec"].clone();
    pods["serviceAccountName"].take();
    pods["topologySpreadConstraints"][0]["labelSelector"].take();
    let container = &mut pods["containers"][0];
    for given in ["image", "imagePullPolicy", "args", "env"] {
        container[given].take();
    }
    // a default of Kubernetes
    container["livenessProbe"]["periodSeconds"] = 10.into();
    Ok(pods)
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_explains_what_a_field_does_and_whether_it_is_live() -> Result<()> {
    network("explain", |network| async move {
        for (field, says) in [
            ("lpgw", "takes streams in over HTTP"),
            (
                "lpgw.spec.profiles",
                "Live, for streams that start after the change",
            ),
            (
                "lppool.spec.orchestrator.ref",
                "the credential is made by the operator",
            ),
            ("lporch.spec.image", "Rolls the pods"),
            ("lporch.spec.drain.deadline", "Default: 5m. Rolls the pods"),
            (
                "lporch.status.conditions",
                "Reasons are listed in docs/fields.md",
            ),
        ] {
            let text = network.cluster.kubectl(&["explain", field]).await?;
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            ensure!(text.contains(says), "{field}: {text}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_value_is_refused_by_the_chart() -> Result<()> {
    network("values", |network| async move {
        for wrong in [
            "replica=2",
            "replicas=0",
            "watchNamespaces=all",
            "node.image.tga=x",
            "scrapeFrom[0].podSelektor.a=b",
        ] {
            let refused = template(&network.cluster, &["--set", wrong]).await;
            ensure!(refused.is_err(), "{wrong} was taken");
        }
        let right = template(&network.cluster, &["--set", "crds.install=false"]).await?;
        ensure!(!right.contains("kind: CustomResourceDefinition"));
        ensure!(
            !right.contains("kind: ClusterRole"),
            "Roles are the default"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_notes_of_the_chart_are_commands_for_the_namespaces_that_it_looks_after() -> Result<()>
{
    network("notes", |network| async move {
        let chart = checkout("charts/livepeer").display().to_string();
        for (watched, says) in [
            (
                r#"["{{ .Release.Namespace }}"]"#,
                "after the namespace a.\n",
            ),
            (
                r#"["{{ .Release.Namespace }}"]"#,
                "livepeer --namespace a\n",
            ),
            (r#"["a", "b"]"#, "after the namespaces a, b.\n"),
            ("[]", "livepeer --all-namespaces\n"),
        ] {
            let watch = format!("watchNamespaces={watched}");
            let install = ["install", "notes", &chart, "--namespace", "a"];
            let mut args = vec!["--dry-run=client", "--set-json", &watch];
            args.extend(install);
            let shown = network.cluster.helm(&args).await?;
            ensure!(shown.contains(says), "{says} is not in {shown}");
        }
        Ok(())
    })
    .await
}

async fn template(cluster: &Cluster, more: &[&str]) -> Result<String> {
    let chart = checkout("charts/livepeer").display().to_string();
    let mut args = vec!["template", "livepeer", &chart];
    args.extend(more);
    cluster.helm(&args).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_of_the_chart_upgrades_the_definitions_and_restarts_nothing() -> Result<()> {
    network_without_operator("upgrade", |network| async move {
        let cluster = &network.cluster;
        network.smallest("a", 1).await?;
        let image = install::node_image().await?;
        install::runs(cluster, &network.namespace, &image, REACTS).await?;
        let pods = network.pod_identities().await?;
        let columns = [
            "get",
            "crd",
            "gateways.livepeer.org",
            "-o",
            "jsonpath={.spec.versions[0].additionalPrinterColumns[*].name}",
        ];
        let older = older_chart()?;
        install::operator_of(cluster, older.path(), OPERATOR, &[]).await?;
        let shown = cluster.kubectl(&columns).await?;
        ensure!(!shown.contains("Endpoint"), "{shown}");
        install::operator(cluster, OPERATOR, &[]).await?;
        let shown = cluster.kubectl(&columns).await?;
        ensure!(shown.contains("Endpoint"), "not upgraded: {shown}");
        let mark = cluster.audit_mark()?;
        // a change that the new operator has to write by the rights that it has now
        let edit = json!({"replicas": 2});
        network.edit("TranscoderPool", "a", edit).await?;
        install::ready(cluster, &network.namespace, STARTS).await?;
        nothing_was_forbidden(cluster, mark)?;
        let after = network.pod_identities().await?;
        let kept = pods.iter().all(|pod| after.contains(pod));
        ensure!(kept, "{pods:?} became {after:?}");
        Ok(())
    })
    .await
}

/// The chart, with a column fewer in one definition.
fn older_chart() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    copy(&checkout("charts/livepeer"), folder.path())?;
    let path = folder.path().join("templates/crds/gateways.yaml");
    let text = std::fs::read_to_string(&path)?;
    let column = "    - jsonPath: .status.endpoint\n      name: Endpoint\n      type: string\n";
    ensure!(
        text.contains(column),
        "no such column in {}",
        path.display()
    );
    std::fs::write(path, text.replace(column, ""))?;
    Ok(folder)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
