//! A `livepeer-node` process under test.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tempfile::TempDir;

use crate::client::{self, curl};

/// The engine's self-test included, on a machine that also compiles.
const STARTS: Duration = Duration::from_secs(90);
/// Less than the deadline in [`Node::start`].
const ENDS: Duration = Duration::from_secs(25);
const LOOK: Duration = Duration::from_millis(50);
/// What a node that failed a test has said last.
const LAST_WORDS: usize = 6000;

/// The secret that transcoders of these tests show.
pub(crate) const SECRET: &str = "a-secret-that-no-log-may-have";

/// A running node; killed when dropped.
pub(crate) struct Node {
    child: Child,
    /// Where its clients go: a gateway's ingest, an orchestrator's wire.
    pub(crate) addr: SocketAddr,
    pub(crate) probes: SocketAddr,
    folder: TempDir,
}

impl Node {
    /// `livepeer-node all` on free ports, once it is ready.
    pub(crate) fn all() -> Self {
        let node = Self::all_with(|_| String::new());
        node.wait_until_ready();
        node
    }

    /// The same with `more` settings; it may not be ready yet.
    pub(crate) fn all_with(more: impl FnOnce(&Path) -> String) -> Self {
        let [gateway, orchestrator] = free();
        Self::start("all", gateway, |folder| {
            format!(
                "[gateway]\nhttp_addr = \"{gateway}\"\n\
                 [orchestrator]\naddr = \"{orchestrator}\"\n{}",
                more(folder)
            )
        })
    }

    /// A gateway in front of `orchestrators`, once it takes pushes. `more` are settings
    /// of its section.
    pub(crate) fn gateway(orchestrators: &[SocketAddr], more: &str) -> Self {
        let [addr] = free();
        let uris: Vec<_> = orchestrators
            .iter()
            .map(|addr| format!("https://{addr}"))
            .collect();
        let node = Self::start("gateway", addr, |_| {
            format!("[gateway]\nhttp_addr = \"{addr}\"\norchestrators = {uris:?}\n{more}")
        });
        node.wait_for("it listens", || {
            curl(&[&format!("http://{addr}/healthz"), "-w", "%{http_code}"]) == "200"
        });
        node
    }

    /// An orchestrator of one pool, whose secret is [`SECRET`]. `more` are settings of
    /// its section.
    pub(crate) fn orchestrator(more: &str) -> Self {
        let [addr] = free();
        let node = Self::start("orchestrator", addr, |folder| {
            let (credentials, data) = (folder.join("credentials"), folder.join("data"));
            std::fs::create_dir(&credentials).unwrap();
            std::fs::create_dir(&data).unwrap();
            std::fs::write(credentials.join("pool"), SECRET).unwrap();
            format!(
                "[orchestrator]\naddr = \"{addr}\"\ncredentials_dir = {credentials:?}\n\
                 data_dir = {data:?}\n{more}\n"
            )
        });
        node.wait_until_ready();
        node
    }

    /// A transcoder for `orchestrator`; it may not be ready yet.
    pub(crate) fn transcoder(orchestrator: SocketAddr, secret: &str) -> Self {
        Self::start("transcoder", orchestrator, |folder| {
            let file = folder.join("secret");
            std::fs::write(&file, secret).unwrap();
            format!(
                "[transcoder]\norchestrator = \"https://{orchestrator}\"\n\
                 credential_file = {file:?}\nmax_sessions = 4\n[engine]\nworkers = 2\n"
            )
        })
    }

    /// A transcoder for nobody, which offers what it measures, once its engine runs. `cache`
    /// keeps that.
    pub(crate) fn measured(cache: &Path) -> Self {
        let [nobody] = free();
        let node = Self::start("transcoder", nobody, |folder| {
            let file = folder.join("secret");
            std::fs::write(&file, SECRET).unwrap();
            format!(
                "[transcoder]\norchestrator = \"https://{nobody}\"\n\
                 credential_file = {file:?}\n[engine]\ncache_dir = {cache:?}\n"
            )
        });
        node.wait_for("its engine runs", || {
            node.status()["capacity"].as_u64() > Some(0)
        });
        node
    }

