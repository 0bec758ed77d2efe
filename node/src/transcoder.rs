//! The transcoder role.

use crate::process::Process;

/// Why the role ended.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {}

/// Runs the role until it is drained.
pub async fn run(_process: Process) -> Result<(), RoleError> {
    Ok(())
}
