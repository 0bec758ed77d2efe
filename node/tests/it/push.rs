//! Pushes that are none: each gets the status of the wire, and the stream goes on.

use std::fs::File;
use std::process::Command;

use crate::client::{answer, assert_complete, curl};
use crate::clips;
use crate::node::{Node, free};

/// One more than a segment may have.
const TOO_MANY: u64 = 300_000_001;
/// Room for one of the largest, and little more.
const BUDGET: u64 = 320_000_000;
/// What a gateway has beside segments.
const BESIDE: u64 = 80_000_000;

#[test]
fn what_is_no_push_is_refused_with_the_status_of_the_wire() {
    let [nobody] = free();
    let gateway = Node::gateway(&[nobody], "");
    let good = clips::good();
    let good = good.to_str().unwrap();
    let config = "Livepeer-Transcode-Configuration: ";
    let (no_json, no_profile) = (
        format!("{config}{{\"profiles\":"),
        format!("{config}{{\"profiles\":[{{\"gop\":\"never\"}}]}}"),
    );
    for (path, arguments, status, text) in [
        ("live/a/0.ts", ["-X", "DELETE"], 405, "use PUT or POST"),
        ("live/a.m3u8", ["-X", "GET"], 405, "/stream/a.m3u8"),
        (
            "live/a/0.m3u8",
            ["-T", good],
            400,
            "ignoring file extension: .m3u8",
        ),
        ("live/a/0", ["-T", good], 400, "ignoring file extension:"),
        ("live/.ts", ["-T", good], 400, "Bad URL"),
        ("live//0.ts", ["-T", good], 400, "Bad URL"),
        (
            "live/a/0.ts",
            ["-H", &no_json],
            400,
            "invalid transcode configuration",
        ),
        ("live/a/0.ts", ["-H", &no_profile], 500, "invalid gop"),
        (
            "live/a/0.ts",
            ["-H", "Content-Duration: -1"],
            500,
            "invalid duration",
        ),
        (
            "live/a/0.ts",
            ["-H", "Content-Slice-From: x"],
            400,
            "Invalid slice",
        ),
    ] {
        let url = format!("http://{}/{path}", gateway.addr);
        let method: &[&str] = match arguments[0] {
            "-H" => &["-X", "PUT", "-d", "x"],
            _ => &["--path-as-is"],
        };
        let got = answer(&[&arguments, method, &[url.as_str()]].concat());
        assert!(got.0 == status && got.1.contains(text), "{path}: {got:?}");
    }
    assert_eq!(gateway.status()["sessions"], 0, "no stream has begun");
}

#[test]
fn the_log_names_who_pushes_and_behind_a_proxy_whom_that_names() {
    let [nobody] = free();
    let gateway = Node::gateway(&[nobody], "");
    let good = clips::good();
    let nothing = "Livepeer-Transcode-Configuration: {\"profiles\":[]}";
    for (stream, header) in [
        ("near", "X-Other: 0"),
        ("far", "X-Forwarded-For: 203.0.113.7, 10.0.0.1"),
    ] {
        let url = format!("http://{}/live/{stream}/0.ts", gateway.addr);
        let push = ["-T", good.to_str().unwrap(), "-H", nothing, "-H", header];
        let pushed = answer(&[&push[..], &[url.as_str()]].concat());
        assert_eq!(pushed, (200, String::new()));
    }
    let log = gateway.log();
    for (stream, client) in [("near", "127.0.0.1"), ("far", "203.0.113.7")] {
        let of = format!("manifest_id=\"{stream}\"");
        for event in ["stream begins", "segment complete"] {
            let line = log
                .lines()
                .find(|line| line.contains(event) && line.contains(&of));
            let named = format!("client_ip={client}");
            assert!(line.is_some_and(|line| line.contains(&named)), "{log}");
        }
    }
}

