//! The few calls into libc that have no safe wrapper elsewhere.

/// Heap arenas of the process. glibc's default, eight a core, lets a worker with many threads
/// keep several times what it uses.
const ARENAS: libc::c_int = 4;

/// Blocks from this size on are mapped one by one, and so go back when freed: pictures do.
const MMAP_FROM_BYTES: libc::c_int = 256 * 1024;

/// Sets the heap up for pictures that come and go. Call it before threads start.
pub fn bound_heap() {
    // SAFETY: mallopt only sets parameters of the allocator.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_FROM_BYTES);
    }
}

/// Gives free heap pages back to the kernel.
pub fn trim_heap() {
    // SAFETY: malloc_trim only looks at free blocks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Closes every file descriptor from `first` on. Call it before anything of this process holds
/// one: what a careless parent left open must not reach a sandbox.
pub fn close_inherited(first: u32) -> std::io::Result<()> {
    // SAFETY: no owner of such a descriptor exists yet, which the caller sees to.
    if unsafe { libc::close_range(first, u32::MAX, 0) } == -1 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Asks to be traced by the parent, as an intruder looking for a way out might. For the
/// sandbox's own check.
pub fn try_ptrace() -> std::io::Result<()> {
    // SAFETY: PTRACE_TRACEME takes no pointer.
    if unsafe { libc::ptrace(libc::PTRACE_TRACEME) } == -1 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(())
    }
}
