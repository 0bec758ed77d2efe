//! What the nodes make of fields, seen from outside: in what they answer, log and say of
//! themselves.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use livepeer_e2e::cluster::health;
use livepeer_e2e::network::{Network, REACTS, STARTS};
use livepeer_e2e::stream::{Pusher, Reply, clip, look};
use livepeer_settings::Role;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{clip as the_clip, network};

#[tokio::test(flavor = "multi_thread")]
async fn live_fields_reach_the_nodes_and_replace_no_pod() -> Result<()> {
    network("fields-live", |network| async move {
        network.smallest("a", 1).await?;
        let before = network.pod_identities().await?;
        let (pusher, _forward) = network.pusher("a").await?;
        ensure!(renditions(&push(&pusher, "usual").await?) == ["P240p30fps16x9", "P360p30fps16x9"]);
        let mut told = Vec::new();
        for role in ROLES {
            let log = log(&network, role).await?;
            ensure!(!log.contains("DEBUG"), "{role} logs at debug: {log}");
            told.push((role, log.matches(TOLD).count()));
        }

        let profile = json!({"name": "p", "width": 320, "height": 180, "bitrate": 300_000,
            "fps": 30_000, "fpsDen": 2_000, "profile": "h264main"});
        let edit = json!({"profiles": [profile], "logLevel": "debug"});
        network.edit("Gateway", "a", edit).await?;
        let edit = json!({"logLevel": "debug"});
        network.edit("Orchestrator", "a", edit).await?;
        // room for the second stream
        let edit = json!({"logLevel": "debug", "maxSessions": 4});
        network.edit("TranscoderPool", "a", edit).await?;
        health::until(Instant::now() + REACTS, "new settings", || async {
            for (role, before) in &told {
                let told = log(&network, role).await?.matches(TOLD).count();
                ensure!(told > *before, "{role} has not read them");
            }
            Ok(())
        })
        .await?;
        // profiles are those of streams that start later
        let reply = push(&pusher, "later").await?;
        ensure!(renditions(&reply) == ["p"], "{:?}", renditions(&reply));
        made_as_asked(&reply).await?;
        health::until(Instant::now() + REACTS, "debug lines", || async {
            for role in ROLES {
                ensure!(log(&network, role).await?.contains("DEBUG"), "{role}");
            }
            Ok(())
        })
        .await?;

        network.apply("Orchestrator", "b", json!({})).await?;
        let refs = json!({"refs": [{"name": "a"}, {"name": "b"}]});
        let addresses = json!({"refs": null, "addresses": ["https://192.0.2.1:1"]});
        for (orchestrators, wanted) in [
            (
                refs,
                vec!["https://a-orchestrator.", "https://b-orchestrator."],
            ),
            (addresses, vec!["https://192.0.2.1:1"]),
        ] {
            let edit = json!({"orchestrators": orchestrators});
            network.edit("Gateway", "a", edit).await?;
            asked(&network, &wanted).await?;
        }
        let after = network.pod_identities().await?;
        ensure!(
            before.iter().all(|pod| after.contains(pod)),
            "{before:?} became {after:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_without_the_gateways_token_is_refused() -> Result<()> {
    network("fields-token", |network| async move {
        let secrets: Api<Secret> = Api::namespaced(network.cluster.client(), &network.namespace);
        let secret = json!({"metadata": {"name": "ingest"}, "stringData": {"token": "first"}});
        secrets
            .create(&PostParams::default(), &serde_json::from_value(secret)?)
            .await?;
        network.smallest("a", 1).await?;
        // room for a stream with each token
        let edit = json!({"maxSessions": 4});
        network.edit("TranscoderPool", "a", edit).await?;
        let (open, _forward) = network.pusher("a").await?;
        push(&open, "open").await?;
        let reference = json!({"name": "ingest", "key": "token"});
        let edit = json!({"ingest": {"http": {"allowUnauthenticated": null, "tokenSecretRef": reference}}});
        network.edit("Gateway", "a", edit).await?;

        answered(&open, "first", [401, ADMITTED], STARTS).await?;
        push(&open.clone().with_token("first"), "first").await?;
        let other = json!({"stringData": {"token": "second"}});
        secrets
            .patch("ingest", &PatchParams::default(), &Patch::Merge(other))
            .await?;
        answered(&open, "second", [401, ADMITTED], REACTS).await?;
        answered(&open, "first", [401, 403], REACTS).await?;
        push(&open.with_token("second"), "second").await.map(drop)
    })
    .await
}

/// Whatever the answer is to a push with the right token.
const ADMITTED: u16 = 200;

/// Waits until pushes without a token and with this one are refused for it, or not. They
/// bring no segment: it is asked for the token first.
async fn answered(open: &Pusher, token: &str, wanted: [u16; 2], patience: Duration) -> Result<()> {
    let what = format!("{wanted:?} without and with `{token}`");
    let with = open.clone().with_token(token);
    health::until(Instant::now() + patience, &what, || async {
        let mut found = [0; 2];
        for (status, pusher) in found.iter_mut().zip([open, &with]) {
            let none = Bytes::from_static(b"no segment");
            let reply = pusher.push("token", 0, none, clip::SEGMENT).await;
            ensure!(reply.status != 0, "no answer: {:?}", reply.error);
            *status = match reply.status {
                refused @ (401 | 403) => refused,
                _ => ADMITTED,
            };
        }
        ensure!(found == wanted, "{found:?}");
        Ok(())
    })
    .await
}

/// Pushes a segment, which must be answered whole.
async fn push(pusher: &Pusher, stream: &str) -> Result<Reply> {
    let segment = the_clip().await?.segment(0);
    let reply = pusher.push(stream, 0, segment, clip::SEGMENT).await;
    ensure!(
        reply.is_complete(reply.renditions.len()),
        "{} {:?}",
        reply.status,
        reply.error
    );
    Ok(reply)
}

/// Names of the renditions that came back.
fn renditions(reply: &Reply) -> Vec<&str> {
    let names = reply.renditions.iter().map(|one| one.name.as_str());
    names.collect()
}

/// The one rendition has the size, the frame rate and the encoder's profile that were set.
async fn made_as_asked(reply: &Reply) -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    let rendition = reply.renditions.first().context("no rendition")?;
    std::fs::write(file.path(), &rendition.data)?;
    let video = look::video(file.path()).await?;
    ensure!((video.width, video.height) == (320, 180), "{video:?}");
    // 15 a second; the source has 25
    let wanted = 15 * clip::SEGMENT.as_secs();
    ensure!(video.frames.abs_diff(wanted) <= 1, "{video:?}");
    let profile = look::profile(file.path()).await?;
    ensure!(profile == "Main", "{profile}");
    Ok(())
}

/// The roles of a network, each as a component of ours is called.
const ROLES: [&str; 3] = ["gateway", "orchestrator", "pool"];

/// What a node logs that has read new settings.
const TOLD: &str = "settings changed";

/// What the node of a role has logged.
async fn log(network: &Network, role: &str) -> Result<String> {
    let pod = network.pod(role, "a").await?;
    let arguments = ["-n", &network.namespace, "logs", &pod];
    network.cluster.kubectl(&arguments).await
}

/// Waits until the gateway says that it asks these orchestrators.
async fn asked(network: &Network, wanted: &[&str]) -> Result<()> {
    let pod = format!("pod/{}", network.pod("gateway", "a").await?);
    let port = Role::Gateway.probe_port();
    let forward = network
        .cluster
        .forward(&network.namespace, &pod, port)
        .await?;
    let url = format!("http://{}/status", forward.address);
    health::until(Instant::now() + REACTS, "the orchestrators", || async {
        let status: Value = reqwest::get(&url).await?.json().await?;
        let found = status["orchestrators"].as_array().context("none")?;
        let uris = found.iter().filter_map(|one| one["uri"].as_str());
        let as_wanted = uris
            .zip(wanted)
            .filter(|(uri, wanted)| uri.starts_with(*wanted));
        ensure!(
            found.len() == wanted.len() && as_wanted.count() == wanted.len(),
            "{}",
            status["orchestrators"]
        );
        Ok(())
    })
    .await
}
