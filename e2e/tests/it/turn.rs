//! `make test`, `make demo` and `make faults` have the local Kubernetes one after another.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

/// Begins as the scripts do, with a lock of the test's own.
const BEGIN: &str = "source e2e/preamble.sh; turn=$0/turn; target=$0";

/// A script that runs `body` in the checkout; what it prints, line by line.
fn script(folder: &Path, body: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new("bash")
        .arg("-c")
        .arg(format!("{BEGIN}; {body}"))
        .arg(folder)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let printed = BufReader::new(child.stdout.take().unwrap());
    (child, printed)
}

fn line(printed: &mut impl BufRead) -> String {
    let mut line = String::new();
    printed.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

#[test]
fn who_comes_second_waits_says_for_whom_and_a_killed_one_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let holds = "take_turn 'make faults'; echo mine; read";
    let (mut first, mut printed) = script(folder.path(), holds);
    assert_eq!(line(&mut printed), "mine");

    let (mut second, mut printed) = script(folder.path(), "take_turn 'make demo'; cat $turn");
    let waits = line(&mut printed);
    let who = format!("in use: make faults, pid {}, since ", first.id());
    assert!(waits.contains(&who), "{waits}");
    assert!(second.try_wait().unwrap().is_none(), "it did not wait");

    first.kill().unwrap();
    first.wait().unwrap();
    let now = line(&mut printed);
    assert!(now.starts_with("make demo, pid "), "{now}");
    assert!(second.wait().unwrap().success());
}

#[test]
fn what_outlives_a_script_does_not_keep_its_turn() {
    let folder = tempfile::tempdir().unwrap();
    // in the place of livepeer-e2e, which leaves the cluster's keeper behind
    let program = folder.path().join("livepeer-e2e");
    let tells = "#!/bin/bash\n[ -e /proc/self/fd/8 ] && echo \"$1 inherits\" || echo \"$1\"\n";
    fs::write(&program, tells).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let (mut taken, mut printed) = script(folder.path(), "take_turn 'make test'; bring_up");
    assert_eq!(line(&mut printed), "== the local Kubernetes");
    assert_eq!(line(&mut printed), "cluster-up");
    assert!(taken.wait().unwrap().success());
}

#[test]
fn every_script_that_installs_an_operator_takes_its_turn_before_the_images() {
    for (script, command) in [
        (include_str!("../../test.sh"), "make test"),
        (include_str!("../../demo.sh"), "make demo"),
        (include_str!("../../faults.sh"), "make faults"),
    ] {
        let turn = script.find(&format!("take_turn \"{command}\""));
        let images = script.find("e2e/images.sh");
        assert!(turn.is_some() && turn < images, "{command}");
    }
}
