//! Settings of glibc's allocator for a server with little memory.

use crate::config::LITTLE_MEMORY;

/// Few arenas, and freed memory goes back to the system. By default each thread may get an arena of its own, and each
/// keeps what was ever needed in it: under a flood of large requests a server held to 512 MiB then holds twice what it
/// uses, and is killed. With much memory the defaults are kept, since they cost fewer page faults.
pub(crate) fn fit(planned_bytes: u64) {
    if planned_bytes >= LITTLE_MEMORY {
        return;
    }
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt takes two integers, may be called at any time, and only changes what later calls of the allocator
    // do. A value it does not know is refused by its result, which leaves the default.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 128 << 10);
    }
}
