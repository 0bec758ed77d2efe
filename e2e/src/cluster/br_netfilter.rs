//! The kernel's `br_netfilter`, without which a Service's answer from a pod on the same bridge
//! does not pass the rules that it must pass: built in here, a module there.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::{command, paths};

const MODULE: &str = "br_netfilter";

/// Loads it if it is not there, and notes that it was us.
pub(crate) async fn load() -> Result<()> {
    if Path::new("/proc/sys/net/bridge").exists() {
        return Ok(());
    }
    command::run("modprobe", &[MODULE])
        .await
        .context("the local cluster needs the kernel's br_netfilter")?;
    fs::write(paths::state(MODULE), "")?;
    Ok(())
}

/// Unloads it if it was us.
pub(crate) async fn unload() {
    if paths::state(MODULE).exists() {
        command::run("modprobe", &["--remove", MODULE]).await.ok();
    }
}