/// ffmpeg closes the connection of each segment behind its last byte, and reads no reply.
#[test]
fn what_ffmpeg_pushes_is_published_though_it_waits_for_nothing() {
    let node = Node::all();
    let source = "-v error -nostdin -f lavfi -i testsrc2=size=320x180:rate=25:duration=8 \
        -c:v libx264 -preset veryfast -g 50 -pix_fmt yuv420p -method PUT";
    for (stream, how) in [
        (
            "segment",
            "-f segment -segment_format mpegts -segment_time 2",
        ),
        ("hls", "-f hls -hls_time 2 -hls_segment_filename"),
    ] {
        let folder = format!("http://{}/live/{stream}", node.addr);
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(source.split_whitespace());
        ffmpeg.args(how.split_whitespace());
        ffmpeg.arg(format!("{folder}/%d.ts"));
        if stream == "hls" {
            // refused, which it does not hear either
            ffmpeg.arg(format!("{folder}/index.m3u8"));
        }
        assert!(ffmpeg.status().unwrap().success());
        let playlist = format!("http://{}/stream/{stream}/P240p30fps16x9.m3u8", node.addr);
        node.wait_for("all four segments are listed", || {
            let text = curl(&[&playlist]);
            (0..4).all(|seq| text.contains(&format!("/{seq}.ts")))
        });
    }
    let told = node.log();
    let told = told.lines().filter(|line| line.contains("push refused"));
    let first: Vec<_> = told.filter(|line| line.contains(" INFO ")).collect();
    assert!(
        first.len() == 1 && first[0].contains("index.m3u8"),
        "{first:?}"
    );
}

#[test]
fn a_byte_too_many_is_refused_within_the_byte_budget() {
    let [nobody] = free();
    let gateway = Node::gateway(&[nobody], &format!("max_buffered_bytes = {BUDGET}\n"));
    let large = gateway.file("large.ts");
    File::create(&large).unwrap().set_len(TOO_MANY).unwrap();
    let url = format!("http://{}/live/a/0.ts", gateway.addr);
    let file = large.to_str().unwrap();
    // announced, and not
    for more in ["Expect:", "Transfer-Encoding: chunked"] {
        let (status, text) = answer(&["-T", file, "-H", more, &url]);
        assert_eq!(
            (status, text.as_str()),
            (500, "input bigger than max buffer size"),
            "{more}"
        );
    }
    // who asks first sends nothing
    let first = ["-H", "Expect: 100-continue", "--expect100-timeout", "30"];
    let said = curl(&[&["-T", file, "-w", "%{size_upload}", &url], &first[..]].concat());
    assert!(said.ends_with("size\n0"), "{said}");

    let peak = gateway.peak_bytes();
    assert!(peak < BUDGET + BESIDE, "{peak} bytes");
    gateway.wait_for("nothing is held", || {
        gateway.metric("livepeer_gateway_buffered_bytes").abs() < 1.0
    });
}

#[test]
fn a_bad_segment_is_refused_with_its_reason_and_the_next_good_one_works() {
    let node = Node::all();
    let push = |segment: &std::path::Path, seq: u32| {
        let url = format!("http://{}/live/hello/{seq}.ts", node.addr);
        let segment = segment.to_str().unwrap();
        answer(&["-T", segment, "-H", "Accept: multipart/mixed", &url])
    };
    for (seq, (segment, reason)) in (0..).zip([
        (clips::text(), "TranscoderInvalidVideo\nno video that"),
        (clips::audio_only(), "TranscoderInvalidVideo\nno video that"),
        (
            clips::no_keyframe(),
            "No keyframes in input\na segment must",
        ),
    ]) {
        let (status, said) = push(&segment, seq);
        assert!(
            status == 422 && said.starts_with(reason),
            "{status}: {said}"
        );
        assert_complete(node.push(&clips::good(), seq + 10));
    }
    assert_complete(node.push(&clips::truncated(), 20));
    assert_complete(node.push(&clips::good(), 21));
    assert_eq!(
        node.metric("livepeer_gateway_attempts_retried_total"),
        0.0,
        "nobody was blamed"
    );
    assert_eq!(node.status()["orchestrators"][0]["usable"], true);
}
