//! Takes away what decoding does not need, for good, before the first hostile byte.
//!
//! Order matters: limits and Landlock need system calls that the filter then refuses. What is
//! left is memory, threads, clocks, and reading and writing the descriptors that a job brings.
//! A refused call fails with `EPERM`, so that a check can see it; the process has no way back
//! (`no_new_privs`, no `execve`).

mod check;
mod syscalls;

use landlock::{
    ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    Scope,
};
use livepeer_media::Device;
use livepeer_media::message::MAX_OUTPUT_BYTES;
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};

pub(crate) use check::attempts;

/// Descriptors that a worker may hold: the socket, a source, ten outputs and their copies.
const MAX_DESCRIPTORS: u64 = 64;

/// Below the roles beside it: their pings and replies take microseconds, encoders take
/// whatever is left.
const NICENESS: i32 = 5;

/// Why the sandbox could not be closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    #[error("cannot {what}")]
    Process {
        what: &'static str,
        #[source]
        source: rustix::io::Errno,
    },
    #[error("cannot restrict the file system")]
    Landlock(#[from] landlock::RulesetError),
    #[error("cannot filter system calls")]
    Filter(#[from] seccompiler::Error),
    #[error("cannot build the filter of system calls")]
    Build(#[from] seccompiler::BackendError),
}

fn process(what: &'static str) -> impl Fn(rustix::io::Errno) -> SandboxError {
    move |source| SandboxError::Process { what, source }
}

/// Ties this process's life to its parent's and hides its memory. First of all.
pub(crate) fn tie_to_parent() -> Result<(), SandboxError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(process("follow the parent"))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(process("forbid dumps"))?;
    // Roles answer pings and requests while encoders want every core.
    rustix::process::nice(NICENESS).map_err(process("lower its priority"))?;
    rustix::thread::set_no_new_privs(true).map_err(process("renounce privileges"))
}

/// Sets limits and closes the sandbox over every thread.
pub(crate) fn close(memory_limit: u64, device: Device) -> Result<(), SandboxError> {
    limit(Resource::Core, 0)?;
    limit(Resource::Nofile, MAX_DESCRIPTORS)?;
    limit(Resource::Fsize, MAX_OUTPUT_BYTES)?;
    match device {
        // Counts writable private memory, not reserved addresses, of which threads take many.
        Device::Cpu => limit(Resource::Data, memory_limit)?,
        // The driver maps the device's memory.
        Device::Nvidia => {}
    }
    restrict_files(device)?;
    syscalls::install(device)
}

fn limit(resource: Resource, most: u64) -> Result<(), SandboxError> {
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    rustix::process::setrlimit(resource, limit).map_err(process("set a limit"))
}

/// Lets the kernel end this process once it has used that much more CPU time.
pub(crate) fn limit_cpu(seconds: u64) {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime).tv_sec;
    let limit = Rlimit {
        current: Some(u64::try_from(used).unwrap_or(0).saturating_add(seconds)),
        maximum: None,
    };
    // The wall time that the supervisor keeps is the bound that counts; this one is cheaper for
    // the machine when a codec spins.
    let _ = rustix::process::setrlimit(Resource::Cpu, limit);
}

/// No file, no TCP, no signals or sockets outside; as far as the kernel knows Landlock.
fn restrict_files(device: Device) -> Result<RulesetStatus, SandboxError> {
    let abi = ABI::V6;
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?;
    let ruleset = match device {
        Device::Cpu => ruleset,
        // The driver opens its devices and reads its own libraries and settings while it works.
        Device::Nvidia => ruleset
            .add_rules(landlock::path_beneath_rules(
                ["/usr", "/lib", "/lib64", "/proc", "/sys", "/etc"],
                AccessFs::from_read(abi),
            ))?
            .add_rules(landlock::path_beneath_rules(
                ["/dev"],
                AccessFs::from_read(abi) | AccessFs::WriteFile | AccessFs::IoctlDev,
            ))?,
    };
    Ok(ruleset.restrict_self()?.ruleset)
}
