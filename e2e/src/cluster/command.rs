//! Runs a program to its end and turns a failure into an error that shows what it printed.

use std::ffi::OsStr;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use super::paths;

/// Runs `program` with `args`, and answers with what it wrote to standard output.
pub(crate) async fn run<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: &[S]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(args);
    output(command).await
}

/// Runs a prepared command to its end, with nothing on standard input.
pub(crate) async fn output(mut command: Command) -> Result<String> {
    command.stdin(std::process::Stdio::null());
    output_with_input(command).await
}

/// The same with the standard input that the caller has set.
pub(crate) async fn output_with_input(mut command: Command) -> Result<String> {
    command.kill_on_drop(true);
    let shown = format!("{:?}", command.as_std());
    let out = command
        .output()
        .await
        .with_context(|| format!("cannot run {shown}"))?;
    if !out.status.success() {
        bail!(
            "{shown}: {}: {}{}",
            out.status,
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// A command that will run inside the cluster's network and mount namespaces.
///
/// `nsenter` becomes the program by `exec`, so the child's pid is the program's.
pub(crate) fn inside(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net={}", paths::net_namespace().display()))
        .arg(format!("--mount={}", paths::mount_namespace().display()))
        .arg("--")
        .arg(program);
    command
}