    fn start(role: &str, addr: SocketAddr, settings: impl FnOnce(&Path) -> String) -> Self {
        let [probes] = free();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.toml");
        let mut text = format!(
            "probe_addr = \"{probes}\"\nlog_level = \"debug\"\n\
             [drain]\nlame_duck = \"0s\"\ndeadline = \"30s\"\n"
        );
        write!(text, "{}", settings(folder.path())).unwrap();
        std::fs::write(&file, text).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let child = node(&[role, "--settings", file.to_str().unwrap()])
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            addr,
            probes,
            folder,
        }
    }

    pub(crate) fn wait_until_ready(&self) {
        self.wait_for("it is ready", || self.probe("readyz") == "ok\n");
    }

    /// Waits until `holds`; `what` that is, for the message.
    pub(crate) fn wait_for(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = SystemTime::now() + STARTS;
        while !holds() {
            assert!(
                SystemTime::now() < deadline,
                "in vain waited until {what}; readyz: {}",
                self.probe("readyz")
            );
            sleep(LOOK);
        }
    }

    pub(crate) fn probe(&self, path: &str) -> String {
        curl(&[&format!("http://{}/{path}", self.probes)])
    }

    /// What `/status` says.
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.probe("status")).unwrap_or(Value::Null)
    }

    /// The sum of the samples whose line starts so.
    pub(crate) fn metric(&self, start: &str) -> f64 {
        self.probe("metrics")
            .lines()
            .filter(|line| line.starts_with(start))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Everything that it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    /// A task that panics takes nothing with it but its request, and is seen here only.
    pub(crate) fn assert_no_panic(&self) {
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
    }

    /// A file of its folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Most memory that it has had, in bytes.
    pub(crate) fn peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kib = line
            .and_then(|line| line.split_whitespace().nth(1))
            .unwrap();
        kib.parse::<u64>().unwrap() << 10
    }

    /// Starts a push of `segment`, as the README has it; its end is the reply with its
    /// status in the last line.
    pub(crate) fn push(&self, segment: &Path, seq: u32) -> Child {
        client::push(self.addr, segment, seq)
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// SIGTERM, and how the process ended; it must before its drain deadline.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_until_it_ends(ENDS)
    }

    /// How the process ended, by itself and soon, and what it has logged.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let status = self.wait_until_it_ends(STARTS);
        (status, self.log())
    }

    fn wait_until_it_ends(&mut self, within: Duration) -> ExitStatus {
        ended(&mut self.child, within).expect("it does not end")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // gone already, when it was waited for
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let start = log.ceil_char_boundary(log.len().saturating_sub(LAST_WORDS));
            println!("... {}", &log[start..]);
        }
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_livepeer-node");

/// The program with these arguments.
pub(crate) fn node(args: &[&str]) -> Command {
    engine();
    let mut command = Command::new(PROGRAM);
    command.args(args);
    command
}

/// How a program that ends by itself did so, and what it printed.
pub(crate) fn output(command: &mut Command) -> Output {
    let [mut stdout, mut stderr] = [(); 2].map(|()| tempfile::tempfile().unwrap());
    let mut child = command
        .stdout(stdout.try_clone().unwrap())
        .stderr(stderr.try_clone().unwrap())
        .spawn()
        .unwrap();
    let status = ended(&mut child, STARTS);
    let [stdout, stderr] = [&mut stdout, &mut stderr].map(|file| {
        let mut printed = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut printed).unwrap();
        printed
    });
    let said = String::from_utf8_lossy(&stderr);
    let status = status.unwrap_or_else(|| panic!("it does not end: {said}"));
    Output {
        status,
        stdout,
        stderr,
    }
}

/// How a process ended; none when it had not `within` that time, and was killed.
fn ended(child: &mut Child, within: Duration) -> Option<ExitStatus> {
    let deadline = SystemTime::now() + within;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if SystemTime::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        sleep(LOOK);
    }
}

/// The engine lies beside the program, since the whole workspace is built at once.
pub(crate) fn engine() -> PathBuf {
    let engine = Path::new(PROGRAM).with_file_name("livepeer-engine");
    assert!(
        engine.exists(),
        "{} is not there: build the workspace (`cargo build --workspace --bins`)",
        engine.display()
    );
    engine
}

/// Ports that nothing listens on; each is let go just before it is used.
pub(crate) fn free<const N: usize>() -> [SocketAddr; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap())
}
