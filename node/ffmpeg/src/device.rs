//! An NVIDIA device, as far as libav opens one.

use std::ptr::{self, NonNull};

use ffmpeg_next::ffi;

use crate::error::{Error, check};

/// Owns a reference to a CUDA device context.
pub struct CudaDevice(NonNull<ffi::AVBufferRef>);

// SAFETY: an atomically counted reference to a context that libav locks itself.
unsafe impl Send for CudaDevice {}

impl CudaDevice {
    /// Opens the process's first device. Loads the driver's library: do it before a sandbox
    /// closes the file system.
    pub fn open() -> Result<Self, Error> {
        let mut device = ptr::null_mut();
        // SAFETY: libav fills `device` on success only; null arguments mean its defaults.
        check(unsafe {
            ffi::av_hwdevice_ctx_create(
                &raw mut device,
                ffi::AVHWDeviceType::AV_HWDEVICE_TYPE_CUDA,
                ptr::null(),
                ptr::null_mut(),
                0,
            )
        })?;
        NonNull::new(device).map(Self).ok_or(Error::NO_MEMORY)
    }

    /// Another reference, to be owned by the context that takes it.
    pub(crate) fn share(&self) -> Result<*mut ffi::AVBufferRef, Error> {
        // SAFETY: a valid reference; null is checked.
        let share = unsafe { ffi::av_buffer_ref(self.0.as_ptr()) };
        if share.is_null() {
            Err(Error::NO_MEMORY)
        } else {
            Ok(share)
        }
    }
}

impl Drop for CudaDevice {
    fn drop(&mut self) {
        let mut device = self.0.as_ptr();
        // SAFETY: the only owner of this reference; the pointer is not used again.
        unsafe { ffi::av_buffer_unref(&raw mut device) }
    }
}
