//! The demo: the operator by Helm, the smallest network, a real clip through its pods.
//! It prints what a user wants to see and leaves the cluster up.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::install;
use crate::namespace::GONE;
use crate::stream::{Clip, Pusher, Reply, clip, look};

/// Where the demo lives.
pub const NAMESPACE: &str = "livepeer-demo";
/// Images are there already, so starting is all that is waited for.
const READY: Duration = Duration::from_secs(180);
/// Ports on 127.0.0.1: the gateway's own, unless something else has them.
const GATEWAY_PORT: u16 = 9935;

/// Runs the demo; `out` is where its pictures and renditions go.
pub async fn run(cluster: &Cluster, out: &Path) -> Result<()> {
    say("installing the operator with its Helm chart");
    install::operator(cluster, NAMESPACE, &[NAMESPACE]).await?;
    say("applying config/samples/smallest.yaml");
    install::apply(cluster, NAMESPACE, "config/samples/smallest.yaml").await?;
    let started = Instant::now();
    let image = install::node_image().await?;
    install::runs(cluster, NAMESPACE, &image, READY).await?;
    install::ready(cluster, NAMESPACE, READY).await?;
    say(&format!(
        "every resource is Ready after {:.1} s",
        started.elapsed().as_secs_f32()
    ));
    say(&cluster
        .kubectl(&["-n", NAMESPACE, "get", "livepeer"])
        .await?);

    let address = match forward(cluster, GATEWAY_PORT).await {
        Ok(address) => address,
        Err(_) => forward(cluster, 0).await?,
    };
    let clip = Clip::make(&out.join("clip")).await?;
    let pusher = Pusher::new(&format!("http://{address}"))?;
    let replies = push(&pusher, &clip).await?;
    let sheet = contact_sheet(&clip, &replies, out).await?;
    say("");
    say(&format!("playlist       http://{address}/stream/demo.m3u8"));
    say(&format!("page           http://{address}/"));
    say(&format!("contact sheet  {}", sheet.display()));
    say("kubectl        e2e/cluster/kubectl -n livepeer-demo get livepeer");
    say("remove it all  make demo-down");
    Ok(())
}

/// Removes the demo, if it is there: its operator must go before another one comes, its pods
/// hold processor time that the pods of tests would wait for, and its port is the one that a
/// node without a cluster listens on.
pub async fn remove(cluster: &Cluster) -> Result<()> {
    let get = ["get", "namespace", NAMESPACE, "--ignore-not-found"];
    if !cluster.kubectl(&get).await?.is_empty() {
        say_aside(
            "removing the demo from the cluster (a minute if its stream has just ended); \
             `make demo` brings it back",
        )?;
        let timeout = format!("--timeout={}s", GONE.as_secs());
        let delete = ["delete", "namespace", NAMESPACE, &timeout];
        cluster.kubectl(&delete).await?;
    }
    // the keeper of an older checkout cannot, which is no reason to stop here
    match cluster.end_forwards(NAMESPACE).await {
        Ok(()) => Ok(()),
        Err(error) => say_aside(&format!(
            "the cluster still listens where a demo did, until `make cluster-down`: {error:#}"
        )),
    }
}

/// Not through print: tests would keep it to themselves.
fn say_aside(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stderr(), "{line}")?)
}

async fn forward(cluster: &Cluster, port: u16) -> Result<std::net::SocketAddr> {
    cluster
        .forward_kept(NAMESPACE, "svc/live-gateway", GATEWAY_PORT, port)
        .await
}

/// Pushes the clip as a live stream: a segment every two seconds.
async fn push(pusher: &Pusher, clip: &Clip) -> Result<Vec<Reply>> {
    say(&format!(
        "pushing {} segments of 2 s, 1280x720, 25 frames a second",
        clip.segments.len()
    ));
    say("segment     sent kB   received kB   seconds   renditions");
    let mut tick = tokio::time::interval(clip::SEGMENT);
    let mut replies = Vec::new();
    for seq in 0..clip.segments.len() {
        tick.tick().await;
        let reply = pusher
            .push("demo", seq, clip.segment(seq), clip::SEGMENT)
            .await;
        let received: usize = reply
            .renditions
            .iter()
            .map(|rendition| rendition.data.len())
            .sum();
        let names: Vec<&str> = reply
            .renditions
            .iter()
            .map(|rendition| rendition.name.as_str())
            .collect();
        say(&format!(
            "{seq:>7} {:>11} {:>13} {:>9.2}   {}",
            reply.sent_bytes / 1000,
            received / 1000,
            reply.took.as_secs_f32(),
            names.join(" ")
        ));
        ensure!(
            reply.error.is_none(),
            "segment {seq}: {}",
            reply.error.unwrap_or_default()
        );
        replies.push(reply);
    }
    Ok(replies)
}

/// Writes each rendition as one file and puts them beside the source.
async fn contact_sheet(clip: &Clip, replies: &[Reply], out: &Path) -> Result<PathBuf> {
    let first = replies.first().context("no reply")?;
    let mut files = vec![("source", clip.path.clone())];
    for (index, rendition) in first.renditions.iter().enumerate() {
        let path = out.join(format!("{}.ts", rendition.name));
        let whole: Vec<u8> = replies
            .iter()
            .filter_map(|reply| reply.renditions.get(index))
            .flat_map(|rendition| rendition.data.to_vec())
            .collect();
        tokio::fs::write(&path, whole).await?;
        files.push((&rendition.name, path));
    }
    let sheet = out.join("contact-sheet.png");
    let columns: Vec<_> = files
        .iter()
        .map(|(title, file)| look::Column { title, file })
        .collect();
    look::contact_sheet(&columns, &sheet).await?;
    Ok(sheet)
}

#[expect(clippy::print_stdout, reason = "what the demo is for")]
fn say(line: &str) {
    println!("{line}");
}
