//! Who does the work of an orchestrator: its own engine, or transcoders that registered.

use std::time::Duration;

use bytes::Bytes;
use livepeer_media::{DeviceStatus, Engine, TranscodeJob};
use livepeer_proto::errors;
use livepeer_proto::net::SegData;
use tokio::time::Instant;

use super::transcoders::Transcoders;
use crate::segdata::{Asked, WIRE_VERSION};

/// Fewer bytes than this are no rendition (`core/orchestrator.go`).
const LEAST_RENDITION_BYTES: usize = 25;

/// A segment to do.
pub(crate) struct Work<'a> {
    pub(crate) session: &'a str,
    pub(crate) data: &'a SegData,
    pub(crate) asked: &'a Asked,
    pub(crate) source: Bytes,
    /// Where a transcoder fetches it from.
    pub(crate) source_url: &'a str,
    /// When the gateway stops waiting.
    pub(crate) deadline: Instant,
    /// What segments of this session take; none yet for the first.
    pub(crate) usual: Option<Duration>,
}

/// The renditions of a segment, in the order of its profiles.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) renditions: Vec<Rendition>,
    pub(crate) decoded_pixels: u64,
}

/// One rendition.
#[derive(Debug)]
pub(crate) struct Rendition {
    pub(crate) data: Bytes,
    pub(crate) pixels: u64,
}

impl Output {
    /// Refuses what go-livepeer refuses (`core/orchestrator.go`), with its texts.
    pub(crate) fn check(&self, profiles: usize) -> Result<(), &'static str> {
        if self.renditions.len() != profiles {
            return Err(errors::MISMATCHED_SEGMENTS);
        }
        if self
            .renditions
            .iter()
            .any(|one| one.data.len() < LEAST_RENDITION_BYTES)
        {
            return Err(errors::ZERO_SEGMENTS);
        }
        Ok(())
    }
}

/// The one or the other.
#[derive(Clone)]
pub(crate) enum Backend {
    Embedded(Engine),
    Pools(Transcoders),
}

impl Backend {
    /// Does a segment; the error is the text for the gateway.
    pub(crate) async fn transcode(&self, work: &Work<'_>) -> Result<Output, String> {
        match self {
            Self::Pools(transcoders) => transcoders.transcode(work).await,
            Self::Embedded(engine) => {
                let output = embedded(engine, work).await?;
                output.check(work.asked.profiles.len())?;
                Ok(output)
            }
        }
    }

    /// Sessions that it could hold at once.
    pub(crate) fn capacity(&self) -> u32 {
        match self {
            Self::Embedded(engine) => u32::try_from(engine.capacity()).unwrap_or(u32::MAX),
            Self::Pools(transcoders) => transcoders.capacity(),
        }
    }

    /// As above, counting transcoders that are likely back in a moment: by this, new
    /// sessions are let in or not.
    pub(crate) fn admission_capacity(&self) -> u32 {
        match self {
            Self::Embedded(_) => self.capacity(),
            Self::Pools(transcoders) => transcoders.admission_capacity(),
        }
    }

    /// Whether there is nobody to do a segment.
    pub(crate) fn is_deserted(&self) -> bool {
        match self {
            Self::Embedded(_) => false,
            Self::Pools(transcoders) => transcoders.is_empty(),
        }
    }

    /// A session is over.
    pub(crate) fn end_session(&self, session: &str) {
        match self {
            Self::Embedded(_) => {}
            Self::Pools(transcoders) => transcoders.end_session(session),
        }
    }

    /// What became of the device asked for; none without an engine of its own.
    pub(crate) fn device(&self) -> Option<DeviceStatus> {
        match self {
            Self::Embedded(engine) => Some(engine.device_status()),
            Self::Pools(_) => None,
        }
    }
}

async fn embedded(engine: &Engine, work: &Work<'_>) -> Result<Output, String> {
    let job = TranscodeJob {
        stream: work.session.to_owned(),
        profiles: work.asked.profiles.clone(),
        source: work.source.clone(),
        duration: work.asked.duration,
        metadata: metadata(OFFCHAIN),
        clip: work.asked.clip,
        deadline: work.deadline.saturating_duration_since(Instant::now()),
    };
    let done = engine
        .transcode(job)
        .await
        .map_err(|error| error.to_string())?;
    Ok(Output {
        renditions: done
            .renditions
            .into_iter()
            .map(|one| Rendition {
                data: one.data,
                pixels: one.pixels,
            })
            .collect(),
        decoded_pixels: done.decoded_pixels,
    })
}

/// What an orchestrator without an account calls itself to transcoders.
pub(crate) const OFFCHAIN: &str = "offchain";

/// `service_provider` of the renditions (`server/ot_rpc.go`).
pub(crate) fn metadata(orchestrator: &str) -> String {
    format!("Livepeer Transcoder {WIRE_VERSION} ({orchestrator})")
}

#[cfg(test)]
mod tests {
    use super::{Output, Rendition};
    use bytes::Bytes;

    #[test]
    fn too_few_renditions_or_empty_ones_are_no_result() {
        let rendition = |bytes: usize| Rendition {
            data: Bytes::from(vec![0; bytes]),
            pixels: 1,
        };
        let output = Output {
            renditions: vec![rendition(25), rendition(24)],
            decoded_pixels: 0,
        };
        assert_eq!(output.check(1), Err("MismatchedSegments"));
        assert_eq!(output.check(2), Err("ZeroSegments"));
        let good = Output {
            renditions: vec![rendition(25)],
            decoded_pixels: 0,
        };
        assert_eq!(good.check(1), Ok(()));
    }
}
