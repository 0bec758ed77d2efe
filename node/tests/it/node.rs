//! A `livepeer-node` process under test, and the clients that talk to it.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

/// The engine's self-test included, on a machine that also compiles.
const STARTS: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(50);

/// A running node; killed when dropped.
pub(crate) struct Node {
    child: Child,
    pub(crate) gateway: SocketAddr,
    probes: SocketAddr,
    folder: TempDir,
}

impl Node {
    /// `livepeer-node all` on free ports, once it is ready.
    pub(crate) fn all() -> Self {
        let [gateway, orchestrator, probes] = free();
        let folder = tempfile::tempdir().unwrap();
        let settings = folder.path().join("settings.toml");
        let text = format!(
            "probe_addr = \"{probes}\"\n\
             [drain]\nlame_duck = \"0s\"\ndeadline = \"30s\"\n\
             [gateway]\nhttp_addr = \"{gateway}\"\n\
             [orchestrator]\naddr = \"{orchestrator}\"\n"
        );
        std::fs::write(&settings, text).unwrap();
        let child = node(&["all", "--settings", settings.to_str().unwrap()])
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let node = Self {
            child,
            gateway,
            probes,
            folder,
        };
        node.wait_until_ready();
        node
    }

    fn wait_until_ready(&self) {
        let deadline = SystemTime::now() + STARTS;
        loop {
            let said = curl(&[&format!("http://{}/readyz", self.probes)]);
            if said == "ok\n" {
                return;
            }
            assert!(SystemTime::now() < deadline, "not ready: {said}");
            sleep(LOOK);
        }
    }

    /// Waits until a segment has arrived.
    pub(crate) fn wait_for_session(&self) {
        let url = format!("http://{}/status", self.probes);
        let deadline = SystemTime::now() + STARTS;
        loop {
            let status: serde_json::Value = serde_json::from_str(&curl(&[&url])).unwrap();
            if status["sessions"].as_u64() > Some(0) {
                return;
            }
            assert!(SystemTime::now() < deadline, "no session: {status}");
            sleep(LOOK / 10);
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Starts a push of `segment`, as the README has it; its end is the reply with its
    /// status in the last line.
    pub(crate) fn push(&self, segment: &Path, seq: u32) -> Child {
        let url = format!("http://{}/live/hello/{seq}.ts", self.gateway);
        Command::new("curl")
            .args(["-sS", "-T"])
            .arg(segment)
            .args(["-H", "Accept: multipart/mixed", "-w", "\n%{http_code}"])
            .arg(url)
            .stdout(Stdio::piped())
            .spawn()
            .expect("curl is installed")
    }

    /// Two seconds of video, made by ffmpeg.
    pub(crate) fn segment(&self) -> PathBuf {
        let path = self.folder.path().join("seg.ts");
        let made = Command::new("ffmpeg")
            .args(["-v", "error", "-y", "-f", "lavfi", "-i"])
            .args(["testsrc2=size=1280x720:rate=25", "-f", "lavfi", "-i"])
            .args(["sine", "-t", "2", "-c:v", "libx264", "-pix_fmt", "yuv420p"])
            .args(["-c:a", "aac", "-f", "mpegts"])
            .arg(&path)
            .status()
            .expect("ffmpeg is installed");
        assert!(made.success());
        path
    }

    /// SIGTERM, and how the process ended.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        let sent = Command::new("kill").arg(self.pid().to_string()).status();
        assert!(sent.unwrap().success());
        self.child.wait().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // gone already, when it was waited for
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The whole reply of a push.
pub(crate) fn reply(mut push: Child) -> String {
    let mut bytes = Vec::new();
    let mut out = push.stdout.take().unwrap();
    out.read_to_end(&mut bytes).unwrap();
    push.wait().unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What curl prints.
pub(crate) fn curl(args: &[&str]) -> String {
    let output = Command::new("curl")
        .arg("-sS")
        .args(args)
        .stderr(Stdio::null())
        .output()
        .expect("curl is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The program with these arguments; the engine lies beside it, since the whole
/// workspace is built at once.
pub(crate) fn node(args: &[&str]) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_livepeer-node"));
    let engine = program.with_file_name("livepeer-engine");
    assert!(
        engine.exists(),
        "{} is not there: build the workspace (`cargo build --workspace --bins`)",
        engine.display()
    );
    let mut command = Command::new(program);
    command.args(args);
    command
}

/// Ports that nothing listens on; each is let go just before it is used.
pub(crate) fn free<const N: usize>() -> [SocketAddr; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap())
}
