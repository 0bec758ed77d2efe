//! The system calls that a worker may make once it is set up.

use std::collections::BTreeMap;

use libc as sys;
use livepeer_media::Device;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::SandboxError;

/// Allowed with any arguments: memory, threads, clocks, and descriptors already held.
const ALLOWED: &[sys::c_long] = &[
    // Memory.
    sys::SYS_brk,
    sys::SYS_mmap,
    sys::SYS_munmap,
    sys::SYS_mremap,
    sys::SYS_mprotect,
    sys::SYS_madvise,
    sys::SYS_membarrier,
    // Descriptors of the job, and the socket.
    sys::SYS_read,
    sys::SYS_readv,
    sys::SYS_pread64,
    sys::SYS_write,
    sys::SYS_writev,
    sys::SYS_pwrite64,
    sys::SYS_lseek,
    sys::SYS_fstat,
    sys::SYS_statx,
    sys::SYS_ftruncate,
    sys::SYS_fcntl,
    sys::SYS_dup,
    sys::SYS_close,
    sys::SYS_poll,
    sys::SYS_ppoll,
    sys::SYS_recvmsg,
    sys::SYS_sendmsg,
    // Threads. clone3 is answered with ENOSYS below, so that glibc takes clone, whose flags a
    // filter can see.
    sys::SYS_clone3,
    sys::SYS_futex,
    sys::SYS_set_robust_list,
    sys::SYS_rseq,
    sys::SYS_sched_yield,
    sys::SYS_sched_getaffinity,
    sys::SYS_gettid,
    sys::SYS_getpid,
    sys::SYS_exit,
    sys::SYS_exit_group,
    // Signals of the process itself.
    sys::SYS_rt_sigaction,
    sys::SYS_rt_sigprocmask,
    sys::SYS_rt_sigreturn,
    sys::SYS_sigaltstack,
    sys::SYS_restart_syscall,
    // Clocks and randomness.
    sys::SYS_clock_gettime,
    sys::SYS_clock_getres,
    sys::SYS_clock_nanosleep,
    sys::SYS_nanosleep,
    sys::SYS_gettimeofday,
    sys::SYS_getrandom,
    sys::SYS_uname,
];

/// What the NVIDIA driver makes besides, while it decodes and encodes.
const ALLOWED_NVIDIA: &[sys::c_long] = &[
    sys::SYS_ioctl,
    sys::SYS_openat,
    sys::SYS_newfstatat,
    sys::SYS_access,
    sys::SYS_readlink,
    sys::SYS_getdents64,
    sys::SYS_eventfd2,
    sys::SYS_pipe2,
    sys::SYS_memfd_create,
    sys::SYS_sched_setaffinity,
    sys::SYS_sysinfo,
    sys::SYS_mlock,
    sys::SYS_munlock,
];

/// Installs the filters on every thread: a call must pass both.
pub(super) fn install(device: Device) -> Result<(), SandboxError> {
    let no_clone3 = Rules::from([(sys::SYS_clone3, vec![])]);
    let refuse = |value| SeccompAction::Errno(errno(value));
    apply(no_clone3, SeccompAction::Allow, refuse(sys::ENOSYS))?;
    // Last: it refuses the installation of filters, too.
    apply(
        allow_list(device)?,
        refuse(sys::EPERM),
        SeccompAction::Allow,
    )
}

fn errno(value: sys::c_int) -> u32 {
    value.unsigned_abs()
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn apply(rules: Rules, others: SeccompAction, listed: SeccompAction) -> Result<(), SandboxError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let program: BpfProgram = SeccompFilter::new(rules, others, listed, arch)?.try_into()?;
    Ok(seccompiler::apply_filter_all_threads(&program)?)
}

fn allow_list(device: Device) -> Result<Rules, SandboxError> {
    let more: &[sys::c_long] = match device {
        Device::Cpu => &[],
        Device::Nvidia => ALLOWED_NVIDIA,
    };
    let mut rules: Rules = ALLOWED
        .iter()
        .chain(more)
        .map(|&call| (call, vec![]))
        .collect();
    // Threads of this process only, never another process.
    rules.insert(
        sys::SYS_clone,
        vec![when(
            0,
            has_bits(sys::CLONE_THREAD),
            bits(sys::CLONE_THREAD),
        )?],
    );
    // Naming a thread; every other use of prctl is refused.
    rules.insert(
        sys::SYS_prctl,
        vec![when(0, SeccompCmpOp::Eq, bits(sys::PR_SET_NAME))?],
    );
    // Its own limits, to move the CPU limit between jobs.
    rules.insert(sys::SYS_prlimit64, vec![when(0, SeccompCmpOp::Eq, 0)?]);
    // Aborting: a signal to itself.
    rules.insert(
        sys::SYS_tgkill,
        vec![when(0, SeccompCmpOp::Eq, u64::from(std::process::id()))?],
    );
    Ok(rules)
}

fn bits(value: sys::c_int) -> u64 {
    u64::from(value.unsigned_abs())
}

fn has_bits(mask: sys::c_int) -> SeccompCmpOp {
    SeccompCmpOp::MaskedEq(bits(mask))
}

fn when(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, SandboxError> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}
