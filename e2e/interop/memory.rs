//! Memory of a process tree, from /proc.

use std::fs;

/// The sum of the peaks (`VmHWM`) of a process and its present descendants, in MiB.
pub(crate) fn peak_of_tree(root: u32) -> u64 {
    let mut tree = vec![root];
    let mut kilobytes = 0;
    while let Some(id) = tree.pop() {
        kilobytes += peak_of(id);
        tree.extend(children_of(id));
    }
    kilobytes / 1024
}

fn peak_of(id: u32) -> u64 {
    fs::read_to_string(format!("/proc/{id}/status"))
        .ok()
        .and_then(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.split_whitespace().next()?.parse().ok()
        })
        .unwrap_or(0)
}

fn children_of(id: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{id}/task")) else {
        return Vec::new();
    };
    threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok())
        .flat_map(|ids| {
            ids.split_whitespace()
                .filter_map(|id| id.parse().ok())
                .collect::<Vec<u32>>()
        })
        .collect()
}
