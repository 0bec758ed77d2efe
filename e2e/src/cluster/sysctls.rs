//! The kubelet changes settings of the whole kernel; this remembers and restores them.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::paths;

/// What the kubelet's container manager sets when it starts, if it may.
const TOUCHED: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// Notes the values down.
pub(crate) fn save() -> Result<()> {
    let folder = paths::state("sysctls");
    for name in TOUCHED {
        if let Ok(value) = fs::read_to_string(Path::new("/proc/sys").join(name)) {
            let file = folder.join(name);
            if let Some(parent) = file.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(file, value)?;
        }
    }
    Ok(())
}

/// Puts them back where they differ. A machine that forbids it has not let the kubelet either.
pub(crate) fn restore() {
    for name in TOUCHED {
        let live = Path::new("/proc/sys").join(name);
        let Ok(saved) = fs::read_to_string(paths::state("sysctls").join(name)) else {
            continue;
        };
        if fs::read_to_string(&live).is_ok_and(|value| value != saved) {
            fs::write(live, saved).ok();
        }
    }
}
