//! A chain of video filters between one source and one sink.

use std::ffi::{CStr, CString};
use std::ptr::{self, NonNull};

use ffmpeg_next::ffi;

use crate::error::{Error, check, received};
use crate::{Frame, Rational, Received};

/// What goes into a graph.
#[derive(Clone, Copy)]
pub struct VideoSource<'a> {
    /// A frame of the kind that will be pushed.
    pub like: &'a Frame,
    pub time_base: Rational,
    /// Not positive when unknown or variable.
    pub frame_rate: Rational,
}

/// Owns a configured graph.
pub struct FilterGraph {
    graph: NonNull<ffi::AVFilterGraph>,
    /// Both belong to the graph and live as long as it.
    source: *mut ffi::AVFilterContext,
    sink: *mut ffi::AVFilterContext,
}

// SAFETY: one owner of the graph and of the two filters inside.
unsafe impl Send for FilterGraph {}

/// Owns a pair of open pads while a description is parsed.
struct Pads(*mut ffi::AVFilterInOut);

impl Pads {
    fn new(label: &CStr, filter: *mut ffi::AVFilterContext) -> Result<Self, Error> {
        // SAFETY: allocates; null is checked before the fields are set; the label is copied by
        // libav's allocator, which frees it with the pads.
        unsafe {
            let pads = ffi::avfilter_inout_alloc();
            if pads.is_null() {
                return Err(Error::NO_MEMORY);
            }
            (*pads).name = ffi::av_strdup(label.as_ptr());
            (*pads).filter_ctx = filter;
            (*pads).pad_idx = 0;
            (*pads).next = ptr::null_mut();
            Ok(Self(pads))
        }
    }
}

impl Drop for Pads {
    fn drop(&mut self) {
        // SAFETY: the only owner; parsing replaced the pointer by what it left over, maybe null.
        unsafe { ffi::avfilter_inout_free(&raw mut self.0) }
    }
}

impl FilterGraph {
    /// Builds `source -> description -> sink`, running on that many threads.
    pub fn video(source: VideoSource<'_>, description: &str, threads: u32) -> Result<Self, Error> {
        let description = CString::new(description).map_err(|_| Error::INVALID_ARGUMENT)?;
        // SAFETY: allocates; null is checked.
        let graph = NonNull::new(unsafe { ffi::avfilter_graph_alloc() }).ok_or(Error::NO_MEMORY)?;
        let mut built = Self {
            graph,
            source: ptr::null_mut(),
            sink: ptr::null_mut(),
        };
        // SAFETY: the graph is new and owned by `built`, which frees it, and with it every
        // filter, on every way out; the pads only point into it while it lives.
        unsafe {
            (*graph.as_ptr()).nb_threads = i32::try_from(threads.max(1)).unwrap_or(1);
            built.source = built.add(c"buffer", c"in")?;
            describe(built.source, source)?;
            check(ffi::avfilter_init_str(built.source, ptr::null()))?;
            built.sink = built.add(c"buffersink", c"out")?;
            check(ffi::avfilter_init_str(built.sink, ptr::null()))?;

            let mut outputs = Pads::new(c"in", built.source)?;
            let mut inputs = Pads::new(c"out", built.sink)?;
            check(ffi::avfilter_graph_parse_ptr(
                graph.as_ptr(),
                description.as_ptr(),
                &raw mut inputs.0,
                &raw mut outputs.0,
                ptr::null_mut(),
            ))?;
            check(ffi::avfilter_graph_config(graph.as_ptr(), ptr::null_mut()))?;
        }
        Ok(built)
    }

    fn add(&self, filter: &CStr, name: &CStr) -> Result<*mut ffi::AVFilterContext, Error> {
        // SAFETY: valid strings and graph; the filter made belongs to the graph.
        let context = unsafe {
            ffi::avfilter_graph_alloc_filter(
                self.graph.as_ptr(),
                ffi::avfilter_get_by_name(filter.as_ptr()),
                name.as_ptr(),
            )
        };
        if context.is_null() {
            Err(Error::NO_MEMORY)
        } else {
            Ok(context)
        }
    }

    pub(crate) fn sink(&self) -> *const ffi::AVFilterContext {
        self.sink
    }

    pub(crate) fn width(&self) -> i32 {
        // SAFETY: a configured sink.
        unsafe { ffi::av_buffersink_get_w(self.sink) }
    }

    pub(crate) fn height(&self) -> i32 {
        // SAFETY: a configured sink.
        unsafe { ffi::av_buffersink_get_h(self.sink) }
    }

    pub(crate) fn pixel_format(&self) -> ffi::AVPixelFormat {
        // SAFETY: a configured sink has one of libav's own formats.
        unsafe {
            std::mem::transmute::<i32, ffi::AVPixelFormat>(ffi::av_buffersink_get_format(self.sink))
        }
    }

    /// Time base of what comes out.
    pub fn time_base(&self) -> Rational {
        // SAFETY: a configured sink.
        unsafe { ffi::av_buffersink_get_time_base(self.sink) }.into()
    }

    /// Pushes a frame; the caller keeps it.
    pub fn push(&mut self, frame: &Frame) -> Result<(), Error> {
        // SAFETY: source and frame are valid; with KEEP_REF the graph makes its own reference
        // and leaves the frame as it is, whatever the signature says.
        check(unsafe {
            ffi::av_buffersrc_add_frame_flags(
                self.source,
                frame.as_ptr().cast_mut(),
                ffi::AV_BUFFERSRC_FLAG_KEEP_REF as i32,
            )
        })
        .map(drop)
    }

    /// No more frames will come; `end` is where the last one stops being shown.
    pub fn finish(&mut self, end: i64) -> Result<(), Error> {
        // SAFETY: a configured source.
        check(unsafe { ffi::av_buffersrc_close(self.source, end, 0) }).map(drop)
    }

    pub fn pull(&mut self, frame: &mut Frame) -> Result<Received, Error> {
        frame.clear();
        // SAFETY: sink and frame are valid and borrowed alone; the frame is empty.
        received(unsafe { ffi::av_buffersink_get_frame(self.sink, frame.as_mut_ptr()) })
    }
}

/// Tells a `buffer` filter what it will be fed.
///
/// # Safety
/// `filter` is a `buffer` filter that was not initialised yet.
unsafe fn describe(
    filter: *mut ffi::AVFilterContext,
    source: VideoSource<'_>,
) -> Result<(), Error> {
    let frame = source.like.raw();
    // SAFETY: the caller's promise; the parameters are freed by the allocator that made them,
    // and libav references, not takes, the frames context.
    unsafe {
        let parameters = ffi::av_buffersrc_parameters_alloc();
        if parameters.is_null() {
            return Err(Error::NO_MEMORY);
        }
        (*parameters).format = frame.format;
        (*parameters).width = frame.width;
        (*parameters).height = frame.height;
        (*parameters).sample_aspect_ratio = frame.sample_aspect_ratio;
        (*parameters).time_base = source.time_base.into();
        if source.frame_rate.is_positive() {
            (*parameters).frame_rate = source.frame_rate.into();
        }
        (*parameters).hw_frames_ctx = frame.hw_frames_ctx;
        let set = ffi::av_buffersrc_parameters_set(filter, parameters);
        ffi::av_free(parameters.cast());
        check(set).map(drop)
    }
}

impl Drop for FilterGraph {
    fn drop(&mut self) {
        let mut graph = self.graph.as_ptr();
        // SAFETY: the only owner; frees the filters too; nothing is used again.
        unsafe { ffi::avfilter_graph_free(&raw mut graph) }
    }
}
