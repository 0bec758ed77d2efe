//! Samples, chart and kustomize bases: readable, and not drifting apart.

use livepeer_operator::api::{Gateway, Orchestrator, TranscoderPool};
use livepeer_operator::build::resources::{ENGINE, RELAY};
use serde_json::Value;

use crate::definitions::repository;

/// The documents of a YAML file.
fn documents(path: &str) -> Vec<Value> {
    let text =
        std::fs::read_to_string(repository().join(path)).expect("the file is in the repository");
    text.split("\n---")
        .map(|document| serde_saphyr::from_str(document).expect("the file is YAML"))
        .collect()
}

#[test]
fn every_sample_is_made_of_our_kinds_and_the_smallest_has_one_of_each() {
    for (path, smallest) in [
        ("config/samples/smallest.yaml", true),
        ("config/samples/two-pools.yaml", false),
        ("config/samples/two-orchestrators-one-gateway.yaml", false),
    ] {
        let mut kinds = Vec::new();
        for document in documents(path) {
            let kind = document["kind"].as_str().unwrap().to_owned();
            match kind.as_str() {
                "Orchestrator" => drop(serde_json::from_value::<Orchestrator>(document).unwrap()),
                "TranscoderPool" => {
                    drop(serde_json::from_value::<TranscoderPool>(document).unwrap())
                }
                "Gateway" => drop(serde_json::from_value::<Gateway>(document).unwrap()),
                other => assert_eq!(other, "Secret", "{path}"),
            }
            kinds.push(kind);
        }
        if smallest {
            assert_eq!(kinds, ["Orchestrator", "TranscoderPool", "Gateway"]);
        }
    }
}

#[test]
fn the_readme_says_what_the_samples_ask_for() {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    for name in ["smallest", "two-pools", "two-orchestrators-one-gateway"] {
        let path = format!("config/samples/{name}.yaml");
        let (mut millis, mut mebibytes) = (0, 0);
        for document in documents(&path) {
            let (pods, defaults) = match document["kind"].as_str().unwrap() {
                "Orchestrator" | "Gateway" => (1, RELAY),
                "TranscoderPool" => {
                    let pool: TranscoderPool = serde_json::from_value(document).unwrap();
                    (pool.spec.replicas, ENGINE)
                }
                _ => continue,
            };
            let number = |text: &str, unit| text.strip_suffix(unit).unwrap().parse::<u32>();
            millis += pods * number(defaults.cpu_request, "m").unwrap();
            mebibytes += pods * number(defaults.memory_request, "Mi").unwrap();
        }
        let row = format!("| [{name}]({path}) | {millis}m | {mebibytes}Mi |");
        assert!(readme.contains(&row), "{row}");
    }
}

#[test]
fn the_readme_shows_the_kustomization_that_is_shipped() {
    let read = |path: &str| std::fs::read_to_string(repository().join(path)).unwrap();
    let shipped = read("config/own-images/kustomization.yaml");
    let (_, shown) = shipped.split_once("kind: Kustomization\n").unwrap();
    assert!(read("README.md").contains(&format!("```yaml\n{shown}```")));
}

#[test]
fn the_bases_grant_what_the_chart_grants() {
    let chart =
        std::fs::read_to_string(repository().join("charts/livepeer/templates/_helpers.tpl"))
            .unwrap();
    let rules = chart
        .split_once("{{- define \"livepeer.rules\" -}}\n")
        .and_then(|(_, rest)| rest.split_once("\n{{- end -}}"))
        .map(|(rules, _)| serde_saphyr::from_str::<Value>(rules).unwrap())
        .unwrap();
    for path in [
        "config/rbac/namespaced/role.yaml",
        "config/rbac/cluster/role.yaml",
    ] {
        assert_eq!(documents(path)[0]["rules"], rules, "{path}");
    }
}

#[test]
fn nobody_is_granted_everything() {
    for path in [
        "config/rbac/namespaced/role.yaml",
        "config/manager/lease.yaml",
    ] {
        let text = std::fs::read_to_string(repository().join(path)).unwrap();
        assert!(!text.contains('*'), "{path}");
    }
}
