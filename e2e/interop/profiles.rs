//! The four renditions asked for, as each program wants to be told. All keep the
//! source's frame rate, so that frames can be counted against it.

use serde_json::json;

/// One rendition asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    pub(crate) name: &'static str,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) bitrate: u32,
}

/// The renditions of the benchmark, the largest first.
pub(crate) const PROFILES: [Profile; 4] = [
    Profile {
        name: "720p",
        width: 1280,
        height: 720,
        bitrate: 4_000_000,
    },
    Profile {
        name: "480p",
        width: 854,
        height: 480,
        bitrate: 1_600_000,
    },
    Profile {
        name: "360p",
        width: 640,
        height: 360,
        bitrate: 1_200_000,
    },
    Profile {
        name: "240p",
        width: 426,
        height: 240,
        bitrate: 600_000,
    },
];

/// The smaller two: what a machine that is busy with other things still makes within
/// go-livepeer's 8 s.
pub(crate) const LIGHT: &[Profile] = PROFILES.split_at(2).1;

/// The file that go-livepeer's `-transcodingOptions` reads.
pub(crate) fn transcoding_options(profiles: &[Profile]) -> String {
    let profiles: Vec<_> = profiles
        .iter()
        .map(|profile| {
            json!({
                "name": profile.name,
                "width": profile.width,
                "height": profile.height,
                "bitrate": profile.bitrate,
                "fps": 0,
            })
        })
        .collect();
    json!(profiles).to_string()
}
