//! curl, as a user has it.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

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

/// Status and body of the answer.
pub(crate) fn answer(args: &[&str]) -> (u16, String) {
    let text = curl(&[args, &["-w", "\n%{http_code}"]].concat());
    let (body, status) = text.rsplit_once('\n').unwrap_or_default();
    (status.parse().unwrap_or(0), body.trim_end().to_owned())
}

/// Starts a push to the gateway at `addr`, as the README has it; its end is the reply
/// with its status in the last line.
pub(crate) fn push(addr: SocketAddr, segment: &Path, seq: u32) -> Child {
    let url = format!("http://{addr}/live/hello/{seq}.ts");
    Command::new("curl")
        .args(["-sS", "-T"])
        .arg(segment)
        .args(["-H", "Accept: multipart/mixed", "-w", "\n%{http_code}"])
        .arg(url)
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl is installed")
}

/// The whole reply of a push.
pub(crate) fn reply(mut push: Child) -> String {
    let mut bytes = Vec::new();
    let mut out = push.stdout.take().unwrap();
    out.read_to_end(&mut bytes).unwrap();
    push.wait().unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// That a push came back with both renditions.
pub(crate) fn assert_complete(push: Child) {
    let reply = reply(push);
    assert!(reply.ends_with("\n200"), "{}", tail(&reply));
    assert_eq!(reply.matches("Rendition-Name: ").count(), 2);
}

/// The end of a reply, whose middle is video.
fn tail(reply: &str) -> String {
    let start = reply.ceil_char_boundary(reply.len().saturating_sub(200));
    reply[start..].to_owned()
}
