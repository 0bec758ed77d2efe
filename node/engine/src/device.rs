//! Opens the NVIDIA device, if that is what the worker is for.
//!
//! A small path on purpose: no such device was at hand when it was written, so what is here is
//! what the self-test can prove at start on the user's own card. A card that does not open is
//! reported, never replaced by the CPU; a card without an encoder decodes and scales, and the
//! CPU encodes, and the report says so.

use livepeer_ffmpeg::{CudaDevice, Encoder, FilterGraph, Frame, Rational, VideoSource};
use livepeer_media::message::DeviceReport;
use livepeer_media::{Device, Profile};

use crate::pipeline::Hardware;
use crate::plan::{self, Route};

/// Opens the device; tells what became of it.
pub(crate) fn open(device: Device) -> (Hardware, DeviceReport) {
    match device {
        Device::Cpu => (cpu(), DeviceReport::Cpu),
        Device::Nvidia => match CudaDevice::open() {
            Err(error) => {
                let reason = format!("the CUDA device does not open: {error}");
                (cpu(), DeviceReport::Unusable { reason })
            }
            Ok(device) => {
                let (route, name) = match try_encoder() {
                    Ok(()) => (Route::Nvenc, "NVIDIA, NVDEC and NVENC".to_owned()),
                    Err(error) => (
                        Route::CudaToCpu,
                        format!("NVIDIA, NVDEC; encoding on the CPU, since NVENC says: {error}"),
                    ),
                };
                let device = Some(device);
                (Hardware { device, route }, DeviceReport::Ready { name })
            }
        },
    }
}

fn cpu() -> Hardware {
    Hardware {
        device: None,
        route: Route::Cpu,
    }
}

/// Opens the encoder once: it loads its library now, before the sandbox closes, and a card
/// without one says so.
fn try_encoder() -> Result<(), livepeer_ffmpeg::Error> {
    let Some(profile) = Profile::preset("P144p30fps16x9") else {
        return Err(livepeer_ffmpeg::Error::INVALID_ARGUMENT);
    };
    let time_base = Rational::new(1, 30);
    let frame = Frame::blank(profile.width, profile.height)?;
    let graph = FilterGraph::video(
        VideoSource {
            like: &frame,
            time_base,
            frame_rate: time_base.inverse(),
        },
        "format=yuv420p",
        1,
    )?;
    let settings = plan::encoder(&profile, time_base.inverse(), 1, false, Route::Nvenc);
    Encoder::open(&graph, &settings).map(drop)
}
