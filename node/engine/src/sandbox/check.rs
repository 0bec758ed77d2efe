//! Tries, from inside, what the sandbox must refuse. The supervisor can ask for this;
//! the tests do, and look at the answer.

use livepeer_media::message::SandboxAttempt;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::{AddressFamily, SocketType};

/// Every attempt and how it was refused.
pub(crate) fn attempts() -> Vec<SandboxAttempt> {
    vec![
        tried("open", open("/etc/passwd")),
        tried("open_proc", open("/proc/self/environ")),
        tried("socket", socket(AddressFamily::INET)),
        tried("socket_unix", socket(AddressFamily::UNIX)),
        tried("ptrace", livepeer_ffmpeg::process::try_ptrace()),
        tried("execve", execute()),
        tried("kill", signal_init()),
    ]
}

fn tried(what: &str, result: std::io::Result<()>) -> SandboxAttempt {
    SandboxAttempt {
        what: what.to_owned(),
        refused: result.err().map(|error| error.to_string()),
    }
}

fn open(path: &str) -> std::io::Result<()> {
    rustix::fs::openat(CWD, path, OFlags::RDONLY, Mode::empty())?;
    Ok(())
}

fn socket(family: AddressFamily) -> std::io::Result<()> {
    rustix::net::socket(family, SocketType::STREAM, None)?;
    Ok(())
}

fn execute() -> std::io::Result<()> {
    std::process::Command::new("/bin/true").status().map(drop)
}

fn signal_init() -> std::io::Result<()> {
    rustix::process::test_kill_process(rustix::process::Pid::INIT)?;
    Ok(())
}
