//! Reads captures, and holds our encoding against their bytes.

use std::fmt::Debug;

use livepeer_proto::net;
use prost::Message;

/// The program of most captures, as their names end.
pub(crate) const THEIRS: &str = "go-livepeer-v0.9.1";

/// The session that the captures were made in.
pub(crate) const SESSION: &str = "73785088";
/// Where the recorder stood: the orchestrator's service URI.
pub(crate) const SERVICE_URI: &str = "https://127.0.0.1:36323";
/// The version that go-livepeer was built as.
pub(crate) const VERSION: &str = "0.9.1-176aa415";

/// The bytes of a capture.
pub(crate) fn bytes(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A message that encodes to the very bytes it was decoded from.
pub(crate) fn exact<M: Message + Default>(name: &str) -> M {
    let sent = bytes(name);
    let message = M::decode(sent.as_slice()).unwrap();
    assert_eq!(hex::encode(message.encode_to_vec()), hex::encode(&sent));
    message
}

/// A message with one map of capacities, capability 0 in it. Go writes maps in random
/// order, and key 0 where we leave it out: two bytes. It writes the members of a oneof
/// after all other fields, too. All else must be there again: as many bytes.
pub(crate) fn reordered<M: Message + Default + PartialEq + Debug>(name: &str) -> M {
    let sent = bytes(name);
    let message = M::decode(sent.as_slice()).unwrap();
    let ours = message.encode_to_vec();
    assert_eq!(M::decode(ours.as_slice()).unwrap(), message);
    assert_eq!(ours.len() + 2, sent.len());
    message
}

/// The auth token of the captured session.
pub(crate) fn auth_token() -> net::AuthToken {
    let token = "8cb71018ae32e28b4276af5af0ec337a73bb81e0a7776285fc9c3c8305bf65cb";
    net::AuthToken {
        token: hex::decode(token).unwrap(),
        session_id: SESSION.to_owned(),
        expiration: 1_795_226_625,
    }
}

/// What the captured job needs: H.264 to H.264 in MPEG-TS, an auth token, and slicing,
/// which go-livepeer's HTTP ingest always asks for.
pub(crate) const JOB: [u64; 1] = [1 << 26 | 1 << 12 | 1 << 1 | 1];

/// What go-livepeer's software transcoder says it can do.
pub(crate) const SOFTWARE: [u64; 1] = [94_487_339_007];

/// The bits of [`SOFTWARE`], each with its capacity: bits that every node has by default,
/// and bits that only the transcoder brought.
pub(crate) fn capacities(default: u32, brought: u32) -> std::collections::BTreeMap<u32, u32> {
    let defaults = (0..=12).chain([14, 26]).map(|bit| (bit, default));
    let others = [17, 21, 22, 23, 24, 25, 27, 28, 29, 30, 31, 32, 34, 36];
    defaults.chain(others.map(|bit| (bit, brought))).collect()
}

/// The four renditions that were asked for.
pub(crate) fn profiles() -> Vec<net::VideoProfile> {
    [
        ("720p", 1280, 720, 4_000_000),
        ("480p", 854, 480, 1_600_000),
        ("360p", 640, 360, 1_200_000),
        ("240p", 426, 240, 600_000),
    ]
    .into_iter()
    .map(|(name, width, height, bitrate)| net::VideoProfile {
        name: name.to_owned(),
        width,
        height,
        bitrate,
        fps: 0,
        format: net::video_profile::Format::Mpegts as i32,
        fps_den: 0,
        profile: net::video_profile::Profile::EncoderDefault as i32,
        gop: 0,
        encoder: net::video_profile::VideoCodec::H264 as i32,
        color_depth: 0,
        chroma_format: net::video_profile::ChromaSubsampling::Chroma420 as i32,
        quality: 0,
    })
    .collect()
}
