//! Playback: a stream's segments as live HLS, in bounded memory.
//!
//! * `timeline`: which segments are published, in which order, under which numbers
//! * `clock`: whether one goes on where the one before ended
//! * `playlist`: the text of multivariant and media playlists
//! * `routes`: `/stream/...` over HTTP

mod clock;
pub(super) mod playlist;
pub(super) mod routes;
pub(super) mod timeline;
