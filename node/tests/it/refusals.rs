//! What is refused before anything starts, and with which status.

use std::net::TcpListener;

use crate::node::{SECRET, free, node, output};

/// The exit status and what it says, for these settings.
fn refused(role: &str, settings: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.toml");
    std::fs::write(&path, settings).unwrap();
    let output = output(&mut node(&[role, "--settings", path.to_str().unwrap()]));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

/// Each of `words` is in what was said.
fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "no `{word}` in: {said}");
    }
}

#[test]
fn an_unknown_key_is_named_with_its_file() {
    let (code, said) = refused("gateway", "[gateway]\nhttp_adr = \"127.0.0.1:1\"\n");
    assert_eq!(code, Some(64));
    assert_says(&said, &["node.toml", "http_adr", "http_addr"]);
}

#[test]
fn a_wrong_type_is_named_with_its_value() {
    let (code, said) = refused("transcoder", "[transcoder]\nmax_sessions = \"many\"\n");
    assert_eq!(code, Some(64));
    assert_says(&said, &["node.toml", "transcoder.max_sessions", "many"]);
}

#[test]
fn a_preset_that_does_not_exist_is_named_with_those_that_do() {
    let (code, said) = refused(
        "gateway",
        "[[gateway.profiles]]\nname = \"P240p30fps16x10\"\n",
    );
    assert_eq!(code, Some(64));
    assert_says(
        &said,
        &[
            "node.toml:2",
            "gateway.profiles[0].name",
            "`P240p30fps16x10`",
            "expected one of P720p60fps16x9, ",
        ],
    );
}

#[test]
fn a_profile_that_every_push_would_be_refused_for_is_named_with_its_value() {
    for (line, key, words) in [
        ("bitrate = 999", "bitrate", "999 must be from 1000 to"),
        (
            "bitrate = 600000\nfps = 241",
            "fps",
            "241 frames a second must be at most 240",
        ),
    ] {
        let profile = "[[gateway.profiles]]\nname = \"mine\"\nwidth = 426\nheight = 240\n";
        let (code, said) = refused("gateway", &format!("{profile}{line}\n"));
        assert_eq!(code, Some(64), "{said}");
        let key = format!("gateway.profiles[0].{key}");
        assert_says(&said, &["node.toml:", &key, words]);
    }
}

#[test]
fn a_secret_that_cannot_be_read_is_named() {
    let (code, said) = refused("gateway", "[gateway]\ningest_token_file = \"/none\"\n");
    assert_eq!(code, Some(64));
    assert_says(&said, &["node.toml", "gateway.ingest_token_file", "/none"]);
}

#[test]
fn who_only_asks_for_the_settings_is_refused_what_the_role_would_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.toml");
    for (credentials, code) in [(folder.path().to_str().unwrap(), 0), ("/none", 64)] {
        let text = format!("[orchestrator]\ncredentials_dir = \"{credentials}\"\n");
        std::fs::write(&path, text).unwrap();
        let arguments = ["orchestrator", "--settings", path.to_str().unwrap()];
        let output = output(node(&arguments).arg("--print-settings"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        if code != 0 {
            assert_says(
                &said,
                &["node.toml", "orchestrator.credentials_dir", "/none"],
            );
        }
    }
}

/// What `--print-settings` shows for these settings.
fn printed(role: &str, settings: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.toml");
    std::fs::write(&path, settings).unwrap();
    let arguments = [
        role,
        "--print-settings",
        "--settings",
        path.to_str().unwrap(),
    ];
    let output = output(&mut node(&arguments));
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_is_printed_is_in_force_also_where_all_wins_over_the_file() {
    let settings = "[gateway]\norchestrators = [\"https://elsewhere:8935\"]\nmax_streams = 7\n\
                    [orchestrator]\naddr = \"127.0.0.1:8999\"\ntranscoding = \"embedded\"\n\
                    [transcoder]\norchestrator = \"https://elsewhere:8935\"\n\
                    credential_file = \"/none\"\n";
    let said = printed("all", settings);
    assert_says(
        &said,
        &[
            "# role all, from /",
            "probe_addr = \"127.0.0.1:7936\"",
            "orchestrators = [\"https://127.0.0.1:8999/\"]",
            "orchestrator = \"https://127.0.0.1:8999/\"",
            "transcoding = \"pools\"",
            "max_streams = 7",
        ],
    );
    for absent in ["elsewhere", "embedded", "/none"] {
        assert!(!said.contains(absent), "{absent} is not in force: {said}");
    }
    let said = printed("orchestrator", settings);
    assert_says(&said, &["transcoding = \"embedded\""]);
}

#[test]
fn a_secret_is_printed_as_where_it_is_read_from() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&secret, SECRET).unwrap();
    let path = secret.path().to_str().unwrap();
    for (role, key) in [
        ("gateway", "ingest_token_file"),
        ("all", "ingest_token_file"),
        ("transcoder", "credential_file"),
    ] {
        let of = if role == "all" { "gateway" } else { role };
        let said = printed(role, &format!("[{of}]\n{key} = {path:?}\n"));
        assert_says(&said, &[&format!("# {of}.{key}: *** (read from {path})")]);
        assert!(!said.contains(SECRET), "{said}");
    }
}

#[test]
fn the_help_tells_the_exit_statuses() {
    let output = output(&mut node(&["--help"]));
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_says(&said, &["Exit status", "  1   could not", "  64  settings"]);
}

#[test]
fn a_transcoder_without_settings_is_told_which_key_it_needs() {
    let output = output(&mut node(&["transcoder"]));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64));
    assert_says(&said, &["--settings", "transcoder.credential_file"]);
}

/// With an engine that does not start: the port is found in use before that.
#[test]
fn a_port_in_use_is_named_with_its_key_before_the_engine_is_tried() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap();
    for (role, key) in [
        ("gateway", "gateway.http_addr"),
        ("orchestrator", "orchestrator.addr"),
        ("transcoder", "probe_addr"),
        ("all", "gateway.http_addr"),
        ("all", "orchestrator.addr"),
    ] {
        let [probes, gateway, orchestrator] = free();
        let address = |of: &str, free| if of == key { taken } else { free };
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&secret, "secret").unwrap();
        let settings = format!(
            "probe_addr = \"{}\"\n[gateway]\nhttp_addr = \"{}\"\n\
             [orchestrator]\ntranscoding = \"embedded\"\naddr = \"{}\"\n\
             [transcoder]\ncredential_file = {:?}\n[engine]\nprogram = \"/none\"\n",
            address("probe_addr", probes),
            address("gateway.http_addr", gateway),
            address("orchestrator.addr", orchestrator),
            secret.path(),
        );
        let (code, said) = refused(role, &settings);
        assert_eq!(code, Some(1), "{role} {said}");
        let says = format!("cannot listen on {taken} (key `{key}`, from /");
        let right = "node.toml): end what listens there, or set another port";
        assert_says(&said, &[&says, right]);
    }
}

#[test]
fn a_default_port_in_use_is_told_as_the_default() {
    // somebody else may have it, and then has it for this test too
    let _taken = TcpListener::bind("127.0.0.1:6936");
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&secret, "secret").unwrap();
    let settings = format!("[transcoder]\ncredential_file = {:?}\n", secret.path());
    let (code, said) = refused("transcoder", &settings);
    assert_eq!(code, Some(1), "{said}");
    let says = "cannot listen on 127.0.0.1:6936 (key `probe_addr`, the default, settings file /";
    assert_says(&said, &[says, "or set another port"]);
}
